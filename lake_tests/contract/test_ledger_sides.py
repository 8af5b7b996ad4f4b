"""One contract for the ledger in SQLite and in Postgres: rows, locks, errors, and what two writers at once do to them.

Each test runs on both sides; those on Postgres skip, saying so, where none is to be had.
"""

import os
import signal
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from lake_resources.collector.journal import GapRow, Journal, KnownRow
from lake_resources.errors import LedgerError, LedgerUnreachable, PartitionBusy, SettingsError
from lake_resources.known_hole import KnownHole
from lake_resources.storage.commit import Rejection, quarantine_partition
from lake_resources.storage.ledger.engine import LedgerEngine
from lake_resources.storage.ledger.ledger import ComparedPartition, Listing, NewVerdict, Revision
from lake_resources.storage.ledger.slice_rows import SliceRows, SliceSet
from lake_resources.storage.ledger.tables import ARCHIVES, CAPTURES
from lake_tests.support.minute_hours import NOW, SYMBOL, at, candidate, clock, closes, commit, lake
from lake_tests.support.postgres import postgres_server
from lake_tests.support.races import answer_races, archive, archive_races, capture

pytestmark = pytest.mark.slow

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


def test_older_rows_do_not_replace_what_another_host_committed_while_they_were_made(store):
    commit(store, candidate(at(0), value=1))
    seen = store.ledger.partition(SYMBOL, at(0)).content_hash
    commit(store, candidate(at(0), value=2))
    late = commit(store, replace(candidate(at(0), value=3), over=seen))
    assert (late, set(closes(store))) == (["kept_better"], {2.0})
    broken = Rejection(at(0), candidate(at(0)).frame, ["KL-1"], "broken", seen)
    assert quarantine_partition(store, SYMBOL, broken, clock=clock) is None
    assert store.ledger.quarantined(SYMBOL, at(0), at(1)) == []
    held = store.ledger.partition(SYMBOL, at(0)).content_hash
    again = commit(store, replace(candidate(at(0), value=3), over=held))
    assert (again, set(closes(store))) == (["committed"], {3.0})


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
    assert ledger.captures_between(SYMBOL, "klines_1m", at(0), at(1)) == [capture("c")]
    assert [row.content_hash[0] for row in ledger.unfinished_captures(SYMBOL, at(0), at(2))] == ["d"]
    (old,) = ledger.superseded_captures(at(9999), 10)
    ledger.forget_captures([old])
    assert [row.content_hash[0] for row in ledger.capture_vintages(SYMBOL, "klines_1m", at(0))] == ["a", "c"]


@pytest.mark.parametrize("table", [ARCHIVES, CAPTURES], ids=lambda table: table.name)
def test_a_second_current_row_is_impossible(store, table):
    ledger = store.ledger
    for sha in "ab":
        ledger.record_archive(archive(sha))
        ledger.record_captures([capture(sha)])
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
    compared = ComparedPartition(SYMBOL, at(0), 60, 0, 0, 0, None, NOW)
    later = NOW + timedelta(hours=1)
    ledger.record_parity([replace(compared, differing=5, first="close"), replace(compared, start=at(1))])
    assert ledger.not_compared(SYMBOL, at(2), NOW) == []
    assert ledger.not_compared(SYMBOL, at(2), later) == [at(0)], "it differed, and is looked at again"
    ledger.record_parity([compared], [NewVerdict(at(0), "contradicted", "{}")])
    assert ledger.not_compared(SYMBOL, at(2), later) == []
    assert ledger.verdicts(SYMBOL, at(0), at(2)) == {at(0): ("contradicted", "{}")}
    assert commit(store, candidate(at(1), value=2.0)) == ["committed"]
    assert ledger.not_compared(SYMBOL, at(2), NOW) == [at(1)], "what was compared is no more"
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


@pytest.mark.parametrize("raced", [archive_races, answer_races])
def test_two_writers_never_make_two_current_vintages(root, raced):
    hosts = [lake(root), lake(root)]
    assert raced(hosts, RACES) == 0
    for host in hosts:
        host.close()


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
