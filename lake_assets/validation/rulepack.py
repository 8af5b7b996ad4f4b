"""The rulepack R1 to R7: what every frame of bars must keep, whoever made it.

Belongs here: the predicates, their counts and offenders, the verdict. Does not belong here: reading bars, the report's
text (`rule_report`). The gate is stricter and knows the minute table; this is for any bars, also those of others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, TypedDict, Unpack

import polars as pl

from lake_assets.validation.dead_bars import DeadBars, dead_bars
from lake_resources.bar_values import PRICES
from lake_resources.clock import DAY, EPOCH
from lake_resources.known_hole import KnownHole
from lake_resources.spans import within

Verdict = Literal["PASS", "INVESTIGATE", "FAIL"]

RELATIVE_TOLERANCE = 1e-9
"""R7: prices of both sides are the same decimals, read as doubles."""
SPREAD_TO_MID_MAX_BPS = 500.0
TOLERATED_PCT = 0.1
"""Below this share of rows, wide spreads and missing bars ask for a look instead of failing the window."""
MAX_OFFENDERS = 25
VERDICTS: tuple[Verdict, ...] = ("PASS", "INVESTIGATE", "FAIL")
"""From the best to the worst."""
_TIME = pl.Datetime("us", "UTC")

RULES: dict[str, str] = {
    "R1": "OHLC ordering: low ≤ open, close ≤ high",
    "R2": "Prices are positive",
    "R3": "Ask ≥ bid",
    "R4": "No NaN, infinity or NULL in OHLC",
    "R5": "Every bar of the grid is there, once, and on the grid",
    "R6": "Spread is not negative and below 5 % of mid",
    "R7": "Prices equal the exchange's klines",
}


@dataclass(frozen=True)
class BarColumns:
    """Which columns of a frame are what; a frame without quotes has no `bid`, `ask` and `spread`; `volume` may lack."""

    time: str = "timestamp"
    open: str = "open"
    high: str = "high"
    low: str = "low"
    close: str = "close"
    bid: str | None = None
    ask: str | None = None
    spread: str | None = None
    volume: str = "volume"

    @property
    def prices(self) -> tuple[str, str, str, str]:
        """Open, high, low, close."""
        return self.open, self.high, self.low, self.close


@dataclass(frozen=True)
class RuleResult:
    """One rule over a window.

    Attributes:
        rule: `R1` to `R7`.
        checked: rows (R5: bars of the grid) that were looked at.
        violations: how many break the rule; in R5 and R6 one row can count twice.
        offenders: the first of them, at most `MAX_OFFENDERS` rows.
        stats: numbers of its own.
    """

    rule: str
    checked: int
    violations: int
    offenders: pl.DataFrame
    stats: Mapping[str, int | float | str] = field(default_factory=dict)

    @property
    def violations_pct(self) -> float:
        """Percent of what was checked."""
        return 100 * self.violations / self.checked if self.checked else 0.0


@dataclass(frozen=True)
class RulepackResult:
    """All rules over the bars of one symbol in `[start, end)`.

    Attributes:
        symbol: for the report.
        start, end: the window, UTC.
        rows: bars in it.
        rules: R1 to R7.
        cause: why the bars cannot be right, where their source says so; they FAIL whatever the rules say.
        dead: runs of bars that are suspicious because nothing happened in them.
        doubts: verdicts of the ledger on partitions of the window that are not proven, in words.
    """

    symbol: str
    start: datetime
    end: datetime
    rows: int
    rules: tuple[RuleResult, ...]
    cause: str = ""
    dead: tuple[DeadBars, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def suspicious(self) -> tuple[DeadBars, ...]:
        """Dead bars that no known outage excuses."""
        return tuple(each for each in self.dead if not each.excused)

    @property
    def verdict(self) -> Verdict:
        """FAIL without rows or with a cause; else the worst of the rules, and with dead bars or doubts no PASS."""
        if not self.rows or self.cause:
            return "FAIL"
        found = [judge(rule) for rule in self.rules]
        if self.suspicious or self.doubts:
            found.append("INVESTIGATE")
        return max(found, key=VERDICTS.index)


def judge(rule: RuleResult) -> Verdict:
    """What one rule says: a row that is wrong in itself fails; few missing bars or wide spreads ask for a look.

    Bars whose klines are gone are not proven equal to them: some ask for a look, a window without any klines fails.
    """
    if rule.rule in {"R5", "R6"}:
        if any(rule.stats.get(name) for name in ("duplicates", "off_grid", "no_time", "negative")):
            return "FAIL"
        if not rule.violations:
            return "PASS"
        return "INVESTIGATE" if rule.violations_pct < TOLERATED_PCT else "FAIL"
    if rule.violations:
        return "FAIL"
    if rule.stats.get("only_bars"):
        return "INVESTIGATE" if rule.checked else "FAIL"
    return "PASS"


def grid_floor(instant: datetime, step: timedelta) -> datetime:
    """The last time of the grid at or before `instant`: multiples of the step since the epoch.

    Bars of several days begin at midnight, but on which day is a convention of their maker: the first one decides.
    """
    return instant - (instant - EPOCH) % _unit(step)


def _unit(step: timedelta) -> timedelta:
    return step if step % DAY else DAY


class RuleInputs(TypedDict, total=False):
    """What the rulepack takes by name, all of it optional.

    Attributes:
        columns: names of the columns.
        reference: the exchange's klines: `timestamp`, `open`, `high`, `low`, `close`. None leaves R7 out; a bar that
            they lack counts.
        holes: known holes of the stream that the bars are made of; bars missing in them are excused in R5.
        outages: known holes that excuse dead bars; those of `holes` where none are named.
    """

    columns: BarColumns | None
    reference: pl.DataFrame | None
    holes: Sequence[KnownHole]
    outages: Sequence[KnownHole]


def rulepack(
    frame: pl.DataFrame,
    symbol: str,
    start: datetime,
    end: datetime,
    step: timedelta,
    **given: Unpack[RuleInputs],
) -> RulepackResult:
    """Judge the bars of one symbol.

    Args:
        frame: bars in any order; those outside `[start, end)` are not looked at.
        symbol: for the report.
        start: first bar, UTC.
        end: first bar that is not wanted.
        step: distance of bars; the grid is that of `grid_floor`, whatever the bars stand on.
        given: see `RuleInputs`.

    Raises:
        polars.exceptions.ColumnNotFoundError: a named column is not there.
    """
    names, reference, holes = given.get("columns") or BarColumns(), given.get("reference"), given.get("holes", ())
    time = pl.col(names.time).cast(_TIME)
    timed = frame.with_columns(time.alias(names.time))
    bars = timed.filter(within(names.time, start, end))
    rules = (
        _ordering(bars, names),
        _positive(bars, names),
        _quotes(bars, names),
        _absent(bars, names),
        _grid(bars, names, start, end, step, holes, no_time=timed[names.time].null_count()),
        _spreads(bars, names),
        _parity(bars, names, reference),
    )
    dead: list[DeadBars] = []
    if names.volume in bars.columns:
        dead = dead_bars(bars, (names.time, *names.prices, names.volume), step, given.get("outages", holes))
    return RulepackResult(symbol, start, end, bars.height, rules, dead=tuple(dead))


def _result(
    rule: str, bars: pl.DataFrame, broken: pl.Expr, names: BarColumns, checked: pl.Expr | None = None
) -> RuleResult:
    judged = bars if checked is None else bars.filter(checked)
    wrong = judged.filter(broken.fill_null(value=True))
    return RuleResult(rule, judged.height, wrong.height, _shown(wrong, names))


def _shown(wrong: pl.DataFrame, names: BarColumns) -> pl.DataFrame:
    wanted = [names.time, *names.prices, *(name for name in (names.bid, names.ask, names.spread) if name)]
    return wrong.select(wanted).sort(names.time).head(MAX_OFFENDERS)


def _number(name: str) -> pl.Expr:
    """The column with NaN and infinity as NULL: NaN is greater than every number in polars, NULL breaks each rule."""
    value = pl.col(name).cast(pl.Float64)
    return pl.when(value.is_finite()).then(value)


def _ordering(bars: pl.DataFrame, names: BarColumns) -> RuleResult:
    opened, high, low, close = (_number(name) for name in names.prices)
    return _result("R1", bars, ~((low <= opened) & (low <= close) & (opened <= high) & (close <= high)), names)


def _positive(bars: pl.DataFrame, names: BarColumns) -> RuleResult:
    return _result("R2", bars, ~pl.all_horizontal(_number(name) > 0 for name in names.prices), names)


def _quotes(bars: pl.DataFrame, names: BarColumns) -> RuleResult:
    if names.bid is None or names.ask is None:
        return _not_applicable("R3", bars, names, "the bars have no bid and ask")
    bid, ask = _number(names.bid), _number(names.ask)
    return _result("R3", bars, ~(ask >= bid), names, bid.is_not_null() & ask.is_not_null())


def _absent(bars: pl.DataFrame, names: BarColumns) -> RuleResult:
    return _result("R4", bars, pl.any_horizontal(_number(name).is_null() for name in names.prices), names)


def _grid(
    bars: pl.DataFrame,
    names: BarColumns,
    start: datetime,
    end: datetime,
    step: timedelta,
    holes: Sequence[KnownHole],
    *,
    no_time: int,
) -> RuleResult:
    below = grid_floor(start, step)
    first = below if below == start else below + _unit(step)
    times_of_grid = pl.datetime_range(first, max(first, end), step, closed="left")
    grid = pl.select(times_of_grid.cast(_TIME).alias(names.time))
    times = bars.select(names.time)
    absent = grid.join(times, on=names.time, how="anti")
    in_hole = pl.any_horizontal(within(names.time, h.start, h.end) for h in holes) if holes else pl.lit(value=False)
    excused = absent.filter(in_hole).height
    missing = absent.filter(~in_hole)
    off_grid = times.join(grid, on=names.time, how="anti")
    repeated = times.filter(pl.col(names.time).is_duplicated()).unique().sort(names.time)
    duplicates = times.height - times.n_unique()
    offenders = pl.concat(
        part.with_columns(pl.lit(what).alias("what"))
        for what, part in (("missing", missing), ("off grid", off_grid), ("duplicate", repeated))
    )
    stats = {"missing": missing.height, "duplicates": duplicates, "off_grid": off_grid.height, "excused": excused}
    if no_time:
        stats["no_time"] = no_time
    violations = missing.height + duplicates + off_grid.height + no_time
    return RuleResult("R5", grid.height, violations, offenders.sort(names.time).head(MAX_OFFENDERS), stats)


def _spreads(bars: pl.DataFrame, names: BarColumns) -> RuleResult:
    stats: dict[str, int | float | str] = {"negative": 0, "excessive": 0}
    if names.bid is None or names.ask is None:
        empty = _not_applicable("R6", bars, names, "the bars have no bid and ask")
        return RuleResult("R6", 0, 0, empty.offenders, stats | dict(empty.stats))
    bid, ask = _number(names.bid), _number(names.ask)
    spread = ask - bid if names.spread is None else _number(names.spread)
    judged = bars.filter(bid.is_not_null() & ask.is_not_null() & spread.is_not_null())
    negative = spread < 0
    # In this order, so that exactly 5 % of mid is exactly the limit.
    excessive = spread * 20_000 >= SPREAD_TO_MID_MAX_BPS * (bid + ask)
    counts = judged.select(negative=negative.sum(), excessive=excessive.sum()).row(0, named=True)
    wrong = judged.filter(negative | excessive)
    stats |= counts | {"excessive_pct": 100 * counts["excessive"] / judged.height if judged.height else 0.0}
    return RuleResult("R6", judged.height, sum(counts.values()), _shown(wrong, names), stats)


def _parity(bars: pl.DataFrame, names: BarColumns, reference: pl.DataFrame | None) -> RuleResult:
    if reference is None:
        return _not_applicable("R7", bars, names, "there are no klines to compare with")
    klines = reference.select(
        pl.col("timestamp").cast(_TIME).alias(names.time),
        *(pl.col(theirs).alias(f"kline_{theirs}") for theirs in PRICES),
    )
    both = bars.join(klines, on=names.time, how="inner")
    far: Callable[[str, str], pl.Expr] = lambda ours, theirs: (  # noqa: E731 - two lines of one formula
        (_number(ours) - _number(theirs)).abs()
        > RELATIVE_TOLERANCE * pl.max_horizontal(_number(ours).abs(), _number(theirs).abs())
    ).fill_null(value=True)
    pairs = zip(names.prices, ("kline_open", "kline_high", "kline_low", "kline_close"), strict=True)
    wrong = both.filter(pl.any_horizontal(far(ours, theirs) for ours, theirs in pairs))
    shown = wrong.select(names.time, *names.prices, *(name for name in wrong.columns if name.startswith("kline_")))
    stats = {"only_bars": bars.height - both.height, "only_klines": klines.join(bars, on=names.time, how="anti").height}
    return RuleResult("R7", both.height, wrong.height, shown.sort(names.time).head(MAX_OFFENDERS), stats)


def _not_applicable(rule: str, bars: pl.DataFrame, names: BarColumns, note: str) -> RuleResult:
    return RuleResult(rule, 0, 0, bars.clear().select(names.time), {"note": note})
