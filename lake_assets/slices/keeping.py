"""What people do with slices that are kept: look, check, mend, pack, make statuses anew, take over a tree.

Belongs here: these actions and what each tells. Does not belong here: asking the exchange for slices (`loop`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lake_assets.slices.answers import key_in, read_file
from lake_assets.slices.data_root import Slices
from lake_assets.slices.defects import PASSING, Defect
from lake_assets.slices.endpoint import SliceEndpoint
from lake_assets.slices.endpoints import ENDPOINTS, endpoint_of
from lake_assets.slices.integrity import check, rebuild
from lake_assets.slices.integrity import mend as send_back
from lake_assets.slices.judgement import Status
from lake_assets.slices.keys import SliceKey
from lake_assets.slices.loop import frontier_of, publish_manifest
from lake_assets.slices.manifest import directory
from lake_assets.slices.server import alone, is_worked_on
from lake_resources.clock import epoch_ms
from lake_resources.errors import SettingsError
from lake_resources.input_limits import DEFAULT_LIMITS, KIB
from lake_resources.storage.disk import disk_errors
from lake_resources.storage.ledger.slice_rows import SliceRow, SliceSet
from lake_resources.storage.locks import DEFAULT_TIMEOUT_S
from lake_resources.storage.raw_store import Kept

PER_PACK = 100
"""Slices of a pack: 190,000 single files of one symbol's seconds are a burden to every file system."""
_MOST_BYTES = DEFAULT_LIMITS.answer_bytes + KIB * KIB
"""Of an answer's file: what an answer may have, and its head."""


@dataclass(frozen=True)
class KeepingTold:
    """What an action found or did.

    Attributes:
        of: endpoint, symbol and interval.
        counts: numbers by name.
        defects: what is wrong.
        wrong: whether a person has to look at it.
    """

    of: SliceSet
    counts: dict[str, int]
    defects: Sequence[Defect] = ()
    wrong: bool = False

    def text(self) -> str:
        """Lines for people."""
        counts = ", ".join(f"{count} {name}" for name, count in self.counts.items()) or "nothing"
        lines = [f"{directory(self.of)}: {counts}"]
        lines += [f"  {each.code}: {each.subject} {each.found}".rstrip() for each in self.defects[:50]]
        if len(self.defects) > 50:
            lines.append(f"  and {len(self.defects) - 50} more")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {"set": self.of._asdict(), "counts": self.counts, "defects": [vars(each) for each in self.defects]}


def do(slices: Slices, of: SliceSet, action: str, *, mend: bool = False, tree: Path | None = None) -> KeepingTold:
    """One action on the slices of an endpoint, symbol and interval.

    Args:
        slices: the data root.
        of: endpoint, symbol and interval.
        action: `show`, `verify`, `rebuild`, `pack` or `import`.
        mend: `verify`: send damaged slices back to the loop.
        tree: `import`: directory that holds `binance/<endpoint>/raw/…` of another program.

    Raises:
        SettingsError: no such endpoint, interval or action, or nothing to import.
    """
    endpoint = endpoint_of(of.endpoint, of.interval)
    if action == "show":
        return KeepingTold(of, dict(Counter(row.status for row in slices.rows.slice_rows(of))))
    if action == "verify" and not mend:
        return _verify(slices, endpoint, of)
    with alone(slices, of, timeout_s=DEFAULT_TIMEOUT_S):
        if action == "verify":
            return _mended(slices, endpoint, of)
        if action == "rebuild":
            return _rebuild(slices, endpoint, of)
        if action == "pack":
            return KeepingTold(of, {"packed": pack_sealed(slices, endpoint, of)})
        if action == "import":
            return import_tree(slices, endpoint, of, tree)
    raise SettingsError(f"there is no action {action!r}", remedy="show, verify, rebuild, pack or import")


def pack_sealed(slices: Slices, endpoint: SliceEndpoint, of: SliceSet) -> int:
    """Put complete slices into packs of 100 with their bytes unchanged, then remove the single files.

    The ledger names the pack before a single file goes, so that a kill at any point loses nothing.
    """
    sealed = [row for row in slices.rows.slice_rows(of) if row.status == Status.OK and row.path and "#" not in row.path]
    packed = 0
    for index in range(0, len(sealed) - PER_PACK + 1, PER_PACK):
        rows = sealed[index : index + PER_PACK]
        kept = [Kept(row.path or "", row.sha256 or "", row.size_bytes) for row in rows]
        where = slices.store.pack(f"{directory(of)}/responses", f"part-{rows[0].start:016d}", kept)
        slices.rows.put_slices(of, [replace(row, path=each.path) for row, each in zip(rows, where, strict=True)])
        slices.store.remove(each.path for each in kept)
        packed += len(rows)
    _manifest(slices, endpoint, of)
    return packed


def sets_in(tree: Path, endpoint: str, interval: str | None = None) -> list[SliceSet]:
    """What a tree of another program has of an endpoint, by symbol and interval; those that are no slices here not.

    Raises:
        SettingsError: nothing, or no such endpoint.
    """
    known = ENDPOINTS[endpoint].intervals if endpoint in ENDPOINTS else ()
    wanted = (interval,) if interval else known
    endpoint_of(endpoint, next(iter(wanted), ""))
    found = [
        SliceSet(endpoint, path.parent.name, path.name)
        for path in sorted(tree.glob(f"binance/{endpoint}/raw/*/*"))
        if path.is_dir() and path.name in wanted
    ]
    if not found:
        raise SettingsError(f"{tree} has no answers of {endpoint}", remedy="Name the directory above `binance/`")
    return found


def answers_in(tree: Path | None, of: SliceSet) -> list[Path]:
    """Files of answers that a tree of another program has of an endpoint, symbol and interval.

    Raises:
        SettingsError: there is none, or no tree.
    """
    if tree is None:
        raise SettingsError("no tree to import is given", remedy="`lake slices import DIR`")
    source = tree / directory(of)
    found = sorted({*source.glob("responses/*.json"), *source.glob("limit=1000/responses/*.json")})
    if not found:
        raise SettingsError(f"{source} has no answers", remedy="Name the directory above `binance/`")
    return found


def import_tree(slices: Slices, endpoint: SliceEndpoint, of: SliceSet, tree: Path | None) -> KeepingTold:
    """Take over answers of another program: each is judged by what it holds, whatever that program said of it.

    Args:
        slices: the data root.
        endpoint: which endpoint.
        of: its name, symbol and interval.
        tree: data root of the other program; answers below `limit=1000/` are found, too.

    Raises:
        SettingsError: there is none.
    """
    found = answers_in(tree, of)
    whole = slices.rows.starts(of, Status.OK)
    refused = []
    for path in found:
        try:
            with disk_errors(f"read {path}"):
                content = _bounded(path)
            key = _key_of(of, content)
        except ValueError as error:
            refused.append(Defect("torn_response", str(path), str(error)))
            continue
        if key.start not in whole:  # what is kept and whole is never replaced
            slices.store.put(f"{directory(of)}/responses", key.slice_id, content)
    told = _rebuild(slices, endpoint, of, but=whole)
    return replace(told, defects=[*refused, *told.defects], wrong=told.wrong or bool(refused))


def _bounded(path: Path) -> bytes:
    """A file of another program, which may be a pipe that nobody writes to, or of any size."""
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"no file of at most {_MOST_BYTES:,} bytes")
    return path.read_bytes()


def _key_of(of: SliceSet, content: bytes) -> SliceKey:
    key = key_in(read_file(content)[0])
    if (key.symbol, key.interval) != (of.symbol, of.interval):
        raise ValueError(f"it says that it is {key.composite}")
    return key


def _verify(slices: Slices, endpoint: SliceEndpoint, of: SliceSet) -> KeepingTold:
    return _told(slices, of, checked(slices, endpoint, of))


def checked(slices: Slices, endpoint: SliceEndpoint, of: SliceSet) -> list[Defect]:
    """What is wrong with slices on which a round may be at work meanwhile: what passes by itself is no defect then."""
    worked_on = is_worked_on(slices, of)
    defects = list(check(slices, endpoint, of))
    if any(each.code in PASSING for each in defects):
        # A round may have begun or ended since the first look; what is wrong in earnest is so at the second, too.
        worked_on |= is_worked_on(slices, of)
        again = {(each.code, each.subject) for each in check(slices, endpoint, of)}
        worked_on |= is_worked_on(slices, of)
        defects = [
            each for each in defects if (each.code, each.subject) in again and not (worked_on and each.code in PASSING)
        ]
    return defects


def _told(slices: Slices, of: SliceSet, defects: list[Defect]) -> KeepingTold:
    counts = {"slices": len(slices.rows.standings(of)), "defects": len(defects)}
    return KeepingTold(of, counts, defects, wrong=bool(defects))


def _mended(slices: Slices, endpoint: SliceEndpoint, of: SliceSet) -> KeepingTold:
    told = _told(slices, of, list(check(slices, endpoint, of)))
    sent_back = send_back(slices, of, list(told.defects))
    _manifest(slices, endpoint, of)
    return replace(told, counts=told.counts | {"sent back": sent_back})


def _rebuild(slices: Slices, endpoint: SliceEndpoint, of: SliceSet, *, but: Container[int] = ()) -> KeepingTold:
    count, refused = rebuild(slices, endpoint, of, frontier=frontier_of(slices, endpoint, of), but=but)
    _manifest(slices, endpoint, of)
    distrusted: list[SliceRow] = [row for row in slices.rows.slice_rows(of) if row.status != Status.OK]
    notes = [Defect(row.reason, f"{of.symbol}:{of.interval}:{row.start}", row.error or "") for row in distrusted]
    return KeepingTold(of, {"taken": count, "not complete": len(distrusted)}, [*refused, *notes], wrong=bool(refused))


def _manifest(slices: Slices, endpoint: SliceEndpoint, of: SliceSet) -> None:
    """Write the manifest without asking the exchange: slices that should exist by this machine's clock are pending."""
    first = slices.rows.origin(of)
    expected: list[SliceKey] = []
    if first is not None and endpoint.newest_query is None:
        expected = endpoint.keys(of.symbol, of.interval, first, epoch_ms(slices.clock()))
    publish_manifest(slices, of, expected)
