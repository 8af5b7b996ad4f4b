"""A correction of the exchange that is older than the feed's window is found, recorded, and changes no row."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from lake_assets.assets.feed_1h import FEED_KEY, LOOK_BACK_CHECK, build_feed_asset, build_look_back_check
from lake_assets.feed_1h.look_back import PARTS, look_back
from lake_resources.settings import LakeSettings
from lake_tests.bench.feed_1h import FeedBench, at, feed_bench, long_bars
from lake_tests.support.opener import Opener

HOURS = 48
OLD = at(13) - 40 * timedelta(hours=1)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[FeedBench]:
    bars = long_bars(at(13), HOURS)
    with feed_bench(tmp_path, bars) as found:
        found.seed(dict(bars))
        yield found


def test_what_was_restated_long_ago_is_recorded_and_no_row_changes(bench: FeedBench) -> None:
    before = bench.rows()
    assert (look_back(bench.feed).verdict, look_back(bench.feed).compared) == ("equal", HOURS)
    held = float(bench.exchange.bars[OLD][3])
    bench.exchange.bars[OLD][3] = "1.5"
    assert bench.run(13).hours[-1].stored, "the window of an append does not reach so far"
    found = look_back(bench.feed)
    (restated,) = found.differences
    assert (found.verdict, restated.hour, restated.column) == ("restated", OLD, "close")
    assert (restated.table_value, restated.exchange_value) == (held, 1.5)
    assert bench.feed.table.differences().height == 1
    look_back(bench.feed)
    assert bench.feed.table.differences().height == 1, "it is kept once"
    assert bench.rows().equals(before)
    assert bench.run(13).hours[-1].stored, "the feed goes on"


def test_a_bar_that_the_exchange_lost_is_named(bench: FeedBench) -> None:
    del bench.exchange.bars[OLD]
    found = look_back(bench.feed)
    assert (found.verdict, found.absent, found.compared) == ("restated", (OLD,), HOURS - 1)


def test_each_hour_is_looked_at_once_in_so_many_days(bench: FeedBench) -> None:
    days = [date(2024, 1, 15) + timedelta(days=number) for number in range(PARTS)]
    assert sum(look_back(bench.feed, day).compared for day in days) == HOURS


def test_an_empty_table_has_nothing_to_compare(tmp_path: Path) -> None:
    with feed_bench(tmp_path) as bench:
        found = look_back(bench.feed)
        assert (found.verdict, found.compared) == ("nothing to compare", 0)


def test_the_check_is_executed_alone(bench: FeedBench, tmp_path: Path) -> None:
    settings = LakeSettings(root=tmp_path / "lake", start=date(2024, 1, 1))  # type: ignore[arg-type]
    definitions = dg.Definitions(
        assets=[build_feed_asset(settings)],
        asset_checks=[build_look_back_check()],
        resources={"feed": Opener(lambda: bench.feed)},
        executor=dg.in_process_executor,
    )
    key = dg.AssetCheckKey(FEED_KEY, LOOK_BACK_CHECK)
    assert definitions.resolve_asset_graph().get_execution_set_asset_and_check_keys(key) == {key}
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        chosen = job.get_subset(asset_selection=set(), asset_check_selection={key})
        (said,) = chosen.execute_in_process(instance=instance).get_asset_check_evaluations()
    # Which part is due depends on the day; a day without one does not pass.
    assert said.metadata["verdict"].value in ("equal", "nothing to compare")
    assert said.passed == (said.metadata["verdict"].value == "equal")
    assert said.passed == (said.metadata["compared"].value != 0)
