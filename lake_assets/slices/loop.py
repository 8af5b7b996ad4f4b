"""One round of the completeness loop: generate → diff → fetch → persist.

Belongs here: the order of these steps, where a line of records starts and ends. Does not belong here: asking
(`asking`), what becomes of an answer (`persisting`), rounds without end (`server`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from heapq import merge
from itertools import chain
from operator import attrgetter

from lake_assets.slices.asking import STOPPING, ask_each, positions
from lake_assets.slices.data_root import Slices
from lake_assets.slices.endpoint import SliceEndpoint
from lake_assets.slices.expected import due
from lake_assets.slices.judgement import SliceReason, Status
from lake_assets.slices.keys import SliceKey
from lake_assets.slices.manifest import write_manifest
from lake_assets.slices.persisting import Persisting, pending
from lake_resources.clock import epoch_ms
from lake_resources.errors import MalformedAnswer, SettingsError
from lake_resources.storage.ledger.slice_rows import SliceSet


@dataclass
class Round:
    """What a round did: slices by status as they stand after it, and those that were asked for.

    Attributes:
        expected: slices that the lattice has by now.
        asked: requests.
        changed, standing: slices by status, of those asked for and of all.
        open: slices that lack something, but for one that grows and for those of which the exchange has nothing.
        stopped: why the round ended early; empty where it did not.
    """

    of: SliceSet
    expected: int = 0
    asked: int = 0
    changed: Counter[str] = field(default_factory=Counter)
    standing: Counter[str] = field(default_factory=Counter)
    open: int = 0
    stopped: str = ""

    @property
    def complete(self) -> bool:
        """Whether every slice is `ok`, grows, or is empty because the exchange said twice that it has nothing."""
        return self.expected > 0 and not self.stopped and not self.open


@dataclass(frozen=True)
class Lattice:
    """The slices of a set that should exist by now.

    Attributes:
        keys: all of them, in order.
        frontier: how far the line reaches: epoch ms of the exchange's clock, or the newest id.
    """

    keys: list[SliceKey]
    frontier: int


def lattice_of(
    slices: Slices, endpoint: SliceEndpoint, of: SliceSet, *, until: int | None = None, first: int | None = None
) -> Lattice:
    """Ask the exchange how far the line reaches by now, and (once) where it starts.

    Args:
        slices: the data root.
        endpoint: which endpoint.
        of: its name, symbol and interval.
        until: last position that is wanted, inclusive; default as far as the exchange has records by now.
        first: where the lattice starts, epoch ms or id; default the first record that the exchange has.

    Raises:
        ExchangeError: the first or newest record, or the exchange's clock, could not be asked for.
        SettingsError: the exchange knows no record of the symbol, or the lattice starts elsewhere already.
    """
    frontier = frontier_of(slices, endpoint, of)
    last = frontier if until is None else min(frontier, until)
    return Lattice(endpoint.keys(of.symbol, of.interval, origin(slices, endpoint, of, first), last), frontier)


def run_round(
    slices: Slices,
    endpoint: SliceEndpoint,
    of: SliceSet,
    *,
    until: int | None = None,
    most: int | None = None,
    first: int | None = None,
) -> Round:
    """Ask once for every slice that is due, newest and failed first, and write the manifest.

    Args:
        slices: the data root.
        endpoint: which endpoint.
        of: its name, symbol and interval.
        until: last position that is wanted, inclusive; default as far as the exchange has records by now.
        most: requests at most.
        first: where the lattice starts; default the first record that the exchange has.

    Raises:
        ExchangeError, SettingsError: as `lattice_of`.
    """
    lattice = lattice_of(slices, endpoint, of, until=until, first=first)
    try:
        done = ask_for(slices, endpoint, of, lattice.keys, lattice.frontier, most=most)
    finally:
        counts = publish_manifest(slices, of, lattice.keys)
    for (status, reason), count in counts.items():
        done.standing[status] += count
        done.open += 0 if _settled(status, reason) else count
    return done


def ask_for(
    slices: Slices,
    endpoint: SliceEndpoint,
    of: SliceSet,
    keys: Sequence[SliceKey],
    frontier: int,
    *,
    most: int | None = None,
) -> Round:
    """Ask once for those of some slices that are due; the manifest is the caller's to write.

    A slice that fails does not keep the others from being asked for; a ban or a limit ends the round.
    """
    done = Round(of, expected=len(keys))
    if not keys:
        return done
    span = (keys[0].start, keys[-1].start + 1)
    whole = slices.rows.starts(of, Status.OK, span)
    held = {row.start: row for row in slices.rows.slice_rows(of, span, but=[Status.OK])}
    wanted = due(keys, held.values(), slices.clock(), pause=slices.pause, whole=whole)[:most]
    with Persisting(slices, endpoint, of, frontier) as kept, closing(ask_each(slices, endpoint, wanted)) as answers:
        for asked in answers:
            row = kept.keep(held.get(asked.key.start) or pending(asked.key), asked)
            done.asked += 1
            done.changed[row.status] += 1
            if isinstance(asked.error, STOPPING):
                done.stopped = str(asked.error)
    return done


def publish_manifest(slices: Slices, of: SliceSet, expected: Sequence[SliceKey]) -> Counter[tuple[str, str]]:
    """Write the manifest of all slices that are known or expected; those that were never asked for are pending in it.

    Returns:
        Slices by status and reason, as the manifest has them.
    """
    known = slices.rows.all_starts(of)
    new = [key for key in expected if key.start not in known]
    counts = Counter(slices.rows.counts(of))
    if new:
        counts[Status.PENDING, SliceReason.NOT_ASKED] += len(new)
    parts = slices.rows.each_row(of), map(pending, new)
    # What is new comes after what is known, but where a range was left out.
    behind = not new or not known or new[0].start > max(known)
    rows = chain(*parts) if behind else merge(*parts, key=attrgetter("start"))
    write_manifest(slices.store.blobs, of, counts, rows, now=slices.clock())
    return counts


def _settled(status: str, reason: str) -> bool:
    """Whether nothing is wrong with a slice: it is whole, still grows, or holds nothing because nothing exists."""
    if status == Status.EMPTY:
        return reason == SliceReason.EXCHANGE_HAS_NONE
    return status == Status.OK or reason == SliceReason.STILL_FORMING


def origin(slices: Slices, endpoint: SliceEndpoint, of: SliceSet, wanted: int | None = None) -> int:
    """Where the lattice of a symbol starts: its first record, asked for once and kept, or where somebody wants it.

    Raises:
        SettingsError: the exchange knows no record of the symbol, or the lattice starts elsewhere already.
    """
    known = slices.rows.origin(of)
    if wanted is not None and known is None:
        known = slices.rows.keep_origin(of, wanted, slices.clock())
    if wanted not in (None, known):
        raise SettingsError(
            f"the slices of {of.symbol} {of.interval} start at {known}, not at {wanted}",
            remedy="Leave the start out, or keep the other slices below another data root",
        )
    if known is not None:
        return known
    answer = slices.rest[endpoint.market.name].raw(endpoint.request, endpoint.first_query(of.symbol, of.interval))
    found = positions(endpoint, answer)
    if not found:
        raise SettingsError(
            f"{endpoint.name} of {of.symbol} {of.interval}: the exchange has no record",
            remedy="Check the symbol and the interval",
        )
    return slices.rows.keep_origin(of, found[0], slices.clock())


def frontier_of(slices: Slices, endpoint: SliceEndpoint, of: SliceSet) -> int:
    """How far the line reaches by now: the exchange's clock in epoch ms, or the newest id.

    Raises:
        ExchangeError: it could not be asked for.
    """
    if endpoint.newest_query is None:
        return epoch_ms(slices.rest[endpoint.market.name].server_time())
    answer = slices.rest[endpoint.market.name].raw(endpoint.request, endpoint.newest_query(of.symbol))
    found = positions(endpoint, answer)
    if not found:
        raise MalformedAnswer(answer.url, "no newest record, though there is a first one")
    return found[-1]
