"""Any sequence of candidates: the reader sees the last version that was not worse; missing and stored are all hours."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake_resources.storage.commit import commit_partitions
from lake_resources.storage.provenance import rank
from lake_resources.storage.reader import scan
from lake_tests.support.minute_hours import SCHEMA, SYMBOL, at, candidate, clock, lake

pytestmark = pytest.mark.slow

KINDS = st.sampled_from(["archive", "archive+rest", "rest", "ws", "none"])
VERSION = st.fixed_dictionaries({"klines_1m": KINDS, "metrics": KINDS, "rows": st.sampled_from([1, 30, 59, 60])})
BATCH = st.dictionaries(st.integers(0, 3), VERSION, min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(batches=st.lists(BATCH, min_size=1, max_size=6))
def test_the_reader_sees_the_last_version_that_was_not_worse(tmp_path_factory, batches):
    store = lake(tmp_path_factory.mktemp("lake"))
    held = {}
    for number, batch in enumerate(batches):
        made = [
            candidate(
                at(hour),
                rows=version["rows"],
                value=float(number),
                kinds={name: version[name] for name in ("klines_1m", "metrics")},
            )
            for hour, version in batch.items()
        ]
        outcomes = commit_partitions(store, SYMBOL, made, clock=clock)
        for (hour, version), outcome in zip(batch.items(), outcomes, strict=True):
            _, before = held.get(hour, (None, None))
            finishes = (
                before is not None
                and before["rows"] < 60 == version["rows"]
                and rank(version["klines_1m"]) >= rank(before["klines_1m"])
            )
            worse = (
                before is not None
                and not finishes
                and (
                    any(rank(version[name]) < rank(before[name]) for name in ("klines_1m", "metrics"))
                    or (before["rows"] == 60 and version["rows"] < 60)
                    or (version["rows"] < before["rows"] and rank(version["klines_1m"]) == rank(before["klines_1m"]))
                )
            )
            assert outcome.status == ("kept_better" if worse else "committed")
            if not worse:
                held[hour] = (number, version)
        seen = scan(store, SYMBOL, at(0), at(4), schema=SCHEMA).collect()
        expected = [float(number) for _, (number, version) in sorted(held.items()) for _ in range(version["rows"])]
        assert seen["close"].to_list() == expected
        assert seen["timestamp"].is_sorted()
    stored = [row.start for row in store.ledger.partitions(SYMBOL, at(0), at(4))]
    missing = store.ledger.missing_partitions(SYMBOL, at(0), at(4))
    assert sorted(stored + missing) == [at(hour) for hour in range(4)]
    store.ledger.close()


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(6)), cuts=st.lists(st.integers(1, 5), max_size=3, unique=True))
def test_hours_committed_in_any_order_and_batching_are_the_same_bytes(tmp_path_factory, order, cuts):
    store = lake(tmp_path_factory.mktemp("lake"))
    whole = lake(tmp_path_factory.mktemp("lake"))
    edges = [0, *sorted(cuts), 6]
    for first, last in itertools.pairwise(edges):
        commit_partitions(store, SYMBOL, [candidate(at(hour)) for hour in order[first:last]], clock=clock)
    commit_partitions(whole, SYMBOL, [candidate(at(hour)) for hour in range(6)], clock=clock)
    assert store.ledger.partitions(SYMBOL, at(0), at(6)) == whole.ledger.partitions(SYMBOL, at(0), at(6))
    for row in store.ledger.partitions(SYMBOL, at(0), at(6)):
        assert store.catalog.absolute(row.path).read_bytes() == whole.catalog.absolute(row.path).read_bytes()
    store.ledger.close()
    whole.ledger.close()
