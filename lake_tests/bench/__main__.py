"""`make bench`: one line per target, `id measured target ok|short`. Exits 0 whatever they say.

Belongs here: the targets, what runs beside what, medians and ratios. Does not belong here: the measured work.
What is compared runs alternately in one session; CPU seconds are the sound number, wall seconds take what else the
machine does. docs/benchmarks.md says what each figure means.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory

from lake_tests.bench.collector import BASES
from lake_tests.bench.processes import COMPETITORS, SCRATCH, Figures, make, measure, middle, served
from lake_tests.bench.spot import archive_path

DAY, BOOK_DAY, MONTH = "2024-06-12", "2024-03-06", "2024-05-01"
_DAYS, _MONTHS, _SPOT = SCRATCH / "day", SCRATCH / "month", SCRATCH / "spot"
_AGG_TRADES = f"data/futures/um/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-{DAY}.zip"
_HOURS = 168
"""Hours of one Dagster run of a backfill: the default of `LAKE_HOURS_PER_RUN`."""
_COMMIT_DAYS = 417
"""The first 10,000 hours."""
_began = time.monotonic()


def say(text: str) -> None:
    """A line of progress."""
    sys.stderr.write(f"[{time.monotonic() - _began:5.0f} s] {text}\n")


def report(name: str, measured: float, unit: str, sign: str, target: float) -> None:
    """The line of one target."""
    ok = measured <= target if sign == "<=" else measured >= target
    shown = f"{measured:.2f}" if measured < 100 else f"{measured:.0f}"
    sys.stdout.write(f"{name:<16} {shown + unit:>14} {f'{sign} {target:g}{unit}':>16} {'ok' if ok else 'short'}\n")
    sys.stdout.flush()


def day(rounds: int) -> None:
    """A busy day against its floor and against the naive way; its memory, and that of a day full of book updates."""
    make("archives", _DAYS, DAY, "--trades", 4_000_000)
    make("archives", _DAYS, BOOK_DAY, "--trades", 1_000_000, "--updates", 10_000_000)
    floors, lakes, naives, books = (list[Figures]() for _ in range(4))
    with served(_DAYS) as url:
        for number in range(rounds):
            floors.append(measure("floor", f"{url}/{_AGG_TRADES}"))
            lakes.append(measure("lake_day", url, SCRATCH, DAY))
            naives.append(measure("naive", _DAYS, DAY, 3 + 4 * number, python=COMPETITORS))
            books.append(measure("lake_day", url, SCRATCH, BOOK_DAY))
            say(
                f"day {number + 1}/{rounds}: floor {floors[-1]['cpu_s']:.2f}, lake {lakes[-1]['cpu_s']:.2f}, "
                f"naive {naives[-1]['cpu_s']:.2f} per hour, book day {books[-1]['cpu_s']:.2f} CPU s"
            )
    lake_s = middle(lakes, "cpu_s")
    report("day-floor", lake_s / middle(floors, "cpu_s"), "x", "<=", 2.2)
    report("day-naive", 24 * middle(naives, "cpu_s") / lake_s, "x", ">=", 20)
    report("day-memory", max(run["peak_mib"] for run in lakes), " MiB", "<=", 300)
    report("day-memory-book", max(run["peak_mib"] for run in books), " MiB", "<=", 300)


def commit(rounds: int) -> None:
    """10,000 hours through gate and commit, one run; then one day of hour files by the reader."""
    say("committing 10,008 hours ...")
    with TemporaryDirectory(dir=SCRATCH, prefix="commits-") as root:
        found = measure("commits", root, "--days", _COMMIT_DAYS)
        reads = [measure("reads", root, _COMMIT_DAYS) for _ in range(rounds)]
    say(
        f"commit: {found['wall_ms_per_hour']:.2f} ms wall, {found['cpu_ms_per_hour']:.2f} ms CPU per hour; its floor "
        f"{found['floor_wall_ms']:.2f} ms wall, {found['floor_cpu_ms']:.2f} ms CPU; median of the first tenth "
        f"{found['first_wall_ms']:.2f}, of the last {found['last_wall_ms']:.2f} ms wall"
    )
    report("commit", found["wall_ms_per_hour"] / found["floor_wall_ms"], "x", "<=", 1.5)
    report("commit-cpu", found["cpu_ms_per_hour"] / found["floor_cpu_ms"], "x", "<=", 1.5)
    report("commit-flat", found["last_cpu_ms"] / found["first_cpu_ms"], "x", "<=", 1.2)
    say(
        f"read: {middle(reads, 'wall_ms'):.2f} ms wall, {middle(reads, 'cpu_ms'):.2f} ms CPU; the first read of a "
        f"process {middle(reads, 'first_ms'):.1f} ms"
    )
    report("read-day-bare", middle(reads, "cpu_ms") / middle(reads, "bare_cpu_ms"), "x", "<=", 1.3)


def dagster(rounds: int) -> None:
    """What Dagster adds to a 24-hour range run, over its own event log; how many hours a minute a backfill records."""
    make("archives", _MONTHS, MONTH, "--days", 30, "--trades", 24_000)
    ranges, stocks, longs = list[Figures](), list[Figures](), list[Figures]()
    with served(_MONTHS) as url:
        for number in range(rounds):
            ranges.append(measure("dagster_hours", url, SCRATCH, MONTH))
            stocks.append(measure("dagster_hours", url, SCRATCH, MONTH, "--stock"))
            longs.append(measure("dagster_hours", url, SCRATCH, MONTH, "--hours", _HOURS))
            say(
                f"dagster {number + 1}/{rounds}: 24 hours add {_added(ranges[-1]):.2f} CPU s, "
                f"with Dagster's own event log {_added(stocks[-1]):.2f}; {_HOURS} hours: "
                f"{_rate(longs[-1]):.0f} a minute, adding {_added(longs[-1]):.1f} CPU s"
            )
        stock = measure("dagster_hours", url, SCRATCH, MONTH, "--hours", _HOURS, "--stock")
        say(f"with Dagster's own event log, once: {_rate(stock):.0f} a minute, adding {_added(stock):.1f} CPU s")
    added, stock_added = (sorted(map(_added, runs))[rounds // 2] for runs in (ranges, stocks))
    report("dagster-range", added / stock_added, "x", "<=", 0.5)
    report("dagster-rate", sorted(map(_rate, longs))[rounds // 2], "/min", ">=", 1000)


def _added(run: Figures) -> float:
    return run["cpu_s"] - run["data_cpu_s"]


def _rate(run: Figures) -> float:
    """Hours per minute of the whole run: data work, materializations, check rows."""
    return run["hours"] / run["wall_s"] * 60


def klines(rounds: int) -> None:
    """30 daily zips of klines, verified, against freqtrade's download, which verifies nothing."""
    make("archives", _MONTHS, MONTH, "--days", 30, "--trades", 24_000)
    for latency_ms in (0, 60):
        ours, theirs = list[Figures](), list[Figures]()
        with served(_MONTHS, latency_ms=latency_ms) as url:
            # Short work, so more of it: one run is a tenth of a second.
            for _ in range(2 * rounds + 1):
                ours.append(measure("klines_lake", url, SCRATCH, MONTH, 30))
                theirs.append(measure("klines_freqtrade", url, "BTCUSDT", MONTH, 30, python=COMPETITORS))
                if ours[-1]["rows"] != 43_200 or theirs[-1]["rows"] != 43_199:
                    raise SystemExit(f"klines: {ours[-1]['rows']:.0f} and {theirs[-1]['rows']:.0f} rows")
        say(
            f"klines at {latency_ms} ms: lake {middle(ours, 'wall_s'):.3f} s wall {middle(ours, 'cpu_s'):.3f} s CPU, "
            f"freqtrade {middle(theirs, 'wall_s'):.3f} s wall {middle(theirs, 'cpu_s'):.3f} s CPU"
        )
        for figure, target in (("wall", 1.0), ("cpu", 1.0)):
            ratio = middle(ours, f"{figure}_s") / middle(theirs, f"{figure}_s")
            report(f"klines-{figure}-{latency_ms}ms", ratio, "x", "<=", target)


def startup(_rounds: int) -> None:
    """CPU of starting small commands over that of importing what they cannot do without, bytecode caches warm."""
    say("starting commands ...")
    found = measure("startup")
    for name, target in (
        ("help", 1.2), ("show", 1.7), ("missing", 1.7), ("holes", 1.7), ("show-watermark", 1.7), ("health", 2.0),
    ):  # fmt: skip
        say(f"lake {name}: {found[name]:.2f} CPU s")
        report(f"startup-{name}", found[f"{name}_x"], "x", "<=", target)


def audit(_rounds: int) -> None:
    """Five years of hours audited, cold and unchanged; the rulepack over a symbol-year."""
    say("auditing 43,800 hours ...")
    found = measure("audit")
    report("audit-cold", found["cold_x"], "x", "<=", 2)
    report("audit-unchanged", found["again_x"], "x", "<=", 0.2)
    report("rulepack", found["rules_x"], "x", "<=", 15)
    report("rulepack-r7", found["rules_r7_x"], "x", "<=", 30)


def reading(_rounds: int) -> None:
    """Five years of a column from compacted files against plain ones, short reads, and the compaction."""
    say("compacting and reading five years ...")
    found = measure("reading")
    report("years-months", found["months"], "x", "<=", 1.3)
    report("years-day-tail", found["day_tail"], "x", "<=", 1.1)
    report("years-open-days", found["open_days_tail"], "x", "<=", 1.7)
    report("years-hour-tail", found["no_archives_tail"], "x", "<=", 2)
    say(f"the last month as 744 hour files, never compacted: {found['never_compacted_tail']:.1f} x")
    report("read-one-day", found["day_over_bare"], "x", "<=", 1.3)
    report("read-day-compacted", found["compacted_over_bare"], "x", "<=", 1.2)
    report("read-month-day", found["month_day"], "x", "<=", 1.2)
    report("read-720-hours", found["latest_over_bare"], "x", "<=", 1.5)
    report("compact-months", found["compact_months"], "x", "<=", 2)
    report("compact-days", found["compact_days"], "x", "<=", 2)
    report("compact-memory", found["peak_mib"], " MiB", "<=", 300)


def collector(_rounds: int) -> None:
    """Twenty symbols live for two minutes, and again with a burst."""
    for name, options in (("live", ()), ("burst", ("--flood",))):
        say(f"collecting 20 symbols for 130 s, {name} ...")
        found = measure("collector", *options)
        if name == "live":
            report("live-frames", found["frames_per_s"], "/s", ">=", 4500)
            report("live-cpu", found["cpu_pct"], " %", "<=", 25)
            report("live-memory", found["memory_mib"], " MiB", "<=", 200)
            report("live-write-p99", found["write_p99_s"], " s", "<=", 1)
            report("live-rebuild", found["rebuild_x"], "x", ">=", 100)
        report(f"{name}-lost", found["lost"], "", "<=", 0)
    say("collecting 19 spot symbols beside 3 of futures for 130 s ...")
    found = measure("collector", "--symbols", 3, "--spot", 19, "--rate", 3600)
    report("spot-live-frames", found["frames_per_s"], "/s", ">=", 4500)
    report("spot-live-cpu", found["cpu_pct"], " %", "<=", 30)
    report("spot-live-memory", found["memory_mib"], " MiB", "<=", 220)
    report("spot-live-lost", found["lost"], "", "<=", 0)
    report("spot-fold", found["fold_x"], "x", ">=", 100)


def spot(rounds: int) -> None:
    """A day of seconds from its archive beside the JSON lines of the same trades, read back, an hour folded again."""
    make("spot", "make", _SPOT)
    builds, floors, naives, quarters = (list[Figures]() for _ in range(4))
    with served(_SPOT) as url:
        for number in range(rounds):
            builds.append(measure("spot", "build", url, SCRATCH))
            floors.append(measure("floor", f"{url}/{archive_path()}", SCRATCH))
            naives.append(measure("naive_spot", _SPOT, 1440, python=COMPETITORS))
            quarters.append(measure("naive_spot", _SPOT, 360, python=COMPETITORS))
            say(
                f"spot {number + 1}/{rounds}: lake {builds[-1]['cpu_s']:.2f}, floor {floors[-1]['cpu_s']:.2f}, "
                f"JSON lines through pandas {naives[-1]['cpu_s']:.2f} CPU s"
            )
        found = measure("spot", "read", url, SCRATCH)
    report("spot-day", middle(builds, "cpu_s") / middle(floors, "cpu_s"), "x", "<=", 5)
    report("spot-day-naive", middle(naives, "cpu_s") / middle(builds, "cpu_s"), "x", ">=", 20)
    # Ours takes the same of any day, the JSON lines grow with the trades: two sizes tell from which day on it is 20 x.
    trades = middle(naives, "trades") - middle(quarters, "trades")
    per_trade = (middle(naives, "cpu_s") - middle(quarters, "cpu_s")) / trades
    needed = middle(naives, "trades") + (20 * middle(builds, "cpu_s") - middle(naives, "cpu_s")) / per_trade
    report("spot-naive-from", needed / 1e6, " M trades", "<=", 2)
    say(f"spot read: {', '.join(f'{name} {value:.1f}' for name, value in found.items() if name.endswith('_ms'))}")
    report("spot-read-bare", found["hours_ours_cpu_ms"] / found["hours_bare_cpu_ms"], "x", "<=", 1.2)
    report("spot-day-bare", found["day_ours_cpu_ms"] / found["day_bare_cpu_ms"], "x", "<=", 1.3)
    report("spot-refold", measure("spot", "refold", SCRATCH, 10)["refold_x"], "x", ">=", 100)
    report("spot-closed-p99", measure("spot_closed")["p99_s"], " s", "<=", 2)


def slices(_rounds: int) -> None:
    """100,000 slices: their diff against the ledger and their manifest; 500 fetched beside a bare client."""
    say("slices: 100,000 known ...")
    with TemporaryDirectory(dir=SCRATCH, prefix="slices-") as root:
        known = measure("slices", root, "--fetch", 0)
        say("slices: 500 fetched ...")
        fetched = measure("slices", root, "--slices", 0)
    say(f"slices: {fetched['fetch_s']:.1f} s fetched and kept, {fetched['bare_s']:.1f} s by the bare client")
    say(f"slices: diff {known['diff_cpu_s']:.2f}, manifest {known['manifest_cpu_s']:.2f} CPU s")
    report("slices-diff", known["diff_x"], "x", "<=", 5)
    report("slices-manifest", known["manifest_x"], "x", "<=", 3)
    report("slices-fetch", fetched["fetch_s"] / fetched["bare_s"], "x", "<=", 1.2)
    report("slices-memory", max(known["peak_mib"], fetched["peak_mib"]), " MiB", "<=", 200)


def dashboard(rounds: int) -> None:
    """From click to picture in Chromium, and what the server takes of it."""
    say("a year of minutes and a day of seconds in the dashboard ...")
    found = measure("dashboard", "--rounds", rounds)
    for name, target in (("seconds", 1.5), ("year", 1.0), ("minutes", 0.7)):
        report(f"look-{name}", found[f"{name}_s"], " s", "<=", target)
        report(f"look-{name}-server", found[f"{name}_server_ms"], " ms", "<=", 150)
        say(f"of the server's time for {name}, {found[f'{name}_server_cpu_ms']:.0f} ms of CPU over its threads")


def hot(_rounds: int) -> None:
    """The hot band on the whole stack, half an hour each; not among the default parts."""
    _kept_hot(30, 3)


def hot_short(_rounds: int) -> None:
    """The same for five minutes each: too short for a p99, long enough to see that nothing has gone slow."""
    _kept_hot(5, 3)


def _kept_hot(minutes: int, warm_up: int) -> None:
    for symbols in ("BTCUSDT,ETHUSDT,SOLUSDT", ",".join(f"{base}USDT" for base in BASES.split()[:20])):
        count = symbols.count(",") + 1
        say(f"keeping {count} symbols hot for {minutes} minutes ...")
        found = measure("hot", "--minutes", minutes, "--warm-up", warm_up, "--symbols", symbols)
        say(", ".join(f"{name} {value:g}" for name, value in found.items()))
        for share, target in (("p50", 2.5), ("p95", 5), ("p99", 8)):
            report(f"hot-{share}-{count}", found.get(f"{share}_s", math.inf), " s", "<=", target)
        report(f"hot-live-p95-{count}", found.get("live_p95_s", math.inf), " s", "<=", 1.5)
        report(f"hot-unseen-{count}", found["expected"] - found["seen"], "", "<=", 0)
        report(f"hot-live-unseen-{count}", found["live_expected"] - found["live_seen"], "", "<=", 0)
        if count > 3:
            report("hot-builder-cpu", found["builder_cpu_s_per_minute"], " s", "<=", 1)
            report("hot-builder-mib", found["builder_mib"], " MiB", "<=", 300)
            report("hot-platform-cpu", found["cpu_platform_pct"], " %", "<=", 20)
        else:
            told = measure("told_bytes", "--symbols", symbols)
            say(", ".join(f"{name} {value:g}" for name, value in told.items()))
            report("hot-history", told["mb_per_day"] + found["ticks_mb_per_day"], " MB", "<=", 60)


PARTS: dict[str, Callable[[int], None]] = {
    "startup": startup, "day": day, "commit": commit, "dagster": dagster, "klines": klines, "audit": audit,
    "reading": reading, "collector": collector, "slices": slices, "spot": spot,
    "dashboard": dashboard, "hot-short": hot_short,
}  # fmt: skip
COMPARED = {"day", "klines", "spot"}
"""Parts that run a competitor, which has an environment of its own."""
LONG_PARTS: dict[str, Callable[[int], None]] = {"hot": hot}


def main() -> None:
    """Run the parts that are named, all by default."""
    parser = argparse.ArgumentParser(prog="python -m lake_tests.bench", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (the default), {', '.join(LONG_PARTS)}"
    )
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    parts = given.parts or list(PARTS)
    if not COMPETITORS.exists() and COMPARED & set(parts):
        raise SystemExit("No .venv-bench: start the benchmark with `make bench`, which installs the competitors")
    SCRATCH.mkdir(parents=True, exist_ok=True)
    for name in parts:
        (PARTS | LONG_PARTS)[name](given.rounds)
    say("done")


if __name__ == "__main__":
    main()
