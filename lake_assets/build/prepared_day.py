"""Partitions of one day before they are built: their sources, and which of them are to be built at all.

Belongs here: what a day's build needs to know first, what a partition's identity is made of. Does not belong here: the
rows and what becomes of them (`hours`), choosing a source (`inputs`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from lake_assets.build.builder import Builder, Inputs
from lake_assets.build.inputs_identity import Identity
from lake_assets.build.reconcile import evidence_of, source_of
from lake_assets.inputs.archives import due_archives, ingest_archives
from lake_assets.inputs.excuses import holes_known
from lake_assets.inputs.folded_klines import with_fold
from lake_assets.inputs.rest_answers import AskedHours, ask_together
from lake_assets.inputs.results import ArchiveResult, HourResult
from lake_assets.inputs.sources import BarsByTrades, LookedFor, looked_for, settled
from lake_assets.inputs.spot_trades import NOTHING_BESIDE, SpotBeside
from lake_assets.inputs.stream_sources import StreamSources
from lake_assets.inputs.trade_sources import Heard, TradesAsked, find_trades
from lake_assets.lake import CODE_VERSION, Lake
from lake_assets.live.row_files import NOTHING, LiveHours, LiveRows, read_live
from lake_assets.schema.column import LIVE
from lake_assets.source import Report, Wanted
from lake_assets.validation.gate import PartitionWindow
from lake_assets.validation.hour_verdict import evidence_text, evidence_told, streams_apart
from lake_assets.validation.outcome import outcomes_from_json
from lake_assets.windows import expected_end, hours_between
from lake_resources.binance.um_streams import AGG_TRADES
from lake_resources.clock import HOUR
from lake_resources.known_hole import KnownHole
from lake_resources.layout import TableLayout
from lake_resources.storage.ledger.ledger import Partition
from lake_resources.storage.placement import is_intact, serving_path
from lake_resources.storage.provenance import SourceRef, sources_to_json
from lake_resources.storage.reader import read_partition

_TRADES = AGG_TRADES.name


@dataclass(frozen=True)
class DayOrder:
    """What is to be built, and how: the same for all partitions of one call.

    Attributes:
        lake: on the table that is built.
        builder: makes its rows.
        symbol: whose partitions.
        now: the instant that decides what is closed, and what REST still reaches.
        report: takes a line of progress or warning.
        provisional: closed rows that are younger than the safety lag are taken too.
        force: partitions that are committed from the same inputs are built all the same.
    """

    lake: Lake
    builder: Builder
    symbol: str
    now: datetime
    report: Report
    provisional: bool
    force: bool

    @property
    def layout(self) -> TableLayout:
        """How the table is cut into partitions."""
        return self.lake.store.layout


@dataclass(frozen=True)
class PartitionPlan:
    """A partition that can be built: its rows, its sources, and the hash of everything its rows depend on.

    Rows from `window.expected_end` to `end` are provisional: taken where they are there, not required. `over` is the
    content hash of what was committed before its sources were looked for, empty where nothing was.
    """

    layout: TableLayout
    window: PartitionWindow
    end: datetime
    sources: Mapping[str, SourceRef]
    inputs_hash: str
    over: str

    @property
    def hour(self) -> datetime:
        """Start of the partition, UTC."""
        return self.window.start

    @property
    def expected_rows(self) -> int:
        """How many rows must exist."""
        return (self.window.expected_end - self.window.start) // self.layout.grain

    @property
    def closed(self) -> bool:
        """Whether all rows of the partition must exist."""
        return self.window.expected_end == self.window.start + self.layout.step


@dataclass(frozen=True)
class PreparedDay:
    """Partitions of one day and symbol, of which some are to be built.

    Attributes:
        order: for whom, when and how.
        settled: results of those that are not built.
        archives: what was fetched on the way.
        todo: what is to be built, in order.
        sources: by stream, for all hours of the day that are ready.
        live: what the collector has for them.
        beside: trades and quotes of spot, for tables that are made of them.
    """

    order: DayOrder
    settled: tuple[HourResult, ...]
    archives: tuple[ArchiveResult, ...] = ()
    todo: tuple[PartitionPlan, ...] = ()
    sources: Mapping[str, StreamSources] = field(default_factory=dict)
    live: LiveHours = NOTHING
    beside: SpotBeside = NOTHING_BESIDE

    @property
    def span(self) -> tuple[datetime, datetime]:
        """From the first partition to the end of the rows that the last may have, UTC."""
        return self.todo[0].hour, self.todo[-1].end

    def inputs(self) -> Inputs:
        """What the rows of the partitions are made from."""
        lake, order = self.order.lake, self.order
        hours = [plan.hour for plan in self.todo]
        return Inputs(
            lake.table, self.sources, hours, *self.span, lake.max_ffill_minutes, self.live, order.symbol, self.beside,
            lake.quote_carry,
        )  # fmt: skip

    def holes(self) -> list[KnownHole]:
        """Known holes of the symbol that lie in them."""
        return holes_known(self.order.lake.ledger, self.order.symbol, *self.span)


@dataclass(frozen=True)
class BegunDay:
    """Partitions of one day and symbol whose sources are looked for.

    Attributes:
        order: for whom, when and how.
        waiting: results of those that cannot be built yet.
        ready: the others, contiguous and in order.
        ends: by start, the time after the last row that they may have.
        archives: what was fetched on the way.
        looked: by stream, but for trades; empty where nothing is ready.
        held: what was committed of them before anything was asked, by start.
    """

    order: DayOrder
    waiting: tuple[HourResult, ...]
    ready: Sequence[PartitionWindow] = ()
    ends: Mapping[datetime, datetime] = field(default_factory=dict)
    archives: tuple[ArchiveResult, ...] = ()
    looked: Mapping[str, LookedFor] = field(default_factory=dict)
    held: Mapping[datetime, Partition] = field(default_factory=dict)

    @property
    def wanted(self) -> list[Wanted]:
        """What sources are to be asked for, by stream."""
        return [each.wanted for each in self.looked.values()]

    def prepared(self, asked: Sequence[AskedHours]) -> PreparedDay:
        """Settle which of the partitions are to be built.

        Args:
            asked: what was said of what is wanted, in its order.
        """
        if not self.ready:
            return PreparedDay(self.order, self.waiting)
        order, ready = self.order, self.ready
        lake, symbol, layout, now = order.lake, order.symbol, order.layout, order.now
        until = ready[-1].start + layout.step
        ready_hours = _hours_of(ready, layout)
        sources = {name: each.found(said) for (name, each), said in zip(self.looked.items(), asked, strict=True)}
        beside = NOTHING_BESIDE
        if order.builder.beside is not None:
            beside = order.builder.beside(lake, symbol, ready_hours)
            sources[layout.row_stream] = with_fold(
                sources[layout.row_stream], beside, Wanted(symbol, ready_hours, now, order.report)
            )
        live = NOTHING
        if order.builder.collected:
            required = {window.start: window.expected_end for window in ready}
            look_back = timedelta(minutes=lake.max_ffill_minutes)
            klines = partial(sources[layout.row_stream].frame, ready[0].start, until)
            live = read_live(LiveRows(lake.catalog), symbol, required, self.ends, klines, look_back=look_back)
        by_trades: dict[str, BarsByTrades] = {}
        used = lake.table.uses_carrying(lake.max_ffill_minutes)
        if _TRADES in used:
            # Last, for what the collector has whole is not asked for, and the bars are their witness.
            bars = sources[layout.row_stream].frame(ready[0].start, until)
            bars_from = {hour: sources[layout.row_stream].ref(hour) for hour in ready_hours}
            asking = TradesAsked(ready_hours, bars, bars_from, heard_of(live), now, order.report, again=order.force)
            sources[_TRADES], by_trades[layout.row_stream] = find_trades(lake, symbol, used[_TRADES], asking)
        sources = {name: settled(found, by_trades.get(name)) for name, found in sources.items()}
        heard = {**live.refs, **beside.refs}
        plans = [
            _plan(lake, window, self.ends[window.start], sources, heard, self.held.get(window.start))
            for window in ready
        ]
        same = [] if order.force else [_unchanged(lake, plan, self.held.get(plan.hour), sources) for plan in plans]
        done = [result for result in same if result is not None]
        current = {result.hour for result in done}
        # Other inputs may have been refused since, and these are back.
        lake.ledger.resolve_quarantine(symbol, sorted(current), at=lake.clock())
        todo = tuple(plan for plan in plans if plan.hour not in current)
        return PreparedDay(order, (*done, *self.waiting), self.archives, todo, sources, live, beside)


def prepared_day(order: DayOrder, starts: Sequence[datetime]) -> PreparedDay:
    """Find the sources of partitions of one day, and settle which of them are to be built.

    Args:
        order: for whom, when and how.
        starts: starts of contiguous partitions of one UTC day, in order.
    """
    begun = begun_day(order, starts)
    return begun.prepared(ask_together(order.lake, begun.wanted))


def begun_day(order: DayOrder, starts: Sequence[datetime]) -> BegunDay:
    """Look for the sources of partitions of one day as far as the lake has them, archives that are due fetched.

    Args:
        order: for whom, when and how.
        starts: starts of contiguous partitions of one UTC day, in order.
    """
    lake, symbol, layout, now = order.lake, order.symbol, order.layout, order.now
    lag = 0 if order.provisional else lake.safety_lag_minutes
    ends = {start: expected_end(layout, start, now, lag) for start in starts}
    windows = [PartitionWindow(start, expected_end(layout, start, now, lake.safety_lag_minutes)) for start in starts]
    ready = [window for window in windows if ends[window.start] > window.start]
    waiting = tuple(
        HourResult(window.start, "not_yet", reason=f"no {lake.table.row_word} is closed for {lag} minutes yet")
        for window in windows
        if ends[window.start] <= window.start
    )
    if not ready:
        return BegunDay(order, waiting)
    ready_hours = _hours_of(ready, layout)
    held = {row.start: row for row in lake.ledger.partitions(symbol, ready[0].start, ready[-1].start + layout.step)}
    used = lake.table.uses_carrying(lake.max_ffill_minutes)
    due = [] if lake.judging else due_archives(lake, symbol, used, ready_hours, now)
    archives = tuple(ingest_archives(lake, symbol, due))
    looked = {
        name: looked_for(lake, Wanted(symbol, ready_hours, now, order.report, use), again=order.force)
        for name, use in used.items()
        if name != _TRADES
    }
    return BegunDay(order, waiting, ready, ends, archives, looked, held)


def _hours_of(ready: Sequence[PartitionWindow], layout: TableLayout) -> list[datetime]:
    """Raw inputs are kept by hours, whatever the length of a partition."""
    return [hour for window in ready for hour in hours_between(window.start, window.start + layout.step)]


def heard_of(live: LiveHours) -> Heard:
    """What the collector proves of aggTrades."""
    proven = [] if live.live is None else live.live.filter("has_agg_trades")["timestamp"].to_list()
    return Heard(live.heard, frozenset(proven), live.refs)


def _plan(
    lake: Lake,
    window: PartitionWindow,
    end: datetime,
    sources: Mapping[str, StreamSources],
    heard: Mapping[datetime, SourceRef],
    held: Partition | None,
) -> PartitionPlan:
    # Hours of an open day that have not begun have no source, and need none.
    hours = hours_between(window.start, min(end, window.start + lake.store.layout.step))
    refs = {name: source_of(found, hours) for name, found in sources.items()}
    if window.start in heard:
        refs[LIVE] = heard[window.start]
    identity = Identity(
        CODE_VERSION, lake.table.schema_hash, lake.max_ffill_minutes, window.start, sources_to_json(refs)
    )
    inputs_hash, over = identity.inputs_hash(window.expected_end, end), "" if held is None else held.content_hash
    return PartitionPlan(lake.store.layout, window, end, refs, inputs_hash, over)


def _unchanged(
    lake: Lake, plan: PartitionPlan, held: Partition | None, sources: Mapping[str, StreamSources]
) -> HourResult | None:
    """The partition as it is committed; None where it is not, from other inputs, or not as ledger and evidence say."""
    if held is None or held.inputs_hash != plan.inputs_hash or not is_intact(lake.store, held):
        return None
    if evidence_told(held.verdict_detail) != evidence_text(evidence_of(plan.layout, sources, plan.hour)):
        return None
    # What was asked for once more after the commit, and differed, was asked for again and is the same by now. The row
    # stream is compared as it is stored, which no source can settle.
    apart = streams_apart(held.verdict_detail) - {plan.layout.row_stream}
    if any(_agree(sources[name], plan.hour) for name in apart & sources.keys()):
        return None
    frame = read_partition(lake.store, held)
    times = frame[plan.layout.time_column]
    found = (frame.height, times.min(), times.max(), plan.closed, plan.expected_rows)
    told = (held.row_count, held.min_ts, held.max_ts, held.complete, held.expected_rows)
    if found != told or held.schema_hash != lake.table.schema_hash:
        return None
    return HourResult(
        plan.hour,
        "unchanged",
        reason="committed before from the same inputs",
        path=serving_path(lake.store, held),
        row_count=held.row_count,
        expected_rows=held.expected_rows,
        content_hash=held.content_hash,
        sources=held.sources,
        outcomes=outcomes_from_json(held.checks, lake.table.checks),
        frame=frame,
    )


def _agree(found: StreamSources, hour: datetime) -> bool:
    """Whether archive and answers of an hour, or of those it looks back to, were compared, and say the same."""
    seen = (found.parities.get(hour - n * HOUR) for n in range(found.use.look_back_hours + 1))
    compared = [parity for parity in seen if parity is not None]
    return bool(compared) and not any(parity.differing for parity in compared)
