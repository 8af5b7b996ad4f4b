"""Two processes that write the same partitions at once: both end, and ledger and disk hold one and the same state."""

import json

import pytest

from lake_resources.storage.hashing import file_hash
from lake_resources.storage.reader import scan
from lake_tests.support.commit_nursery import nursery
from lake_tests.support.minute_hours import SCHEMA, SYMBOL, at, lake


def outcomes(root):
    return [json.loads(path.read_text()) for path in sorted(root.glob("outcomes-*.json"))]


def assert_one_state(root):
    store = lake(root)
    rows = store.ledger.partitions(SYMBOL, at(0), at(24))
    assert len(rows) == 24
    for row in rows:
        assert file_hash(store.catalog.absolute(row.path)) == row.content_hash
    assert store.ledger.intents() == []
    assert list(store.catalog.temp_dir.iterdir()) == []
    minutes = scan(store, SYMBOL, at(0), at(24), schema=SCHEMA).collect()
    store.ledger.close()
    return minutes["close"].to_list()


@pytest.mark.disk
def test_the_same_rows_from_two_processes(tmp_path):
    """They open a new ledger at the same moment; one commits, the other finds it done."""
    with nursery() as writers:
        writers.start(*[["once", str(tmp_path), [1.0]]] * 2)
        assert writers.wait() == [0, 0]
    statuses = [hours for (hours,) in outcomes(tmp_path)]
    assert sorted(map(set, statuses), key=str) == [{"committed"}, {"unchanged"}]
    assert assert_one_state(tmp_path) == [1.0] * 1440


@pytest.mark.disk
@pytest.mark.slow
def test_different_rows_from_four_processes(tmp_path):
    """Each batch is one writer's: hours of two writers are never mixed."""
    with nursery() as writers:
        writers.start(
            *[["once", str(tmp_path), [float(10 * writer + turn) for turn in range(10)]] for writer in range(4)]
        )
        assert writers.wait() == [0] * 4
    assert {status for worker in outcomes(tmp_path) for hours in worker for status in hours} == {"committed"}
    (value,) = set(assert_one_state(tmp_path))
    assert value in {9.0, 19.0, 29.0, 39.0}
