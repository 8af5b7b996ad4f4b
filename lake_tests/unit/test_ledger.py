"""The ledger's tables: typed rows in, the same rows out, vintages kept, everything found through an index."""

import os
import sqlite3
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from lake_assets.at_rest import table_store
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.errors import LedgerError, SettingsError
from lake_resources.known_hole import KnownHole
from lake_resources.storage.ledger.ledger import Archive, Capture, Intent, Revision
from lake_resources.storage.ledger.tables import METADATA, utc_text
from lake_tests.support.minute_hours import DAY, NOW, SYMBOL, at, partition
from lake_tests.support.stores import store_at


@pytest.fixture
def ledger(tmp_path):
    ledger = store_at(tmp_path).ledger
    yield ledger
    ledger.close()


def commit(ledger, *partitions):
    ledger.write_intents([Intent(row, ".tmp/x.parquet") for row in partitions])
    for symbol in {row.symbol for row in partitions}:
        ledger.commit_intents(symbol)


def rows(ledger, query):
    path = sa.make_url(ledger.engine.url).database
    with sqlite3.connect(path) as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


def archive(period="2026-02-15", sha="a", **changes):
    values = {"url": "http://x/y.zip", "path": "vision/x.parquet", "row_count": 1440, "min_ts": DAY, "max_ts": at(23)}
    made = Archive(SYMBOL, "klines_1m", period, sha * 64, **values, content_hash="c" * 64, size_bytes=9,
                   checksum_verdict="verified", fetched_at=NOW)  # fmt: skip
    return replace(made, **changes)


def capture(hour=0, content="a", **changes):
    made = Capture(SYMBOL, "klines_1m", at(hour), f"captures/{content}.parquet", 60, at(hour), at(hour + 1), True,
                   "/fapi/v1/klines?symbol=BTCUSDT", content * 64, NOW)  # fmt: skip
    return replace(made, **changes)


def test_sqlite_is_durable_and_waits(ledger):
    with ledger.engine.reading() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 60_000, "foreign_keys": 1}


def test_partition_comes_back_as_it_went_in(ledger):
    made = partition(at(7), rows=59)
    commit(ledger, made)
    assert ledger.partition(SYMBOL, at(7)) == made
    assert ledger.partition(SYMBOL, at(8)) is None
    assert ledger.partition("ETHUSDT", at(7)) is None
    assert ledger.symbols() == [SYMBOL]


def test_times_are_text_of_one_width_and_the_key_is_table_symbol_start(ledger):
    commit(ledger, partition(at(7)))
    assert rows(ledger, "SELECT table_name, symbol, start_utc, status, min_ts FROM partitions") == [
        ("um_minute", SYMBOL, "2026-02-15T07:00:00.000000Z", "COMMITTED", "2026-02-15T07:00:00.000000Z")
    ]
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    assert utc_text(tokyo) == utc_text(NOW) == "2026-02-20T12:34:56.000000Z"
    with pytest.raises(ValueError, match="no time zone"):
        utc_text(datetime(2026, 1, 1))  # noqa: DTZ001


def test_an_intent_is_not_visible_until_it_is_committed(ledger):
    commit(ledger, partition(at(0), rows=30))
    intent = Intent(partition(at(0)), ".tmp/x.parquet")
    ledger.write_intents([intent, Intent(partition(at(1)), ".tmp/y.parquet")])
    assert ledger.partition(SYMBOL, at(0)).row_count == 30
    assert ledger.partition(SYMBOL, at(1)) is None
    assert ledger.intents(SYMBOL)[0] == intent
    ledger.drop_intents(SYMBOL, [at(1)])
    ledger.commit_intents(SYMBOL)
    assert ledger.partition(SYMBOL, at(0)).row_count == 60
    assert ledger.partition(SYMBOL, at(1)) is None
    assert ledger.intents() == []


def test_commit_intents_takes_one_symbol_only(ledger):
    ledger.write_intents([Intent(partition(at(0), symbol=name), ".tmp/x") for name in ("BTCUSDT", "ETHUSDT")])
    ledger.commit_intents("ETHUSDT")
    assert ledger.partition("BTCUSDT", at(0)) is None
    assert [intent.partition.symbol for intent in ledger.intents()] == ["BTCUSDT"]


def test_ranges_are_half_open_and_cross_days(ledger):
    commit(ledger, *[partition(at(hour)) for hour in range(20, 52)])

    def hours(start, end):
        return [(row.start - DAY) // timedelta(hours=1) for row in ledger.partitions(SYMBOL, at(start), at(end))]

    assert hours(22, 26) == [22, 23, 24, 25]
    assert hours(22.5, 25.01) == [22, 23, 24, 25]
    assert hours(0, 21) == [20]
    assert hours(51, 99) == [51]
    assert hours(25, 25) == []
    assert ledger.partition_paths(SYMBOL, at(23), at(25)) == ["some/2026021523.parquet", "some/2026021600.parquet"]


def test_missing_and_committed_hours_are_all_hours(ledger):
    commit(ledger, *[partition(at(hour)) for hour in (1, 2, 5, 30)])
    missing = ledger.missing_partitions(SYMBOL, at(0.5), at(6.2))
    assert missing == [at(0), at(3), at(4), at(6)]
    assert ledger.missing_partitions(SYMBOL, at(1), at(3)) == []
    assert ledger.missing_partitions(SYMBOL, at(3), at(3)) == []


def test_archive_vintages_are_kept_and_one_is_current(ledger):
    first, second = archive(sha="a"), archive(sha="b", fetched_at=NOW + timedelta(days=1), path="vision/y.parquet")
    ledger.record_archive(first)
    ledger.record_archive(second)
    assert ledger.archive(SYMBOL, "klines_1m", "2026-02-15") == second
    assert ledger.archive_vintages(SYMBOL, "klines_1m", "2026-02-15") == [replace(first, is_current=False), second]
    ledger.record_archive(first)
    assert ledger.archive(SYMBOL, "klines_1m", "2026-02-15") == first
    assert len(ledger.archive_vintages(SYMBOL, "klines_1m", "2026-02-15")) == 2
    assert ledger.archive(SYMBOL, "metrics", "2026-02-15") is None


def test_archives_between_takes_days_and_months(ledger):
    for day in ("2026-01-31", "2026-02-01", "2026-02-15", "2026-03-01"):
        ledger.record_archive(archive(day))
    for month in ("2026-01", "2026-02", "2026-03"):
        ledger.record_archive(archive(month, stream="funding_rate"))

    def periods(stream, start, end):
        return [found.period for found in ledger.archives_between(SYMBOL, stream, start, end)]

    february = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
    assert periods("klines_1m", *february) == ["2026-02-01", "2026-02-15"]
    assert periods("klines_1m", at(5), at(6)) == ["2026-02-15"]
    assert periods("funding_rate", *february) == ["2026-02"]
    assert periods("funding_rate", datetime(2026, 1, 31, 23, tzinfo=UTC), at(0)) == ["2026-01", "2026-02"]


def test_captures_keep_vintages_and_never_fall_from_whole_to_part(ledger):
    part = capture(content="a", complete=False, row_count=30)
    whole = capture(content="b", captured_at=NOW + timedelta(hours=1))
    late = capture(content="d", complete=False, row_count=2, captured_at=NOW + timedelta(hours=2))
    for made in (part, whole, late):
        ledger.record_captures([made])
    assert ledger.captures_between(SYMBOL, "klines_1m", at(0), at(1)) == [whole]
    assert ledger.capture_vintages(SYMBOL, "klines_1m", at(0)) == [
        replace(part, is_current=False),
        whole,
        replace(late, is_current=False),
    ]
    ledger.record_captures([replace(whole, captured_at=NOW + timedelta(hours=3))])
    assert len(ledger.capture_vintages(SYMBOL, "klines_1m", at(0))) == 3


def test_captures_between_is_half_open(ledger):
    for hour in range(4):
        ledger.record_captures([capture(hour, content=str(hour))])
    found = ledger.captures_between(SYMBOL, "klines_1m", at(1.5), at(3))
    assert [made.hour for made in found] == [at(1), at(2)]


def test_missing_sources_count_attempts_and_can_reopen(ledger):
    key = (SYMBOL, "metrics", "2026-02-15", "archive")
    ledger.record_missing(*key, "404", at=NOW)
    ledger.record_missing(*key, "404 again", at=NOW + timedelta(hours=1))
    (found,) = ledger.missing_sources(SYMBOL)
    assert (found.reason, found.attempts, found.first_seen, found.last_seen) == (
        "404 again", 2, NOW, NOW + timedelta(hours=1),
    )  # fmt: skip
    assert ledger.resolve_missing(*key[:3], at=NOW + timedelta(hours=2)) == 1
    assert ledger.resolve_missing(*key[:3], at=NOW + timedelta(hours=2)) == 0
    assert ledger.missing_sources() == []
    (resolved,) = ledger.missing_sources(stream="metrics", resolved=True)
    assert resolved.resolved_at == NOW + timedelta(hours=2)
    ledger.record_missing(*key, "gone again", at=NOW + timedelta(hours=3))
    assert ledger.missing_sources()[0].attempts == 3


def test_resolving_one_source_leaves_the_other(ledger):
    for source in ("archive", "rest"):
        ledger.record_missing(SYMBOL, "metrics", "2026-02-15", source, "x", at=NOW)
    assert ledger.resolve_missing(SYMBOL, "metrics", "2026-02-15", "rest", at=NOW) == 1
    assert [row.source for row in ledger.missing_sources()] == ["archive"]


def test_revisions_are_kept_once(ledger):
    made = Revision(SYMBOL, "klines_1m", at(1), "close", "rest", "archive", 1.0, 2.0, NOW)
    null = replace(made, column="open", old_value=None)
    ledger.record_revisions([made, null])
    ledger.record_revisions([replace(made, noticed_at=NOW + timedelta(days=1))])
    ledger.record_revisions([])
    assert ledger.revisions(SYMBOL, at(1), at(2)) == [made, null]
    assert ledger.revisions(SYMBOL, at(0), at(1)) == []
    assert ledger.revisions(SYMBOL, at(1), at(2), stream="metrics") == []


def test_known_holes_of_a_symbol_and_of_all(ledger):
    mine = KnownHole("klines_1m", SYMBOL, at(1), at(2), "maintenance", "url")
    everyones = KnownHole("metrics", "*", at(1.5), at(3), "outage", "url")
    for hole in (mine, everyones, replace(mine, symbol="ETHUSDT"), replace(mine, start=at(9), end=at(10))):
        ledger.declare_hole(hole)
    assert ledger.known_holes(SYMBOL, at(1), at(2)) == [mine, everyones]
    assert ledger.known_holes(SYMBOL, at(2), at(3)) == [everyones]
    assert ledger.known_holes(SYMBOL, at(0), at(9), stream="klines_1m") == [mine]
    ledger.declare_hole(replace(mine, end=at(1.5)))
    assert ledger.known_holes(SYMBOL, at(1), at(2), stream="klines_1m") == [replace(mine, end=at(1.5))]


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("partitions", (SYMBOL, at(0), at(24))),
        ("partition_paths", (SYMBOL, at(0), at(24))),
        ("archive", (SYMBOL, "klines_1m", "2026-02-15")),
        ("archives_between", (SYMBOL, "klines_1m", at(0), at(24))),
        ("captures_between", (SYMBOL, "klines_1m", at(0), at(24))),
        ("quarantined", (SYMBOL, at(0), at(24))),
        ("revisions", (SYMBOL, at(0), at(1))),
        ("watermark", (SYMBOL,)),
    ],
)
def test_every_look_up_goes_through_an_index(ledger, method, arguments):
    """What keeps a look-up flat with years of hours: no statement scans a table."""
    statements = []
    sa.event.listen(ledger.engine._connected(), "before_cursor_execute", lambda *a: statements.append((a[2], a[3])))
    getattr(ledger, method)(*arguments)
    assert statements
    with ledger.engine.reading() as connection:
        for statement, parameters in list(statements):
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            assert any(step.startswith("SEARCH") for step in plan), plan
            assert not any(step.startswith("SCAN") for step in plan), plan


def test_every_table_and_upsert_is_known_to_postgres(ledger):
    dialect = postgresql.dialect()
    for table in METADATA.sorted_tables:
        assert "CREATE TABLE" in str(sa.schema.CreateTable(table).compile(dialect=dialect))
    holes = METADATA.tables["known_holes"]
    insert = postgresql.insert(holes).values(market="um", stream="x", symbol="*", start_utc=NOW)
    again = insert.on_conflict_do_update(index_elements=["stream"], set_={"cause": insert.excluded.cause})
    assert "ON CONFLICT (stream) DO UPDATE SET cause = excluded.cause" in str(again.compile(dialect=dialect))


def test_threads_share_a_ledger(ledger):
    errors = []

    def work(name):
        try:
            for hour in range(10):
                commit(ledger, partition(at(hour), symbol=name))
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"S{index}",)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [len(ledger.partitions(f"S{index}", at(0), at(10))) for index in range(4)] == [10] * 4


def test_a_forked_child_opens_its_own_connections(ledger):
    commit(ledger, partition(at(0)))
    child = os.fork()
    if child == 0:
        commit(ledger, partition(at(1)))
        os._exit(0 if len(ledger.partitions(SYMBOL, at(0), at(2))) == 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(ledger.partitions(SYMBOL, at(0), at(2))) == 2


def test_a_damaged_ledger_says_so(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is no database, and long enough to be read as a header" * 20)
    with pytest.raises(LedgerError, match=r"file is not a database.*runbook"):
        store_at(tmp_path).ledger.symbols()


POSTGRES = "postgresql+psycopg2://lake:secret@host/lake"


@pytest.mark.parametrize("url", ["sqlite://", "mysql://host/x", POSTGRES, "nonsense"])
def test_another_database_is_refused_before_anything_else(tmp_path, url):
    with pytest.raises(SettingsError, match="LAKE_LEDGER_URL") as refused:
        table_store(tmp_path / "new", url, UM_MINUTE).ledger.symbols()
    assert "secret" not in str(refused.value)
    assert not (tmp_path / "new").exists()
