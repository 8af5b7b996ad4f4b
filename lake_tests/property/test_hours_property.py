"""From raw files to rows: nothing after an hour changes it, and how hours are grouped does not matter.

Over a day of the simulated exchange on which every stream has an archive (book ticker ended in March 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake_assets.build.builder import Inputs
from lake_assets.build.rows import build_rows
from lake_assets.inputs.sources import find_sources
from lake_assets.inputs.stream_sources import StreamSources
from lake_assets.schema.stream_use import StreamUse
from lake_assets.source import HourSource, Wanted
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import HOUR
from lake_tests.support.simulated_lake import SYMBOL, Bench, bench_on, exchange, hours, statuses

pytestmark = pytest.mark.slow

DAY = datetime(2024, 3, 29, tzinfo=UTC)
LATER = DAY + timedelta(days=40)
CARRIED = (0, 5, 60, 200)
KNOWABLE = {"metrics": timedelta(minutes=5)}
"""How long after its time a row becomes known; all others at once."""

few = settings(derandomize=True, deadline=None, max_examples=12)


@dataclass
class Raw:
    """Raw files of the day, and cut copies of them."""

    bench: Bench
    folder: Path
    days: dict[int, pl.DataFrame] = field(default_factory=dict)

    def sources(self, wanted: Sequence[datetime], max_ffill: int) -> dict[str, StreamSources]:
        used = UM_MINUTE.uses_carrying(max_ffill)
        return {
            name: find_sources(self.bench.lake, Wanted(SYMBOL, wanted, LATER, self.bench.reports.append, feed))
            for name, feed in used.items()
        }

    def rows(
        self, wanted: Sequence[datetime], max_ffill: int, change: Callable[[StreamUse, Path], Path] | None = None
    ) -> pl.DataFrame:
        sources = self.sources(wanted, max_ffill)
        if change is not None:
            sources = {name: changed(found, change) for name, found in sources.items()}
        end = wanted[-1] + HOUR
        return build_rows(Inputs(UM_MINUTE, sources, wanted, wanted[0], end, max_ffill)).frame

    def day(self, max_ffill: int) -> pl.DataFrame:
        if max_ffill not in self.days:
            self.days[max_ffill] = self.rows(hours(0, 24, DAY), max_ffill)
        return self.days[max_ffill]

    def cut(self, end: datetime) -> Callable[[StreamUse, Path], Path]:
        """Drop every raw row that was not known before `end`."""

        def write(feed: StreamUse, path: Path) -> Path:
            known = pl.col(feed.stream.time_column) + KNOWABLE.get(feed.name, timedelta(0)) < end
            target = self.folder / f"{feed.name}-{path.stem}-{end:%d%H%M}.parquet"
            if not target.exists():
                pl.read_parquet(path).filter(known).write_parquet(target)
            return target

        return write


def changed(found: StreamSources, change: Callable[[StreamUse, Path], Path]) -> StreamSources:
    by_hour = {
        hour: HourSource(source.ref, tuple(change(found.use, path) for path in source.paths))
        for hour, source in found.by_hour.items()
    }
    return StreamSources(found.use, by_hour, found.absent)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Raw]:
    folder = tmp_path_factory.mktemp("raw")
    with exchange() as sim, bench_on(sim, folder, max_ffill_minutes=max(CARRIED)) as bench:
        assert statuses(bench.at(LATER).build(hours(0, 1, DAY))) == ["committed"]
        yield Raw(bench, folder)


def test_every_stream_of_the_day_has_its_archive(raw: Raw) -> None:
    found = raw.sources(hours(0, 24, DAY), 60)
    assert {name for name, each in found.items() if each.ref(DAY).kind != "archive"} == set()
    rows = raw.day(60)
    assert rows.height == 1440
    assert rows["avg_spread_usdt"].null_count() == rows["oi_contracts"].null_count() == 0


@few
@given(hour=st.integers(0, 23), max_ffill=st.sampled_from(CARRIED))
def test_what_came_after_an_hour_does_not_change_it(raw: Raw, hour: int, max_ffill: int) -> None:
    start = DAY + hour * HOUR
    alone = raw.rows([start], max_ffill, raw.cut(start + HOUR))
    whole = raw.day(max_ffill).filter(pl.col("timestamp").is_between(start, start + HOUR, closed="left"))
    assert alone.equals(whole)
    assert alone.height == 60


@few
@given(minute=st.integers(1, 1439), max_ffill=st.sampled_from(CARRIED))
def test_what_came_after_a_minute_does_not_change_it(raw: Raw, minute: int, max_ffill: int) -> None:
    end = DAY + timedelta(minutes=minute)
    until_then = raw.rows(hours(0, 24, DAY), max_ffill, raw.cut(end))
    assert until_then.equals(raw.day(max_ffill).filter(pl.col("timestamp") < end))


@few
@given(cuts=st.sets(st.integers(1, 23), max_size=5), max_ffill=st.sampled_from(CARRIED))
def test_a_day_at_once_equals_its_hours_in_any_groups(raw: Raw, cuts: set[int], max_ffill: int) -> None:
    edges = [0, *sorted(cuts), 24]
    groups = [hours(first, last, DAY) for first, last in pairwise(edges)]
    assert pl.concat([raw.rows(group, max_ffill) for group in groups]).equals(raw.day(max_ffill))


@few
@given(wanted=st.sets(st.integers(0, 23), min_size=1, max_size=8))
def test_hours_between_those_that_are_wanted_do_not_show(raw: Raw, wanted: set[int]) -> None:
    chosen = [DAY + hour * HOUR for hour in sorted(wanted)]
    span = hours(min(wanted), max(wanted) + 1, DAY)
    frame = build_rows(Inputs(UM_MINUTE, raw.sources(span, 60), chosen, chosen[0], chosen[-1] + HOUR, 60)).frame
    assert frame.equals(raw.day(60).filter(pl.col("timestamp").dt.truncate("1h").is_in(chosen)))


def test_an_hour_built_the_moment_it_closed_equals_one_built_later(tmp_path: Path) -> None:
    """The exchange itself is cut off: at its close nothing later can have been known."""
    day = datetime(2026, 11, 18, tzinfo=UTC)
    with exchange() as sim, bench_on(sim, tmp_path / "then") as then, bench_on(sim, tmp_path / "later") as later:
        for hour in hours(7, 10, day):  # funding settles at 08:00
            then.at(hour + HOUR + timedelta(minutes=3)).build([hour])
        later.at(day + 30 * HOUR).build(hours(7, 10, day))
        for hour in hours(7, 10, day):
            assert then.rows(hour).equals(later.rows(hour)), hour
