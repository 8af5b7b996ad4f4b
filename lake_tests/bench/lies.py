"""A generator of lies: sources that say with a sound checksum, or with status 200, what is not true.

    python -m lake_tests.bench.lies --n 2000 [--seed 7]

Belongs here: telling a lie to a lake of two hours, and what became of it. Does not belong here: single recipes
(`lake_tests/integration/test_cases_*`).
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from lake_assets.build.hours import build_partitions
from lake_assets.inputs.archives import due_archives, ingest_archives
from lake_assets.inputs.rest_answers import RestSource, ask, reachable
from lake_assets.inputs.sources import find_sources
from lake_assets.schema.stream_use import StreamUse
from lake_assets.source import Wanted
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.hour_verdict import CLEAN
from lake_resources.clock import HOUR, MINUTE
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import DAY, ON_THE_DAY, PUBLISHED, SYMBOL, Bench, bench_on, exchange

HOURS = (DAY + 9 * HOUR, DAY + 10 * HOUR)
FORGOTTEN = PUBLISHED + 48 * HOUR
NEXT_MONTH = datetime(2026, 12, 3, 12, tzinfo=UTC)
"""When the month's file of settlements is published."""
LATER = timedelta(hours=7)
_SOURCES = {
    "agg_trades": ("daily/aggTrades/.*2026-11-18", "/fapi/v1/aggTrades"),
    "klines_1m": ("daily/klines/.*2026-11-18", "/fapi/v1/klines"),
    "mark_price_klines_1m": ("daily/markPriceKlines/.*2026-11-18", "/fapi/v1/markPriceKlines"),
    "index_price_klines_1m": ("daily/indexPriceKlines/.*2026-11-18", "/fapi/v1/indexPriceKlines"),
    "premium_index_klines_1m": ("daily/premiumIndexKlines/.*2026-11-18", "/fapi/v1/premiumIndexKlines"),
    "metrics": ("daily/metrics/.*2026-11-18", "/futures/data/"),
    "funding_rate": ("monthly/fundingRate/.*2026-11", "/fapi/v1/fundingRate"),
}
_BARS = {"open": "1", "high": "2", "low": "3", "close": "4"}
_VALUES: dict[str, dict[str, str]] = {
    "agg_trades": {"quantity": "q", "price": "p"},
    "klines_1m": {"volume": "5", "quote_volume": "7", "count": "8", "high": "2", "taker_buy_volume": "9"},
    "mark_price_klines_1m": _BARS,
    "index_price_klines_1m": _BARS,
    "premium_index_klines_1m": _BARS,
    "metrics": {"sum_open_interest": "sumOpenInterest", "count_long_short_ratio": "longShortRatio"},
    "funding_rate": {"last_funding_rate": "fundingRate"},
}
"""Columns whose values lie, and their elements in a row of REST."""
_OTHERS_STATE = ("agg_trades", "klines_1m")
"""Streams whose values another stream states as well. A value of the others that one source alone states is not told
from what is published: such a lie is told where two sources are asked."""
_ROW_LIES = ("head", "middle", "tail", "all", "nothing at all", "doubled", "reordered")
_VALUE_LIES = ("zeroed", "scaled", "shifted")
_ORDERS = ("archive alone", "after REST", "beside REST")
_WAYS = ("at once", "hour by hour", "rebuilt")


@dataclass(frozen=True)
class Lie:
    """One lie: which source of which stream says what, and when and how the lake meets it."""

    stream: str
    source: str
    what: str
    column: str
    order: str
    way: str
    times: int | None

    def __str__(self) -> str:
        value = f" {self.column}" if self.column else ""
        return f"{self.stream} {self.source}: {self.what}{value}, {self.order}, {self.way}, times {self.times}"

    @property
    def now(self) -> datetime:
        """When the lake meets it."""
        if self.stream == "funding_rate" and self.source == "archive":
            return NEXT_MONTH
        return {"REST alone": ON_THE_DAY, "archive alone": FORGOTTEN}.get(self.order, PUBLISHED)


@dataclass
class Score:
    """What became of the lies told so far."""

    told: int = 0
    found: int = 0
    harmless: int = 0
    clean_but_wrong: list[str] = field(default_factory=list)
    better_replaced: list[str] = field(default_factory=list)
    not_converged: list[str] = field(default_factory=list)
    false_alarms: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The figures, and the lies that got through."""
        bad = (self.clean_but_wrong, self.better_replaced, self.not_converged, self.false_alarms)
        names = ("clean-but-wrong", "better-replaced", "not converged", "false alarms")
        return [
            f"lies told {self.told}, found {self.found}, harmless {self.harmless}, "
            + ", ".join(f"{name} {len(each)}" for name, each in zip(names, bad, strict=True)),
            *(f"  {name}: {text}" for name, each in zip(names, bad, strict=True) for text in each),
        ]


def draw(chance: random.Random) -> Lie:
    """A lie."""
    stream = chance.choice(list(_SOURCES))
    source = chance.choice(("archive", "REST"))
    order = chance.choice(_ORDERS) if source == "archive" else "REST alone"
    told_twice = stream in _OTHERS_STATE or order == "after REST"
    what = chance.choice([*_ROW_LIES, *(_VALUE_LIES if told_twice else ())])
    if what == "nothing at all" and source == "REST":
        what = "all"
    column = chance.choice(list(_VALUES[stream])) if what in ("zeroed", "scaled") else ""
    times = chance.choice((1, 2, None)) if source == "REST" else None
    return Lie(stream, source, what, column, order, chance.choice(_WAYS), times)


@dataclass
class Lakes:
    """Lakes to tell lies to, each made once and copied: all that is needed of the other streams is in them.

    Attributes:
        sim: the exchange.
        root: folder of the lakes.
        truth: rows of the hours in a lake that nobody lied to.
        honest: hashes of the hours of lakes that nobody lied to, by what they met.
        settings: of these lakes, but for their folder.
    """

    sim: SimulatorServer
    root: Path
    truth: pl.DataFrame = field(default_factory=UM_MINUTE.empty)
    honest: dict[tuple[str, ...], dict[datetime, str]] = field(default_factory=dict)
    settings: LakeSettings | None = None

    @contextmanager
    def copy(self, lie: Lie) -> Iterator[Bench]:
        """A lake that is about to meet a lie."""
        base = self.root / f"{lie.stream}-{lie.source}-{lie.order}"
        if not base.exists():
            self._make(base, lie)
        with tempfile.TemporaryDirectory(dir=self.root) as folder:
            shutil.copytree(base, folder, dirs_exist_ok=True)
            with bench_on(self.sim, Path(folder), settings=self.settings) as bench:
                yield bench.at(lie.now)

    def bytes_of(self, lie: Lie) -> dict[datetime, str]:
        """Hashes of the hours of a lake that met the same sources at the same times, and no lie."""
        key = (lie.stream, lie.source, lie.order)
        if key not in self.honest:
            with self.copy(lie) as bench:
                _build(bench, "at once")
                _learn(bench, lie)
                self.honest[key] = bench.committed()
        return self.honest[key]

    def _make(self, base: Path, lie: Lie) -> None:
        with bench_on(self.sim, base) as bench:
            self.settings = bench.settings
            if lie.order == "after REST":
                _build(bench.at(ON_THE_DAY), "at once")
            uses = {name: use for name, use in _uses(bench).items() if name != lie.stream or lie.source == "REST"}
            bench.at(lie.now)
            wanted = due_archives(bench.lake, SYMBOL, uses, HOURS, bench.now)
            list(ingest_archives(bench.lake, SYMBOL, wanted))
            for name, use in uses.items():
                if name == lie.stream:
                    continue
                if name != "agg_trades":
                    find_sources(bench.lake, SYMBOL, use, HOURS, bench.now, bench.reports.append)
                elif lie.order == "REST alone":
                    own = [hour for hour in HOURS if reachable(bench.lake, use, hour, bench.now)]
                    ask(
                        bench.lake,
                        Wanted(SYMBOL, own, bench.now, bench.reports.append, use),
                        (RestSource(bench.lake.rest),),
                    )


def tell(lakes: Lakes, lie: Lie, score: Score) -> None:
    """Tell one lie to a lake, and note what became of it, also once the truth is there."""
    truth = lakes.truth
    with lakes.copy(lie) as bench:
        score.told += 1
        held = _rows(bench) if lie.order == "after REST" else None
        _arm(bench, lie)
        _build(bench, lie.way)
        after, verdicts = _rows(bench), _verdicts(bench)
        wrong = {hour for hour in HOURS if _wrong(after, truth, hour)}
        deceived = [hour for hour in wrong if verdicts.get(hour) in CLEAN]
        score.clean_but_wrong += [str(lie)] if deceived else []
        score.found += bool(set(verdicts.values()) - CLEAN) or len(verdicts) < len(HOURS)
        score.harmless += not wrong and set(verdicts.values()) <= CLEAN and len(verdicts) == len(HOURS)
        if held is not None and _lost(held, after, truth):
            score.better_replaced.append(str(lie))
        bench.sim.faults.clear()
        _learn(bench, lie)
        verdicts = _verdicts(bench)
        if set(verdicts.values()) - CLEAN or bench.committed() != lakes.bytes_of(lie):
            score.not_converged.append(f"{lie} ({', '.join(sorted(set(verdicts.values())))})")


def _learn(bench: Bench, lie: Lie) -> None:
    """The truth comes: the archive is published again, and REST is asked again."""
    bench.at(bench.now + LATER)
    if lie.source == "archive":
        bench.archives(lie.stream, "2026-11" if lie.stream == "funding_rate" else f"{DAY:%Y-%m-%d}")
    list(build_partitions(bench.lake, SYMBOL, HOURS, now=bench.now, report=lambda _: None, force=True))


def sound(sim: SimulatorServer, root: Path, score: Score) -> pl.DataFrame:
    """Lakes that nobody lies to: a verdict that is not clean is a false alarm. Returns the rows of the hours."""
    rows = UM_MINUTE.empty()
    for now in (ON_THE_DAY, PUBLISHED, FORGOTTEN):
        with bench_on(sim, root / f"{now:%d%H}") as bench:
            _build(bench.at(now), "hour by hour")
            found = {hour: kind for hour, kind in _verdicts(bench).items() if kind not in CLEAN}
            score.false_alarms += [f"{now}: {found}"] if found else []
            rows = _rows(bench) if now == PUBLISHED else rows
    return rows


def run(count: int, seed: int) -> Score:
    """Tell `count` lies, drawn from `seed`."""
    chance, score = random.Random(seed), Score()
    # What is made here lives for a moment, so it need not wait for a disk.
    memory = Path("/dev/shm")
    with exchange() as sim, tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        lakes = Lakes(sim, Path(folder))
        lakes.truth = sound(sim, lakes.root / "sound", score)
        for _ in range(count):
            tell(lakes, draw(chance), score)
    return score


def _uses(bench: Bench) -> dict[str, StreamUse]:
    return UM_MINUTE.uses_carrying(bench.lake.max_ffill_minutes)


def _arm(bench: Bench, lie: Lie) -> None:
    archive, rest = _SOURCES[lie.stream]
    path = archive if lie.source == "archive" else rest
    month = DAY.replace(day=1)
    first, last = (month, month + timedelta(days=30)) if lie.stream == "funding_rate" else (DAY, DAY + 24 * HOUR)
    spans = {
        "head": (first, HOURS[0] + 20 * MINUTE),
        "middle": (HOURS[0] + 20 * MINUTE, HOURS[0] + 45 * MINUTE),
        "tail": (HOURS[0] + 29 * MINUTE, last),
        "all": (first, last),
        "nothing at all": (first, last),
    }
    if lie.stream == "funding_rate":
        spans |= {"middle": (DAY + 7 * HOUR, DAY + 9 * HOUR), "tail": (DAY + 7 * HOUR, last)}
    start, end = spans.get(lie.what, spans["middle"])
    kind = {"doubled": "duplicated", "reordered": "unordered", "zeroed": "scaled"}.get(lie.what, lie.what)
    given: dict[str, object] = {"start": start, "end": end, "times": lie.times, "every": 1}
    if lie.column:
        column = lie.column if lie.source == "archive" else _VALUES[lie.stream][lie.column]
        given |= {"column": column, "by": 0.0 if lie.what == "zeroed" else 1.5}
    if lie.what == "nothing at all":
        bench.fault("headerless", path)
    bench.fault("missing_minutes" if kind in spans else kind, path, **given)


def _build(bench: Bench, way: str) -> None:
    if way == "hour by hour":
        for hour in HOURS:
            bench.build([hour])
    else:
        bench.build(HOURS)
    if way == "rebuilt":
        bench.build(HOURS)


def _rows(bench: Bench) -> pl.DataFrame:
    held = [row.start for row in bench.lake.ledger.partitions(SYMBOL, HOURS[0], HOURS[-1] + HOUR)]
    frames = [bench.rows(hour) for hour in held]
    return pl.concat(frames) if frames else UM_MINUTE.empty()


def _verdicts(bench: Bench) -> dict[datetime, str]:
    rows = bench.lake.ledger.partitions(SYMBOL, HOURS[0], HOURS[-1] + HOUR)
    return {row.start: str(row.verdict) for row in rows}


def _wrong(rows: pl.DataFrame, truth: pl.DataFrame, hour: object) -> bool:
    """Whether committed rows of an hour are others than the truth; nothing committed tells nothing."""
    own, wanted = (frame.filter(pl.col("timestamp").dt.truncate("1h") == hour) for frame in (rows, truth))
    return own.height > 0 and not own.equals(wanted)


def _lost(before: pl.DataFrame, after: pl.DataFrame, truth: pl.DataFrame) -> bool:
    """Whether a value that was the truth is another one now."""
    for name in truth.drop("timestamp").columns:
        had = before.select("timestamp", name).join(truth.select("timestamp", right=name), on="timestamp", how="inner")
        had = had.filter(pl.col(name).is_not_null() & pl.col(name).eq_missing(pl.col("right")))
        now = had.join(after.select("timestamp", now=name), on="timestamp", how="left")
        if now.filter(pl.col("now").ne_missing(pl.col("right"))).height:
            return True
    return False


def main() -> None:
    """Tell lies and print what became of them; exit code 1 where one got through."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    began = time.process_time()
    score = run(given.n, given.seed)
    spent = time.process_time() - began
    grouped = Counter(text.split(",")[0] for text in score.clean_but_wrong + score.better_replaced)
    lines = [
        *score.lines(),
        f"CPU {spent / max(given.n, 1):.2f} s per lie",
        *(f"  {count} x {text}" for text, count in grouped.most_common(10)),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    if score.clean_but_wrong or score.better_replaced or score.not_converged or score.false_alarms:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
