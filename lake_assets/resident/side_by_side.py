"""Partitions of several symbols in one call: each step for all of them, and what is made of frames in one pass.

Belongs here: the order of the steps over several symbols, and that one which fails leaves the others alone. Does not
belong here: the steps (`prepared_day`, `hours`, `lanes`), what is due (`automation`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import datetime
from itertools import zip_longest

from lake_assets.automation.each_symbol import ITEM_ERRORS
from lake_assets.build.builder import builder_of
from lake_assets.build.hours import JudgedRows, committed_day, day_result, days_of, judged_alone, offered_day, told_day
from lake_assets.build.lanes import Lane, fits_a_lane, judged_in_lanes
from lake_assets.build.prepared_day import BegunDay, DayOrder, PreparedDay, begun_day
from lake_assets.build.rows import read_minutes
from lake_assets.inputs.rest_answers import Told, keep_told, told_of
from lake_assets.inputs.results import DayResult
from lake_assets.lake import Lake
from lake_assets.source import Report, Wanted
from lake_resources.clock import HOUR
from lake_resources.storage.catalog import floor_hour
from lake_resources.storage.commit import commit_together, recover_unless_busy

Outcome = DayResult | Exception
_Day = tuple[DayOrder, list[datetime]]
_ASKED_AT_ONCE = 4
"""Symbols whose requests wait for the exchange beside each other."""
_BEAT_WITHIN_S = 1.0


def build_side_by_side(
    lake: Lake,
    starts: Mapping[str, Sequence[datetime]],
    *,
    now: datetime,
    report: Report,
    beat: Callable[[], None] = lambda: None,
) -> Iterator[tuple[str, Outcome]]:
    """Build and commit partitions of several symbols, closed rows that are younger than the safety lag too.

    Each has the rows, checks and bytes that `build_partitions` gives it by itself. One that fails does not touch its
    neighbours; its later days are left out.

    Args:
        lake: on the table that is built.
        starts: starts of partitions by symbol, UTC, any order.
        now: the instant that decides what is closed, and what REST still reaches.
        report: takes a line of progress or warning.
        beat: called before each symbol and while the exchange is waited for, so that a long call is no silence.

    Yields:
        Symbol and result of each of its days, durable when it is yielded; or the error that ended it.
    """
    recover_unless_busy(lake.store)
    builder, failed = builder_of(lake.table), set[str]()
    orders = {symbol: DayOrder(lake, builder, symbol, now, report, provisional=True, force=False) for symbol in starts}
    of_symbol = [[(orders[symbol], day) for day in days_of(lake.store.layout, each)] for symbol, each in starts.items()]
    for together in zip_longest(*of_symbol):
        wanted = [each for each in together if each is not None and each[0].symbol not in failed]
        if not wanted:
            continue
        _know(lake, wanted)
        try:
            for symbol, outcome in _built(lake, wanted, beat):
                if isinstance(outcome, Exception):
                    failed.add(symbol)
                yield symbol, outcome
        finally:
            lake.ledger.forget()


def _know(lake: Lake, wanted: Sequence[_Day]) -> None:
    """Let the ledger tell at once what the builds of these days ask it one by one."""
    step, used = lake.store.layout.step, lake.table.uses_carrying(lake.max_ffill_minutes)
    reach = (max(use.look_back_hours for use in used.values()) + 1) * HOUR
    starts = [start for _, day in wanted for start in day]
    symbols = {order.symbol for order, _ in wanted}
    with suppress(*ITEM_ERRORS):  # a row of one symbol that does not read is told by the build that needs it
        lake.ledger.know(symbols, floor_hour(min(starts)) - reach, max(starts) + step + 2 * HOUR)


def _built(lake: Lake, wanted: Sequence[_Day], beat: Callable[[], None]) -> Iterator[tuple[str, Outcome]]:
    prepared = _prepared(lake, wanted, beat)
    in_one_pass = _in_one_pass([day for day in prepared.values() if isinstance(day, PreparedDay)])
    beat()
    at_once = _committed_at_once(lake, {symbol: (prepared[symbol], rows) for symbol, rows in in_one_pass.items()})
    for symbol, day in prepared.items():
        if isinstance(day, Exception):
            yield symbol, day
            continue
        beat()
        try:
            outcome: Outcome = at_once.get(symbol) or _finished(day, in_one_pass.get(symbol))
        except ITEM_ERRORS as error:
            outcome = error
        yield symbol, outcome


def _committed_at_once(
    lake: Lake, days: Mapping[str, tuple[PreparedDay | Exception, JudgedRows]]
) -> dict[str, Outcome]:
    """Days of several symbols by one commit; whatever goes wrong is told by who commits the symbol by itself."""
    found: dict[str, Outcome] = {}
    try:
        offered = {
            symbol: offered_day(day, rows) for symbol, (day, rows) in days.items() if isinstance(day, PreparedDay)
        }
        candidates = {symbol: each.candidates for symbol, each in offered.items()}
        # Nobody waits for one symbol with the locks of all.
        outcomes = commit_together(lake.store, candidates, clock=lake.clock, timeout_s=0)
    except ITEM_ERRORS:
        return found
    for symbol, each in offered.items():
        try:
            found[symbol] = told_day(each, outcomes[symbol])
        except ITEM_ERRORS as error:
            found[symbol] = error
    return found


def _prepared(lake: Lake, wanted: Sequence[_Day], beat: Callable[[], None]) -> dict[str, PreparedDay | Exception]:
    """The day of each symbol with its sources; what all of them ask for is asked side by side, and kept at once."""
    found: dict[str, PreparedDay | Exception] = {}
    begun: dict[str, BegunDay] = {}
    for order, starts in wanted:
        beat()
        try:
            begun[order.symbol] = begun_day(order, starts)
        except ITEM_ERRORS as error:
            found[order.symbol] = error
    beat()
    told = dict(zip(begun, _asked(lake, [each.wanted for each in begun.values()], beat), strict=True))
    sound = {symbol: each for symbol, each in told.items() if not isinstance(each, Exception)}
    found |= {symbol: each for symbol, each in told.items() if isinstance(each, Exception)}
    try:
        keep_told(lake, [each for several in sound.values() for each in several])
    except ITEM_ERRORS as error:
        return found | dict.fromkeys(sound, error)
    for symbol, several in sound.items():
        beat()
        try:
            found[symbol] = begun[symbol].prepared([each.asked for each in several])
        except ITEM_ERRORS as error:
            found[symbol] = error
    return {order.symbol: found[order.symbol] for order, _ in wanted}


def _asked(lake: Lake, wanted: Sequence[list[Wanted]], beat: Callable[[], None]) -> list[list[Told] | Exception]:
    """What is said of the hours that each symbol asks for, or why it cannot be asked.

    An exchange that is down, or wants to be left alone, keeps that waiting for minutes, which is no silence either.
    """
    if not any(wanted):
        return [[] for _ in wanted]
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        asked = [pool.submit(_told, lake, each) for each in wanted]
        while wait(asked, timeout=_BEAT_WITHIN_S).not_done:
            beat()
        return [each.result() for each in asked]


def _told(lake: Lake, wanted: list[Wanted]) -> list[Told] | Exception:
    try:
        return told_of(lake, wanted)
    except ITEM_ERRORS as error:
        return error


def _finished(day: PreparedDay, rows: JudgedRows | None) -> DayResult:
    if not day.todo:
        return day_result(day)
    return committed_day(day, judged_alone(day) if rows is None else rows)


def _in_one_pass(days: Sequence[PreparedDay]) -> dict[str, JudgedRows]:
    """Rows by symbol of those that fit; whatever goes wrong is told by who builds the symbol by itself."""
    lanes = []
    for day in days:
        try:
            if day.todo and fits_a_lane(day):
                lanes.append(Lane(day, read_minutes(day.inputs())))
        except ITEM_ERRORS:
            continue
    if len(lanes) < 2:
        return {}
    try:
        found = judged_in_lanes(lanes)
    except ITEM_ERRORS:
        return {}
    return {lane.day.order.symbol: rows for lane, rows in zip(lanes, found, strict=True) if rows is not None}
