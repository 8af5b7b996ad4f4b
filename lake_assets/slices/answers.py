"""The file of an answer: what was asked and when, and the exchange's bytes as they came.

Belongs here: making such a file and reading one. Does not belong here: where it lies (`raw_store`), its worth
(`judgement`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from lake_assets.slices.judgement import Status
from lake_assets.slices.keys import SliceKey, parse_key
from lake_resources.storage.ledger.slice_rows import SliceRow

_END = re.compile(r"(:\d+)-\d+(?=:)")
_DATA = b',"data":'
_FIELDS = ("url", "slice", "slice_actual", "slice_id", "http_status", "n_items", "requested_at", "fetched_at")


@dataclass(frozen=True)
class AnswerMeta:
    """What was asked, and when it was answered.

    Attributes:
        url: the whole URL.
        slice: composite key.
        slice_actual: the key with the window's end.
        slice_id: name of the file.
        http_status: of the answer.
        n_items: records in it.
        requested_at, fetched_at: UTC.
    """

    url: str
    slice: str
    slice_actual: str
    slice_id: str
    http_status: int
    n_items: int
    requested_at: datetime
    fetched_at: datetime


def as_file(meta: AnswerMeta, body: bytes) -> bytes:
    """`{"meta": …, "data": …}` with the body's bytes unchanged."""
    head = orjson.dumps(
        {name: _plain(getattr(meta, name)) for name in _FIELDS},
    )
    return b'{"meta":' + head + _DATA + body.strip() + b"}\n"


def read_file(content: bytes) -> tuple[dict[str, Any], Any]:
    """Meta and decoded records of an answer's file, also of one that another program wrote.

    Raises:
        ValueError: it is torn, or has other parts.
    """
    try:
        decoded = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"no whole JSON file ({error})") from error
    if not isinstance(decoded, dict) or not isinstance(decoded.get("meta"), dict) or "data" not in decoded:
        raise ValueError("a file without the parts `meta` and `data`")
    return decoded["meta"], decoded["data"]


def key_in(meta: dict[str, Any]) -> SliceKey:
    """The slice that an answer's file says it is, in the words of this program or of others.

    Others name it `slice_comp_key`, and write `slice` with the window's end: `SYMBOL:interval:start-end:limit`.

    Raises:
        ValueError: the file names no slice.
    """
    text = str(meta.get("slice_comp_key") or meta.get("slice"))
    return parse_key(_END.sub(r"\1", text))


def is_newer(row: SliceRow, content: bytes) -> bool:
    """Whether a file is a whole later answer than its row knows: a run ended between the two.

    A slice that is `ok` is never asked for again, so that its file has no business to be another one. Bytes that were
    changed on the disk still say when they were fetched: the moment that the row knows, to the millisecond. Files of
    other programs have whole seconds: of those any other answer of the second is taken for a later one.
    """
    if row.status == Status.OK:
        return False
    try:
        meta, _ = read_file(content)
        key = key_in(meta)
    except ValueError:
        return False
    at = instant_of(meta, "fetched_at")
    if at is None or (key.start, key.limit) != (row.start, row.record_limit):
        return False
    known = row.completed_at_utc
    if known is None:
        return True
    if "." in str(meta.get("fetched_at")):
        return at > known.replace(microsecond=known.microsecond // 1000 * 1000)
    return at >= known.replace(microsecond=0)


def instant_of(meta: dict[str, Any], *names: str) -> datetime | None:
    """The first of some instants in an answer's file that can be read, UTC; None where none can."""
    for name in names:
        try:
            found = datetime.fromisoformat(str(meta.get(name)))
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None


def utc_text(instant: datetime) -> str:
    """An instant as the manifest writes it: `2025-01-01T00:01:23Z`."""
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _plain(value: object) -> object:
    """Instants to the millisecond: `2025-01-01T00:01:23.456Z`."""
    if not isinstance(value, datetime):
        return value
    return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
