"""Verdicts on partitions that were committed without one: their sources are held against their witnesses once more.

Belongs here: judging committed partitions from what the lake still has of their sources, and keeping the verdict.
Does not belong here: building a row (`hours`), finding evidence (`inputs`), the verdict itself
(`validation.hour_verdict`). Nothing is downloaded, REST is not asked, and no file is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby

from lake_assets.build.prepared_day import heard_of
from lake_assets.build.reconcile import evidence_of, source_of
from lake_assets.inputs.sources import BarsByTrades, find_sources, settled
from lake_assets.inputs.stream_sources import StreamSources
from lake_assets.inputs.trade_sources import TradesAsked, find_trades
from lake_assets.lake import Lake
from lake_assets.live.row_files import NOTHING, LiveRows, read_live
from lake_assets.schema.column import LIVE
from lake_assets.source import Report, Wanted
from lake_assets.validation.hour_verdict import Reason, Verdict, hour_verdict, verdict_detail
from lake_assets.validation.outcome import outcomes_from_json
from lake_assets.windows import hours_between, runs_of
from lake_resources.binance.um_streams import AGG_TRADES
from lake_resources.storage.ledger.ledger import NewVerdict, Partition

_TRADES = AGG_TRADES.name


def judge_unjudged(
    lake: Lake, symbol: str, start: datetime, end: datetime, *, report: Report, most: int | None = None
) -> dict[datetime, Verdict]:
    """Judge committed partitions of `[start, end)` that have no verdict, and keep what was found, day by day.

    Args:
        lake: on the table.
        symbol: whose partitions.
        start: first instant, UTC.
        end: first instant after the range, UTC.
        report: takes a line of progress or warning.
        most: so many of them at most, the newest first; None is all.

    Returns:
        The new verdicts by start, in order.

    Raises:
        StorageError: a raw file does not read.
    """
    waiting = lake.ledger.unjudged(symbol, start, end)
    chosen = waiting if most is None else waiting[-most:]
    found: dict[datetime, Verdict] = {}
    for first, last in runs_of(chosen, step=lake.store.layout.step):
        for day, starts in groupby(lake.store.layout.between(first, last), key=lambda at: at.date()):
            judged = list(_judge_day(replace(lake, ask_rest=False), symbol, list(starts), report))
            kept = [NewVerdict(at, verdict.kind, detail) for at, verdict, detail in judged]
            lake.ledger.set_verdicts(symbol, kept)
            found |= {at: verdict for at, verdict, _ in judged}
            report(f"{symbol} {day}: {len(judged)} judged")
    return found


def _judge_day(
    lake: Lake, symbol: str, starts: Sequence[datetime], report: Report
) -> Iterator[tuple[datetime, Verdict, str]]:
    layout, now = lake.store.layout, lake.clock()
    held = lake.ledger.partitions(symbol, starts[0], starts[-1] + layout.step)
    hours = hours_between(starts[0], starts[-1] + layout.step)
    used = lake.table.uses_carrying(lake.max_ffill_minutes)
    sources = {
        name: find_sources(lake, Wanted(symbol, hours, now, report, use))
        for name, use in used.items()
        if name != _TRADES
    }
    until = starts[-1] + layout.step
    klines = partial(sources[layout.row_stream].frame, hours[0], until)
    live = NOTHING
    if any(LIVE in row.sources for row in held):
        ends = {row.start: row.start + layout.step for row in held}
        look_back = timedelta(minutes=lake.max_ffill_minutes)
        live = read_live(LiveRows(lake.catalog), symbol, ends, ends, klines, look_back=look_back)
    by_trades: dict[str, BarsByTrades] = {}
    if _TRADES in used:
        bars_from = {hour: sources[layout.row_stream].ref(hour) for hour in hours}
        asking = TradesAsked(hours, klines(), bars_from, heard_of(live), now, report)
        sources[_TRADES], by_trades[layout.row_stream] = find_trades(lake, symbol, used[_TRADES], asking)
    sources = {name: settled(found, by_trades.get(name)) for name, found in sources.items()}
    for row in held:
        if row.verdict is None:
            evidence = evidence_of(layout, sources, row.start)
            reasons = [*evidence, *_other_sources(lake, row, sources)]
            verdict = hour_verdict(outcomes_from_json(row.checks, lake.table.checks), reasons, closed=row.complete)
            yield row.start, verdict, verdict_detail(verdict, evidence)


def _other_sources(lake: Lake, row: Partition, sources: Mapping[str, StreamSources]) -> Iterator[Reason]:
    """Streams whose rows came from something that the lake does not have any more: nothing proves them."""
    hours = hours_between(row.start, row.start + lake.store.layout.step)
    for name, found in sources.items():
        told = row.sources.get(name)
        now = source_of(found, hours)
        if told is not None and told.kind != "none" and (told.kind, told.reference) != (now.kind, now.reference):
            text = f"{name}: it was built from {told.kind}, and what the lake has now is {now.kind} of other bytes"
            yield Reason("unproven", text if now.kind != "none" else f"{name}: nothing of its source is kept")
