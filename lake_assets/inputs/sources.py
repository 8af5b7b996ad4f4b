"""Which source each hour of a stream comes from.

Belongs here: the order of what is held, what is asked for and none, repairs of gaps, look-back hours, and of rows of
which an archive and REST say different values whose are taken. Does not belong here: any source (`kept_files`,
`rest_answers`), noticing a difference (`disputes`), what trades prove (`trade_sources`), what it makes of the hour
(`validation.hour_verdict`), reading rows (`stream_sources`).

Which of two values is right a third source says, where there is one: aggTrades add up to the volumes of one of both.
Without a third what REST said stays: it was there first, REST is asked again before, and what is contradicted proves
nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import polars as pl

from lake_assets.inputs.disputes import compare_answers, reached_by_disputes
from lake_assets.inputs.doubted_hours import rows_in_doubt
from lake_assets.inputs.kept_files import Held, held_inputs, nothing
from lake_assets.inputs.missing import NOT_WHOLE, may_ask_again, misplaced_hours, note_missing
from lake_assets.inputs.rest_answers import AskedHours, ask_together, reachable
from lake_assets.inputs.row_evidence import (
    lacking_hours,
    reached_hours,
    senseless_hours,
    settled_hours,
    settled_too_early,
    values_told,
)
from lake_assets.inputs.sound_before import SOUND, judged_by
from lake_assets.inputs.stream_sources import Doubt, StreamSources, Take, reading_raw
from lake_assets.inputs.trading_time import listing_of
from lake_assets.lake import Lake
from lake_assets.schema.stream_use import StreamUse
from lake_assets.source import HourSource, Wanted
from lake_assets.validation.parity import StreamParity
from lake_assets.windows import floor_minute
from lake_resources.binance.witness import Grid, NoWitness, Settlements
from lake_resources.clock import HOUR
from lake_resources.errors import StorageError
from lake_resources.storage.provenance import SourceRef, minutes_text

_AHEAD = 9 * HOUR
"""A settlement that comes so long after an hour says whether one was missed in it."""


def find_sources(lake: Lake, wanted: Wanted) -> StreamSources:
    """`looked_for` one stream, which is asked for at once."""
    looked = looked_for(lake, wanted)
    (asked,) = ask_together(lake, [looked.wanted])
    return looked.found(asked)


@dataclass(frozen=True)
class _Judged:
    """The best source of each hour, and what speaks against them.

    Attributes:
        chosen: by hour.
        lacking: hours that lack rows which are due, with what is lacking.
        reached: hours that a value reaches into which an hour before lacks.
        senseless: hours with rows that contradict themselves.
        parities: archives against what REST said of the same hours.
    """

    chosen: Mapping[datetime, HourSource]
    lacking: Mapping[datetime, str]
    reached: Mapping[datetime, str]
    senseless: Mapping[datetime, str]
    parities: Mapping[datetime, StreamParity]

    @property
    def differing(self) -> dict[datetime, str]:
        """Hours of which archive and REST say different values, with the first of them."""
        return {hour: f"{parity.first}" for hour, parity in self.parities.items() if parity.differing}


@dataclass(frozen=True)
class LookedFor:
    """A stream whose sources are looked for: what is to be asked for, and what is known before that.

    Attributes:
        lake: the lake.
        wanted: the hours that are to be asked for; none where what the lake has is enough.
        hours: starts of contiguous hours, in order.
        around: these, and the look-back hours before them.
        held: what the lake has of them.
        archived: their archives as sources.
        young: hours whose answer does though it is not whole.
        judged: what comes of what the lake has.
        unlike: hours whose rows cannot be right though none is missing, with the reason.
        misplaced: hours whose archive has rows of another time than its own, with what was said of it.
    """

    lake: Lake
    wanted: Wanted
    hours: Sequence[datetime]
    around: Sequence[datetime]
    held: Held
    archived: StreamSources
    young: Collection[datetime]
    judged: _Judged
    unlike: Mapping[datetime, str]
    misplaced: Mapping[datetime, str]

    def found(self, asked: AskedHours) -> StreamSources:
        """Choose a source for each hour and for the look-back hours before them.

        A stream that could have had a source and has none, or lacks rows, is recorded in the ledger as a missing
        source.

        Args:
            asked: what was said of the hours that were wanted.
        """
        lake, hours, wanted, archived = self.lake, self.hours, self.around, self.archived
        symbol, use, now = self.wanted.symbol, self.wanted.used, self.wanted.now
        held, judged, unlike = self.held, self.judged, self.unlike
        if asked.kept:
            new = {hour for hour, each in asked.kept.items() if _says_other(each, held.answers.get(hour))}
            unlike = {hour: text for hour, text in unlike.items() if hour not in new}
            held = held.told(asked.kept).without(self.misplaced)
            around = replace(self.wanted, starts=wanted)
            anew = _judge(lake, around, archived, held, self.young, asked.kept)
            judged = replace(anew, parities={**judged.parities, **anew.parities})
        chosen, parities, differing = judged.chosen, judged.parities, judged.differing
        absent = {
            hour: asked.failures.get(hour) or out_of_reach(lake, use)
            for hour in wanted
            if chosen[hour].ref.kind == "none"
        }
        # What differs is asked for again like what lacks rows, as long as REST has it.
        unsettled = {
            hour: text
            for hour, text in {**unlike, **differing, **judged.senseless}.items()
            if reachable(lake, use, hour, now)
        }
        lacking = {**unsettled, **judged.lacking}
        untold = {hour: f"{NOT_WHOLE}: {text}" for hour, text in lacking.items() if hour not in absent}
        failures = {**asked.failures, **{hour: untold[hour] for hour in asked.kept if hour in untold}}
        named = [hour for hour in wanted if hour in hours or hour in untold]
        tell_missing(lake, symbol, use, named, {**absent, **untold}, AskedHours(asked.kept, failures), now)
        # Without the rows of a stream that is required there is no row, which the gate sees.
        named_too = {**judged.reached, **judged.lacking}
        doubts = {hour: (Doubt("partial", text),) for hour, text in named_too.items() if not use.required}
        for hour, text in judged.senseless.items():
            doubts[hour] = (*doubts.get(hour, ()), Doubt("contradicted", f"{use.name}: {text}"))
        for hour, text in self.misplaced.items():
            if hour not in held.answers:
                doubts[hour] = (*doubts.get(hour, ()), Doubt("unproven", f"{use.name}: {text}"))
        disputes = {hour: (held.answers[hour], parities[hour]) for hour in differing}
        if disputes and use.look_back_hours:
            rows = StreamSources(use, chosen, {}, read=archived.read).frame(*_window(wanted))
            for hour, text in reached_by_disputes(use, {h: parities[h] for h in differing}, rows, hours).items():
                apart = f"{use.name}: archive and REST differ in a value that is carried into the hour, first {text}"
                doubts[hour] = (*doubts.get(hour, ()), Doubt("contradicted", apart))
        return StreamSources(
            use, chosen, absent, doubts=doubts, parities=parities, disputes=disputes, read=archived.read
        )


def looked_for(lake: Lake, wanted: Wanted, *, again: bool = False) -> LookedFor:
    """Look what the lake has of each hour and of the look-back hours before them; REST is wanted where that is best.

    An hour that lacks rows which its witness makes due is asked for again, with growing pauses: that a source is there,
    and how old its answer is, proves nothing.

    Args:
        lake: the lake.
        wanted: of which stream of whom; its hours are contiguous and in order.
        again: ask REST also for hours whose last answer lacked rows a moment ago.
    """
    symbol, use, hours, now = wanted.symbol, wanted.used, wanted.starts, wanted.now
    around = [hours[0] - offset * HOUR for offset in range(use.look_back_hours, 0, -1)] + list(hours)
    asking = replace(wanted, starts=around)
    held = held_inputs(lake, asking)
    misplaced = misplaced_hours(lake, symbol, use, held.archives) if held.archives else {}
    held = held.without(misplaced)
    archived = StreamSources(use, held.archives, {})
    young = set() if again else _young(use, held.answers, hours, now)
    judged = _judge(lake, asking, archived, held, young, held.answers, again=again)
    unlike = rows_in_doubt(lake.ledger, symbol, use.name, around[0], around[-1] + HOUR) if use.required else {}
    unlike |= {hour: text for hour, text in misplaced.items() if hour not in held.answers}
    doubtful = judged.lacking.keys() | judged.differing.keys() | unlike.keys() | judged.senseless.keys()
    doubted = [
        hour
        for hour in around
        if (
            (hour in doubtful and (again or may_ask_again(lake, symbol, use.name, hour, now)))
            if hour in doubtful or hour in held.archives
            else not (hour in held.answers and (held.answers[hour].final or hour in young))
        )
        and reachable(lake, use, hour, now)
    ]
    asking = replace(asking, starts=doubted, held=held.answers)
    return LookedFor(lake, asking, hours, around, held, archived, young, judged, unlike, misplaced)


def _judge(
    lake: Lake,
    around: Wanted,
    archived: StreamSources,
    held: Held,
    young: Collection[datetime],
    said: Mapping[datetime, HourSource],
    *,
    again: bool = False,
) -> _Judged:
    """What comes of what the lake has of the hours around; `said` are the answers that were not compared yet."""
    symbol, hours, now = around.symbol, around.starts, around.now
    chosen = _chosen(lake, symbol, archived, held, hours, now, young)
    lacking, reached, senseless = _lacking(lake, symbol, archived, chosen, hours, now, again=again)
    return _Judged(chosen, lacking, reached, senseless, _parities(archived, said, chosen))


def _young(
    use: StreamUse, said: Mapping[datetime, HourSource], hours: Sequence[datetime], now: datetime
) -> set[datetime]:
    """Hours whose answer is so young that nothing new is due; one that is closed and wanted itself is none of them."""
    ages = {hour: now - source.answer.captured_at for hour, source in said.items() if source.answer is not None}
    return {
        hour
        for hour, age in ages.items()
        if (hour + HOUR > now or hour not in hours) and timedelta(0) <= age < use.again_after
    }


def _says_other(answer: HourSource, before: HourSource | None) -> bool:
    return before is None or answer.ref.reference != before.ref.reference


def _parities(
    archived: StreamSources, said: Mapping[datetime, HourSource], chosen: Mapping[datetime, HourSource]
) -> dict[datetime, StreamParity]:
    """Archives against what REST said of the same hours."""
    both = [h for h in sorted(said) if h in chosen and chosen[h].ref.kind.startswith("archive")]
    if not both:
        return {}
    try:
        rows = archived.frame(both[0], both[-1] + HOUR)
    except StorageError:
        return {}  # who needs its rows will tell
    answers = [(answer, said[hour].paths[0]) for hour in both if (answer := said[hour].answer) is not None]
    return compare_answers(archived.use.stream, archived.use.settle, rows, answers)


def _chosen(
    lake: Lake,
    symbol: str,
    archived: StreamSources,
    held: Held,
    wanted: Sequence[datetime],
    now: datetime,
    young: Collection[datetime],
) -> dict[datetime, HourSource]:
    """The best source of each hour of those that the lake has; of `young` hours an answer does that is not whole."""
    use, found = archived.use, dict[datetime, HourSource]()
    # A settlement has no hour of its own: an archive may lack any that was told before.
    of_schedule = isinstance(use.stream.witness, Settlements)
    gaps = list(archived.by_hour) if of_schedule else []
    if use.rows_per_hour:
        gaps = _hours_with_gaps(lake, symbol, archived, wanted, now)
    for offered in held.in_order:
        for hour in wanted:
            source = offered.get(hour)
            if source is None or not (hour in young or _suffices(lake, source, now)):
                continue
            if hour not in found:
                found[hour] = source
            elif hour in gaps and _has_more(archived, hour, source):
                found[hour] = _repaired(found[hour], source)
    return dict.fromkeys(wanted, nothing(use)) | found


def _lacking(
    lake: Lake,
    symbol: str,
    archived: StreamSources,
    chosen: Mapping[datetime, HourSource],
    wanted: Sequence[datetime],
    now: datetime,
    *,
    again: bool = False,
) -> tuple[dict[datetime, str], dict[datetime, str], dict[datetime, str]]:
    """Hours that lack rows which are due, that a value reaches into which an hour before lacks, with senseless rows.

    A stream that the exchange does not have for a symbol lacks nothing. Of a file that does not read who needs its rows
    will tell.
    """
    use = archived.use
    own = [hour for hour in wanted if chosen[hour].ref.kind != "none"]
    witness = use.stream.witness
    of_trades = isinstance(witness, Grid) and witness.bars_of_trades
    if isinstance(witness, NoWitness) or not own or not use.stream.exists_for(symbol):
        return {}, {}, {}
    if not of_trades and not settled_hours(use, own, now):
        return {}, {}, {}
    found, window = StreamSources(use, chosen, {}, read=archived.read), _window(wanted)
    first = _first_traded(lake, symbol) if isinstance(witness, Settlements) else None
    asked = judged_by(use, found.paths(*window), window, own, now, first)
    if asked is not None and SOUND.has(asked):
        return {}, {}, {}
    try:
        found.kept(*window)
        rows = found.frame(*window)
    except StorageError:
        return {}, {}, {}
    lacking = lacking_hours(use, rows, own, now)
    by_listing = bool(lacking)
    if by_listing:
        lacking = lacking_hours(use, rows, own, now, listing_of(lake, symbol, again=again))
    if of_trades:
        senseless = senseless_hours(rows, own)
    elif isinstance(witness, Settlements):
        first = _first_traded(lake, symbol)  # it may have been asked for since
        senseless = settled_too_early(rows, use.stream.time_column, own, first)
    else:
        senseless = {}
    if asked is not None and not by_listing and not senseless:
        SOUND.note(asked)
    return lacking, reached_hours(use, rows, lacking), senseless


def _first_traded(lake: Lake, symbol: str) -> datetime | None:
    listing = lake.ledger.listing(symbol)
    return None if listing is None else listing.first


def _window(wanted: Sequence[datetime]) -> tuple[datetime, datetime]:
    return wanted[0], wanted[-1] + HOUR + _AHEAD


def tell_missing(
    lake: Lake,
    symbol: str,
    use: StreamUse,
    hours: Sequence[datetime],
    absent: Mapping[datetime, str],
    asked: AskedHours,
    now: datetime,
) -> None:
    """Record hours without a source as missing ones, and those that have one now as found."""
    if lake.ask_rest and use.stream.rest is not None:
        note_missing(
            lake,
            symbol,
            use.name,
            failures={hour: absent[hour] for hour in hours if hour in absent and hour in asked.failures},
            out_of_reach={hour: absent[hour] for hour in hours if hour in absent and hour not in asked.failures},
            found=[hour for hour in hours if hour not in absent],
            now=now,
        )


def _suffices(lake: Lake, source: HourSource, now: datetime) -> bool:
    """Whether a source holds all minutes that must exist now: of an answer, they had to exist when it was taken."""
    capture = source.answer
    if capture is None:
        return True
    then, today = (
        min(max(floor_minute(at - timedelta(minutes=lake.safety_lag_minutes)), capture.hour), capture.hour + HOUR)
        for at in (capture.captured_at, now)
    )
    return capture.complete or then >= today


def out_of_reach(lake: Lake, use: StreamUse) -> str:
    """Why an hour without a source was not asked for."""
    rest = "REST does not keep the hour" if lake.ask_rest else "REST is not asked (archives only)"
    return f"there is no archive of {use.name} (yet), and {rest}"


def _has_more(archived: StreamSources, hour: datetime, source: HourSource) -> bool:
    """Whether a source has minutes of an hour that the archive lacks, or values of them."""
    key = list(archived.use.stream.key)
    path = source.paths[0]
    with reading_raw([path]):
        captured = pl.read_parquet(path, columns=key)
    rows = archived.frame(hour, hour + HOUR)
    rows = rows.filter(values_told(archived.use, rows)).select(key)
    if isinstance(archived.use.stream.witness, Settlements):
        # Each source stamps a settlement some milliseconds after its instant.
        captured, rows = (frame.with_columns(pl.col(key).dt.round("1m")) for frame in (captured, rows))
    return not captured.join(rows, on=key, how="anti").is_empty()


def _repaired(archived: HourSource, answer: HourSource) -> HourSource:
    ref = SourceRef(answer.ref.stream, "archive+rest", f"{archived.ref.reference}+{answer.ref.reference}")
    return HourSource(ref, (*archived.paths, *answer.paths))


def _hours_with_gaps(
    lake: Lake, symbol: str, sources: StreamSources, wanted: Sequence[datetime], now: datetime
) -> list[datetime]:
    """Archived hours of a grid that lack rows: REST may still have them. Before a listing none is lacking."""
    if not sources.by_hour:
        return []
    start, end = min(sources.by_hour), max(sources.by_hour) + HOUR
    use = sources.use
    try:
        sources.kept(*_window(wanted))
        rows = sources.frame(start, end)
    except StorageError:
        return []  # who needs its rows will tell
    whole = rows.filter(values_told(use, rows))
    times = whole.select(pl.col(use.stream.time_column).dt.truncate("1h").alias("hour"))
    counts = dict(times.group_by("hour").len().iter_rows())
    gaps = [hour for hour in sources.by_hour if counts.get(hour, 0) < use.rows_per_hour]
    listing = lake.ledger.listing(symbol) if gaps else None
    if listing is None:
        return gaps
    return [hour for hour in gaps if hour in lacking_hours(use, rows, gaps, now, listing)]


WITNESSED = frozenset({"volume", "quote_volume", "count"})
"""Columns of bars that the trades of a minute add up to."""


@dataclass(frozen=True)
class BarsByTrades:
    """What aggTrades say of the bars beside them.

    Attributes:
        proven: minutes of which the bars that were taken are what the trades of some source add up to.
        answered: by hour, what REST said of its bars, and the minutes in which only that is what trades add up to.
    """

    proven: frozenset[datetime] = frozenset()
    answered: Mapping[datetime, tuple[HourSource, frozenset[datetime]]] = field(default_factory=dict)


def settled(found: StreamSources, bars: BarsByTrades | None = None) -> StreamSources:
    """The sources of a stream with each disputed row from the one of both that is believed.

    Args:
        found: sources of a stream, with what archive and REST say differently.
        bars: what aggTrades say, where `found` are their bars.
    """
    by_trades = BarsByTrades() if bars is None else bars
    instead = {}
    for hour in sorted(found.disputes.keys() | by_trades.answered.keys()):
        answer, times = _answered(found, hour, by_trades)
        if answer is not None and times and hour in found.by_hour and found.by_hour[hour].paths:
            instead[hour] = Take("rest", answer.paths[0], tuple(sorted(times))), answer
    if not instead:
        return found
    by_hour = dict(found.by_hour)
    for hour, (take, answer) in instead.items():
        if found.ref(hour).kind == "rest":  # what REST says now replaces what it said before
            by_hour[hour] = answer
        else:
            by_hour[hour] = _with(found.by_hour[hour], take, answer)
    kept = {hour: take for hour, (take, _) in instead.items() if found.ref(hour).kind != "rest"}
    return replace(found, by_hour=by_hour, instead=kept)


def _answered(
    found: StreamSources, hour: datetime, bars: BarsByTrades
) -> tuple[HourSource | None, frozenset[datetime]]:
    """The answer of REST for an hour, and times of the rows that are taken from it."""
    answer, times = bars.answered.get(hour, (None, frozenset()))
    if hour not in found.disputes:
        return answer, times
    said, parity = found.disputes[hour]
    cells = parity.differences.filter(~pl.col("column").str.starts_with("row"))
    # Where trades fit the archive's bar and not the other, that one is the wrong one as a whole.
    refuted = cells.filter(pl.col("timestamp").is_in(list(bars.proven)) & pl.col("column").is_in(list(WITNESSED)))
    unproven = cells.join(refuted, on="timestamp", how="anti")
    return said, times | frozenset(unproven["timestamp"].to_list())


def _with(source: HourSource, take: Take, answer: HourSource) -> HourSource:
    """A source of which some rows are taken from an answer."""
    ref = source.ref
    said = answer.ref.reference
    reference = ref.reference if said in ref.reference else f"{ref.reference}+{said}"
    detail = {**ref.detail, "rest": minutes_text(each.minute for each in take.minutes)}
    kind = "archive+rest" if ref.kind == "archive" else ref.kind
    return HourSource(SourceRef(ref.stream, kind, reference, detail), source.paths)
