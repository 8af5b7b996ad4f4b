"""One contract for the ledger in SQLite and in Postgres: rows, locks, errors, and what two writers at once do to them.

Each test runs on both sides; those on Postgres skip, saying so, where none is to be had.
"""

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial

import polars as pl
import pytest
import sqlalchemy as sa

from lake_resources.collector.journal import GapRow, Journal, KnownRow
from lake_resources.errors import LedgerError, LedgerUnreachable, PartitionBusy, SettingsError
from lake_resources.known_hole import KnownHole
from lake_resources.storage.commit import Rejection, commit_partitions, quarantine_partition, recover
from lake_resources.storage.compaction import clear, compact
from lake_resources.storage.garbage import find_garbage, remove_garbage
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.engine import LedgerEngine
from lake_resources.storage.ledger.ledger import Archive, Capture, ComparedPartition, Listing, NewVerdict, Revision
from lake_resources.storage.ledger.slice_rows import SliceRows, SliceSet
from lake_resources.storage.ledger.tables import ARCHIVES, CAPTURES
from lake_resources.storage.named_commit import commit_named
from lake_resources.storage.parquet import StagedFile
from lake_resources.storage.reader import scan
from lake_resources.storage.store import Store
from lake_tests.support.commit_nursery import acknowledged, nursery
from lake_tests.support.compacted_hours import DAYS, all_rows
from lake_tests.support.compacted_hours import candidates as month_end_hours
from lake_tests.support.minute_hours import NOW, REST, SCHEMA, SYMBOL, at, candidate, clock, lake
from lake_tests.support.postgres import postgres_server
from lake_tests.support.waiting import wait_until

RACES = 150


@pytest.fixture(scope="module")
def server():
    with postgres_server() as found:
        yield found


@pytest.fixture(params=["sqlite", "postgres"])
def root(request, tmp_path):
    """The root of an empty lake, its ledger on one side or the other."""
    if request.param == "postgres":
        return request.getfixturevalue("server").under(tmp_path / "lake")
    (tmp_path / "lake").mkdir()
    return tmp_path / "lake"


@pytest.fixture
def store(root):
    store = lake(root)
    yield store
    store.close()


def archive(sha="a", period="2026-02-15", **changes):
    rows = f"vision/{sha}.parquet", 1440, at(0), at(23)
    made = Archive(SYMBOL, "klines_1m", period, sha * 64, "http://x/y.zip", *rows, sha * 64, 9, "verified", NOW)
    return replace(made, **changes)


def capture(content="a", hour=0, **changes):
    made = Capture(SYMBOL, "klines_1m", at(hour), f"captures/{content}.parquet", 60, at(hour), at(hour + 1), True,
                   "/fapi/v1/klines", content * 64, NOW)  # fmt: skip
    return replace(made, **changes)


def commit(store, *candidates, **options):
    return [found.status for found in commit_partitions(store, SYMBOL, candidates, clock=clock, **options)]


def closes(store, hours=24):
    return scan(store, SYMBOL, at(0), at(hours), schema=SCHEMA).collect()["close"].to_list()


def in_parallel(*works):
    """All works at the same moment; their results, in order."""
    gate = threading.Barrier(len(works))

    def started(work):
        gate.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [each.result() for each in [pool.submit(started, work) for work in works]]


def test_what_is_committed_is_kept_replaced_or_left_alike(store):
    day = [candidate(at(hour)) for hour in range(24)]
    assert commit(store, *day) == ["committed"] * 24
    assert commit(store, *day) == ["unchanged"] * 24
    assert commit(store, candidate(at(3), rows=30, value=2.0)) == ["kept_better"]
    assert commit(store, candidate(at(3), value=3.0, kinds=REST)) == ["kept_better"]
    assert commit(store, candidate(at(3), value=4.0)) == ["committed"]
    assert closes(store) == [1.0] * 180 + [4.0] * 60 + [1.0] * 1200
    assert store.ledger.watermark(SYMBOL) == at(24 - 1 / 60)
    for row in store.ledger.partitions(SYMBOL, at(0), at(24)):
        assert file_hash(store.catalog.absolute(row.path)) == row.content_hash
    assert store.ledger.missing_partitions(SYMBOL, at(0), at(25)) == [at(24)]
    assert not list(store.catalog.temp_dir.iterdir())


def test_a_lost_or_damaged_file_is_committed_anew(store):
    commit(store, candidate(at(0)))
    (row,) = store.ledger.partitions(SYMBOL, at(0), at(1))
    path = store.catalog.absolute(row.path)
    for harm in (path.unlink, lambda: path.write_bytes(b"torn")):
        harm()
        assert commit(store, candidate(at(0))) == ["committed"]
        assert closes(store, 1) == [1.0] * 60


def test_quarantine_lets_the_watermark_pass_and_a_commit_resolves_it(store):
    commit(store, candidate(at(0)))
    broken = Rejection(at(1), candidate(at(1)).frame, ["KL-1"], "broken")
    quarantine_partition(store, SYMBOL, broken, clock=clock)
    quarantine_partition(store, SYMBOL, Rejection(at(2), None, ["KL-1"], "empty"), clock=clock)
    quarantine_partition(store, SYMBOL, Rejection(at(2), None, ["KL-1"], "empty"), clock=clock)
    assert [entry.codes for entry in store.ledger.quarantined(SYMBOL, at(0), at(3))] == [("KL-1",)] * 2
    assert store.ledger.watermark(SYMBOL) == at(3 - 1 / 60)
    commit(store, candidate(at(1)), candidate(at(2)))
    assert store.ledger.quarantined(SYMBOL, at(0), at(3)) == []


def test_vintages_are_kept_and_one_is_current(store):
    ledger = store.ledger
    for sha in "abca":
        ledger.record_archive(archive(sha))
    ledger.record_archive(archive("m", "2026-02", stream="funding"))
    assert [(row.sha256[0], row.is_current) for row in ledger.archive_vintages(SYMBOL, "klines_1m", "2026-02-15")] == [
        ("a", True), ("b", False), ("c", False),
    ]  # fmt: skip
    assert ledger.archive(SYMBOL, "klines_1m", "2026-02-15") == archive("a")
    assert [row.period for row in ledger.archives_between(SYMBOL, "funding", at(0), at(24))] == ["2026-02"]
    ledger.record_captures([capture("a"), capture("b", complete=False), capture("c"), capture("d", 1, complete=False)])
    assert ledger.capture(SYMBOL, "klines_1m", at(0)) == capture("c")
    assert [row.content_hash[0] for row in ledger.unfinished_captures(SYMBOL, at(0), at(2))] == ["d"]
    (old,) = ledger.superseded_captures(at(9999), 10)
    ledger.forget_captures([old])
    assert [row.content_hash[0] for row in ledger.capture_vintages(SYMBOL, "klines_1m", at(0))] == ["a", "c"]


@pytest.mark.parametrize("table", [ARCHIVES, CAPTURES], ids=lambda table: table.name)
def test_a_second_current_row_is_impossible(store, table):
    ledger = store.ledger
    for sha in "ab":
        ledger.record_archive(archive(sha))
        ledger.record_capture(capture(sha))
    with pytest.raises(LedgerError, match=r"(?i)unique"), ledger.engine.writing() as connection:
        connection.execute(sa.update(table).values(is_current=True))
    with ledger.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).where(table.c.is_current)) == 1


def test_a_ledger_of_before_gets_the_index(root):
    """One that was made without it is completed when it is opened, its rows as they were."""
    before = lake(root)
    before.ledger.record_archive(archive("a"))
    with before.engine.writing() as connection:
        connection.execute(sa.text("DROP INDEX archives_one_current"))
    before.close()
    after = lake(root)
    assert after.ledger.archive(SYMBOL, "klines_1m", "2026-02-15") == archive("a")
    with after.ledger.reading() as connection:
        assert "archives_one_current" in {index["name"] for index in sa.inspect(connection).get_indexes("archives")}
    after.close()


def test_everything_else_comes_back_as_it_went_in(store):
    ledger = store.ledger
    commit(store, candidate(at(0)), candidate(at(1)))
    for reason in ("404", "still 404"):
        ledger.record_missing(SYMBOL, "klines_1m", "2026-02-15", "archive", reason, at=NOW)
    (missing,) = ledger.missing_sources()
    assert (missing.reason, missing.attempts) == ("still 404", 2)
    assert ledger.resolve_missing(SYMBOL, "klines_1m", "2026-02-15", at=NOW) == 1
    listing = Listing(SYMBOL, at(0), None)
    for said in (replace(listing, end=at(5)), listing):
        ledger.record_listing(said, at=NOW)
    assert ledger.listing(SYMBOL) == listing
    hole = KnownHole(stream="klines_1m", symbol="*", start=at(0), end=at(2), cause="halt", reference="x")
    for declared in (replace(hole, cause="old"), hole):
        ledger.declare_hole(declared)
    assert ledger.known_holes(SYMBOL, at(1), at(3)) == [hole]
    revision = Revision(SYMBOL, "klines_1m", at(0), "close", "rest", "archive", 1.5, None, NOW)
    ledger.record_revisions([revision])
    ledger.record_revisions([revision])
    assert ledger.revisions(SYMBOL, at(0), at(1)) == [revision]
    compared = ComparedPartition(SYMBOL, at(0), 60, 1, 0, 0, "close", NOW)
    ledger.record_parity([replace(compared, differing=5), replace(compared, start=at(1))])
    ledger.record_parity([compared], [NewVerdict(at(0), "contradicted", "{}")])
    assert ledger.parities(SYMBOL, at(0), at(1)) == [compared]
    assert ledger.verdicts(SYMBOL, at(0), at(2)) == {at(0): ("contradicted", "{}")}
    assert commit(store, candidate(at(1), value=2.0)) == ["committed"]
    assert [found.start for found in ledger.parities(SYMBOL, at(0), at(2))] == [at(0)]
    assert ledger.partitions_by_day(SYMBOL) == {"2026-02-15": 2}
    assert ledger.is_known(SYMBOL)
    assert not ledger.is_known("ETHUSDT")


def test_the_collector_and_the_slices_keep_their_rows(store):
    url = store.engine.url
    journal, slices = Journal(url, "um"), SliceRows(url)
    gap = GapRow(SYMBOL, 1, 2**40, NOW, "open", None, "x")
    for status in ("open", "healed"):
        journal.write([replace(gap, status=status), KnownRow(SYMBOL, 2**40, 29_000_000)])
    assert [found.status for found in journal.gaps()] == ["healed"]
    assert journal.known()[SYMBOL].last_id == 2**40
    of = SliceSet("klines", SYMBOL, "1m")
    assert [slices.keep_origin(of, first, NOW) for first in (2**41, 2**40)] == [2**41, 2**41]
    assert slices.origin(of) == 2**41
    journal.close()
    slices.close()


def test_a_compacted_day_serves_what_was_not_committed_since(store):
    rows = all_rows()
    commit(store, *month_end_hours(rows, range(24), 1))
    day = DAYS[0]
    files = store.ledger.partition_files(SYMBOL, day.start, day.end)
    assert compact(store, day, files, clock=clock).status == "compacted"
    assert compact(store, day, files, clock=clock).status == "unchanged"
    hours = len(files)
    assert commit(store, *month_end_hours(rows, [0], 2)) == ["committed"]
    assert compact(store, day, files, clock=clock).status == "changed_meanwhile"
    found = scan(store, SYMBOL, day.start, day.end).collect()
    assert found.height == 60 * hours
    assert found["timestamp"].is_sorted()
    assert clear(store, SYMBOL, clock=lambda: NOW.replace(year=2027), grace=NOW - NOW).files == hours - 1
    assert scan(store, SYMBOL, day.start, day.end).collect().equals(found)


def test_the_lock_excludes_waits_and_is_told(root):
    first, second = lake(root), lake(root)
    path = first.catalog.lock_path(SYMBOL)
    with first.engine.locked(path):
        with (
            pytest.raises(PartitionBusy, match="another writer held it for 0 s"),
            second.engine.locked(path, timeout_s=0),
        ):
            pass
        with second.engine.locked(second.catalog.lock_path("ETHUSDT"), timeout_s=0):
            pass
        with pytest.raises(PartitionBusy):
            commit(second, candidate(at(0)), timeout_s=0)
    assert commit(second, candidate(at(0)), timeout_s=0) == ["committed"]
    first.close()
    second.close()


def test_a_killed_holder_frees_the_lock(root):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        held = lake(root)
        with held.engine.locked(held.catalog.lock_path(SYMBOL)):
            os.write(write, b"held")
            signal.pause()
    assert os.read(read, 4) == b"held"
    store = lake(root)
    with pytest.raises(PartitionBusy):
        commit(store, candidate(at(0)), timeout_s=0)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert commit(store, candidate(at(0)), timeout_s=60) == ["committed"]
    store.close()


def test_a_writer_that_waits_too_long_may_come_again(root):
    patient, hasty = lake(root), LedgerEngine(lake(root).engine.url, busy_ms=50)
    with (
        patient.engine.writing("um/BTCUSDT"),
        pytest.raises(PartitionBusy) as busy,
        hasty.writing("um/BTCUSDT"),
    ):
        pass
    assert busy.value.retryable
    patient.close()
    hasty.close()


def test_two_writers_never_make_two_current_vintages(root):
    """Races of a re-published archive, and of an answer of REST: one is current after each, and can be asked for."""
    hosts = [lake(root), lake(root)]
    wrong = 0
    for race in range(RACES):
        period, hour = f"2026-03-{race:03d}"[:10], race
        pairs = list(zip(hosts, "ab", strict=True))
        in_parallel(*(partial(host.ledger.record_archive, archive(sha, period)) for host, sha in pairs))
        in_parallel(*(partial(host.ledger.record_capture, capture(sha, hour)) for host, sha in pairs))
        vintages = hosts[0].ledger.archive_vintages(SYMBOL, "klines_1m", period)
        answers = hosts[0].ledger.capture_vintages(SYMBOL, "klines_1m", at(hour))
        wrong += (len(vintages), sum(each.is_current for each in vintages)) != (2, 1)
        wrong += (len(answers), sum(each.is_current for each in answers)) != (2, 1)
        assert hosts[1].ledger.archive(SYMBOL, "klines_1m", period) is not None
        assert hosts[1].ledger.capture(SYMBOL, "klines_1m", at(hour)) is not None
    assert wrong == 0
    for host in hosts:
        host.close()


def test_two_hosts_lose_no_hour_and_the_better_one_stays(root):
    """Each commits an hour of its own and one that both have, the second of them only a part of it."""
    hosts = [lake(root), lake(root)]
    races = 12
    for race in range(races):
        shared = at(3 * race)
        works = [
            (candidate(at(3 * race + 1), value=1.0), candidate(shared, value=race + 1.0)),
            (candidate(at(3 * race + 2), value=2.0), candidate(shared, rows=30, value=0.5)),
        ]
        told = in_parallel(*(partial(commit, host, *work) for host, work in zip(hosts, works, strict=True)))
        assert told[0] == ["committed", "committed"]
        assert told[1][0] == "committed"
        assert told[1][1] in {"committed", "kept_better"}
    rows = hosts[0].ledger.partitions(SYMBOL, at(0), at(3 * races))
    assert [row.start for row in rows] == [at(hour) for hour in range(3 * races)]
    assert all(row.complete for row in rows)
    assert hosts[1].ledger.watermark(SYMBOL) == at(3 * races - 1 / 60)
    assert closes(hosts[1], 3 * races)[::60] == [value for race in range(races) for value in (race + 1.0, 1.0, 2.0)]
    for host in hosts:
        assert recover(host).finished == ()
        host.close()


def test_a_writer_that_lost_its_lock_does_no_harm(server, tmp_path):
    """Without any lock of its own, the transaction alone decides: the complete hour stays, whoever is first."""
    root = server.under(tmp_path / "lake")
    hosts: list[Store] = [lake(root), lake(root)]
    for hour in range(10):
        made = [staged(host, candidate(at(hour), rows=rows)) for host, rows in zip(hosts, (60, 30), strict=True)]
        whole, part = in_parallel(
            *(
                lambda host=host, one=one: commit_named(host, SYMBOL, [one])
                for host, one in zip(hosts, made, strict=True)
            )
        )
        assert whole[0].status == "committed"
        assert part[0].status in {"committed", "kept_better"}
        (row,) = hosts[0].ledger.partitions(SYMBOL, at(hour), at(hour + 1))
        assert row.complete
        assert file_hash(hosts[0].catalog.absolute(row.path)) == row.content_hash
    for host in hosts:
        host.close()


def staged(host, one):
    """A candidate as the commit has it before its transaction."""
    from lake_resources.storage.commit import _metadata, _partition, _span
    from lake_resources.storage.parquet import stage

    file: StagedFile = stage(one.frame, host.catalog.temp_dir, _metadata(host.layout, SYMBOL, one))
    return _partition(host, SYMBOL, one, file, _span(host.layout, SYMBOL, one), NOW), file


def test_another_directory_is_refused(server, tmp_path):
    """Two hosts with a disk each: the second sees none of the files that the ledger names."""
    url = server.fresh()
    first, second = (lake(with_ledger(tmp_path / name, url)) for name in ("a", "b"))
    commit(first, candidate(at(0)))
    with pytest.raises(SettingsError, match="other files"):
        second.ledger.symbols()
    (tmp_path / "b" / "LEDGER").write_text("another\n")
    with pytest.raises(SettingsError, match="LAKE_ROOT"):
        commit(second, candidate(at(1)))
    assert len(first.ledger.partitions(SYMBOL, at(0), at(9))) == 1
    first.close()


def with_ledger(root, url):
    root.mkdir()
    (root / "ledger_url").write_text(url)
    return root


def test_hours_of_another_ledger_are_not_taken_for_nothing(server, tmp_path):
    root = tmp_path / "lake"
    old = lake(root)
    commit(old, candidate(at(0)))
    old.close()
    server.under(root)
    with pytest.raises(LedgerError, match="no empty one is begun"):
        lake(root).ledger.symbols()


def test_a_server_that_restarts_is_told_and_then_used_again(server, tmp_path):
    store = lake(server.under(tmp_path / "lake"))
    commit(store, candidate(at(0)))
    server.stop()
    with pytest.raises(LedgerUnreachable) as gone:
        commit(store, candidate(at(1)))
    assert gone.value.retryable
    server.start()
    assert commit(store, candidate(at(1))) == ["committed"]
    assert closes(store, 2) == [1.0] * 120
    store.close()


def test_garbage_is_what_no_row_names_and_is_old(store):
    commit(store, *(candidate(at(hour)) for hour in range(3)))
    commit(store, candidate(at(0), value=2.0))
    killed = store.catalog.named_partition_path(SYMBOL, at(1), "f" * 64)
    fetched = store.catalog.archive_path("klines_1m", SYMBOL, "2026-02-15", "e" * 64)
    theirs = store.root / "exports" / f"symbol={SYMBOL}" / "mine.parquet"
    for path in (killed, fetched, theirs):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"left")
    assert find_garbage([store], timedelta(hours=1)) == []
    named = {row.path for row in store.ledger.partitions(SYMBOL, at(0), at(3))}
    found = find_garbage([store], timedelta(0))
    replaced = 1 if store.engine.is_shared else 0
    assert len(found) == 2 + replaced
    assert named.isdisjoint(each.path for each in found)
    # Of two files that are wanted again meanwhile, one is written anew, and a row names the other.
    wanted = replace(archive("e"), path=store.catalog.relative(fetched))
    store.ledger.record_archive(wanted)
    assert [each.path for each in remove_garbage(store, found[:], timedelta(0)) if "part-fff" in each.path]
    assert fetched.read_bytes() == b"left"
    assert not killed.exists()
    assert theirs.exists()
    assert closes(store, 3) == [2.0] * 60 + [1.0] * 120
    assert find_garbage([store], timedelta(0)) == []
    assert not list(store.catalog.temp_dir.iterdir())


def test_what_is_written_again_while_garbage_is_collected_stays(store):
    store.ledger.symbols()
    killed = store.catalog.named_partition_path(SYMBOL, at(1), "f" * 64)
    killed.parent.mkdir(parents=True)
    killed.write_bytes(b"left")
    os.utime(killed, (0, 0))
    found = find_garbage([store], timedelta(hours=1))
    assert [each.size_bytes for each in found] == [4]
    os.utime(killed)
    assert remove_garbage(store, found, timedelta(hours=1)) == []
    assert killed.read_bytes() == b"left"


def test_a_writer_killed_anywhere_over_postgres_loses_nothing(server, tmp_path):
    """After each kill every acknowledged hour is there, whole, with the bytes that its row tells; nothing to repair."""
    root = server.under(tmp_path / "lake")
    store = lake(root)
    chance = random.Random(20261129)
    with nursery() as writers:
        for kill in range(5):
            last = acknowledged(root)[1]
            (process,) = writers.start(["forever", str(root), kill, last])
            wait_until(lambda last=last: acknowledged(root)[1] != last, "a commit", every_s=0.001)
            time.sleep(chance.uniform(0, 0.06))
            os.kill(process, signal.SIGKILL)
            assert writers.wait() == [-signal.SIGKILL]
            newest, last = acknowledged(root)
            rows = {row.start.hour: row for row in store.ledger.partitions(SYMBOL, at(0), at(6))}
            assert rows.keys() >= newest.keys()
            for hour, row in rows.items():
                path = store.catalog.absolute(row.path)
                assert file_hash(path) == row.content_hash
                (version,) = pl.read_parquet(path)["close"].unique().to_list()
                assert version >= newest.get(hour, 0)
            assert store.ledger.intents() == []
    hours = [candidate(at(hour), value=last + 1000.0) for hour in range(6)]
    assert commit(store, *hours, timeout_s=60) == ["committed"] * 6
    found = find_garbage([store], timedelta(0))
    assert found, "what was replaced is garbage"
    assert remove_garbage(store, found, timedelta(0)) == found
    assert closes(store, 6) == [last + 1000.0] * 360
    store.close()


def test_three_processes_that_write_the_same_day_over_postgres_end_in_one_state(server, tmp_path):
    root = server.under(tmp_path / "lake")
    with nursery() as writers:
        writers.start(*[["once", str(root), [10.0 * writer]] for writer in range(1, 4)])
        assert writers.wait() == [0] * 3
    store = lake(root)
    rows = store.ledger.partitions(SYMBOL, at(0), at(24))
    assert [row.start for row in rows] == [at(hour) for hour in range(24)]
    for row in rows:
        assert file_hash(store.catalog.absolute(row.path)) == row.content_hash
    (value,) = set(closes(store))
    assert value in {10.0, 20.0, 30.0}
    store.close()
