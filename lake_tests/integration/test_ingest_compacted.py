"""Building hours that are compacted, with their own files gone: unchanged stays unchanged, a correction reopens."""

from datetime import timedelta

import pytest

from lake_assets.build.compaction import plan_compaction, run_compaction
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import HOUR
from lake_resources.storage.compaction import clear
from lake_resources.storage.placement import stretches
from lake_resources.storage.reader import scan
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, Bench, hours, statuses

LATER = PUBLISHED + timedelta(hours=1)


@pytest.fixture
def compacted(bench: Bench) -> Bench:
    """The day before and the day from the archives, each one file, and no hour file left of the day."""
    results = bench.at(PUBLISHED).build(hours(0, 24))
    assert set(statuses(results)) == {"committed"}
    files = bench.lake.store
    # The newest day of a symbol waits for a week: hours could still follow.
    now = DAY + timedelta(days=8)
    assert [one.status for one in run_compaction(UM_MINUTE, files, SYMBOL, now=now, clock=lambda: LATER)] == [
        "compacted"
    ]
    assert clear(files, SYMBOL, clock=lambda: LATER, grace=timedelta(0)).files == 24
    assert not bench.lake.catalog.partition_path(SYMBOL, DAY).exists()
    return bench


def read(bench: Bench):
    return scan(bench.lake.store, SYMBOL, DAY, DAY + 24 * HOUR).collect()


def test_the_same_inputs_leave_a_compacted_day_as_it_is(compacted: Bench) -> None:
    before = read(compacted)
    results = compacted.build(hours(0, 24))
    assert set(statuses(results)) == {"unchanged"}
    assert not compacted.lake.catalog.partition_path(SYMBOL, DAY).exists()
    (stretch,) = stretches(compacted.lake.store, SYMBOL, DAY, DAY + 24 * HOUR)
    assert {result.path for result in results} == {compacted.lake.catalog.absolute(stretch.paths[0])}
    for result in results:
        assert result.frame is not None
        assert result.frame.equals(before.filter(before["timestamp"].dt.truncate("1h") == result.hour))


def test_a_corrected_archive_reopens_the_day(compacted: Bench) -> None:
    before = read(compacted)
    compacted.fault("scaled", "daily/markPriceKlines/.*2026-11-18", column="close", by=1.0001)
    compacted.archives("mark_price_klines_1m", "2026-11-18")
    results = compacted.build(hours(0, 24))
    assert set(statuses(results)) == {"committed"}
    shown = read(compacted)
    assert shown.height == before.height
    assert not shown.equals(before)
    (step,) = plan_compaction(UM_MINUTE, compacted.lake.ledger, SYMBOL, now=DAY + timedelta(days=8))
    assert (step.period.name, step.waits_for) == ("2026-11-18", "")
    files = compacted.lake.store
    list(run_compaction(UM_MINUTE, files, SYMBOL, now=DAY + timedelta(days=8), clock=lambda: LATER))
    assert read(compacted).equals(shown)


def test_a_lost_day_file_is_built_anew(compacted: Bench) -> None:
    before = read(compacted)
    (stretch,) = stretches(compacted.lake.store, SYMBOL, DAY, DAY + 24 * HOUR)
    compacted.lake.catalog.absolute(stretch.paths[0]).unlink()
    results = compacted.build(hours(0, 24))
    assert set(statuses(results)) == {"committed"}
    assert read(compacted).equals(before)
