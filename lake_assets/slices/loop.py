"""One round of the completeness loop: generate → diff → fetch → persist.

Belongs here: the order of these steps, what becomes of an answer, what is kept of an earlier one. Does not belong here:
the worth of an answer (`judgement`), HTTP and limits (the client), rounds without end (`server`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from lake_assets.slices.answers import AnswerMeta, as_file
from lake_assets.slices.endpoint import SliceEndpoint
from lake_assets.slices.expected import PAUSE, due
from lake_assets.slices.judgement import Judgement, Reason, Status
from lake_assets.slices.keys import SliceKey
from lake_assets.slices.manifest import directory, write_manifest
from lake_resources.binance.rest.rest_client import BinanceRest, RawAnswer
from lake_resources.clock import Clock
from lake_resources.errors import Banned, ExchangeError, MalformedAnswer, RateLimited, SettingsError, TransportError
from lake_resources.storage.ledger.slice_rows import SliceRow, SliceRows, SliceSet
from lake_resources.storage.raw_store import RawStore

_STOPPING = (Banned, RateLimited)
"""After these nobody calls for a while, so the round ends."""


@dataclass(frozen=True)
class Slices:
    """The slices of a data root: where answers and statuses lie, and who is asked.

    Attributes:
        root: local directory of the locks; the data root itself where that is a directory.
        rows: the ledger.
        store: the answers, below `binance/<endpoint>/raw/` of the data root; the manifests lie there, too.
        rest: who is asked, by market.
        clock: the current instant, for stamps and pauses; what is final is decided by the exchange's clock.
        pause: how long the same gap is left alone.
    """

    root: Path
    rows: SliceRows
    store: RawStore
    rest: Mapping[str, BinanceRest]
    clock: Clock
    pause: timedelta = PAUSE


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


def lattice_of(slices: Slices, endpoint: SliceEndpoint, of: SliceSet, *, until: int | None = None) -> Lattice:
    """Ask the exchange how far the line reaches by now, and (once) where it starts.

    Args:
        slices: the data root.
        endpoint: which endpoint.
        of: its name, symbol and interval.
        until: last position that is wanted, inclusive; default as far as the exchange has records by now.

    Raises:
        ExchangeError: the first or newest record, or the exchange's clock, could not be asked for.
        SettingsError: the exchange knows no record of the symbol.
    """
    frontier = frontier_of(slices, endpoint, of)
    last = frontier if until is None else min(frontier, until)
    return Lattice(endpoint.keys(of.symbol, of.interval, origin(slices, endpoint, of), last), frontier)


def run_round(
    slices: Slices, endpoint: SliceEndpoint, of: SliceSet, *, until: int | None = None, most: int | None = None
) -> Round:
    """Ask once for every slice that is due, newest and failed first, and write the manifest.

    Args:
        slices: the data root.
        endpoint: which endpoint.
        of: its name, symbol and interval.
        until: last position that is wanted, inclusive; default as far as the exchange has records by now.
        most: requests at most.

    Raises:
        ExchangeError, SettingsError: as `lattice_of`.
    """
    lattice = lattice_of(slices, endpoint, of, until=until)
    try:
        done = ask_for(slices, endpoint, of, lattice.keys, lattice.frontier, most=most)
    finally:
        rows = publish_manifest(slices, of, lattice.keys)
    done.standing.update(row.status for row in rows)
    done.open = sum(not _settled(row) for row in rows)
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
    whole = slices.rows.starts(of, Status.OK)
    open_ones = slices.rows.standings(of, but=[Status.OK])
    for key in due(keys, open_ones, slices.clock(), pause=slices.pause, whole=whole)[:most]:
        row, stop = fetch(slices, endpoint, of, key, frontier)
        done.asked += 1
        done.changed[row.status] += 1
        if stop:
            done.stopped = stop
            break
    return done


def publish_manifest(slices: Slices, of: SliceSet, expected: Iterable[SliceKey]) -> list[SliceRow]:
    """Write the manifest of all slices that are known or expected; those that were never asked for are pending in it.

    Returns:
        The slices as it has them, in order.
    """
    rows = {row.start: row for row in slices.rows.slice_rows(of)}
    rows |= {key.start: _pending(key) for key in expected if key.start not in rows}
    ordered = [rows[start] for start in sorted(rows)]
    write_manifest(slices.store.blobs, of, ordered, now=slices.clock())
    return ordered


def _settled(row: SliceRow) -> bool:
    """Whether nothing is wrong with a slice: it is whole, still grows, or holds nothing because nothing exists."""
    if row.status == Status.EMPTY:
        return row.reason == Reason.EXCHANGE_HAS_NONE
    return row.status == Status.OK or row.reason == Reason.STILL_FORMING


def origin(slices: Slices, endpoint: SliceEndpoint, of: SliceSet) -> int:
    """Where the lattice of a symbol starts: its first record, asked for once and kept.

    Raises:
        SettingsError: the exchange knows no record of the symbol.
    """
    known = slices.rows.origin(of)
    if known is not None:
        return known
    answer = slices.rest[endpoint.market.name].raw(endpoint.request, endpoint.first_query(of.symbol, of.interval))
    found = _positions(endpoint, answer)
    if not found:
        raise SettingsError(
            f"{endpoint.name} of {of.symbol} {of.interval}: the exchange has no record",
            remedy="Check the symbol and the interval",
        )
    return slices.rows.keep_origin(of, found[0], slices.clock())


def fetch(slices: Slices, endpoint: SliceEndpoint, of: SliceSet, key: SliceKey, frontier: int) -> tuple[SliceRow, str]:
    """Ask for one slice, keep the answer, note where it stands.

    An answer that holds less than the one that is kept does not replace it.

    Args:
        slices: the data root.
        endpoint: which endpoint.
        of: its name, symbol and interval.
        key: which slice.
        frontier: how far the line reaches: epoch ms of the exchange's clock, or the newest id.

    Returns:
        The slice as the ledger has it now, and why the round has to end (empty: it goes on).
    """
    held = slices.rows.slice_row(of, key.start) or _pending(key)
    asked_at = slices.clock()
    held = replace(held, fetches=held.fetches + 1, requested_at_utc=asked_at)
    query = endpoint.query(key, endpoint.end(key))
    try:
        answer = slices.rest[endpoint.market.name].raw(endpoint.request, query)
        found = _positions(endpoint, answer)
    except ExchangeError as error:
        row = _failed(held, error, slices.clock())
        slices.rows.put_slice(of, row)
        return row, str(error) if isinstance(error, _STOPPING) else ""
    row = _kept(slices, endpoint, key, held, answer, found, frontier)
    slices.rows.put_slice(of, row)
    return row, ""


def _kept(
    slices: Slices,
    endpoint: SliceEndpoint,
    key: SliceKey,
    held: SliceRow,
    answer: RawAnswer,
    found: list[int],
    frontier: int,
) -> SliceRow:
    at = slices.clock()
    held = replace(held, http_status=answer.status, requested_url=answer.url, completed_at_utc=at)
    verdict = endpoint.judge(key, found, frontier, _said_before(held, at, slices.pause))
    if held.sha256 is not None and len(found) < held.n_items:
        worse = f"the answer has {len(found)} records, the one that is kept has {held.n_items}"
        return replace(held, status=Status.PARTIAL, reason=Reason.UNEXPECTED_RECORDS, error=worse)
    if held.sha256 is not None and verdict.status is Status.NEEDS_REFRESH:
        return replace(held, status=Status.PARTIAL, reason=Reason.UNEXPECTED_RECORDS, error=verdict.detail)
    end = endpoint.end(key)
    meta = AnswerMeta(
        url=answer.url,
        slice=key.composite,
        slice_actual=key.actual(end),
        slice_id=key.slice_id,
        http_status=answer.status,
        n_items=len(found),
        requested_at=held.requested_at_utc or at,
        fetched_at=at,
    )
    of = SliceSet(endpoint.name, key.symbol, key.interval)
    kept = slices.store.put(f"{directory(of)}/responses", key.slice_id, as_file(meta, answer.content))
    return replace(
        held,
        status=verdict.status,
        reason=verdict.reason,
        path=kept.path,
        sha256=kept.sha256,
        size_bytes=kept.size_bytes,
        n_items=len(found),
        first_ts=found[0] if found else None,
        last_ts=found[-1] if found else None,
        error=verdict.detail or None,
        missing=_text(verdict),
        lacking_since_utc=_lacking_since(held, verdict, at),
    )


def _said_before(held: SliceRow, now: datetime, pause: timedelta) -> tuple[int, ...] | None:
    """What an earlier answer lacked, if that is long enough ago to say something."""
    if held.lacking_since_utc is None or now - held.lacking_since_utc < pause:
        return None
    return tuple(int(each) for each in held.missing.split(",") if each)


def _lacking_since(held: SliceRow, verdict: Judgement, at: datetime) -> datetime | None:
    if verdict.reason not in (Reason.GAP_SEEN_ONCE, Reason.NO_DATA, Reason.EXCHANGE_HAS_NONE):
        return None
    same = held.lacking_since_utc is not None and held.missing == _text(verdict)
    return held.lacking_since_utc if same else at


def _text(verdict: Judgement) -> str:
    return ",".join(str(each) for each in verdict.missing)


def _failed(held: SliceRow, error: ExchangeError, at: datetime) -> SliceRow:
    """The slice after a request that gave nothing; what was kept of it stays."""
    reason = Reason.HTTP_ERROR
    for kind, its in (
        (Banned, Reason.BANNED),
        (RateLimited, Reason.RATE_LIMITED),
        (TransportError, Reason.NETWORK),
        (MalformedAnswer, Reason.MALFORMED),
    ):
        if isinstance(error, kind):
            reason = its
    return replace(
        held, status=Status.FAILED, reason=reason, http_status=error.status, completed_at_utc=at, error=str(error)
    )


def _pending(key: SliceKey) -> SliceRow:
    return SliceRow(key.start, key.limit, Status.PENDING, Reason.NOT_ASKED)


def frontier_of(slices: Slices, endpoint: SliceEndpoint, of: SliceSet) -> int:
    """How far the line reaches by now: the exchange's clock in epoch ms, or the newest id.

    Raises:
        ExchangeError: it could not be asked for.
    """
    if endpoint.newest_query is None:
        return int(slices.rest[endpoint.market.name].server_time().timestamp() * 1000)
    answer = slices.rest[endpoint.market.name].raw(endpoint.request, endpoint.newest_query(of.symbol))
    found = _positions(endpoint, answer)
    if not found:
        raise MalformedAnswer(answer.url, "no newest record, though there is a first one")
    return found[-1]


def _positions(endpoint: SliceEndpoint, answer: RawAnswer) -> list[int]:
    try:
        return endpoint.positions(answer.body)
    except ValueError as error:
        raise MalformedAnswer(answer.url, f"{error}") from error
