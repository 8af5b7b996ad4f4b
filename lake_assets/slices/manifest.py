"""`manifest.json` of one endpoint, symbol and interval: written from the ledger, able to make it again.

Belongs here: the document and its form (version 1). Does not belong here: the truth of a status (the ledger), checking
answers (`integrity`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from lake_assets.slices.answers import utc_text
from lake_assets.slices.judgement import Status
from lake_assets.slices.keys import LIMIT, SliceKey
from lake_resources.errors import StorageError
from lake_resources.storage.blobs import Blobs
from lake_resources.storage.ledger.slice_rows import SliceRow, SliceSet

VERSION = 1
NAME = "manifest.json"


def directory(of: SliceSet) -> str:
    """Directory of the slices of an endpoint, symbol and interval, relative to the data root."""
    return f"binance/{of.endpoint}/raw/{of.symbol}/{of.interval}"


def write_manifest(blobs: Blobs, of: SliceSet, rows: Sequence[SliceRow], *, now: datetime) -> str:
    """Write the manifest in one step: a reader sees the one before or this one.

    Args:
        blobs: the data root.
        of: endpoint, symbol and interval.
        rows: all its slices as the ledger knows them.
        now: the moment of evaluation, UTC.

    Returns:
        Its path.

    Raises:
        DiskFull, StorageError: it cannot be written; the one before stays.
    """
    path = f"{directory(of)}/{NAME}"
    blobs.write(path, orjson.dumps(document(of, rows, now=now), option=orjson.OPT_INDENT_2) + b"\n")
    return path


def document(of: SliceSet, rows: Sequence[SliceRow], *, now: datetime) -> dict[str, Any]:
    """The manifest as JSON values; every slice counts in exactly one of the summary's numbers."""
    counts = Counter(row.status for row in rows)
    return {
        "version": VERSION,
        "endpoint": of.endpoint,
        "symbol": of.symbol,
        "interval": of.interval,
        "limit": LIMIT,
        "summary": {
            "total_slices": len(rows),
            **{f"{status.value}_slices": counts.get(status.value, 0) for status in Status},
            "last_evaluated_at": utc_text(now),
        },
        "slices": {_key(of, row).composite: _entry(of, row) for row in rows},
    }


def read_manifest(blobs: Blobs, of: SliceSet) -> dict[str, Any]:
    """The manifest of an endpoint, symbol and interval.

    Raises:
        StorageError: it is not there, torn, or no manifest.
    """
    path = f"{directory(of)}/{NAME}"
    try:
        found = orjson.loads(blobs.read(path))
    except orjson.JSONDecodeError as error:
        raise StorageError(
            f"manifest {path} is no whole JSON ({error})", remedy="`lake slices rebuild` writes it from the answers"
        ) from error
    if not isinstance(found, dict) or not isinstance(found.get("slices"), dict):
        raise StorageError(f"manifest {path} has no `slices`", remedy="`lake slices rebuild` writes it anew")
    return found


def _key(of: SliceSet, row: SliceRow) -> SliceKey:
    return SliceKey(of.symbol, of.interval, row.start, row.record_limit)


def _entry(of: SliceSet, row: SliceRow) -> dict[str, Any]:
    return {
        "slice_id": _key(of, row).slice_id,
        "relative_path": None if row.path is None else row.path.removeprefix(f"{directory(of)}/"),
        "status": row.status,
        "status_reason": row.reason,
        "http_status": row.http_status,
        "n_items": row.n_items,
        "first_ts": row.first_ts,
        "last_ts": row.last_ts,
        "requested_url": row.requested_url,
        "requested_at": None if row.requested_at_utc is None else utc_text(row.requested_at_utc),
        "completed_at": None if row.completed_at_utc is None else utc_text(row.completed_at_utc),
        "request_count": row.fetches,
        "missing": [int(each) for each in row.missing.split(",") if each],
        "sha256": row.sha256,
        "error": row.error,
    }
