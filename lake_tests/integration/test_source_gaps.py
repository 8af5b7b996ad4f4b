"""Lost columns: minutes that are there while a column of them is NULL for lack of a source, and what that is worth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lake_assets.quality.certificate import Certificate, certify
from lake_assets.quality.month_card import month_window, render, report_card
from lake_assets.quality.source_gaps import COLLECTOR_ONLY, NO_SOURCE
from lake_assets.reading import load
from lake_assets.schema.column import LIVE
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.hour_verdict import source_coverage
from lake_assets.validation.outcome import outcomes_to_json
from lake_resources.errors import NotClean
from lake_resources.known_hole import KnownHole
from lake_resources.storage.commit import commit_partitions
from lake_resources.storage.provenance import SourceKind, SourceRef
from lake_resources.storage.root import claim_root
from lake_resources.storage.store import Store
from lake_tests.support.simulated_lake import DAY, bench_on, exchange
from lake_tests.support.simulated_lake import hours as built
from lake_tests.support.sound_hours import (
    FIRST,
    HOUR,
    LAG,
    NOW,
    SYMBOL,
    candidate,
    commit_sound,
    open_files,
    sound_rows,
)

M = timedelta(minutes=1)
Lake = Store
BACKFILLABLE = tuple(name for name in UM_MINUTE.uses if name != "book_ticker")
KLINES = ("klines_1m", "mark_price_klines_1m", "index_price_klines_1m")


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    root = tmp_path / "lake"
    store = open_files(root)
    claim_root(root, "simulator")
    for name, value in {"ROOT": root, "SYMBOLS": SYMBOL}.items():
        monkeypatch.setenv(f"LAKE_{name}", str(value))
    yield store
    store.ledger.close()


def ref(stream: str, kind: SourceKind = "archive", **detail: object) -> SourceRef:
    return SourceRef(stream, kind, "none" if kind == "none" else f"sha-{stream}", detail)


def commit(lake: Lake, hour: datetime, *refs: SourceRef, checks: str = "[]", **values: tuple[int, int]) -> None:
    """An hour of klines with further sources; a column of `values` is 1 in so many minutes, from a minute on."""
    rows = sound_rows(hour, 1)
    minute = pl.col("timestamp").dt.minute()
    filled = [
        pl.when(minute.is_between(first, first + count, closed="left"))
        .then(pl.lit(1).cast(rows.schema[name]))
        .otherwise(name)
        .alias(name)
        for name, (first, count) in values.items()
    ]
    sources = {found.stream: found for found in (*map(ref, KLINES), *refs)}
    found = replace(candidate(hour, rows.with_columns(filled)), sources=sources, checks=checks)
    commit_partitions(lake, SYMBOL, [found], clock=lambda: NOW)


def certified(lake: Lake, *columns: str, hours: int = 1, **given: Any) -> Certificate:
    window = {"start": FIRST, "end": FIRST + hours * HOUR} | given
    return certify(lake, SYMBOL, window["start"], window["end"], now=NOW, lag_minutes=LAG, columns=columns or None)


def gaps(found: Certificate) -> dict[str, list[tuple[int, str, bool]]]:
    told: dict[str, list[tuple[int, str, bool]]] = {}
    for gap in found.source_gaps:
        told.setdefault(gap.column, []).append((gap.rows, gap.cause, gap.explained))
    return told


def test_a_requested_column_without_a_source_is_not_clean(lake: Lake) -> None:
    commit_sound(lake, FIRST, 24)
    window = (SYMBOL, FIRST, FIRST + 24 * HOUR)
    with pytest.raises(NotClean, match=r"count_buy_trades is NULL in 1,440 minutes \(agg_trades: no source\)"):
        load(*window, ["count_buy_trades", "funding_rate"], require="clean", clock=lambda: NOW)
    found = load(*window, ["count_buy_trades", "funding_rate"], clock=lambda: NOW).certificate
    assert gaps(found) == {
        "count_buy_trades": [(1440, NO_SOURCE, False)],
        "funding_rate": [(1440, NO_SOURCE, False)],
    }
    assert not found.clean
    assert found.as_json()["null_for_lack_of_source"][0]["stream"] == "agg_trades"
    assert (found.sources["agg_trades"], found.sources["klines_1m"]) == ({"none": 1440}, {"archive": 1440})
    assert load(*window, ["close", "vwap_1m"], require="clean", clock=lambda: NOW).certificate.source_gaps == ()
    with pytest.raises(NotClean, match="more columns"):
        load(*window, require="clean", clock=lambda: NOW)
    with pytest.raises(NotClean, match="count_buy_trades"):
        load(*window, ["count_buy_trades"], timeframe="1h", require="clean", clock=lambda: NOW)


def test_what_only_a_collector_knows_counts_where_it_is_asked_for(lake: Lake) -> None:
    commit_sound(lake, FIRST, 2, streams=BACKFILLABLE)
    everything = certified(lake, hours=2)
    assert everything.clean
    assert gaps(everything)["liq_long_count"] == [(120, COLLECTOR_ONLY, True)]
    assert gaps(everything)["avg_spread_usdt"] == [(120, COLLECTOR_ONLY, True)], "the exchange keeps no book of 2026"
    assert {gap.stream for gap in everything.source_gaps} == {LIVE, "book_ticker"}
    for column in ("liq_long_count", "avg_spread_usdt"):
        asked = certified(lake, "close", column, hours=2)
        assert gaps(asked) == {column: [(120, COLLECTOR_ONLY, False)]}
        assert not asked.clean


def test_minutes_that_the_collector_heard_are_no_gap(lake: Lake) -> None:
    commit(
        lake, FIRST, ref("agg_trades", "none"), ref(LIVE, "ws"), count_buy_trades=(0, 25), has_liq=(10, 30),
        has_depth=(0, 60), predicted_funding=(0, 59),
    )  # fmt: skip
    columns = ("count_buy_trades", "transact_time", "liq_avg_fill_price", "event_time", "predicted_funding")
    assert gaps(certified(lake, *columns)) == {
        "count_buy_trades": [(35, NO_SOURCE, False)],
        "transact_time": [(35, NO_SOURCE, False)],
        "liq_avg_fill_price": [(30, COLLECTOR_ONLY, False)],
        "predicted_funding": [(1, COLLECTOR_ONLY, False)],
    }
    half = certified(lake, *columns, start=FIRST + 20 * M, end=FIRST + 30 * M)
    assert gaps(half) == {"count_buy_trades": [(5, NO_SOURCE, False)], "transact_time": [(5, NO_SOURCE, False)]}


@pytest.mark.parametrize("reaches", [True, False])
def test_an_earlier_value_may_reach_into_an_hour_without_a_source(lake: Lake, reaches: bool) -> None:
    nothing = "c571651c63d8e00f"  # of one hour without a source before this one
    detail = {"look_back_hours": 1, "look_back": "anything" if reaches else nothing}
    commit(lake, FIRST, ref("metrics", "none", **detail), oi_contracts=(0, 20 if reaches else 0))
    assert gaps(certified(lake, "oi_contracts")) == {"oi_contracts": [(40 if reaches else 60, NO_SOURCE, False)]}


def test_an_hour_with_a_source_can_lack_minutes_of_it(lake: Lake) -> None:
    values = {"count_buy_trades": (0, 55), "oi_contracts": (0, 60), "funding_rate": (0, 60)}
    sources = [ref("agg_trades"), ref("metrics"), ref("funding_rate")]
    commit(lake, FIRST, *sources, **values)
    rows = pl.read_parquet(lake.catalog.partition_path(SYMBOL, FIRST))
    outcome = source_coverage(UM_MINUTE, FIRST, dict.fromkeys(UM_MINUTE.uses, "archive"), rows)
    assert not outcome.passed
    commit(lake, FIRST + HOUR, *sources, checks=outcomes_to_json([outcome]), **values)
    found = certified(lake, "count_buy_trades", "oi_contracts", "funding_rate", hours=2)
    assert gaps(found) == {"count_buy_trades": [(5, NO_SOURCE, False)]}, "only the hour that the check names is read"


def test_a_known_hole_of_the_stream_explains_its_columns(lake: Lake) -> None:
    commit(lake, FIRST, ref("agg_trades", "none"), mark_price_open=(0, 60))
    lake.ledger.declare_hole(KnownHole("agg_trades", SYMBOL, FIRST - HOUR, FIRST + 40 * M, "halt", "issue 1"))
    assert gaps(certified(lake, "count_buy_trades")) == {
        "count_buy_trades": [(40, "halt", True), (20, NO_SOURCE, False)]
    }
    assert certified(lake, "count_buy_trades", end=FIRST + 40 * M).clean


@pytest.mark.slow
def test_a_month_that_lost_a_stream_is_not_called_clean(lake: Lake) -> None:
    month, end = month_window(FIRST)
    whole = BACKFILLABLE
    count = (end - month) // HOUR
    commit_sound(lake, month, count - 1, streams=whole)
    commit_sound(lake, end - HOUR, 1, streams=[name for name in whole if name != "metrics"])
    card = report_card(lake, SYMBOL, month, now=NOW, lag_minutes=LAG)
    assert card.verdict == "LOOK"
    page = render(card, "p.png")
    assert "| metrics | 44,580 | 0 | 0 | 0 | 60 | 99.86 % |" in page
    assert "| metrics | no source | 60 | oi_contracts, oi_value_usdt," in page
    commit_sound(lake, end - HOUR, 1, streams=whole)
    card = report_card(lake, SYMBOL, month, now=NOW, lag_minutes=LAG)
    assert card.verdict == "CLEAN"
    assert "| book_ticker | 0 | 0 | 0 | 0 | 44,640 | 0.00 % |" in render(card, "p.png")


def test_hours_that_were_built_are_clean_and_a_stream_that_failed_is_told(tmp_path: Path) -> None:
    with exchange() as sim, bench_on(sim, tmp_path) as bench:
        bench.build(built(8, 10))
        bench.fault("5xx", "^/(fapi/v1/aggTrades|futures/data)")
        bench.build(built(10, 14))
        open_ = {"now": bench.now, "lag_minutes": LAG}
        place = (bench.lake.store, SYMBOL)
        assert certify(*place, DAY + 8 * HOUR, DAY + 10 * HOUR, **open_).clean
        found = certify(*place, DAY + 8 * HOUR, DAY + 14 * HOUR, **open_)
        assert {gap.stream for gap in found.unexplained_gaps} == {"agg_trades", "metrics"}
        rows = pl.concat([bench.rows(hour) for hour in built(8, 14)])
        for gap in found.unexplained_gaps:
            if gap.column != "transact_time":  # NULL also in a minute without a trade
                assert gap.rows == rows[gap.column].null_count() >= 120, gap
        assert gaps(found)["transact_time"] == [(240, NO_SOURCE, False)]
        assert rows["transact_time"].null_count() > 240
        assert rows["oi_contracts"].null_count() < 240, "the last value before is carried in"
        assert gaps(found)["count_buy_trades"] == [(240, NO_SOURCE, False)]


def test_every_column_has_its_stream_or_is_never_null_for_lack_of_one() -> None:
    never = {
        "timestamp", "open", "high", "low", "close", "volume_btc", "volume_usdt", "trade_count", "avg_trade_size_btc",
        "taker_buy_vol_btc", "taker_buy_vol_usdt", "net_taker_vol_btc", "taker_buy_ratio", "vwap_1m",
        "has_ws_latency", "has_depth", "has_liq", "has_ls_ratio",
    }  # fmt: skip
    origins = UM_MINUTE.origins
    assert set(UM_MINUTE.names) - set(origins) == never
    assert set(origins.values()) == {*UM_MINUTE.uses, LIVE} - {"klines_1m"}
    live = {name for name, stream in origins.items() if stream == LIVE}
    assert live == {c.name for c in UM_MINUTE.columns if c.support_class == "LIVE_ONLY"} - never
    empty = pl.DataFrame([[None]] * len(UM_MINUTE.names), schema=UM_MINUTE.polars_schema).with_columns(
        pl.col("has_ws_latency", "has_depth", "has_liq").fill_null(value=False)
    )
    assert empty.select(pl.all_horizontal(UM_MINUTE.absent(name) for name in origins)).item()
