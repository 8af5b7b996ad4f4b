"""A generator of lies: sources that say with a sound checksum, with status 200 or over a socket what is not true.

    python -m lake_tests.bench.lies --n 2000 [--seed 7] [--only "spot"]

Belongs here: telling a lie to a lake of two hours (a day, of daily tables), and what became of it. Does not belong
here: what lies there are (`lie_kinds`), single recipes (`lake_tests/integration/test_cases_*`).
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import polars.selectors as cs

from lake_assets.audit.api_parity import compare_partitions
from lake_assets.audit.second_look import look_again
from lake_assets.audit.weight_budget import parity_budget
from lake_assets.build.hours import build_partitions
from lake_assets.inputs.archives import due_archives, ingest_archives
from lake_assets.inputs.rest_answers import RestSource, ask, reachable
from lake_assets.inputs.sources import find_sources
from lake_assets.live.row_files import LiveRows
from lake_assets.schema.column import LIVE
from lake_assets.schema.stream_use import StreamUse
from lake_assets.source import Wanted
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.hour_verdict import CLEAN
from lake_resources.clock import HOUR, MINUTE
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
from lake_tests.bench.lie_kinds import (
    AFTER,
    CONTRACT,
    DAY_OVER,
    FORGOTTEN,
    HEARD_AFTER,
    HOURS,
    LISTINGS,
    NEXT_MONTH,
    OTHER,
    OUTSIDE,
    REST_ALONE,
    Lie,
    draw,
    faults_of,
    heard_rows,
)
from lake_tests.support.simulated_lake import DAY, ON_THE_DAY, PUBLISHED, SYMBOL, Bench, bench_on, exchange

LATER = timedelta(hours=7)


@dataclass
class Score:
    """What became of the lies told so far.

    Attributes:
        found_later: of those found, lies that were found by comparing with a second source after the build.
        no_second_source: values that nobody else ever states, by the name of the lie; they cannot be found.
    """

    told: int = 0
    found: int = 0
    found_later: int = 0
    harmless: int = 0
    no_second_source: list[str] = field(default_factory=list)
    clean_but_wrong: list[str] = field(default_factory=list)
    better_replaced: list[str] = field(default_factory=list)
    not_converged: list[str] = field(default_factory=list)
    false_alarms: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The figures, and the lies that got through."""
        bad = (self.clean_but_wrong, self.better_replaced, self.not_converged, self.false_alarms)
        names = ("clean-but-wrong", "better-replaced", "not converged", "false alarms")
        return [
            f"lies told {self.told}, found {self.found} ({self.found_later} of them by a second look), "
            f"harmless {self.harmless}, no second source {len(self.no_second_source)}, "
            + ", ".join(f"{name} {len(each)}" for name, each in zip(names, bad, strict=True)),
            *(f"  {name}: {text}" for name, each in zip(names, bad, strict=True) for text in each),
        ]


@dataclass
class Lakes:
    """Lakes to tell lies to, each made once and copied: all that is needed of the other streams is in them.

    Attributes:
        sim: the exchange.
        root: folder of the lakes.
        truth: rows of the partitions in a lake that nobody lied to, by table and symbol.
        honest: hashes of the partitions of lakes that nobody lied to, by what they met.
        settings: of these lakes, but for their folder.
        trades: what was traded, for those who heard it.
        heard: live rows of those, by what is told of them and of which column.
    """

    sim: SimulatorServer
    root: Path
    truth: dict[tuple[str, str], pl.DataFrame] = field(default_factory=dict)
    honest: dict[tuple[str, ...], dict[datetime, str]] = field(default_factory=dict)
    settings: LakeSettings | None = None
    trades: pl.DataFrame = field(default_factory=pl.DataFrame)
    heard: dict[tuple[str, str], pl.DataFrame] = field(default_factory=dict)

    @contextmanager
    def copy(self, lie: Lie) -> Iterator[Bench]:
        """A lake that is about to meet a lie."""
        base = self.root / "-".join(lie.lake)
        if not base.exists():
            self._make(base, lie)
        with tempfile.TemporaryDirectory(dir=self.root) as folder:
            shutil.copytree(base, folder, dirs_exist_ok=True)
            with self.open(Path(folder), lie) as bench:
                yield bench

    @contextmanager
    def open(self, root: Path, lie: Lie) -> Iterator[Bench]:
        """A lake on the table that a lie is about, at the time when it meets it."""
        with bench_on(self.sim, root, settings=self.settings, spot_rest_url=self.sim.base_url) as bench:
            self.settings = bench.settings
            bench.lake = bench.lake.of(lie.about.table)
            yield bench.at(lie.now)

    def bytes_of(self, lie: Lie, *, looked: bool) -> dict[datetime, str]:
        """Hashes of the partitions of a lake that met the same sources at the same times, and no lie.

        Args:
            lie: what is told to the other lake.
            looked: that one was looked at a second time.
        """
        key = (*lie.lake, str(looked), str(lie.what == OUTSIDE))
        if key not in self.honest:
            with self.copy(lie) as bench:
                _arm(bench, lie, told=False)
                self.hear(bench, lie, told=False)
                _build(bench, lie, "at once")
                if looked:
                    _second_look(bench, lie)
                _learn(self, bench, lie)
                self.honest[key] = _committed(bench, lie)
        return self.honest[key]

    def hear(self, bench: Bench, lie: Lie, *, told: bool = True) -> None:
        """Have a collector deliver what it heard, where the lie is told by one."""
        if lie.source == "socket":
            key = (lie.what, lie.column) if told else ("", "")
            if key not in self.heard:
                self.heard[key] = heard_rows(self.trades, lie if told else None)
            LiveRows(bench.lake.catalog).merge(lie.symbol, self.heard[key])

    def _make(self, base: Path, lie: Lie) -> None:
        with self.open(base, lie) as bench:
            if lie.about.table is not UM_MINUTE:
                if lie.order == AFTER:
                    _build(bench.at(DAY_OVER), lie, "at once")
                return
            if self.trades.is_empty():
                window = (HOURS[0] - 10 * MINUTE, HOURS[-1] + HOUR + 10 * MINUTE)
                self.trades = bench.at(ON_THE_DAY).lake.rest.fetch("agg_trades", lie.symbol, *window)
            if lie.order == AFTER:
                _build(bench.at(ON_THE_DAY), lie, "at once")
            bench.at(lie.now)
            if lie.order == HEARD_AFTER:
                _build(bench, lie, "at once")
                return
            told = {each.subject for each in lie.all}
            uses = {name: use for name, use in _uses(bench).items() if name not in told or lie.source != "archive"}
            wanted = due_archives(bench.lake, lie.symbol, uses, HOURS, bench.now)
            list(ingest_archives(bench.lake, lie.symbol, wanted))
            for name, use in uses.items():
                if name == lie.subject:
                    continue
                if name != "agg_trades":
                    find_sources(bench.lake, Wanted(lie.symbol, HOURS, bench.now, bench.reports.append, use))
                elif lie.order == REST_ALONE:
                    own = [hour for hour in HOURS if reachable(bench.lake, use, hour, bench.now)]
                    ask(
                        bench.lake,
                        Wanted(lie.symbol, own, bench.now, bench.reports.append, use),
                        (RestSource(bench.lake.rest),),
                    )


def tell(lakes: Lakes, lie: Lie, score: Score) -> None:
    """Tell one lie to a lake, and note what became of it, also once the truth is there."""
    truth = _truth(lakes, lie)
    with lakes.copy(lie) as bench:
        score.told += 1
        held = _rows(bench, lie) if lie.order in (AFTER, HEARD_AFTER) else None
        _arm(bench, lie)
        lakes.hear(bench, lie)
        _build(bench, lie, lie.way)
        outcome = _outcome(bench, lie, truth)
        if held is not None and _lost(held, _rows(bench, lie), truth, lie.about.table.layout.time_column):
            score.better_replaced.append(str(lie))
        looked = outcome == "deceived"
        if looked:
            _second_look(bench, lie)
            outcome = _outcome(bench, lie, truth)
            score.found_later += outcome == "found"
        if outcome == "deceived" and lie.has_no_second_source:
            score.no_second_source.append(str(lie))
        elif outcome == "deceived":
            score.clean_but_wrong.append(str(lie))
        score.found += outcome == "found"
        score.harmless += outcome == "harmless"
        met_at = bench.now
        honest = lakes.bytes_of(lie, looked=looked)
        if outcome != "harmless" or _committed(bench, lie) != honest:
            _learn(lakes, bench.at(met_at), lie)
            verdicts = _verdicts(bench, lie)
            if set(verdicts.values()) - CLEAN or _committed(bench, lie) != honest:
                score.not_converged.append(f"{lie} ({', '.join(sorted(set(verdicts.values())))})")


def _outcome(bench: Bench, lie: Lie, truth: pl.DataFrame) -> str:
    """`deceived`: a partition is clean and wrong; `found`: one is not clean, or not there; `harmless`: all is well."""
    rows, verdicts = _rows(bench, lie), _verdicts(bench, lie)
    step = lie.about.table.layout.step
    wrong = {start for start in lie.starts if _wrong(rows, truth, start, start + step, lie)}
    if any(verdicts.get(start) in CLEAN for start in wrong):
        return "deceived"
    return "found" if set(verdicts.values()) - CLEAN or len(verdicts) < len(lie.starts) else "harmless"


def _second_look(bench: Bench, lie: Lie) -> None:
    """What schedules do by themselves: the archive of the next day, and the comparisons with the exchange of now."""
    if lie.subject == "spot trades":
        # The lie is in the lake; now somebody else speaks, too.
        bench.sim.faults.clear()
        bench.fault("missing", "spot/daily/klines/")
        _build(bench, lie, "at once")
    if lie.source in ("REST", "socket"):
        published = NEXT_MONTH if lie.subject == "funding_rate" else PUBLISHED
        _build(bench.at(max(bench.now, published)), lie, "at once")
    budget = parity_budget(bench.settings, clock=bench.sim.clock.now, sleep=lambda _: None)
    compare_partitions(bench.lake, lie.symbol, lie.starts, bench.now, budget)
    look_again(bench.lake, lie.symbol, [DAY.date()], bench.now, budget)


def _learn(lakes: Lakes, bench: Bench, lie: Lie) -> None:
    """The truth comes: the archive is published again, REST is asked again, records are folded again."""
    bench.sim.faults.clear()
    lakes.hear(bench, lie, told=False)
    if lie.source == "socket" or lie.what == OUTSIDE:
        # An answer with a row for every instant is asked for no more: the archive is what comes.
        bench.at(max(bench.now, NEXT_MONTH if lie.subject == "funding_rate" else PUBLISHED))
    bench.at(bench.now + LATER)
    if lie.subject == "spot trades":
        bench.fault("missing", "spot/daily/klines/")
    if lie.source == "archive":
        period = "2026-11" if lie.subject == "funding_rate" else f"{DAY:%Y-%m-%d}"
        list(ingest_archives(bench.lake, lie.symbol, [(each.about.stream, period) for each in lie.all]))
    list(build_partitions(bench.lake, lie.symbol, lie.starts, now=bench.now, report=lambda _: None, force=True))
    if lie.about.table is not UM_MINUTE:
        budget = parity_budget(bench.settings, clock=bench.sim.clock.now, sleep=lambda _: None)
        compare_partitions(bench.lake, lie.symbol, lie.starts, bench.now, budget)


def sound(sim: SimulatorServer, root: Path, score: Score) -> pl.DataFrame:
    """Lakes that nobody lies to: a verdict that is not clean is a false alarm. Returns the rows of the hours."""
    rows = UM_MINUTE.empty()
    lie = Lie("klines_1m", "archive", "", "", "", "", None)
    for now in (ON_THE_DAY, PUBLISHED, FORGOTTEN):
        with bench_on(sim, root / f"{now:%d%H}") as bench:
            _build(bench.at(now), lie, "hour by hour")
            found = {hour: kind for hour, kind in _verdicts(bench, lie).items() if kind not in CLEAN}
            _second_look(bench, lie)
            found |= {hour: kind for hour, kind in _verdicts(bench, lie).items() if kind not in CLEAN}
            score.false_alarms += [f"{now}: {found}"] if found else []
            rows = _rows(bench, lie) if now == PUBLISHED else rows
    return rows


def run(count: int, seed: int, only: str = "", told: Callable[[Score], None] = lambda _: None) -> Score:
    """Tell `count` lies, drawn from `seed`; `only` those whose text holds a word. An interrupt ends it early."""
    chance, score = random.Random(seed), Score()
    # What is made here lives for a moment, so it need not wait for a disk.
    memory = Path("/dev/shm")
    with (
        exchange(symbols=(SYMBOL, OTHER, *LISTINGS, CONTRACT), listings=LISTINGS) as sim,
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
    ):
        lakes = Lakes(sim, Path(folder))
        lakes.truth[UM_MINUTE.layout.name, SYMBOL] = sound(sim, lakes.root / "sound", score)
        with suppress(KeyboardInterrupt):
            while score.told < count:
                lie = draw(chance)
                if only in str(lie):
                    tell(lakes, lie, score)
                    told(score)
    return score


def _truth(lakes: Lakes, lie: Lie) -> pl.DataFrame:
    """Rows of the partitions in a lake that nobody lied to; of spot from the exchange's own klines."""
    key = lie.about.table.layout.name, lie.symbol
    if key not in lakes.truth:
        spot = lie.about.table is not UM_MINUTE
        with tempfile.TemporaryDirectory(dir=lakes.root) as folder, lakes.open(Path(folder), lie) as bench:
            if spot:
                bench.fault("missing", "spot/daily/")
            _build(bench if spot else bench.at(PUBLISHED), lie, "at once")
            lakes.truth[key] = _rows(bench, lie)
    return lakes.truth[key]


def _uses(bench: Bench) -> dict[str, StreamUse]:
    return UM_MINUTE.uses_carrying(bench.lake.max_ffill_minutes)


def _arm(bench: Bench, lie: Lie, *, told: bool = True) -> None:
    for fault in faults_of(lie, told=told):
        bench.sim.faults.add(fault)
    if lie.subject == "spot trades":
        list(ingest_archives(bench.lake, lie.symbol, [(lie.about.stream, f"{DAY:%Y-%m-%d}")]))


def _build(bench: Bench, lie: Lie, way: str) -> None:
    # What was heard late is no other input: somebody asks for the hours.
    force = lie.order == HEARD_AFTER
    groups = [[start] for start in lie.starts] if way == "hour by hour" else [list(lie.starts)]
    for starts in [*groups, *(groups if way == "rebuilt" else [])]:
        list(build_partitions(bench.lake, lie.symbol, starts, now=bench.now, report=bench.reports.append, force=force))


def _committed(bench: Bench, lie: Lie) -> dict[datetime, str]:
    return bench.committed(lie.starts[0], lie.starts[-1] + lie.about.table.layout.step, lie.symbol)


def _rows(bench: Bench, lie: Lie) -> pl.DataFrame:
    """Committed rows; those of minutes without what only a collector knows."""
    table = lie.about.table
    frames = [bench.rows(start, lie.symbol) for start in _verdicts(bench, lie)]
    rows = pl.concat(frames) if frames else table.empty()
    return rows.select(_COMPARED) if table is UM_MINUTE else rows


_COMPARED = [
    "timestamp",
    *(
        column.name
        for column in UM_MINUTE.columns
        if column.stream not in (LIVE, "book_ticker") and column.group != "coverage" and column.name != "timestamp"
    ),
]


def _verdicts(bench: Bench, lie: Lie) -> dict[datetime, str]:
    step = lie.about.table.layout.step
    rows = bench.lake.ledger.partitions(lie.symbol, lie.starts[0], lie.starts[-1] + step)
    return {row.start: str(row.verdict) for row in rows}


def _wrong(rows: pl.DataFrame, truth: pl.DataFrame, start: datetime, end: datetime, lie: Lie) -> bool:
    """Whether committed rows of a partition are others than the truth; nothing committed tells nothing."""
    time = pl.col(lie.about.table.layout.time_column)
    own, wanted = (frame.filter(time.is_between(start, end, closed="left")) for frame in (rows, truth))
    if lie.source == "socket" or lie.subject == "spot trades":
        # Sums of doubles in another order differ in the last digits, nothing more.
        own, wanted = (frame.with_columns(cs.float().round_sig_figs(12)) for frame in (own, wanted))
    return own.height > 0 and not own.equals(wanted)


def _lost(before: pl.DataFrame, after: pl.DataFrame, truth: pl.DataFrame, time: str) -> bool:
    """Whether a value that was the truth is another one now; rows are known by a column of time."""
    names = [name for name in truth.columns if name != time]
    joined = truth.join(before, on=time, how="left", suffix=" before", maintain_order="left").join(
        after, on=time, how="left", suffix=" after", maintain_order="left"
    )
    gone = [
        (pl.col(f"{name} before").is_not_null() & pl.col(f"{name} before").eq_missing(pl.col(name))
         & pl.col(f"{name} after").ne_missing(pl.col(name))).any().alias(name)
        for name in names
    ]  # fmt: skip
    return any(joined.select(gone).row(0))


def _each_hundred(score: Score) -> None:
    if score.told % 100 == 0:
        sys.stderr.write("\n".join(score.lines()) + "\n")


def main() -> None:
    """Tell lies and print what became of them; exit code 1 where one got through."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", default="", help="only lies whose text holds this")
    given = parser.parse_args()
    began = time.process_time()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    score = run(given.n, given.seed, given.only, _each_hundred)
    spent = time.process_time() - began
    grouped = Counter(text.split(",")[0] for text in score.clean_but_wrong + score.better_replaced)
    lines = [
        *score.lines(),
        f"CPU {spent / max(score.told, 1):.2f} s per lie",
        *(f"  {count} x {text}" for text, count in grouped.most_common(10)),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    if score.clean_but_wrong or score.better_replaced or score.not_converged or score.false_alarms:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
