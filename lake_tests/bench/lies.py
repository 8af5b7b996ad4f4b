"""A generator of lies: sources that say with a sound checksum, or with status 200, what is not true.

    python -m lake_tests.bench.lies --n 2000 [--seed 7]

Belongs here: telling a lie to a lake of two hours, and what became of it. Does not belong here: single recipes
(`lake_tests/integration/test_cases_*`).
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import polars as pl

from lake_assets.build.hours import build_hours
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.hour_verdict import CLEAN
from lake_resources.clock import HOUR, MINUTE
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import DAY, ON_THE_DAY, PUBLISHED, SYMBOL, Bench, bench_on, exchange

HOURS = (DAY + 9 * HOUR, DAY + 10 * HOUR)
FORGOTTEN = PUBLISHED + 48 * HOUR
LATER = timedelta(hours=7)
_SOURCES = {
    "agg_trades": ("daily/aggTrades/", "/fapi/v1/aggTrades"),
    "klines_1m": ("daily/klines/", "/fapi/v1/klines"),
    "mark_price_klines_1m": ("daily/markPriceKlines/", "/fapi/v1/markPriceKlines"),
    "index_price_klines_1m": ("daily/indexPriceKlines/", "/fapi/v1/indexPriceKlines"),
    "premium_index_klines_1m": ("daily/premiumIndexKlines/", "/fapi/v1/premiumIndexKlines"),
    "metrics": ("daily/metrics/", "/futures/data/"),
}
_VALUES = {"agg_trades": ("quantity", "price"), "klines_1m": ("volume", "quote_volume", "count")}
"""Columns whose values another stream states as well; of the others only rows can be told from what is published."""
_ROW_LIES = ("head", "middle", "tail", "all", "doubled", "reordered")
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
    kinds = [*_ROW_LIES, *(("zeroed", "scaled") if stream in _VALUES and source == "archive" else ())]
    what = chance.choice(kinds)
    column = chance.choice(_VALUES[stream]) if what in ("zeroed", "scaled") else ""
    order = chance.choice(_ORDERS) if source == "archive" else "REST alone"
    times = chance.choice((1, 2, None)) if source == "REST" else None
    return Lie(stream, source, what, column, order, chance.choice(_WAYS), times)


def truth_of(sim: SimulatorServer, root: Path) -> pl.DataFrame:
    """The rows of the hours in a lake that nobody lied to."""
    with bench_on(sim, root) as bench:
        bench.at(PUBLISHED).build(HOURS)
        return _rows(bench)


def tell(sim: SimulatorServer, root: Path, lie: Lie, truth: pl.DataFrame, score: Score) -> None:
    """Tell one lie to a new lake, and note what became of it, also once the truth is there."""
    with bench_on(sim, root) as bench:
        score.told += 1
        held = None
        if lie.order == "after REST":
            _build(bench.at(ON_THE_DAY), "at once")
            held = _rows(bench)
        _arm(bench, lie)
        now = {"REST alone": ON_THE_DAY, "archive alone": FORGOTTEN}.get(lie.order, PUBLISHED)
        _build(bench.at(now), lie.way)
        after, verdicts = _rows(bench), _verdicts(bench)
        wrong = {hour for hour in HOURS if _wrong(after, truth, hour)}
        deceived = [hour for hour in wrong if verdicts.get(hour) in CLEAN]
        score.clean_but_wrong += [str(lie)] if deceived else []
        score.found += bool(set(verdicts.values()) - CLEAN) or len(verdicts) < len(HOURS)
        score.harmless += not wrong and set(verdicts.values()) <= CLEAN and len(verdicts) == len(HOURS)
        if held is not None and _lost(held, after, truth):
            score.better_replaced.append(str(lie))
        sim.faults.clear()
        bench.at(bench.now + LATER)
        if lie.source == "archive":
            bench.archives(lie.stream, f"{DAY:%Y-%m-%d}")
        list(build_hours(bench.lake, SYMBOL, HOURS, now=bench.now, report=lambda _: None, force=True))
        if any(_wrong(_rows(bench), truth, hour) for hour in HOURS) or set(_verdicts(bench).values()) - CLEAN:
            score.not_converged.append(f"{lie} ({_verdicts(bench)})")


def sound(sim: SimulatorServer, root: Path, score: Score) -> None:
    """Lakes that nobody lies to: a verdict that is not clean is a false alarm."""
    for now in (ON_THE_DAY, PUBLISHED, FORGOTTEN):
        with bench_on(sim, root / f"{now:%d%H}") as bench:
            _build(bench.at(now), "hour by hour")
            found = {hour: kind for hour, kind in _verdicts(bench).items() if kind not in CLEAN}
            score.false_alarms += [f"{now}: {found}"] if found else []


def run(count: int, seed: int) -> Score:
    """Tell `count` lies, drawn from `seed`."""
    chance, score = random.Random(seed), Score()
    with exchange() as sim, tempfile.TemporaryDirectory() as folder:
        truth = truth_of(sim, Path(folder) / "truth")
        sound(sim, Path(folder) / "sound", score)
        for _ in range(count):
            with tempfile.TemporaryDirectory(dir=folder) as root:
                tell(sim, Path(root), draw(chance), truth, score)
    return score


def _arm(bench: Bench, lie: Lie) -> None:
    archive, rest = _SOURCES[lie.stream]
    path = archive + ".*2026-11-18" if lie.source == "archive" else rest
    spans = {
        "head": (DAY, HOURS[0] + 20 * MINUTE),
        "middle": (HOURS[0] + 20 * MINUTE, HOURS[0] + 45 * MINUTE),
        "tail": (HOURS[0] + 29 * MINUTE, DAY + 24 * HOUR),
        "all": (DAY, DAY + 24 * HOUR),
    }
    start, end = spans.get(lie.what, spans["middle"])
    kind = {"doubled": "duplicated", "reordered": "unordered", "zeroed": "scaled", "scaled": "scaled"}
    given: dict[str, object] = {"start": start, "end": end, "times": lie.times}
    if lie.column:
        given |= {"column": lie.column, "by": 0.0 if lie.what == "zeroed" else 1.5, "every": 1}
    bench.fault(kind.get(lie.what, "missing_minutes"), path, **given)


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


def _verdicts(bench: Bench) -> dict[object, str]:
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
    score = run(given.n, given.seed)
    grouped = Counter(text.split(",")[0] for text in score.clean_but_wrong + score.better_replaced)
    lines = [*score.lines(), *(f"  {count} x {text}" for text, count in grouped.most_common(10))]
    sys.stdout.write("\n".join(lines) + "\n")
    if score.clean_but_wrong or score.better_replaced or score.not_converged or score.false_alarms:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
