"""`manifest.json` of one endpoint, symbol and interval: written from the ledger, able to make it again.

Belongs here: the document and its form (version 1). Does not belong here: the truth of a status (the ledger), checking
answers (`integrity`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from lake_assets.slices.answers import utc_text
from lake_assets.slices.judgement import Status
from lake_assets.slices.keys import LIMIT, SliceKey
from lake_resources.errors import StorageError
from lake_resources.storage.blobs import Blobs, LocalBlobs
from lake_resources.storage.ledger.slice_rows import SliceRow, SliceSet

VERSION = 1
NAME = "manifest.json"
_INSTANTS = orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS


def directory(of: SliceSet) -> str:
    """Directory of the slices of an endpoint, symbol and interval, relative to the data root."""
    return f"binance/{of.endpoint}/raw/{of.symbol}/{of.interval}"


Standing = tuple[str, str]
"""Status and reason of a slice."""


def write_manifest(
    blobs: Blobs, of: SliceSet, counts: Mapping[Standing, int], rows: Iterable[SliceRow], *, now: datetime
) -> None:
    """Write the manifest in one step: a reader sees the one before or this one.

    Args:
        blobs: the data root.
        of: endpoint, symbol and interval.
        counts: slices by status and reason; every one counts in exactly one of the summary's numbers.
        rows: the same slices, in order; they are written as they come and never held together.
        now: the moment of evaluation, UTC.

    Raises:
        DiskFull, StorageError: it cannot be written; the one before stays.
    """
    blobs.write_parts(f"{directory(of)}/{NAME}", _parts(of, counts, rows, now))


def _parts(of: SliceSet, counts: Mapping[Standing, int], rows: Iterable[SliceRow], now: datetime) -> Iterator[bytes]:
    """The document: its head, then a line per slice."""
    by_status = Counter[str]()
    for (status, _), count in counts.items():
        by_status[status] += count
    head = {
        "version": VERSION,
        "endpoint": of.endpoint,
        "symbol": of.symbol,
        "interval": of.interval,
        "limit": LIMIT,
        "summary": {
            "total_slices": by_status.total(),
            **{f"{status.value}_slices": by_status[status] for status in Status},
            "last_evaluated_at": utc_text(now),
        },
    }
    yield orjson.dumps(head, option=orjson.OPT_INDENT_2).removesuffix(b"\n}") + b',\n  "slices": {'
    mark, beginning = b"\n    ", f"{directory(of)}/"
    for row in rows:
        key = SliceKey(of.symbol, of.interval, row.start, row.record_limit)
        yield mark + orjson.dumps(key.composite) + b": " + orjson.dumps(_entry(key, row, beginning), option=_INSTANTS)
        mark = b",\n    "
    yield b"\n  }\n}\n"


def read_manifest(blobs: Blobs, of: SliceSet) -> dict[str, Any]:
    """The manifest of an endpoint, symbol and interval.

    Raises:
        StorageError: it is not there, torn, or no manifest.
    """
    return _read(blobs, f"{directory(of)}/{NAME}")


def load_from_manifest(path: Path | str) -> dict[str, str]:
    """The status of each slice of a `manifest.json` on the disk, by composite key: `compute_missing_slices` takes it.

    Raises:
        StorageError: it is not there, torn, or no manifest.
    """
    path = Path(path)
    return {key: str(entry["status"]) for key, entry in _read(LocalBlobs(path.parent), path.name)["slices"].items()}


def _read(blobs: Blobs, path: str) -> dict[str, Any]:
    try:
        found = orjson.loads(blobs.read(path))
    except orjson.JSONDecodeError as error:
        raise StorageError(
            f"manifest {path} is no whole JSON ({error})", remedy="`lake slices rebuild` writes it from the answers"
        ) from error
    if not isinstance(found, dict) or not isinstance(found.get("slices"), dict):
        raise StorageError(f"manifest {path} has no `slices`", remedy="`lake slices rebuild` writes it anew")
    return found


def entry_of(key: SliceKey, row: SliceRow, beginning: str) -> dict[str, Any]:
    """A slice's entry as JSON values; `beginning` is cut from the path of its answer."""
    return _plain(_entry(key, row, beginning))


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(orjson.dumps(entry, option=_INSTANTS))
    return found


def _entry(key: SliceKey, row: SliceRow, beginning: str) -> dict[str, Any]:
    return {
        "slice_id": key.slice_id,
        "relative_path": None if row.path is None else row.path.removeprefix(beginning),
        "status": row.status,
        "status_reason": row.reason,
        "http_status": row.http_status,
        "n_items": row.n_items,
        "first_ts": row.first_ts,
        "last_ts": row.last_ts,
        "requested_url": row.requested_url,
        "requested_at": row.requested_at_utc,
        "completed_at": row.completed_at_utc,
        "request_count": row.fetches,
        "missing": [int(each) for each in row.missing.split(",")] if row.missing else [],
        "sha256": row.sha256,
        "error": row.error,
    }
