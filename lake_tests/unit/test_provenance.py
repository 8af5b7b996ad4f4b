"""Provenance: canonical JSON, and ranks that say which source may replace which."""

import itertools

import pytest

from lake_resources.storage.provenance import LOST, SourceRef, lower_ranked, rank, sources_from_json, sources_to_json

KLINES = SourceRef("klines_1m", "archive", "sha", {"rows": 60, "period": "2026-02-15"})
METRICS = SourceRef("metrics", "none", "not published")


def test_json_round_trip_and_canonical_order():
    text = sources_to_json({"metrics": METRICS, "klines_1m": KLINES})
    assert text == sources_to_json({"klines_1m": KLINES, "metrics": METRICS})
    assert text.startswith('{"klines_1m":{"detail":{"period":"2026-02-15","rows":60}')
    assert sources_from_json(text) == {"klines_1m": KLINES, "metrics": METRICS}


def test_rank_order():
    assert rank("archive") == rank("archive+rest") > rank("rest") == rank("ws") > rank("none") == 0


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'ftp' is not a kind of source"):
        SourceRef("klines_1m", "ftp", "x")  # type: ignore[arg-type]


KINDS = ["archive", "archive+rest", "rest", "ws", "none"]


@pytest.mark.parametrize(("before", "after"), list(itertools.product(KINDS, repeat=2)))
def test_lower_ranked_is_exactly_a_lower_rank(before, after):
    lower = lower_ranked({"metrics": SourceRef("metrics", before, "")}, {"metrics": SourceRef("metrics", after, "")})
    assert lower == (["metrics"] if rank(after) < rank(before) else [])


def test_a_stream_that_is_gone_ranks_lowest_and_a_new_one_never_hurts():
    assert lower_ranked({"klines_1m": KLINES}, {}) == ["klines_1m"]
    assert lower_ranked({"metrics": METRICS}, {}) == []
    assert lower_ranked({}, {"klines_1m": KLINES}) == []


def test_minutes_that_nobody_had_before_are_no_loss():
    def heard(lost: str) -> dict[str, SourceRef]:
        return {"agg_trades": SourceRef("agg_trades", "ws", "", {LOST: lost} if lost else {})}

    assert lower_ranked(heard(""), heard("17"), until_minute=17) == [], "the minute came since, without its trades"
    assert lower_ranked(heard(""), heard("16-17"), until_minute=17) == ["agg_trades"], "one of them was there"
    assert lower_ranked(heard("3"), heard("3,17"), until_minute=17) == []
    assert lower_ranked(heard(""), heard("17")) == ["agg_trades"]
