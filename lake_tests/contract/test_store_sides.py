"""One contract for the places of files: beside a ledger in SQLite, shared under Postgres, in a bucket of an S3 service.

The port itself, and what commits, compaction, kills, two writers and collecting garbage make of it. Tests on Postgres
skip, saying so, where none is to be had.
"""

import signal
from dataclasses import replace
from datetime import timedelta
from functools import partial

import polars as pl
import pytest

from lake_resources.storage.bucket import Bucket
from lake_resources.storage.commit import recover
from lake_resources.storage.compaction import clear, compact
from lake_resources.storage.garbage import find_garbage, remove_garbage
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.ledger import Archive
from lake_resources.storage.named_commit import commit_named
from lake_resources.storage.parquet import StagedFile
from lake_resources.storage.reader import scan
from lake_resources.storage.store import Store
from lake_tests.support.commit_nursery import acknowledged, nursery
from lake_tests.support.compacted_hours import DAYS, all_rows
from lake_tests.support.compacted_hours import candidates as month_end_hours
from lake_tests.support.killed_at_step import Step
from lake_tests.support.minute_hours import NOW, REST, SCHEMA, SYMBOL, at, candidate, clock, closes, commit, lake
from lake_tests.support.postgres import postgres_server
from lake_tests.support.races import hour_races
from lake_tests.support.s3_server import in_bucket, s3_server
from lake_tests.support.stores import bucket_of
from lake_tests.support.waiting import in_parallel

pytestmark = pytest.mark.slow

SHARED = ["postgres", "bucket"]


@pytest.fixture(scope="module")
def server():
    with postgres_server() as found:
        yield found


@pytest.fixture(scope="module")
def service():
    with s3_server() as variables:
        yield variables


@pytest.fixture(params=["sqlite", *SHARED])
def root(request, tmp_path, monkeypatch):
    """The root of an empty lake, its files and its ledger in one place or another."""
    (tmp_path / "lake").mkdir()
    if request.param in SHARED:
        request.getfixturevalue("server").under(tmp_path / "lake")
    if request.param == "bucket":
        in_bucket(request.getfixturevalue("service"), tmp_path / "lake", monkeypatch)
    return tmp_path / "lake"


@pytest.fixture
def store(root):
    store = lake(root)
    yield store
    store.close()


def put(store, path, data):
    """A file as somebody else leaves it in the store; None takes it away."""
    url = bucket_of(store.root)
    if url and data is None:
        Bucket(url).remove(path)
    elif url:
        Bucket(url).put(path, data)
    elif data is None:
        store.catalog.absolute(path).unlink()
    else:
        store.catalog.absolute(path).parent.mkdir(parents=True, exist_ok=True)
        store.catalog.absolute(path).write_bytes(data)


def bytes_of(store, path):
    found = store.files.read(path)
    return None if found is None else found.data


def test_a_name_is_given_once_and_replaced_only_by_its_tag(store):
    files = store.files
    assert files.read("a/b") is None
    assert files.create("a/b", b"one")
    assert not files.create("a/b", b"two")
    found = files.read("a/b")
    assert found.data == b"one"
    assert not files.replace("a/b", b"two", '"stale"')
    assert not files.replace("a/c", b"two", found.tag)
    assert files.replace("a/b", b"three", found.tag)
    assert not files.replace("a/b", b"four", found.tag)
    assert bytes_of(store, "a/b") == b"three"
    assert files.read("a/c") is None
    files.require_conditions("a/b", b"three")
    assert bytes_of(store, "a/b") == b"three"


def test_of_many_at_once_one_creates_and_none_loses_a_count(store):
    made = in_parallel(*(partial(store.files.create, "once", b"%d" % number) for number in range(6)))
    assert sum(made) == 1
    assert bytes_of(store, "once") == b"%d" % made.index(True)
    store.files.create("count", b"0")

    def counted():
        for _ in range(5):
            done = False
            while not done:
                found = store.files.read("count")
                done = store.files.replace("count", b"%d" % (int(found.data) + 1), found.tag)

    in_parallel(*[counted] * 3)
    assert bytes_of(store, "count") == b"15"


def test_files_are_listed_measured_and_removed(store):
    for path, data in (("t/x/b.parquet", b"bb"), ("t/a.parquet", b"a"), ("t/other", b"o"), ("u/c.parquet", b"c")):
        put(store, path, data)
    assert sorted((each.path, each.size_bytes) for each in store.files.listed("t")) == [
        ("t/a.parquet", 1), ("t/x/b.parquet", 2),
    ]  # fmt: skip
    assert all(each.written_s <= store.files.now() for each in store.files.listed("t"))
    assert store.files.sizes(["t/a.parquet", "t/none.parquet", "u/c.parquet"]) == {"t/a.parquet": 1, "u/c.parquet": 1}
    assert store.files.here("t/x/b.parquet").read_bytes() == b"bb"
    assert not store.files.here("t/none.parquet").exists()
    store.files.remove(["t/x/b.parquet", "t/none.parquet"])
    assert [each.path for each in store.files.listed("t")] == ["t/a.parquet"]
    assert not store.files.here("t/x/b.parquet").exists()
    assert list(store.files.listed("nothing")) == []
    assert store.files.here("t/a.parquet").exists()
    (store.root / "t" / "mine.parquet").write_bytes(b"no copy")
    assert store.files.drop_copies("t", 3600) == 0
    is_copied = bool(bucket_of(store.root))
    assert store.files.drop_copies("t", 0) == is_copied
    assert (store.root / "t" / "a.parquet").exists() is not is_copied
    assert (store.root / "t" / "mine.parquet").exists()
    assert store.files.here("t/a.parquet").read_bytes() == b"a"


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
        assert file_hash(store.files.here(row.path)) == row.content_hash
    assert store.ledger.missing_partitions(SYMBOL, at(0), at(25)) == [at(24)]
    assert not list(store.catalog.temp_dir.iterdir())


def test_a_lost_or_damaged_file_is_committed_anew(store):
    commit(store, candidate(at(0)))
    (row,) = store.ledger.partitions(SYMBOL, at(0), at(1))
    for harm in (None, b"torn"):
        put(store, row.path, harm)
        assert commit(store, candidate(at(0))) == ["committed"]
        assert closes(store, 1) == [1.0] * 60
        assert len(bytes_of(store, row.path)) == row.size_bytes


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


def test_two_hosts_lose_no_hour_and_the_better_one_stays(root):
    hosts = [lake(root), lake(root)]
    assert hour_races(hosts, 12) == 0
    for host in hosts:
        assert recover(host).finished == ()
        host.close()


@pytest.mark.parametrize("root", SHARED, indirect=True)
def test_a_writer_that_lost_its_lock_does_no_harm(root):
    """Without any lock of its own, the transaction alone decides: the complete hour stays, whoever is first."""
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
        assert file_hash(hosts[0].files.here(row.path)) == row.content_hash
    for host in hosts:
        host.close()


def staged(host, one):
    """A candidate as the commit has it before its transaction."""
    from lake_resources.storage.commit import _metadata, _partition, _span
    from lake_resources.storage.parquet import stage

    file: StagedFile = stage(one.frame, host.catalog.temp_dir, _metadata(host.layout, SYMBOL, one))
    return _partition(host, SYMBOL, one, file, _span(host.layout, SYMBOL, one), NOW), file


def test_garbage_is_what_no_row_names_and_is_old(store):
    commit(store, *(candidate(at(hour)) for hour in range(3)))
    commit(store, candidate(at(0), value=2.0))
    killed = store.catalog.relative(store.catalog.named_partition_path(SYMBOL, at(1), "f" * 64))
    fetched = store.catalog.relative(store.catalog.archive_path("klines_1m", SYMBOL, "2026-02-15", "e" * 64))
    theirs = f"exports/symbol={SYMBOL}/mine.parquet"
    for path in (killed, fetched, theirs):
        put(store, path, b"left")
    assert find_garbage([store], timedelta(hours=1)) == []
    named = {row.path for row in store.ledger.partitions(SYMBOL, at(0), at(3))}
    found = find_garbage([store], timedelta(0))
    replaced = 1 if store.engine.is_shared else 0
    assert len(found) == 2 + replaced
    assert named.isdisjoint(each.path for each in found)
    # A row names one of them meanwhile.
    rows = fetched, 1440, at(0), at(23)
    wanted = Archive(SYMBOL, "klines_1m", "2026-02-15", "e" * 64, "http://x/y", *rows, "e" * 64, 9, "verified", NOW)
    store.ledger.record_archive(wanted)
    assert [each.path for each in remove_garbage(store, found[:], timedelta(0)) if "part-fff" in each.path]
    assert bytes_of(store, fetched) == b"left"
    assert bytes_of(store, killed) is None
    assert bytes_of(store, theirs) == b"left"
    assert closes(store, 3) == [2.0] * 60 + [1.0] * 120
    assert find_garbage([store], timedelta(0)) == []
    assert not list(store.catalog.temp_dir.iterdir())


def test_what_is_written_again_while_garbage_is_collected_stays(store):
    store.ledger.symbols()
    killed = store.catalog.relative(store.catalog.named_partition_path(SYMBOL, at(1), "f" * 64))
    put(store, killed, b"left")
    found = find_garbage([store], timedelta(0))
    assert [each.size_bytes for each in found] == [4]
    assert remove_garbage(store, found, timedelta(hours=1)) == [], "it was written less than an hour ago"
    assert bytes_of(store, killed) == b"left"
    assert remove_garbage(store, found, timedelta(0)) == found
    assert bytes_of(store, killed) is None


IN_A_NAMED_COMMIT = [Step("/.tmp/", 2), Step("INSERT INTO partitions"), Step("COMMIT")]


@pytest.mark.parametrize("root", SHARED, indirect=True)
def test_a_writer_killed_anywhere_loses_nothing(root):
    """After each kill every acknowledged hour is there, whole, with the bytes that its row tells; nothing to repair."""
    store = lake(root)
    with nursery() as writers:
        for kill, step in enumerate(IN_A_NAMED_COMMIT):
            writers.start(["forever", str(root), kill, acknowledged(root)[1], step])
            assert writers.wait() == [-signal.SIGKILL]
            newest, last = acknowledged(root)
            rows = {row.start.hour: row for row in store.ledger.partitions(SYMBOL, at(0), at(6))}
            assert rows.keys() >= newest.keys()
            for hour, row in rows.items():
                path = store.files.here(row.path)
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


@pytest.mark.parametrize("root", SHARED, indirect=True)
def test_three_processes_that_write_the_same_day_end_in_one_state(root):
    with nursery() as writers:
        writers.start(*[["once", str(root), [10.0 * writer]] for writer in range(1, 4)])
        assert writers.wait() == [0] * 3
    store = lake(root)
    rows = store.ledger.partitions(SYMBOL, at(0), at(24))
    assert [row.start for row in rows] == [at(hour) for hour in range(24)]
    for row in rows:
        assert file_hash(store.files.here(row.path)) == row.content_hash
    (value,) = set(closes(store))
    assert value in {10.0, 20.0, 30.0}
    store.close()


@pytest.mark.parametrize("root", SHARED, indirect=True)
def test_what_was_put_without_its_transaction_is_garbage_alone(root):
    """A writer that ends between the two leaves a file; the same bytes are then committed under the same name."""
    store = lake(root)
    store.ledger.symbols()
    row, file = staged(store, candidate(at(0)))
    assert store.files.publish([(file, row.path)]) == []
    assert scan(store, SYMBOL, at(0), at(1), schema=SCHEMA).collect().is_empty()
    assert [each.path for each in find_garbage([store], timedelta(0))] == [row.path]
    assert [each.status for each in commit_named(store, SYMBOL, [(row, file)])] == ["committed"]
    assert find_garbage([store], timedelta(0)) == []
    assert closes(store, 1) == [1.0] * 60
    store.close()


class CollectedMeanwhile:
    """Files of a store, whose garbage somebody collects after the first names were found taken."""

    def __init__(self, store):
        self._store = store
        self.collected = []

    def __getattr__(self, name):
        return getattr(self._store.files, name)

    def publish(self, files):
        taken = self._store.files.publish(files)
        if not self.collected:
            self.collected = remove_garbage(self._store, find_garbage([self._store], timedelta(0)), timedelta(0))
        return taken


@pytest.mark.parametrize("root", SHARED, indirect=True)
def test_a_file_that_is_collected_between_its_name_and_its_row_is_put_again(root):
    store = lake(root)
    store.ledger.symbols()
    row, file = staged(store, candidate(at(0)))
    store.files.publish([(file, row.path)])
    files = CollectedMeanwhile(store)
    commit_named(replace(store, files=files), SYMBOL, [(row, file)])
    assert [each.path for each in files.collected] == [row.path]
    assert closes(store, 1) == [1.0] * 60
    assert store.files.sizes([row.path]) == {row.path: row.size_bytes}
    store.close()


@pytest.mark.parametrize("root", SHARED, indirect=True)
def test_what_is_said_anew_of_bytes_that_were_replaced_meanwhile_is_left(root):
    store = lake(root)
    commit(store, candidate(at(0)), candidate(at(1)))
    old = store.ledger.partitions(SYMBOL, at(0), at(2))
    commit(store, candidate(at(0), value=2.0))
    said = [(row.content_hash, replace(row, verdict="confirmed")) for row in old]
    assert store.ledger.restate_partitions(SYMBOL, said, NOW) == {at(1)}
    assert [row.verdict for row in store.ledger.partitions(SYMBOL, at(0), at(2))] == [None, "confirmed"]
    assert closes(store, 2) == [2.0] * 60 + [1.0] * 60
    store.close()
