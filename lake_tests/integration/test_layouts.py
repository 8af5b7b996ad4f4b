"""Storage is one engine: what holds of the minute table holds of a table of another grain, span, market and tiers."""

from __future__ import annotations

import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from lake_resources.errors import LedgerError, StorageError
from lake_resources.known_hole import KnownHole
from lake_resources.layout import TableLayout
from lake_resources.storage.commit import Rejection, commit_partitions, quarantine_partition, recover
from lake_resources.storage.compaction import Period, clear, compact
from lake_resources.storage.duckdb_views import remake_views, write_view
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.ledger import Archive, Capture, Intent, Listing, Revision
from lake_resources.storage.parquet import stage
from lake_resources.storage.placement import is_intact, stretches
from lake_resources.storage.reader import read_partition, scan
from lake_resources.storage.store import Store
from lake_tests.support.commit_nursery import IN_A_COMMIT, nursery
from lake_tests.support.layouts import (
    LAYOUTS,
    MINUTES,
    MONTH,
    NOW,
    SECONDS,
    SYMBOL,
    candidate,
    candidates,
    clock,
    frame,
    layout_store,
    schema,
    starts,
)

pytestmark = pytest.mark.slow

END = MONTH + timedelta(days=28)
WHOLE = Period(SYMBOL, "month", MONTH, END)


@pytest.fixture(params=LAYOUTS, ids=lambda layout: layout.name)
def store(request: pytest.FixtureRequest, tmp_path: Path):
    opened = layout_store(tmp_path, request.param)
    yield opened
    opened.close()


def commit(store: Store, *offered, **options):
    return commit_partitions(store, SYMBOL, offered, clock=clock, **options)


def versions(store: Store, start=MONTH, end=END) -> list[float]:
    rows = scan(store, SYMBOL, start, end, schema=schema(store.layout)).collect()
    return rows.group_by(pl.col(store.layout.time_column).dt.truncate(store.layout.every), maintain_order=True).agg(
        pl.col("version").unique().sum()
    )["version"].to_list()  # fmt: skip


def temps(store: Store) -> list[Path]:
    return sorted(store.catalog.temp_dir.iterdir()) if store.catalog.temp_dir.is_dir() else []


def test_a_committed_partition_is_found_at_its_place_with_its_facts(store: Store) -> None:
    layout = store.layout
    outcomes = commit(store, *candidates(layout, starts(layout, 3)))
    assert [(found.status, found.start) for found in outcomes] == [("committed", start) for start in starts(layout, 3)]
    row = store.ledger.partition(SYMBOL, MONTH)
    assert row is not None
    tail = "hour=00/part.parquet" if layout.span == "hour" else "day=01/part.parquet"
    assert row.path.startswith(f"{layout.market_directory}/{layout.directory}/symbol={SYMBOL}/year=2026/month=02/")
    assert row.path.endswith(tail)
    assert (row.row_count, row.min_ts, row.max_ts) == (
        layout.rows_per_partition,
        MONTH,
        MONTH + layout.step - layout.grain,
    )
    metadata = pl.read_parquet_metadata(store.catalog.absolute(row.path))
    assert metadata[f"lake.{layout.span}"] == MONTH.isoformat()
    assert store.ledger.watermark(SYMBOL) == MONTH + 3 * layout.step - layout.grain
    assert store.ledger.missing_partitions(SYMBOL, MONTH, MONTH + 4 * layout.step) == [MONTH + 3 * layout.step]
    assert store.ledger.first_partition(SYMBOL) == MONTH
    assert [facts.start for facts in store.ledger.partition_facts(SYMBOL, MONTH, END)] == starts(layout, 3)
    assert temps(store) == []


def test_worse_never_replaces_better_and_the_same_is_unchanged(store: Store) -> None:
    layout = store.layout
    few = layout.rows_per_partition - 1
    commit(store, candidate(layout, MONTH))
    for worse in ({"rows": few}, {"kinds": {layout.row_stream: "rest", "other": "archive"}}):
        (outcome,) = commit(store, candidate(layout, MONTH, version=2.0, **worse))
        assert outcome.status == "kept_better"
    assert f"the committed {layout.span} is complete" in commit(store, candidate(layout, MONTH, rows=few))[0].reason
    assert commit(store, candidate(layout, MONTH))[0].status == "unchanged"
    assert commit(store, candidate(layout, MONTH, version=3.0))[0].status == "committed"
    assert versions(store) == [3.0]


def test_a_better_source_of_the_row_stream_may_have_fewer_rows(store: Store) -> None:
    layout = store.layout
    commit(store, candidate(layout, MONTH, rows=30, kinds={layout.row_stream: "rest"}))
    few = candidate(layout, MONTH, rows=29, version=2.0, kinds={layout.row_stream: "archive"})
    assert commit(store, few)[0].status == "committed"
    other = candidate(layout, MONTH, rows=28, version=3.0, kinds={layout.row_stream: "archive", "other": "archive"})
    assert commit(store, other)[0].status == "kept_better"


def test_rows_outside_their_partition_are_refused(store: Store) -> None:
    layout = store.layout
    late = replace(candidate(layout, MONTH), frame=frame(layout, MONTH + layout.grain))
    with pytest.raises(StorageError, match=rf"{layout.title}.*outside the {layout.span}"):
        commit(store, late)
    with pytest.raises(ValueError, match=f"start of a UTC {layout.span}"):
        commit(store, replace(candidate(layout, MONTH), start=MONTH + layout.grain))
    assert temps(store) == []


@pytest.mark.parametrize("renamed", [False, True])
def test_recovery_finishes_what_a_dead_writer_left(store: Store, renamed: bool) -> None:
    layout = store.layout
    commit(store, candidate(layout, MONTH))
    held = store.ledger.partition(SYMBOL, MONTH)
    assert held is not None
    staged = stage(frame(layout, MONTH, version=2.0), store.catalog.temp_dir, {})
    row = replace(held, content_hash=staged.content_hash, size_bytes=staged.size_bytes)
    store.ledger.write_intents([Intent(row, store.catalog.relative(staged.temp_path))])
    if renamed:
        staged.publish(store.catalog.absolute(row.path))
    assert versions(store) == [2.0 if renamed else 1.0], "committed from the rename on"
    assert recover(store).finished == ((SYMBOL, MONTH),)
    assert versions(store) == [2.0]
    assert (store.ledger.intents(), temps(store)) == ([], [])


def test_a_writer_killed_anywhere_loses_nothing(store: Store) -> None:
    log, last = store.root / "acknowledged", 0
    assert store.ledger.intents() == []
    with nursery() as writers:
        for step, leaves_intents in IN_A_COMMIT:
            writers.start(["table", str(store.root), store.layout.name, last, step])
            assert writers.wait() == [-signal.SIGKILL]
            assert bool(store.ledger.intents()) == leaves_intents, step
            before, last = last, int(log.read_text().splitlines()[-1])
            assert last > before, "it died after its first commit"
            rows = store.ledger.partitions(SYMBOL, MONTH, END)
            assert [row.start for row in rows] == starts(store.layout, 3)
            assert [file_hash(store.catalog.absolute(row.path)) for row in rows] == [row.content_hash for row in rows]
            assert min(versions(store)) >= last, "an acknowledged commit is lost"
            recover(store)
            assert store.ledger.intents() == []
            assert min(versions(store)) >= last


def test_a_quarantined_partition_is_passed_and_a_commit_resolves_it(store: Store) -> None:
    layout = store.layout
    first, second, third = starts(layout, 3)
    commit(store, candidate(layout, first), candidate(layout, third))
    assert store.ledger.watermark(SYMBOL) == second - layout.grain
    bad = Rejection(second, frame(layout, second, 7), ["ohlc"], "low above close")
    path = quarantine_partition(store, SYMBOL, bad, clock=clock)
    assert path is not None
    assert path.is_relative_to(store.catalog.quarantine_dir)
    assert f"/{layout.text(second)}-" in path.as_posix()
    assert store.ledger.watermark(SYMBOL) == third + layout.step - layout.grain
    assert [entry.start for entry in store.ledger.quarantined(SYMBOL, MONTH, END)] == [second]
    commit(store, candidate(layout, second))
    assert store.ledger.quarantined(SYMBOL, MONTH, END) == []


def test_an_open_partition_moves_the_watermark_as_far_as_it_goes(store: Store) -> None:
    layout = store.layout
    commit(store, candidate(layout, MONTH, rows=20))
    assert store.ledger.watermark(SYMBOL) == MONTH + 19 * layout.grain
    open_until = MONTH + 40 * layout.grain + layout.grain / 2
    rejection = Rejection(MONTH, None, ["gap"], "rows are missing")
    quarantine_partition(store, SYMBOL, rejection, clock=lambda: open_until)
    assert store.ledger.watermark(SYMBOL) == MONTH + 39 * layout.grain


def test_a_month_becomes_one_file_with_the_same_rows(store: Store) -> None:
    layout = store.layout
    count = (END - MONTH) // layout.step
    wanted = starts(layout, count)
    wanted.remove(MONTH + 3 * layout.step)
    commit(store, *candidates(layout, wanted))
    before = scan(store, SYMBOL, MONTH, END).collect()
    found = compact(store, WHOLE, store.ledger.partition_files(SYMBOL, MONTH, END), clock=clock)
    assert (found.status, found.partitions, found.row_count) == ("compacted", count - 1, before.height)
    assert found.path is not None
    metadata = pl.read_parquet_metadata(found.path)
    assert int(metadata[f"lake.{layout.span}s"], 16).bit_count() == count - 1
    assert clear(store, SYMBOL, clock=lambda: NOW + timedelta(days=3), grace=timedelta(days=1)).files == count - 1
    assert list(store.root.rglob("*.parquet")) == [found.path]
    assert scan(store, SYMBOL, MONTH, END).collect().equals(before)
    row = store.ledger.partition(SYMBOL, wanted[-1])
    assert row is not None
    assert is_intact(store, row)
    assert read_partition(store, row).equals(frame(layout, wanted[-1]))

    # A partition that is committed anew is read from its own file, its neighbours are not.
    commit(store, candidate(layout, wanted[5], version=2.0))
    shown = versions(store)
    assert (shown.count(1.0), shown.count(2.0)) == (count - 2, 1)
    late = wanted[5] - layout.grain, wanted[5] + layout.grain
    assert scan(store, SYMBOL, *late, ["version"]).collect()["version"].to_list() == [1.0, 2.0]
    again = compact(store, WHOLE, store.ledger.partition_files(SYMBOL, MONTH, END), clock=clock)
    assert again.status == "compacted"
    assert versions(store) == shown
    assert [len(stretch.paths) for stretch in stretches(store, SYMBOL, MONTH, END)] == [1]
    again.path.write_bytes(again.path.read_bytes()[:-1])  # type: ignore[union-attr]
    with pytest.raises(LedgerError, match=rf"{layout.title}.*is lost or not the file"):
        compact(store, WHOLE, store.ledger.partition_files(SYMBOL, MONTH, END), clock=clock)


def test_a_view_shows_the_rows_of_its_table(store: Store) -> None:
    layout = store.layout
    commit(store, *candidates(layout, starts(layout, 2)))
    path = store.root / "some.duckdb"
    assert write_view(store, [SYMBOL], path).files == 2
    commit(store, candidate(layout, MONTH + 2 * layout.step))
    (view,) = remake_views(store)
    assert (view.path, view.files, view.warning) == (path, 3, "")
    with duckdb.connect(str(path), read_only=True) as connection:
        found = connection.execute(f'SELECT symbol, count(*) FROM "{layout.directory}" GROUP BY ALL').fetchall()
    assert found == [(SYMBOL, 3 * layout.rows_per_partition)]


def test_tables_and_markets_of_one_lake_share_no_rows(tmp_path: Path) -> None:
    """The same symbol in both: what is said of one is not said of the other."""
    minutes = layout_store(tmp_path, MINUTES)
    seconds = minutes.of(SECONDS)
    for store in (minutes, seconds):
        commit(store, candidate(store.layout, MONTH))
    assert minutes.ledger.watermark(SYMBOL) == MONTH + timedelta(minutes=59)
    assert seconds.ledger.watermark(SYMBOL) == MONTH + timedelta(days=1, seconds=-1)
    quarantine_partition(minutes, SYMBOL, Rejection(MONTH, None, ["x"], "y"), clock=clock)
    assert seconds.ledger.quarantined(SYMBOL, MONTH, END) == []

    said = minutes.ledger
    said.record_missing(SYMBOL, "s", "2026-02-01", "archive", "404", at=NOW)
    said.declare_hole(KnownHole("s", SYMBOL, MONTH, END, "why", "where"))
    said.record_listing(Listing(SYMBOL, MONTH, None), at=NOW)
    said.record_revisions([Revision(SYMBOL, "s", MONTH, "close", "rest", "archive", 1.0, 2.0, NOW)])
    facts = {"row_count": 1, "content_hash": "c" * 64}
    said.record_archive(
        Archive(SYMBOL, "s", "2026-02-01", "a" * 64, "url", "p", min_ts=MONTH, max_ts=MONTH, size_bytes=1,
                checksum_verdict="verified", fetched_at=NOW, **facts)
    )  # fmt: skip
    said.record_captures([
        Capture(SYMBOL, "s", MONTH, "p", window_start=MONTH, window_end=END, complete=False, request="r",
                captured_at=NOW, **facts)
    ])  # fmt: skip

    def told(ledger) -> list[object]:
        return [
            ledger.missing_sources(), ledger.known_holes(SYMBOL, MONTH, END), ledger.listing(SYMBOL),
            ledger.revisions(SYMBOL, MONTH, END), ledger.archive(SYMBOL, "s", "2026-02-01"),
            ledger.capture_vintages(SYMBOL, "s", MONTH), ledger.captures_since(MONTH),
            ledger.unfinished_captures(SYMBOL, MONTH, END), ledger.traded_after([SYMBOL], NOW) != (SYMBOL,),
        ]  # fmt: skip

    assert all(told(minutes.ledger)[:-1])
    assert not any(told(seconds.ledger))
    # Another table of the same market shares what is known of its streams, and nothing of its rows.
    sister = minutes.of(replace(MINUTES, name="um_sister", directory="sister"))
    assert told(sister.ledger)[0] == told(minutes.ledger)[0]
    assert sister.ledger.partitions(SYMBOL, MONTH, END) == sister.ledger.revisions(SYMBOL, MONTH, END) == []
    minutes.close()


def test_no_two_tables_share_a_place(tmp_path: Path) -> None:
    def places(layout: TableLayout) -> set[Path]:
        catalog = layout_store(tmp_path, layout).catalog
        return {
            catalog.partition_path(SYMBOL, MONTH), catalog.compacted_dir(SYMBOL), catalog.lock_path(SYMBOL),
            catalog.quarantine_path(SYMBOL, MONTH, "c" * 64), catalog.report_path(SYMBOL, MONTH), catalog.views_path,
            catalog.views_lock_path,
        }  # fmt: skip

    def of_market(layout: TableLayout) -> set[Path]:
        catalog = layout_store(tmp_path, layout).catalog
        return {
            catalog.live_lock_path(SYMBOL), catalog.live_records_dir, catalog.live_rows_path(SYMBOL, MONTH),
            catalog.of_market.collector_lock_path, catalog.capture_path("s", SYMBOL, MONTH, "c" * 64),
            catalog.archive_path("s", SYMBOL, "2026-02-01", "a" * 64),
        }  # fmt: skip

    sister = replace(SECONDS, name="toy_sister", directory="sister")
    twin = replace(MINUTES, name="toy_minute", market="toy", market_directory="toys/wood")
    tables = [MINUTES, SECONDS, sister, twin]
    assert len(set[Path]().union(*map(places, tables))) == 7 * len(tables)
    assert of_market(sister) == of_market(SECONDS) == of_market(twin)
    assert not of_market(MINUTES) & of_market(SECONDS)
