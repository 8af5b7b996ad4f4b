"""Does a manifest say what the ledger says, in the form that it should have?

Belongs here: each rule of the document as a code. Does not belong here: the answers (`integrity`), writing it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lake_assets.slices.data_root import Slices
from lake_assets.slices.defects import Defect
from lake_assets.slices.endpoint import SliceEndpoint
from lake_assets.slices.judgement import Status
from lake_assets.slices.keys import SliceKey, parse_key
from lake_assets.slices.manifest import NAME, directory, entry_of, read_manifest
from lake_resources.errors import StorageError
from lake_resources.storage.ledger.slice_rows import SliceRow, SliceSet

_STARTS = ("startTime", "fromId")


def check_manifest(slices: Slices, endpoint: SliceEndpoint, of: SliceSet, rows: Sequence[SliceRow]) -> Iterator[Defect]:
    """What is wrong with the manifest of a set of slices; those without a row may be pending in it."""
    path = f"{directory(of)}/{NAME}"
    try:
        document = read_manifest(slices.store.blobs, of)
    except StorageError as error:
        if rows:
            yield Defect("manifest_unreadable", path, error.what)
        return
    entries: dict[str, Any] = document["slices"]
    if rows and not entries:
        yield Defect("empty_manifest", path)
        return
    yield from _of_summary(path, document.get("summary"), entries)
    known = {SliceKey(of.symbol, of.interval, row.start, row.record_limit): row for row in rows}
    origin, span = slices.rows.origin(of), None
    keys: list[SliceKey] = []
    for text, entry in entries.items():
        key = _key(of, text)
        if key is None:
            yield Defect("composite_key_format_error", str(text)[:200])
            continue
        keys.append(key)
        span = endpoint.step(of.interval) * key.limit
        if origin is not None and (span == 0 or (key.start - origin) % span):
            yield Defect("interval_misalignment", text, f"the lattice starts at {origin}")
        yield from _of_entry(endpoint, of, key, entry, known.get(key))
    keys.sort()
    if span:
        for one, next_one in pairwise(keys):
            if next_one.start - one.start != span:
                yield Defect("open_time_spacing", next_one.composite, f"{next_one.start - one.start} after {one.start}")
    lost = sorted(set(known) - set(keys))
    if lost:
        yield Defect("manifest_differs", path, f"{len(lost)} slices are not in it, the first is {lost[0].composite}")


def _key(of: SliceSet, text: str) -> SliceKey | None:
    try:
        key = parse_key(text)
    except ValueError:
        return None
    return key if (key.symbol, key.interval) == (of.symbol, of.interval) and key.limit > 0 else None


def _of_summary(path: str, summary: object, entries: Mapping[str, Any]) -> Iterator[Defect]:
    statuses = Counter(str(each.get("status")) for each in entries.values() if isinstance(each, dict))
    wanted = {"total_slices": len(entries)} | {f"{status.value}_slices": statuses[status.value] for status in Status}
    told = summary if isinstance(summary, dict) else {}
    wrong = [f"{name} {told.get(name)} for {count}" for name, count in wanted.items() if told.get(name) != count]
    if wrong:
        yield Defect("count_mismatch", path, ", ".join(wrong))


def _of_entry(
    endpoint: SliceEndpoint, of: SliceSet, key: SliceKey, entry: object, row: SliceRow | None
) -> Iterator[Defect]:
    text = key.composite
    wanted = entry_of(key, row or SliceRow(key.start, key.limit, Status.PENDING, "not_asked"), f"{directory(of)}/")
    if not isinstance(entry, dict) or set(entry) != set(wanted):
        yield Defect("different_structure", text, "no object" if not isinstance(entry, dict) else _names(entry, wanted))
        return
    if str(entry["status"]) not in set(Status):
        yield Defect("invalid_slice_status", text, str(entry["status"])[:80])
    if not entry["slice_id"]:
        yield Defect("slice_id_missing", text)
    elif entry["slice_id"] != key.slice_id:
        yield Defect("slice_id_hash_mismatch", text, str(entry["slice_id"])[:80])
    if entry["requested_url"]:
        yield from _of_url(endpoint, key, str(entry["requested_url"]))
    elif entry["relative_path"]:
        yield Defect("missing_requested_url", text)
    differ = [name for name, value in wanted.items() if entry[name] != value]
    if differ:
        yield Defect("manifest_differs", text, f"{', '.join(differ)}: not as in the ledger")


def _of_url(endpoint: SliceEndpoint, key: SliceKey, url: str) -> Iterator[Defect]:
    query = {name: str(value) for name, value in endpoint.query(key, endpoint.end(key)).items()}
    try:
        parts = urlsplit(url)
        found = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    except ValueError as error:
        yield Defect("url_parse_failed", key.composite, str(error))
        return
    if not parts.scheme or not parts.netloc:
        yield Defect("url_parse_failed", key.composite, url[:200])
        return
    start = next(name for name in _STARTS if name in query)
    if start not in found:
        yield Defect("missing_startTime", key.composite, url[:200])
    elif not found[start].isdecimal():
        yield Defect("invalid_startTime", key.composite, found[start][:80])
    elif any(found.get(name) != value for name, value in query.items()):
        yield Defect("slice_key_url_mismatch", key.composite, url[:200])


def _names(entry: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    lacks, has = sorted(set(wanted) - set(entry)), sorted(set(map(str, entry)) - set(wanted))
    return f"lacks {lacks}, has {has}"[:200]
