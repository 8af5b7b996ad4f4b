"""A feed on a scripted exchange whose hourly bars and clock a test sets.

Belongs here: the exchange's bars, opening a feed on it, reading the table back. Does not belong here: any assertion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl

from lake_assets.feed_1h.bars import hours_through
from lake_assets.feed_1h.feed import Feed, FeedOptions
from lake_assets.feed_1h.run import FeedRun, due_hours, run_feed
from lake_assets.validation.outcome import CheckOutcome
from lake_resources.binance.rest.rest_client import BinanceRest, Patience
from lake_resources.clock import HOUR
from lake_resources.governor import WeightGovernor
from lake_resources.storage.bars_duckdb import BarsTable
from lake_tests.support.scripted_exchange import Reply, scripted

DAY = datetime(2024, 1, 15)  # noqa: DTZ001 - the feed's hours are UTC-naive
NOW = datetime(2024, 1, 15, 14, 23, 45, tzinfo=UTC)
OPTIONS = {"n_recent": 3, "buffer_hours": 6, "inference_source": "db", "keep_days": 30, "warn_skew_s": 10.0}


def at(hour: int) -> datetime:
    """An hour of the day, UTC-naive; beyond 23 or below 0 in the days around it."""
    return DAY + hour * HOUR


def case_bar(hour: int) -> list[str]:
    """The bar of acceptance case A-23: opens 100, 110, 120 at 08, 09, 10; high +2, low −2, close +1, volume 10."""
    opened = 100 + 10 * (hour - 8)
    opened = opened if opened > 2 else 1000 + opened
    return [f"{opened}.00", f"{opened + 2}.00", f"{opened - 2}.00", f"{opened + 1}.00", "10.000"]


def case_bars(first: int, last: int) -> dict[datetime, list[str]]:
    """Bars of the hours `first` to `last`, both inclusive."""
    return {at(hour): case_bar(hour) for hour in range(first, last + 1)}


_SEEDED: dict[tuple[object, ...], dict[str, bytes]] = {}
"""Files of seeded feeds by what they were made from: thirty days of hours take seconds, and most tests begin there."""


@dataclass
class HourlyExchange:
    """Hourly bars as decimal strings by open time; what is served is what is in `bars`, closed or not.

    Attributes:
        bars: open, high, low, close, volume.
        now: the exchange's clock.
        twice: hours that are served twice.
        late: answers without this hour that are still to come.
        broken: status of every answer, when set.
    """

    bars: dict[datetime, list[str]]
    now: datetime
    twice: set[datetime] = field(default_factory=set)
    late: dict[datetime, int] = field(default_factory=dict)
    broken: int | None = None

    def route(self, path: str, query: dict[str, str]) -> Reply:
        """Answer one request."""
        if self.broken:
            return Reply({"code": -1001, "msg": "scripted"}, status=self.broken)
        if path == "/fapi/v1/time":
            return Reply({"serverTime": int(self.now.timestamp() * 1000)})
        start, end, limit = int(query["startTime"]), int(query["endTime"]), int(query["limit"])
        withheld = {hour for hour, answers in self.late.items() if answers > 0}
        self.late = {hour: answers - 1 for hour, answers in self.late.items()}
        hours = [hour for hour in sorted(set(self.bars) - withheld) for _ in range(1 + (hour in self.twice))]
        rows = [self._row(hour) for hour in hours if start <= _ms(hour) <= end]
        return Reply(rows[:limit])

    def _row(self, hour: datetime) -> list[object]:
        return [_ms(hour), *self.bars[hour], _ms(hour + HOUR) - 1, "0", 1, "0", "0", "0"]


@dataclass
class FeedBench:
    """One feed, its exchange, and this machine's clock, which differs from the exchange's by `skew`."""

    exchange: HourlyExchange
    feed: Feed
    skew: timedelta = timedelta(0)

    @property
    def clock(self) -> datetime:
        """This machine's clock."""
        return self.exchange.now + self.skew

    def set(self, **options: object) -> FeedBench:
        """Change options of the feed."""
        self.feed = replace(self.feed, options=replace(self.feed.options, **options))  # type: ignore[arg-type]
        return self

    def run(self, hour: int | None = None, *, catch_up: bool = False, dry_run: bool = False) -> FeedRun:
        """Run for an hour of the day, or for the hours that are due."""
        hours = due_hours(self.feed, self.clock, catch_up=catch_up) if hour is None else [at(hour)]
        return run_feed(self.feed, hours, dry_run=dry_run)

    def seed(self, bars: dict[datetime, list[str]]) -> None:
        """Put rows into the table, as an earlier feed run would have; the exchange's bars stay as they are.

        What a run left of the same bars, clock and options in this process is laid down again as it was.
        """
        key = (tuple((hour, *bars[hour]) for hour in sorted(bars)), self.clock, self.exchange.now, self._options())
        untouched = not self.feed.table.path.exists() and not self.exchange.late and not self.exchange.broken
        if untouched and key in _SEEDED:
            for name, content in _SEEDED[key].items():
                path = self.root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            return
        kept, self.exchange.bars = self.exchange.bars, bars
        first, last = min(bars), max(bars)
        done = run_feed(self.feed, hours_through(first, last))
        self.exchange.bars = kept
        assert all(hour.stored for hour in done.hours), [hour.verdict for hour in done.hours]
        if untouched:
            files = [*self.root.glob("ohlcv*"), *self.feed.options.persist_dir.rglob("*")]
            _SEEDED[key] = {str(path.relative_to(self.root)): path.read_bytes() for path in files if path.is_file()}

    @property
    def root(self) -> Path:
        """The directory of table and files."""
        return self.feed.table.path.parent

    def _options(self) -> str:
        return str(replace(self.feed.options, persist_dir=self.feed.options.persist_dir.relative_to(self.root)))

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        """Run SQL on the writer's file, as somebody else would."""
        with duckdb.connect(str(self.feed.table.path)) as connection:
            return connection.execute(statement).fetchall()

    def rows(self) -> pl.DataFrame:
        """The table's rows."""
        return self.feed.table.snapshot().rows

    def hours(self) -> list[int]:
        """The table's hours, counted from the day's midnight."""
        return [(stamp - DAY) // HOUR for stamp in self.rows()["timestamp"]]


@contextmanager
def feed_bench(
    root: Path, bars: dict[datetime, list[str]] | None = None, *, now: datetime = NOW, **options: object
) -> Iterator[FeedBench]:
    """A feed with an empty table on a scripted exchange."""
    exchange = HourlyExchange(bars if bars is not None else case_bars(0, 14), now)
    chosen = FeedOptions(**({"persist_dir": root / "files", "dataset": "BINANCE_BTCUSDT.P, 60"} | OPTIONS | options))  # type: ignore[arg-type]
    with scripted(exchange.route) as server:
        governor = WeightGovernor(root / "governor.sqlite", clock=lambda: bench.clock, sleep=lambda _: None)
        rest = BinanceRest(
            server.base_url,
            governor=governor,
            clock=lambda: bench.clock,
            patience=Patience(attempts=2),
            sleep=lambda _: None,
        )
        bench = FeedBench(exchange, Feed(BarsTable(root / "ohlcv.duckdb"), rest, lambda: bench.clock, chosen))
        try:
            yield bench
        finally:
            rest.close()


def outcomes(done: FeedRun, position: int = -1) -> dict[str, CheckOutcome]:
    """Check outcomes of one hour of a run by name."""
    return {outcome.name: outcome for outcome in done.hours[position].outcomes}


def failed_checks(done: FeedRun, position: int = -1) -> set[str]:
    """Names of the checks of one hour that did not pass."""
    return {name for name, outcome in outcomes(done, position).items() if not outcome.passed}


def statuses(done: FeedRun) -> list[str]:
    """What became of each hour."""
    return [hour.verdict.status for hour in done.hours]


def csv_hours(path: Path) -> list[int]:
    """Hours of a CSV file, counted from the day's midnight."""
    frame = pl.read_csv(path, try_parse_dates=True)
    return [(stamp - DAY) // HOUR for stamp in frame["timestamp"]]


def long_bars(last: datetime, count: int) -> dict[datetime, list[str]]:
    """`count` sound bars that end with `last`, each with other values."""
    found = {}
    for index, hour in enumerate(hours_through(last - (count - 1) * HOUR, last)):
        base = 42_000 + (index * 37) % 900
        found[hour] = [f"{base}.10", f"{base + 25}.30", f"{base - 30}.70", f"{base + 7}.20", f"{800 + index}.123"]
    return found


def _ms(hour: datetime) -> int:
    return int(hour.replace(tzinfo=UTC).timestamp() * 1000)


__all__: Sequence[str] = (
    "DAY", "NOW", "FeedBench", "HourlyExchange", "at", "case_bar", "case_bars", "csv_hours", "failed_checks",
    "feed_bench", "long_bars", "outcomes", "statuses",
)  # fmt: skip
