"""Partitions of several symbols in one commit: all of them, and after a kill anywhere each symbol's whole.

Belongs here: what one commit of several symbols adds. Does not belong here: a commit of one symbol (`test_commit`),
kills at random points (`test_commit_crash`).
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import polars as pl
import pytest

from lake_resources.errors import PartitionBusy
from lake_resources.storage.commit import commit_partitions, commit_together, recover
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.locks import writer_lock
from lake_resources.storage.store import Store
from lake_tests.support.minute_hours import at, candidate, clock, lake

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = lake(tmp_path)
    commit_together(found, {symbol: [candidate(at(0)), candidate(at(1))] for symbol in SYMBOLS}, clock=clock)
    return found


def versions(store: Store) -> dict[str, set[float]]:
    """The values of each symbol's hour 1 as a reader sees them; its bytes are those of the ledger's row."""
    found = {}
    for symbol in SYMBOLS:
        row = store.ledger.partition(symbol, at(1))
        assert row is not None
        path = store.catalog.absolute(row.path)
        assert file_hash(path) == row.content_hash
        found[symbol] = set(pl.read_parquet(path)["close"].to_list())
    return found


def anew(store: Store, value: float) -> None:
    commit_together(store, {symbol: [candidate(at(1), value=value)] for symbol in SYMBOLS}, clock=clock, timeout_s=0)


def test_all_are_committed_as_each_would_be_by_itself(store: Store, tmp_path: Path) -> None:
    alone = lake(tmp_path / "alone")
    for symbol in SYMBOLS:
        commit_partitions(alone, symbol, [candidate(at(0)), candidate(at(1))], clock=clock)
        assert store.ledger.partitions(symbol, at(0), at(2)) == alone.ledger.partitions(symbol, at(0), at(2))
        assert store.ledger.watermark(symbol) == alone.ledger.watermark(symbol) is not None
    assert store.ledger.intents() == []
    assert list(store.catalog.temp_dir.iterdir()) == []


def test_each_symbol_has_outcomes_of_its_own(store: Store) -> None:
    first, second, third = SYMBOLS
    found = commit_together(
        store,
        {first: [candidate(at(1))], second: [candidate(at(1), value=2.0), candidate(at(2))], third: []},
        clock=clock,
    )
    assert {symbol: [(each.start, each.status) for each in told] for symbol, told in found.items()} == {
        first: [(at(1), "unchanged")],
        second: [(at(1), "committed"), (at(2), "committed")],
        third: [],
    }


@pytest.mark.parametrize("renamed", range(len(SYMBOLS) + 1))
def test_a_kill_between_two_renames_leaves_each_symbol_whole(
    store: Store, renamed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename: Callable[[Path, Path], Path] = Path.rename
    done: list[Path] = []

    def killed(path: Path, target: Path) -> Path:
        if len(done) == renamed:
            raise KeyboardInterrupt
        done.append(target)
        return rename(path, target)

    dies = pytest.raises(KeyboardInterrupt) if renamed < len(SYMBOLS) else nullcontext()
    with monkeypatch.context() as patched, dies:
        patched.setattr(Path, "rename", killed)
        anew(store, 3.0)
    seen = versions(store)
    assert sum(values == {3.0} for values in seen.values()) == renamed, "a reader has the new ones from their rename on"
    recover(store)
    assert versions(store) == {symbol: {3.0} for symbol in SYMBOLS}, (
        "all were durable before the first of them was renamed"
    )
    assert store.ledger.intents() == []


def test_a_symbol_that_another_writer_holds_keeps_no_other_waiting_and_nothing_is_left(store: Store) -> None:
    before = versions(store)
    with writer_lock(store.catalog.lock_path(SYMBOLS[1])), pytest.raises(PartitionBusy):
        anew(store, 4.0)
    assert versions(store) == before
    assert list(store.catalog.temp_dir.iterdir()) == []
    anew(store, 4.0)
    assert versions(store) == {symbol: {4.0} for symbol in SYMBOLS}
