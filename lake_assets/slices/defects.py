"""What can be wrong with slices, their answers and the manifest: codes, each with what mends it.

Belongs here: the codes and the record of a finding. Does not belong here: looking (`integrity`, `manifest_check`).
"""

from __future__ import annotations

from dataclasses import dataclass

CODES = {
    "missing_response_file": "the answer of a slice is not on the disk: the slice is asked for again",
    "sha256_mismatch": "the answer has other bytes than were written: the slice is asked for again",
    "row_before_answer": "a run ended after an answer was written and before its row: the slice is asked for again",
    "torn_response": "the answer is no whole file: the slice is asked for again",
    "slice_key_mismatch": "the answer belongs to another slice: the slice is asked for again",
    "status_contradicts_answer": "the status is not what the answer is worth: it is judged anew",
    "orphan_response_file": "an answer that no slice names: `lake slices rebuild` takes it",
    "off_lattice": "a slice that does not lie on the symbol's lattice: it is forgotten, its answer stays",
    "invalid_ledger_status": "a status in the ledger that does not exist: the slice is asked for again",
    "invalid_slice_status": "an entry's status does not exist: it is written anew",
    "manifest_unreadable": "the manifest is not there, torn, or none: it is written anew from the ledger",
    "empty_manifest": "the manifest has no slice though the ledger has: it is written anew",
    "count_mismatch": "a number of the manifest's summary is not that of its slices: it is written anew",
    "composite_key_format_error": "a key of the manifest is none, or of another symbol or interval: it is written anew",
    "different_structure": "an entry of the manifest lacks fields or has others: it is written anew",
    "slice_id_missing": "an entry names no answer: it is written anew",
    "slice_id_hash_mismatch": "an entry's id is not the hash of its key: it is written anew",
    "missing_requested_url": "an entry with an answer does not say what was asked: it is written anew",
    "url_parse_failed": "an entry's URL is none: it is written anew",
    "missing_startTime": "an entry's URL has no start of a window (`startTime`, `fromId`): it is written anew",
    "invalid_startTime": "the start in an entry's URL is no number: it is written anew",
    "slice_key_url_mismatch": "an entry's URL asks for another slice: it is written anew",
    "interval_misalignment": "a key does not lie on the symbol's lattice: it is written anew",
    "open_time_spacing": "neighbouring keys are not one window apart: it is written anew",
    "manifest_differs": "the manifest says other than the ledger: it is written anew from the ledger",
}
"""What each code means, and what becomes of it: `lake slices verify --mend`, or the next round."""
PASSING = frozenset(
    {"orphan_response_file", "manifest_differs", "row_before_answer", "missing_response_file", "empty_manifest"}
)
"""What is so for moments while a round writes: an answer has its name before its row, the rows before the manifest."""


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong: its code, the slice or file, and what was found."""

    code: str
    subject: str
    found: str = ""
