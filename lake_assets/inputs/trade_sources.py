"""Which source each minute of aggTrades comes from: the best among those that hold every trade of it.

Belongs here: holding archive, answers of REST and the socket against ids and klines, the choice minute by minute.
Does not belong here: the verdict on one source (`validation.trade_evidence`), downloading, features.

The order is archive > captured before > REST now > heard. What nobody proves is lost: NULL with a reason, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import polars as pl

from lake_assets.inputs.kept_files import Held, held_inputs, nothing
from lake_assets.inputs.missing import NOT_WHOLE, may_ask_again, note_damaged
from lake_assets.inputs.rest_answers import AskedHours, RestSource, ask, reachable
from lake_assets.inputs.sources import BarsByTrades, out_of_reach, tell_missing
from lake_assets.inputs.stream_sources import Doubt, Span, StreamSources, Take, read_raw, reading_raw
from lake_assets.inputs.trade_tallies import joined, read_gaps, tallies_of
from lake_assets.lake import Lake
from lake_assets.schema.stream_use import StreamUse
from lake_assets.source import HourSource, Offer, Report, Wanted, by_start, to_nobody
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.trade_evidence import JUDGED, UNITS, judge_trades
from lake_resources.binance.um_streams import KLINES_1M
from lake_resources.clock import HOUR, MINUTE
from lake_resources.errors import StorageError
from lake_resources.spans import rows_within
from lake_resources.storage.provenance import LOST, SourceKind, SourceRef, minutes_text

_WHOLE = pl.col("standing") == "whole"
_ORDER = ("archive", "rest", "ws")
_NOTHING_JUDGED = pl.DataFrame(schema=JUDGED)
_LONGEST_PAUSE = 6 * HOUR


@dataclass(frozen=True)
class Heard:
    """What the collector proved of aggTrades: the sockets' records as a source; their features are in no file.

    Attributes:
        hours: hours of which it has every required minute.
        minutes: starts of the minutes that it has whole.
        refs: where the live rows of an hour come from.
    """

    hours: Mapping[datetime, SourceRef] = field(default_factory=dict)
    minutes: Collection[datetime] = frozenset()
    refs: Mapping[datetime, SourceRef] = field(default_factory=dict)
    title = "what was heard"

    def offers(self, wanted: Wanted) -> Iterator[Offer]:
        """Hours of which it has live rows."""
        for hour in wanted.starts:
            if hour in self.refs:
                ref = self.hours.get(hour) or SourceRef(wanted.used.name, "ws", self.refs[hour].reference)
                yield Offer((hour,), HourSource(ref, ()))


@dataclass(frozen=True)
class TradesAsked:
    """Hours of aggTrades that are wanted, and what is known beside them.

    Attributes:
        hours: starts of contiguous hours, in order.
        klines: wire frame of `klines_1m` of these hours, the witness.
        klines_from: where it has them from.
        heard: what the collector has; its rows are in no file.
        now: the instant of asking, UTC.
        report: takes a line of progress or warning.
        again: ask REST also for hours whose last answer was not whole a moment ago.
    """

    hours: Sequence[datetime]
    klines: pl.DataFrame
    klines_from: Mapping[datetime, SourceRef]
    heard: Heard
    now: datetime
    report: Report
    again: bool = False


def find_trades(lake: Lake, symbol: str, use: StreamUse, wanted: TradesAsked) -> tuple[StreamSources, BarsByTrades]:
    """Choose the sources of each hour of aggTrades by minute, asking REST for hours that nothing in the lake proves.

    The witness works in both directions: beside the sources comes what the trades say of the klines.

    Args:
        lake: the lake.
        symbol: whose hours.
        use: aggTrades as the table uses them.
        wanted: which hours.
    """
    hours, klines, heard, now = wanted.hours, wanted.klines, wanted.heard, wanted.now
    report, again = wanted.report, wanted.again
    around = [hours[0] - HOUR, *hours, hours[-1] + HOUR]
    held = held_inputs(lake, Wanted(symbol, around, now, report, use))
    from_files = _judged_archives(held, klines, hours)
    own_proof = [from_files]
    from_files, disputed, by_rest = _by_other_voice(
        lake, symbol, from_files, wanted, lambda bars, own: _judged_archives(held, bars, own)
    )
    whole = _whole_hours(from_files, hours)
    doubtful = [hour for hour in hours if hour not in whole or hour not in held.archives]
    said = _judged_answers(held, klines, doubtful)
    answered = _whole_hours(said, doubtful)
    unproven = [
        hour
        for hour in doubtful
        if not (hour in held.answers and held.answers[hour].final and hour in answered)
        and hour not in heard.hours
        and reachable(lake, use, hour, now)
        and (again or may_ask_again(lake, symbol, use.name, hour, now))
    ]
    asked = ask(lake, Wanted(symbol, unproven, now, report, use, held.answers))
    if asked.kept:
        held = held.told(asked.kept)
        said = _judged_answers(held, klines, doubtful)
    own_proof.append(said)
    said, also, by_rest_too = _by_other_voice(
        lake, symbol, said, wanted, lambda bars, own: _judged_answers(held, bars, own)
    )
    whole = _whole_hours(from_files, hours)
    chosen = _Choice(lake, use, held, from_files, said, klines, heard, {**also, **disputed}, whole)
    socket = by_start(heard, Wanted(symbol, hours, now, report, use))
    for hour in hours:
        chosen.take(hour, socket.get(hour))
    absent = {
        hour: asked.failures.get(hour) or _why(chosen.why_absent(hour)) or out_of_reach(lake, use)
        for hour in hours
        if chosen.by_hour[hour].ref.kind == "none"
    }
    _tell(chosen, symbol, hours, absent, asked, now)
    proven = pl.concat(own_proof).filter(_WHOLE)["timestamp"].to_list()
    bars = BarsByTrades(frozenset(proven), {**by_rest_too, **by_rest})
    return StreamSources(use, chosen.by_hour, absent, chosen.takes, chosen.lost, chosen.doubts), bars


def _judged_archives(held: Held, klines: pl.DataFrame, hours: Sequence[datetime]) -> pl.DataFrame:
    """The standing of each minute in the archives of its day; a file that does not read is told of when it is read."""
    paths = list(dict.fromkeys(source.paths[0] for source in held.archives.values()))
    own = [hour for hour in hours if hour in held.archives]
    if not own:
        return _NOTHING_JUDGED
    try:
        with reading_raw(paths):
            tallies = joined([tallies_of(path, hours[0], hours[-1] + HOUR) for path in paths])
            gaps = read_gaps(paths)
    except StorageError:
        return _NOTHING_JUDGED
    return judge_trades(tallies, klines, gaps, own)


def _judged_answers(held: Held, klines: pl.DataFrame, hours: Sequence[datetime]) -> pl.DataFrame:
    """The standing of each minute in what REST said of its hour, beside what is known of the hours around it."""
    own = [hour for hour in hours if hour in held.answers]
    if not own:
        return _NOTHING_JUDGED
    around = [hour for hour in sorted(held.answers) if {hour - HOUR, hour, hour + HOUR} & set(own)]
    paths = [held.answers[hour].paths[0] for hour in around]
    tallies = [_of(tallies_of(path, hour, hour + HOUR), hour) for hour, path in zip(around, paths, strict=True)]
    others = {hour: source for hour, source in held.archives.items() if hour not in around}
    beside = [
        _of(tallies_of(source.paths[0], hour, hour + HOUR), hour)
        for hour, source in others.items()
        if {hour - HOUR, hour + HOUR} & set(own)
    ]
    return judge_trades(joined([*tallies, *beside]), klines, (), own)


def _by_other_voice(
    lake: Lake,
    symbol: str,
    judged: pl.DataFrame,
    wanted: TradesAsked,
    judge: Callable[[pl.DataFrame, Sequence[datetime]], pl.DataFrame],
) -> tuple[pl.DataFrame, dict[datetime, Doubt], dict[datetime, tuple[HourSource, frozenset[datetime]]]]:
    """What contradicts the klines that are taken is held against what REST said of these klines: they may be the wrong.

    Returns:
        The verdicts, with the minutes that fit the other klines whole, and per hour of these what the klines differ in
        and the answer whose klines they fit.
    """
    if _all_whole(judged):
        return judged, {}, {}
    # Of an hour of which a source has nothing at all it contradicts nothing.
    contradicted = judged.filter(~_WHOLE)
    hour = pl.col("timestamp").dt.truncate("1h")
    has_some = judged.filter(pl.col("trades") != 0).select(hour.unique()).to_series()
    in_doubt = contradicted.select(hour.unique().sort()).to_series()
    hours = in_doubt.filter(in_doubt.is_in(has_some.implode())).to_list()
    if not hours:
        return judged, {}, {}
    klines = wanted.klines
    others, answers = _klines_of_rest(lake, symbol, hours, wanted)
    if others.is_empty():
        return judged, {}, {}
    bars = pl.concat([klines.join(others, on="open_time", how="anti"), others]).sort("open_time")
    again = judge(bars, hours).filter(_WHOLE).join(contradicted, on="timestamp", how="semi")
    again = again.filter(pl.col("timestamp").is_in(others["open_time"].implode()))
    if again.is_empty():
        return judged, {}, {}
    told, taken = {}, {}
    for hour in hours:
        fits = _of(again, hour)
        beside = _of(contradicted, hour).join(fits.select("timestamp"), on="timestamp", how="semi")
        if beside.height:
            taken[hour] = answers[hour], frozenset(fits["timestamp"].to_list())
            if wanted.klines_from[hour].kind == "rest":
                continue  # REST corrected itself, and what it says now is taken
            said, first = fits.select(pl.col("kline_quantity").sum()).item() / UNITS, beside["timestamp"][0]
            volume = beside.select(pl.col("kline_quantity").sum()).item() / UNITS
            told[hour] = Doubt(
                "contradicted",
                f"klines_1m: volume {volume:g} in {beside.height} minute(s) from {first:%Y-%m-%d %H:%M} is neither what"
                f" REST said ({said:g}) nor what aggTrades add up to",
            )
    kept = judged.join(again.select("timestamp"), on="timestamp", how="anti")
    return pl.concat([kept, again]).sort("timestamp"), told, taken


def _klines_of_rest(
    lake: Lake, symbol: str, hours: Sequence[datetime], wanted: TradesAsked
) -> tuple[pl.DataFrame, Mapping[datetime, HourSource]]:
    """What REST says of the klines of some hours; it is asked where the lake does not know.

    Where the klines that are contradicted are an answer themselves, REST is asked again, with pauses that double.
    """
    use = UM_MINUTE.uses[KLINES_1M.name]
    asking = Wanted(symbol, hours, wanted.now, to_nobody, use)
    held = held_inputs(lake, asking).answers
    again = [
        hour
        for hour in hours
        if reachable(lake, use, hour, wanted.now)
        and (
            hour not in held
            or (wanted.klines_from[hour].kind == "rest" and (wanted.again or _waited(held[hour], wanted.now)))
        )
    ]
    known = {**held, **ask(lake, replace(asking, starts=again), (RestSource(lake.rest),)).kept}
    frames = [read_raw(known[hour].paths[0], use.stream, hour, hour + HOUR) for hour in hours if hour in known]
    return pl.concat(frames) if frames else pl.DataFrame(schema=use.stream.columns), known


def _waited(source: HourSource, now: datetime) -> bool:
    """Whether an answer that trades contradict is old enough to ask again: as old as it was late, at most hours."""
    answer = source.answer
    assert answer is not None
    late = answer.captured_at - (answer.hour + HOUR)
    return now - answer.captured_at >= min(max(late, MINUTE), _LONGEST_PAUSE)


def _whole_hours(judged: pl.DataFrame, hours: Sequence[datetime]) -> set[datetime]:
    """Hours of which no minute is in doubt."""
    if _all_whole(judged):
        return set(hours)
    hour = pl.col("timestamp").dt.truncate("1h")
    return set(hours) - set(judged.filter(~_WHOLE).select(hour.unique()).to_series().to_list())


def _all_whole(judged: pl.DataFrame) -> bool:
    """Whether no minute is in doubt, also where there is none at all: the usual case, which needs no query."""
    return bool((judged.get_column("standing") == "whole").all())


@dataclass
class _Choice:
    """The sources that are taken, hour by hour; `whole` are hours of which no minute of the archive is in doubt."""

    lake: Lake
    use: StreamUse
    held: Held
    filed: pl.DataFrame
    said: pl.DataFrame
    klines: pl.DataFrame
    heard: Heard
    disputed: Mapping[datetime, Doubt]
    whole: Collection[datetime]
    by_hour: dict[datetime, HourSource] = field(default_factory=dict)
    takes: dict[datetime, tuple[Take, ...]] = field(default_factory=dict)
    lost: dict[datetime, tuple[Span, ...]] = field(default_factory=dict)
    doubts: dict[datetime, tuple[Doubt, ...]] = field(default_factory=dict)

    def take(self, hour: datetime, heard: HourSource | None) -> None:
        """Choose the sources of one hour, whose records of the socket are the last of them."""
        archive, answer = self.held.archives.get(hour), self.held.answers.get(hour)
        if hour in self.disputed:
            self.doubts[hour] = (self.disputed[hour],)
        if archive is not None and hour in self.whole:
            self.by_hour[hour] = archive
            return
        minutes = rows_within(self.klines, "open_time", hour, hour + HOUR)["open_time"].unique().sort().to_list()
        filed, said = _of(self.filed, hour), _of(self.said, hour)
        told = {each for each in minutes if each in self.heard.minutes}
        # The best first; what ids and klines of an archive dispute is better than nothing at all.
        voices = (
            (archive, _minutes(filed, "whole")),
            (answer, _minutes(said, "whole")),
            (heard, told),
            (archive, _minutes(filed, "disputed")),
        )
        parts = [(source, proven) for source, proven in voices if source is not None]
        self._put_together(hour, minutes, parts)
        self._doubt(hour, filed, said)

    def why_absent(self, hour: datetime) -> str:
        """Why a source that is there was not taken at all."""
        return "; ".join(doubt.text for doubt in self.doubts.get(hour, ()))

    def _put_together(
        self, hour: datetime, minutes: Sequence[datetime], parts: Sequence[tuple[HourSource, set[datetime]]]
    ) -> None:
        if not minutes:
            # Without klines nothing can be said of any source, and the hour has no row.
            self.by_hour[hour] = parts[0][0] if parts else nothing(self.use)
            return
        left, used = set(minutes), list[tuple[SourceKind, HourSource, list[datetime]]]()
        for source, whole in parts:
            kind: SourceKind = source.ref.kind
            taken = sorted(left & whole)
            if not taken:
                continue
            left -= set(taken)
            if used and used[0][0] == kind:  # minutes of the best source that nothing better has
                used[0] = (kind, source, sorted({*used[0][2], *taken}))
            else:
                used.append((kind, source, taken))
        used.sort(key=lambda part: _ORDER.index(part[0]))
        if not used or used[0][0] == "ws":
            # Of an hour without a file the live rows say themselves which minutes they have.
            known = self.heard.hours.get(hour)
            self.by_hour[hour] = nothing(self.use) if known is None else HourSource(known, ())
            return
        detail = {LOST: minutes_text(each.minute for each in left)} if left else {}
        if len(used) == 1:
            _, source, _ = used[0]
            ref = source.ref
            self.by_hour[hour] = HourSource(SourceRef(ref.stream, ref.kind, ref.reference, detail), source.paths)
        else:
            kinds: SourceKind = "+".join(kind for kind, _, _ in used)  # type: ignore[assignment]
            reference = "+".join(source.ref.reference for _, source, _ in used)
            detail |= {name: minutes_text(each.minute for each in taken) for name, _, taken in used}
            paths = [path for _, source, _ in used for path in source.paths][:1]
            self.by_hour[hour] = HourSource(SourceRef(self.use.name, kinds, reference, detail), tuple(paths))
            self.takes[hour] = tuple(
                Take(name, source.paths[0] if source.paths else None, tuple(taken)) for name, source, taken in used
            )
        if left:
            self.lost[hour] = _spans(left)

    def _doubt(self, hour: datetime, filed: pl.DataFrame, said: pl.DataFrame) -> None:
        lost = {minute for start, end in self.lost.get(hour, ()) for minute in _each(start, end)}
        if self.by_hour[hour].ref.kind == "none":
            lost = set(_each(hour, hour + HOUR))
        disputed = _minutes(filed, "disputed") - _minutes(said, "whole") - set(self.heard.minutes)
        found = []
        for name, judged in (("the archive", filed), ("the answer of REST", said)):
            if _all_whole(judged):
                continue
            bad = judged.filter(~_WHOLE)
            found.append(
                Doubt(
                    "contradicted" if set(bad["timestamp"]) & (lost | disputed) else "provisional",
                    _doubt_text(self.use.name, name, bad),
                )
            )
        if found:
            self.doubts[hour] = (*self.doubts.get(hour, ()), *found)


def _tell(
    chosen: _Choice,
    symbol: str,
    hours: Sequence[datetime],
    absent: Mapping[datetime, str],
    asked: AskedHours,
    now: datetime,
) -> None:
    """Note in the ledger which hours lack trades, and that their archive does, whoever may replace it."""
    lake, use = chosen.lake, chosen.use
    lacking = dict(absent) | {
        hour: _why(chosen.why_absent(hour) or "minutes of the hour are in no source") for hour in chosen.lost
    }
    tried = AskedHours(asked.kept, {**asked.failures, **{h: lacking[h] for h in asked.kept if h in lacking}})
    tell_missing(lake, symbol, use, hours, lacking, tried, now)
    torn = {
        hour: found[0].text
        for hour, found in chosen.doubts.items()
        if hour in chosen.held.archives and not _all_whole(_of(chosen.filed, hour))
    }
    note_damaged(lake, symbol, use.name, hours, torn, now)


def _why(text: str) -> str:
    """The reason of an hour that was answered, and is not whole all the same."""
    return f"{NOT_WHOLE}: {text}" if text else ""


def _of(judged: pl.DataFrame, hour: datetime) -> pl.DataFrame:
    return rows_within(judged, "timestamp", hour, hour + HOUR)


def _minutes(judged: pl.DataFrame, standing: str) -> set[datetime]:
    """Minutes of a standing; none of an hour in which trades happened and the source has none of those."""
    if judged.is_empty():
        return set()
    if (
        judged["kline_trades"].sum() > 0
        and not judged.filter(_WHOLE | (pl.col("standing") == "disputed"))["trades"].sum()
    ):
        return set()
    return set(judged.filter(pl.col("standing") == standing)["timestamp"].to_list())


def _each(start: datetime, end: datetime) -> list[datetime]:
    return [start + n * MINUTE for n in range((end - start) // MINUTE)]


def _spans(minutes: Collection[datetime]) -> tuple[Span, ...]:
    """Minutes as half-open spans, in order."""
    found: list[Span] = []
    for minute in sorted(minutes):
        if found and found[-1][1] == minute:
            found[-1] = (found[-1][0], minute + MINUTE)
        else:
            found.append((minute, minute + MINUTE))
    return tuple(found)


def _doubt_text(stream: str, name: str, bad: pl.DataFrame) -> str:
    """Stream, minutes and both values of what a source has too little or too much of."""
    totals = bad.select(pl.exclude("timestamp", "standing").sum()).row(0, named=True)
    first, last = bad["timestamp"][0], bad["timestamp"][-1]
    texts = [f"trades {totals['trades']} beside {totals['kline_trades']} of the klines"]
    texts += [
        f"{measure} {totals[measure] / UNITS:g} beside {totals[f'kline_{measure}'] / UNITS:g}"
        for measure in ("quantity", "notional")
        if totals[measure] != totals[f"kline_{measure}"]
    ]
    return (
        f"{stream}: {name} does not hold every trade of {bad.height} minute(s) from {first:%Y-%m-%d %H:%M} to "
        f"{last:%H:%M}: {', '.join(texts)}"
    )
