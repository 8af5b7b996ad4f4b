"""Many hours in one file: the same rows from the same reader, whatever is compacted, rewritten, removed or damaged."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import timedelta

import polars as pl
import pytest

from lake_resources.errors import LedgerError
from lake_resources.storage.commit import commit_partitions, recover
from lake_resources.storage.compaction import Period, clear, compact, rows_hash
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.engine import LedgerEngine
from lake_resources.storage.ledger.ledger import Ledger
from lake_resources.storage.placement import is_intact, serving_path, stretches
from lake_resources.storage.reader import read_partition, scan
from lake_resources.storage.store import Store
from lake_tests.support.minute_hours import DAY, NOW, SCHEMA, SYMBOL, at, candidate, clock, lake

pytestmark = pytest.mark.slow

MONTH = DAY.replace(day=1)
LATER = NOW + timedelta(days=3)
GRACE = timedelta(days=1)


@pytest.fixture
def empty(tmp_path):
    store = lake(tmp_path)
    yield store
    store.ledger.close()


def commit(lake_, hours, value=1.0):
    outcomes = commit_partitions(lake_, SYMBOL, [candidate(hour, value=value) for hour in hours], clock=clock)
    assert {outcome.status for outcome in outcomes} == {"committed"}


def hours(start, count):
    return [start + timedelta(hours=index) for index in range(count)]


def day(start=DAY):
    return Period(SYMBOL, "day", start, start + timedelta(days=1))


def month():
    return Period(SYMBOL, "month", MONTH, (MONTH + timedelta(days=31)).replace(day=1))


def compacted(lake_, period):
    return compact(lake_, period, lake_.ledger.partition_files(SYMBOL, period.start, period.end), clock=clock)


def read(lake_, start=MONTH, end=MONTH + timedelta(days=60)):
    return scan(lake_, SYMBOL, start, end, schema=SCHEMA).collect()


def files(lake_):
    return sorted(path.relative_to(lake_.catalog.root).as_posix() for path in lake_.catalog.root.rglob("*.parquet"))


def test_a_day_becomes_one_file_that_serves_the_same_rows(empty):
    commit(empty, hours(DAY, 24))
    before = read(empty)
    found = compacted(empty, day())
    assert (found.status, found.partitions, found.row_count) == ("compacted", 24, 1440)
    assert read(empty).equals(before)
    assert [stretch.paths for stretch in stretches(empty, SYMBOL, DAY, DAY + timedelta(days=1))] == [
        (empty.catalog.relative(found.path),)
    ]
    assert [row.content_hash for row in empty.ledger.partitions(SYMBOL, DAY, at(24))] == [
        file_hash(empty.catalog.partition_path(SYMBOL, hour)) for hour in hours(DAY, 24)
    ], "the hours stay the truth, and their files stay until they are removed"


def test_the_same_hours_give_the_same_file(empty, tmp_path):
    commit(empty, hours(DAY, 24))
    first = compacted(empty, day())
    again = compacted(empty, day())
    assert again.status == "unchanged"
    other = lake(tmp_path / "other")
    commit(other, hours(DAY, 24))
    assert compacted(other, day()).path.read_bytes() == first.path.read_bytes()
    other.close()


def test_what_is_read_of_a_part_of_a_month_is_that_part(empty):
    commit(empty, hours(MONTH, 72))
    before = read(empty)
    compacted(empty, month())
    for start, end in [(0, 1), (5, 30), (0.25, 71.9), (71, 90), (-5, 3), (24, 24), (80, 90)]:
        window = MONTH + timedelta(hours=start), MONTH + timedelta(hours=end)
        expected = before.filter(pl.col("timestamp") >= window[0], pl.col("timestamp") < window[1])
        assert read(empty, *window).equals(expected), (start, end)


def test_a_rewritten_hour_is_read_from_its_own_file_until_the_month_is_made_again(empty):
    commit(empty, hours(MONTH, 72))
    first = compacted(empty, month())
    clear(empty, SYMBOL, clock=lambda: LATER, grace=GRACE)
    rewritten = MONTH + timedelta(hours=30)
    commit(empty, [rewritten], value=2.0)
    shown = read(empty)
    assert shown.height == 72 * 60
    assert shown["timestamp"].is_sorted()
    assert shown.filter(pl.col("close") == 2.0)["timestamp"].dt.truncate("1h").unique().to_list() == [rewritten]
    second = compacted(empty, month())
    assert second.status == "compacted"
    assert second.path != first.path
    assert read(empty).equals(shown)
    assert len(stretches(empty, SYMBOL, MONTH, MONTH + timedelta(days=3))) == 1


def test_an_hour_that_arrives_late_is_read_in_its_place(empty):
    late = MONTH + timedelta(hours=10)
    commit(empty, [hour for hour in hours(MONTH, 48) if hour != late])
    compacted(empty, month())
    assert read(empty).height == 47 * 60
    assert not stretches(empty, SYMBOL, MONTH, MONTH + timedelta(hours=48))[0].cut, "a known hole costs no filter"
    commit(empty, [late])
    shown = read(empty)
    assert shown.height == 48 * 60
    assert shown["timestamp"].is_sorted()


def test_days_become_a_month_and_then_go(empty):
    for index in range(3):
        commit(empty, hours(MONTH + timedelta(days=index), 24))
        compacted(empty, day(MONTH + timedelta(days=index)))
    before = read(empty)
    found = compacted(empty, month())
    assert found.input_bytes < 3 * 24 * 2_000, "it was made from the day files"
    assert read(empty).equals(before)
    assert clear(empty, SYMBOL, clock=clock, grace=GRACE).files == 0, "readers may still hold the old files"
    dry = clear(empty, SYMBOL, clock=lambda: LATER, grace=GRACE, dry_run=True)
    assert len(files(empty)) == 72 + 3 + 1
    done = clear(empty, SYMBOL, clock=lambda: LATER, grace=GRACE)
    assert dry == done
    assert done.files == 72 + 3
    assert files(empty) == [empty.catalog.relative(found.path)]
    assert not (empty.catalog.root / "futures/um/minute").exists(), "no empty directories stay"
    assert read(empty).equals(before)
    assert clear(empty, SYMBOL, clock=lambda: LATER, grace=GRACE).files == 0


def test_an_hour_behind_a_segment_is_intact_and_unchanged_without_its_file(empty):
    commit(empty, hours(DAY, 24))
    found = compacted(empty, day())
    clear(empty, SYMBOL, clock=lambda: LATER, grace=GRACE)
    held = empty.ledger.partition(SYMBOL, at(3))
    assert is_intact(empty, held)
    assert serving_path(empty, held) == found.path
    assert read_partition(empty, held).equals(candidate(at(3)).frame)
    (outcome,) = commit_partitions(empty, SYMBOL, [candidate(at(3))], clock=clock)
    assert (outcome.status, outcome.path) == ("unchanged", found.path)
    assert files(empty) == [empty.catalog.relative(found.path)]


def test_a_damaged_day_file_is_healed_hour_by_hour(empty):
    commit(empty, hours(DAY, 24))
    found = compacted(empty, day())
    clear(empty, SYMBOL, clock=lambda: LATER, grace=GRACE)
    found.path.write_bytes(found.path.read_bytes()[:-8] + b"damaged!")
    assert not is_intact(empty, empty.ledger.partition(SYMBOL, at(3)))
    outcomes = commit_partitions(empty, SYMBOL, [candidate(hour) for hour in hours(DAY, 24)], clock=clock)
    assert {outcome.status for outcome in outcomes} == {"committed"}
    assert read(empty).height == 1440
    assert compacted(empty, day()).status == "compacted"
    assert read(empty).height == 1440


@pytest.mark.parametrize("damage", ["lost", "other bytes"])
def test_a_damaged_hour_is_never_compacted(empty, damage):
    commit(empty, hours(DAY, 24))
    path = empty.catalog.partition_path(SYMBOL, at(7))
    path.unlink() if damage == "lost" else path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(LedgerError, match=r"hour=07/part\.parquet is lost or not the file"):
        compacted(empty, day())
    assert empty.ledger.compacted_files(SYMBOL) == []
    assert list(empty.catalog.temp_dir.iterdir()) == []


def test_nothing_is_removed_behind_a_damaged_segment(empty):
    commit(empty, hours(DAY, 24))
    found = compacted(empty, day())
    found.path.write_bytes(b"not parquet")
    with pytest.raises(LedgerError, match="Nothing was removed"):
        clear(empty, SYMBOL, clock=lambda: LATER, grace=GRACE)
    assert len(files(empty)) == 25


def test_an_hour_committed_while_its_day_is_written_keeps_its_own_file(empty):
    commit(empty, hours(DAY, 24))
    stale = empty.ledger.partition_files(SYMBOL, DAY, at(24))
    commit(empty, [at(5)], value=3.0)
    before = read(empty)
    found = compact(empty, day(), stale, clock=clock)
    assert (found.status, found.path) == ("changed_meanwhile", None), "a newer hour is no damaged one"
    assert read(empty).equals(before)

    def commit_during(*_):
        commit(empty, [at(5)], value=4.0)
        return NOW

    fresh = empty.ledger.partition_files(SYMBOL, DAY, at(24))
    assert compact(empty, day(), fresh, clock=commit_during).status == "changed_meanwhile"
    assert empty.ledger.compacted_files(SYMBOL) == []
    assert read(empty).filter(pl.col("close") == 4.0).height == 60


@pytest.mark.parametrize("killed", [False, True])
def test_a_commit_between_its_file_and_its_ledger_row_is_no_damage(empty, killed):
    store = empty
    commit(empty, hours(DAY, 24))
    stale = store.ledger.partition_files(SYMBOL, DAY, at(24))
    pool, running = ThreadPoolExecutor(1), []

    class Between(Ledger):
        """A ledger whose commit is met after its files were renamed."""

        def commit_intents_of(self, symbols, publish):
            def met():
                publish()
                if killed:
                    raise KeyboardInterrupt
                running.append(pool.submit(compact, empty, day(), stale, clock=clock))
                with pytest.raises(TimeoutError):
                    running[0].result(timeout=0.3)

            return super().commit_intents_of(symbols, met)

    halted = Store(store.root, LedgerEngine(store.engine.url), store.layout, files=store.files)
    vars(halted)["ledger"] = Between(halted.engine, store.layout, store.root)
    with pytest.raises(KeyboardInterrupt) if killed else nullcontext():
        commit_partitions(halted, SYMBOL, [candidate(at(5), value=2.0)], clock=clock)
    found = compact(empty, day(), stale, clock=clock) if killed else running[0].result(timeout=240)
    assert found.status == "changed_meanwhile"
    recover(store)
    assert compacted(empty, day()).status == "compacted"
    assert read(empty).filter(pl.col("close") == 2.0).height == 60
    pool.shutdown()
    halted.close()


def test_files_of_a_killed_compaction_are_swept(empty):
    commit(empty, hours(DAY, 24))
    compacted(empty, day())
    orphan = empty.catalog.compacted_path(SYMBOL, "2026-02-14", "f" * 64)
    orphan.write_bytes(b"left behind")
    assert clear(empty, SYMBOL, clock=clock, grace=GRACE).files == 0
    assert clear(empty, SYMBOL, clock=clock, grace=timedelta(0)).files == 25
    assert not orphan.exists()


def test_hours_of_two_schemas_stay_apart(empty):
    commit(empty, hours(DAY, 24))
    found = empty.ledger.partition_files(SYMBOL, DAY, at(24))
    mixed = [*found[:-1], found[-1]._replace(schema_hash="other")]
    with pytest.raises(ValueError, match="2 schemas"):
        compact(empty, day(), mixed, clock=clock)


def test_the_row_hash_tells_any_value_apart():
    base = pl.DataFrame({"a": [1.0, None, float("nan")], "b": [True, None, False], "c": ["x", None, ""]})
    changed = [
        base.with_columns(a=pl.Series([1.0, 0.0, float("nan")])),
        base.with_columns(b=pl.Series([True, False, False])),
        base.with_columns(c=pl.Series(["x", "", ""])),
        base.rename({"a": "d"}),
        base.with_columns(pl.col("a").cast(pl.Float32)),
        base.reverse(),
    ]
    assert len({rows_hash(frame) for frame in [base, *changed]}) == 7
    assert rows_hash(pl.concat([base.head(1), base.tail(2)], rechunk=False)) == rows_hash(base)
