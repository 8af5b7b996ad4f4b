"""Do the answers on the disk, the ledger and the manifest say the same? And the ledger made anew from the answers.

Belongs here: reading answers against their rows, rebuilding rows from files. Does not belong here: fetching what is
lost (`loop`): a slice that is found damaged goes back to `needs_refresh`, and the loop asks for it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from lake_assets.slices.answers import instant_of, is_newer, key_in, read_file
from lake_assets.slices.data_root import Slices
from lake_assets.slices.defects import CODES, Defect
from lake_assets.slices.endpoint import SliceEndpoint
from lake_assets.slices.judgement import SliceReason, Status
from lake_assets.slices.keys import SliceKey, parse_key
from lake_assets.slices.manifest import directory
from lake_assets.slices.manifest_check import check_manifest
from lake_resources.errors import StorageError
from lake_resources.storage.ledger.slice_rows import SliceRow, SliceSet


def check(slices: Slices, endpoint: SliceEndpoint, of: SliceSet) -> Iterator[Defect]:
    """Everything that is wrong with the slices of an endpoint, symbol and interval; reads and hashes every answer."""
    rows = slices.rows.slice_rows(of)
    yield from check_rows(slices, endpoint, of, rows)
    named = {row.path.partition("#")[0] for row in rows if row.path is not None}
    for path in slices.store.files(f"{directory(of)}/responses"):
        if path not in named:
            yield Defect("orphan_response_file", path)
    yield from check_manifest(slices, endpoint, of, rows)


def check_rows(slices: Slices, endpoint: SliceEndpoint, of: SliceSet, rows: Sequence[SliceRow]) -> Iterator[Defect]:
    """What is wrong with some slices and their answers; reads and hashes each."""
    slices.store.fresh()
    first = slices.rows.origin(of)
    span = endpoint.step(of.interval) * (rows[0].record_limit if rows else 1)
    for row in rows:
        key = SliceKey(of.symbol, of.interval, row.start, row.record_limit)
        if first is not None and (row.start < first or (row.start - first) % span):
            yield Defect("off_lattice", key.composite, f"the lattice starts at {first}")
        yield from _of_row(slices, endpoint, key, row)


def mend(slices: Slices, of: SliceSet, defects: list[Defect]) -> int:
    """Send damaged slices back to the loop, forget those off the lattice; how many rows were changed."""
    lost = {each.subject: each for each in defects if each.code in _SENT_BACK}
    off = [parse_key(each.subject).start for each in defects if each.code == "off_lattice"]
    slices.rows.forget_slices(of, off)
    changed = []
    for row in slices.rows.slice_rows(of):
        defect = lost.get(SliceKey(of.symbol, of.interval, row.start, row.record_limit).composite)
        if defect is not None:
            text = f"{defect.code}: {defect.found}" if defect.found else defect.code
            keeps = defect.code == "status_contradicts_answer"
            bare = row if keeps else replace(row, path=None, sha256=None, size_bytes=0, n_items=0)
            changed.append(replace(bare, status=Status.NEEDS_REFRESH, reason=SliceReason.LOST, error=text))
    slices.rows.put_slices(of, changed)
    return len(changed) + len(off)


def rebuild(
    slices: Slices, endpoint: SliceEndpoint, of: SliceSet, *, frontier: int, but: Container[int] = ()
) -> tuple[int, list[Defect]]:
    """Make the ledger's rows anew from the answers on the disk.

    Args:
        slices: the data root.
        endpoint: which endpoint.
        of: its name, symbol and interval.
        frontier: how far the line reaches by now: the exchange's clock in epoch ms, or the newest id.
        but: starts of slices whose rows stay as they are.

    Returns:
        How many slices were taken, and what could not be.
    """
    rows, refused = [], []
    for path in slices.store.files(f"{directory(of)}/responses"):
        try:
            for where, content in _contents(slices, path):
                try:
                    rows.append(_row_of(endpoint, of, where, content, frontier))
                except (ValueError, TypeError, OverflowError) as error:
                    refused.append(Defect("torn_response", where, str(error)))
        except StorageError as error:
            refused.append(Defect("torn_response", path, error.what))
    newest = {row.start: row for row in sorted(rows, key=_worth)}  # a slice may lie in a pack and in a file of its own
    if newest and slices.rows.origin(of) is None:
        slices.rows.keep_origin(of, min(newest), slices.clock())
    taken = [row for start, row in newest.items() if start not in but]
    slices.rows.put_slices(of, taken)
    return len(taken), refused


def _contents(slices: Slices, path: str) -> Iterator[tuple[str, bytes]]:
    """Where each answer of a file lies, and its bytes; a pack has many."""
    if path.endswith(".tar.zst"):
        for name, content in slices.store.members(path):
            yield f"{path}#{name}", content
    else:
        yield path, slices.store.get(path)


def _worth(row: SliceRow) -> tuple[bool, int, datetime]:
    """Of two answers of a slice the whole one counts, then the one that holds more, then the younger one."""
    return row.status == Status.OK, row.n_items, row.completed_at_utc or datetime.min.replace(tzinfo=UTC)


def _row_of(endpoint: SliceEndpoint, of: SliceSet, path: str, content: bytes, frontier: int) -> SliceRow:
    meta, data = read_file(content)
    key = key_in(meta)
    name = path.rpartition("#")[2].rpartition("/")[2].partition(".")[0]
    if (key.symbol, key.interval) != (of.symbol, of.interval) or key.slice_id != name:
        raise ValueError(f"it says that it is {key.composite}")
    found = endpoint.records(data)
    verdict = endpoint.judge(key, found, frontier, None)
    return SliceRow(
        start=key.start,
        record_limit=key.limit,
        status=verdict.status,
        reason=verdict.reason,
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        http_status=int(meta.get("http_status") or 200),
        n_items=len(found),
        first_ts=found[0] if found else None,
        last_ts=found[-1] if found else None,
        requested_url=str(meta["url"]) if meta.get("url") else None,
        requested_at_utc=instant_of(meta, "requested_at"),
        completed_at_utc=instant_of(meta, "fetched_at", "completed_at"),
        error=verdict.detail or None,
        fetches=1,
        missing=",".join(str(each) for each in verdict.missing),
    )


def _of_row(slices: Slices, endpoint: SliceEndpoint, key: SliceKey, row: SliceRow) -> Iterator[Defect]:
    if row.status not in set(Status):
        yield Defect("invalid_ledger_status", key.composite, row.status)
        return
    if row.path is None:
        if row.status in (Status.OK, Status.EMPTY):
            yield Defect("missing_response_file", key.composite, "no answer is named")
        return
    try:
        content = slices.store.get(row.path)
    except StorageError as error:
        yield Defect("missing_response_file", key.composite, str(error))
        return
    if hashlib.sha256(content).hexdigest() != row.sha256:
        code = "row_before_answer" if is_newer(row, content) else "sha256_mismatch"
        yield Defect(code, key.composite, row.path)
        return
    try:
        meta, data = read_file(content)
        said, found = key_in(meta), endpoint.records(data)
    except ValueError as error:
        yield Defect("torn_response", key.composite, str(error))
        return
    if said != key:
        yield Defect("slice_key_mismatch", key.composite, said.composite)
    elif row.status == Status.OK:
        lacking = tuple(int(each) for each in row.missing.split(",") if each)
        verdict = endpoint.judge(key, found, _END_OF_TIME, lacking or None)
        if (verdict.status, verdict.reason) != (row.status, row.reason):
            yield Defect("status_contradicts_answer", key.composite, f"{verdict.status}: {verdict.detail}")


_SENT_BACK = frozenset(code for code, text in CODES.items() if "asked for again" in text or "judged anew" in text)
_END_OF_TIME = 1 << 62
"""An answer that was final once is judged without a clock."""
