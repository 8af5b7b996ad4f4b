"""Rows that are closed and not committed yet: what a reader sees of a collector's records before the builder."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from lake_assets.dashboard.chart_series import PROVISIONAL as PROVISIONAL_COLOR
from lake_assets.dashboard.chart_series import AskedChart, certificate_of, chart_of
from lake_assets.exports.export import ExportRequest, ExportTarget, write_export
from lake_assets.live.folding import rebuild
from lake_assets.live.heard_minutes import heard_minutes
from lake_assets.live.live_tail import PROVISIONAL, HeardWindow, Listening
from lake_assets.live.row_files import LiveRows
from lake_assets.reading import load, scan_minutes, verify
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.binance.ws.frames import HEALED
from lake_resources.clock import HOUR, MINUTE, MINUTE_MS, SECOND
from lake_resources.collector.segments import SegmentWriter
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage.commit import commit_partitions
from lake_tests.support import live_frames, spot_frames
from lake_tests.support.forgotten_writer import forget
from lake_tests.support.live_frames import agg_trade, alive, book_ticker, depth, record
from lake_tests.support.sound_hours import NOW, candidate, sound_rows
from lake_tests.support.stores import store_at

pytestmark = pytest.mark.slow

SYMBOL = live_frames.SYMBOL
OPEN = datetime(2026, 1, 15, 10, tzinfo=UTC)
FIRST_MS = int(OPEN.timestamp() * 1000) + 30 * MINUTE_MS
"""The collector hears from the half hour on."""


def settings_of(root: Path) -> LakeSettings:
    given: dict[str, Any] = {"_env_file": None}
    return LakeSettings(root=root, exchange="simulator", symbols=(SYMBOL,), **given)


class Heard:
    """A lake whose open hour has committed minutes, and records of a collector."""

    def __init__(self, root: Path, committed: int) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root, self.settings = root, settings_of(root)
        self.store = store_at(root)
        self.writer = SegmentWriter(self.store.catalog.live_records_dir)
        self.seq = 0
        self.commit(committed)

    def commit(self, minutes: int, expected: int | None = None) -> None:
        rows = sound_rows(OPEN, 1).head(minutes)
        due = candidate(OPEN, rows, expected=minutes if expected is None else expected)
        commit_partitions(self.store, SYMBOL, [due], clock=lambda: NOW)

    def hear(self, *frames: dict[str, Any]) -> None:
        for data in frames:
            self.seq += 1
            self.writer.add(*record(self.seq, data)[:7])
        self.flush()

    def flush(self) -> None:
        """What was heard is on the disk, in files that are not closed: a collector is at work."""
        buffers, _ = self.writer.take()
        self.writer.write(buffers, self.seq)
        forget(self.writer)

    def heal(self, *frames: dict[str, Any]) -> None:
        self.seq += 1
        rows = [{name: frame[name] for name in ("a", "p", "q", "f", "l", "T", "m")} for frame in frames]
        minute = frames[0]["T"] // MINUTE_MS
        self.writer.add(self.seq, frames[0]["T"] * 1_000_000, 0, HEALED, SYMBOL, minute, orjson.dumps(rows))
        self.flush()

    def load(self, at_ms: int, **options: Any) -> Any:
        given: dict[str, Any] = {"live": True, "settings": self.settings, "clock": lambda: instant(at_ms)} | options
        return load(SYMBOL, OPEN, OPEN + HOUR, **given)


def instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def minute_of(number: int) -> datetime:
    return OPEN + number * MINUTE


def trades_of(minutes: int, *, every_ms: int = 10_000, first: int = 1) -> list[dict[str, Any]]:
    """Trades from the half hour on, prices and sides by their number, none on the edge of a minute."""
    times = range(FIRST_MS + 100, FIRST_MS + minutes * MINUTE_MS, every_ms)
    return [agg_trade(first + n, ms, 100 + n % 7, 1 + n % 3, sell=bool(n % 2)) for n, ms in enumerate(times)]


@pytest.fixture
def heard(tmp_path: Path) -> Heard:
    return Heard(tmp_path / "lake", 31)


def test_closed_minutes_follow_the_committed_ones_and_are_marked(heard: Heard) -> None:
    heard.hear(*trades_of(5), *alive(FIRST_MS, FIRST_MS + 5 * MINUTE_MS))
    frame, certificate = heard.load(FIRST_MS + 5 * MINUTE_MS + 900)
    rows = frame.collect()
    # The last trade is of the minute 34: what else was traded in it nobody knows yet.
    assert rows["timestamp"].to_list() == [minute_of(n) for n in range(34)]
    assert rows.columns == [*UM_MINUTE.names, PROVISIONAL]
    assert rows.filter(PROVISIONAL)["timestamp"].to_list() == [minute_of(n) for n in range(31, 34)]
    assert (certificate.live_from, certificate.provisional_from) == (minute_of(31), minute_of(31))
    assert (certificate.live_rows, certificate.present_rows) == (3, 31)
    told = certificate.as_json()
    assert (told["live_from"], told["live_minutes"]) == (minute_of(31).isoformat(), 3)
    verify(certificate, settings=heard.settings)
    before = heard.load(FIRST_MS + 5 * MINUTE_MS + 900, live=False)
    assert_frame_equal(before.frame.collect(), rows.head(31).drop(PROVISIONAL), check_exact=True)
    assert "live_from" not in before.certificate.as_json()
    mine = [each for each in trades_of(5) if minute_of(32) <= instant(each["T"]) < minute_of(33)]
    prices, sizes = [float(each["p"]) for each in mine], [float(each["q"]) for each in mine]
    row = rows.row(32, named=True)
    assert [row[name] for name in ("open", "high", "low", "close")] == [
        prices[0], max(prices), min(prices), prices[-1],
    ]  # fmt: skip
    assert (row["volume_btc"], row["trade_count"]) == (sum(sizes), 2 * len(mine))
    assert row["count_buy_trades"] == sum(not each["m"] for each in mine)
    assert (row["mark_price_close"], row["index_price_close"]) == (100.0, 100.0)
    assert (row["predicted_funding"], row["has_liq"], row["liq_long_count"]) == (0.0001, True, 0)
    for unknown in ("mark_price_open", "premium_index", "oi_contracts", "funding_rate"):
        assert row[unknown] is None, unknown


def test_committed_rows_win_and_those_younger_than_the_lag_are_provisional_too(heard: Heard) -> None:
    heard.hear(*trades_of(5))
    heard.commit(33, expected=30)
    frame, certificate = heard.load(FIRST_MS + 5 * MINUTE_MS)
    rows = frame.collect()
    assert_frame_equal(rows.head(33).drop(PROVISIONAL), sound_rows(OPEN, 1).head(33), check_exact=True)
    assert rows[PROVISIONAL].to_list() == [False] * 30 + [True] * 4
    assert (certificate.live_from, certificate.provisional_from) == (minute_of(33), minute_of(30))
    heard.commit(60)
    sealed = heard.load(FIRST_MS + 5 * MINUTE_MS)
    assert sealed.certificate.live_from == OPEN + HOUR
    assert (sealed.certificate.live_rows, sealed.frame.collect().height) == (0, 60)


def test_what_is_committed_while_it_is_read_does_not_come_twice(heard: Heard) -> None:
    heard.hear(*trades_of(5))
    frame, _ = heard.load(FIRST_MS + 5 * MINUTE_MS)
    heard.commit(36)
    times = frame.collect()["timestamp"]
    assert times.to_list() == [minute_of(n) for n in range(34)]


def test_only_closed_minutes_whatever_was_heard(heard: Heard) -> None:
    heard.hear(*trades_of(8))
    frame, certificate = heard.load(FIRST_MS + 3 * MINUTE_MS + 30_000)
    assert frame.collect()["timestamp"].max() == minute_of(32)
    assert certificate.live_rows == 2


def test_a_gap_of_ids_is_no_row_until_it_is_healed(heard: Heard) -> None:
    told = trades_of(6)
    lost = [each for each in told if minute_of(32) + 20 * SECOND < instant(each["T"]) < minute_of(32) + 40 * SECOND]
    assert lost
    heard.hear(*(each for each in told if each not in lost))
    held = heard.load(FIRST_MS + 6 * MINUTE_MS).frame.collect()
    assert held["timestamp"].to_list() == [*(minute_of(n) for n in range(32)), minute_of(33), minute_of(34)]
    heard.heal(*lost)
    heard.hear(told[0])
    healed = heard.load(FIRST_MS + 6 * MINUTE_MS).frame.collect()
    assert healed["timestamp"].to_list() == [minute_of(n) for n in range(35)]
    whole = Heard(heard.root.with_name("whole"), 31)
    whole.hear(*told)
    assert_frame_equal(healed, whole.load(FIRST_MS + 6 * MINUTE_MS).frame.collect(), check_exact=True)


def test_a_quiet_minute_between_touching_ids_carries_the_price(heard: Heard) -> None:
    late = FIRST_MS + 4 * MINUTE_MS + 50
    heard.hear(agg_trade(1, FIRST_MS + 10, 101.5), agg_trade(2, FIRST_MS + 61_000, 102.5), agg_trade(3, late, 99.0))
    rows = heard.load(late + 1).frame.collect()
    assert rows["timestamp"].to_list() == [minute_of(n) for n in range(34)]
    quiet = rows.row(33, named=True)
    assert [quiet[name] for name in ("open", "high", "low", "close", "vwap_1m")] == [102.5] * 5
    assert (quiet["volume_btc"], quiet["trade_count"], quiet["count_sell_trades"]) == (0.0, 0, 0)


def test_a_torn_tail_and_a_writer_at_work_are_read_over(heard: Heard) -> None:
    heard.hear(*trades_of(5))
    before = heard.load(FIRST_MS + 5 * MINUTE_MS).frame.collect()
    opened = sorted(heard.store.catalog.live_records_dir.rglob("*.seg.open"))
    assert opened
    with opened[-1].open("ab") as file:
        file.write(b"\x07 half a block")
    assert_frame_equal(heard.load(FIRST_MS + 5 * MINUTE_MS).frame.collect(), before, check_exact=True)


def test_a_row_that_the_collector_did_not_write_yet_is_folded_as_it_will_be(heard: Heard) -> None:
    around = range(FIRST_MS, FIRST_MS + 4 * MINUTE_MS, 500)
    book = [book_ticker(n, ms, 99.0 + n % 3 / 10) for n, ms in enumerate(around)]
    levels = [depth(9 * n + 1, 9 * n + 9, 9 * n, ms) for n, ms in enumerate(around)]
    heard.hear(*sorted([*trades_of(4), *book, *levels, *alive(FIRST_MS, around[-1])], key=lambda each: each["E"]))
    rows = heard.load(FIRST_MS + 4 * MINUTE_MS).frame.collect()
    row = rows.row(32, named=True)
    assert (row["has_depth"], row["latency_engine"], row["latency_network"]) == (True, 5, 20)
    assert row["update_id_start"] == 9 * 240 + 1
    assert row["avg_spread_usdt"] == pytest.approx(1.0)


def test_bars_of_live_minutes_say_what_they_lack_and_that_they_may_change(heard: Heard) -> None:
    heard.hear(*trades_of(8))
    frame, _ = heard.load(FIRST_MS + 8 * MINUTE_MS, timeframe="5m")
    bars = frame.collect().tail(3)
    assert bars["timestamp"].to_list() == [minute_of(25), minute_of(30), minute_of(35)]
    assert bars["minutes"].to_list() == [5, 5, 2]
    assert bars["complete"].to_list() == [True, True, False]
    assert bars[PROVISIONAL].to_list() == [False, True, True]


def test_scans_and_exports_have_them_too(heard: Heard, tmp_path: Path) -> None:
    heard.hear(*trades_of(5))
    at = instant(FIRST_MS + 5 * MINUTE_MS)
    scanned = scan_minutes(
        SYMBOL, OPEN, OPEN + HOUR, ["timestamp", "close"], live=True, settings=heard.settings, clock=lambda: at
    ).collect()
    assert scanned.columns == ["timestamp", "close", PROVISIONAL]
    assert scanned.height == 34
    heard_so = Listening.by(heard.settings, at)
    request = ExportRequest(OPEN, OPEN + HOUR, columns=("close",), live=heard_so)
    target = ExportTarget(tmp_path / "out", "csv", "simulator")
    written = write_export(heard.store, SYMBOL, request, target, now=at, lag_minutes=3)
    assert written.path.stem.endswith("_live")
    back = pl.read_csv(written.path)
    assert back.columns == ["symbol", "timestamp", "close", PROVISIONAL]
    assert back[PROVISIONAL].to_list() == [False] * 31 + [True] * 3
    told = orjson.loads(written.certificate_path.read_bytes())
    assert (told["live_minutes"], told["live_from"]) == (3, minute_of(31).isoformat())
    bars = write_export(heard.store, SYMBOL, ExportRequest(OPEN, OPEN + HOUR, "5m", live=heard_so), target, now=at,
                        lag_minutes=3)  # fmt: skip
    assert bars.row_count == 7


def test_the_chart_draws_them_as_provisional(heard: Heard) -> None:
    heard.hear(*trades_of(5))
    at = instant(FIRST_MS + 5 * MINUTE_MS)
    chart = chart_of(AskedChart(UM_MINUTE, SYMBOL, OPEN, at), settings=heard.settings, clock=lambda: at)
    assert chart.bars.height == 34
    live = chart.bars.filter(pl.col("time") >= int(minute_of(31).timestamp()))
    marks = {chart.marks[mark] for mark in live["mark"]}
    assert marks == {(PROVISIONAL_COLOR, "live: heard, and not committed yet")}
    assert (chart.certificate.live_from, certificate_of(chart, settings=heard.settings).live_rows) == (minute_of(31), 3)


def kline(minute: int, count: int, last_id: int) -> dict[str, Any]:
    """The frame that says that a minute is closed, five milliseconds after its end."""
    ms = FIRST_MS + (minute - 30) * MINUTE_MS
    bar = {"t": ms, "T": ms + MINUTE_MS - 1, "s": SYMBOL, "i": "1m", "L": last_id, "n": count, "x": True}
    return {"e": "kline", "E": ms + MINUTE_MS + 5, "s": SYMBOL, "k": bar}


def test_a_minute_whose_kline_is_closed_waits_for_no_further_trade(heard: Heard) -> None:
    told = trades_of(3)
    heard.hear(*told, *alive(FIRST_MS, FIRST_MS + 3 * MINUTE_MS))
    at_ms, last = FIRST_MS + 3 * MINUTE_MS + 300, told[-1]
    assert heard.load(at_ms).frame.collect()["timestamp"].max() == minute_of(31)
    single = sum(each["l"] - each["f"] + 1 for each in told if each["T"] >= FIRST_MS + 2 * MINUTE_MS)
    heard.hear(kline(32, single + 1, last["l"] + 1))
    assert heard.load(at_ms).frame.collect()["timestamp"].max() == minute_of(31), "it counts a trade that is not here"
    heard.hear(kline(32, single, last["l"]))
    rows = heard.load(at_ms).frame.collect()
    assert rows["timestamp"].max() == minute_of(32)
    assert rows["trade_count"][-1] == single
    heard.hear(agg_trade(last["a"] + 1, FIRST_MS + 3 * MINUTE_MS + 100))
    heard.hear(*alive(FIRST_MS + 3 * MINUTE_MS, FIRST_MS + 3 * MINUTE_MS + 2_000))
    assert_frame_equal(heard.load(at_ms).frame.collect(), rows)


def test_a_minute_whose_last_trade_goes_on_after_its_end_waits_for_no_further_trade(heard: Heard) -> None:
    told, end_ms = trades_of(3), FIRST_MS + 3 * MINUTE_MS
    straddling = agg_trade(told[-1]["a"] + 1, end_ms - 20)
    heard.hear(*told, straddling, *alive(FIRST_MS, end_ms))
    single = sum(each["l"] - each["f"] + 1 for each in told if each["T"] >= FIRST_MS + 2 * MINUTE_MS)
    heard.hear(kline(32, single, told[-1]["l"]))
    assert heard.load(end_ms + 300).frame.collect()["timestamp"].max() == minute_of(31), "it ends with another trade"
    heard.hear(kline(32, single + 1, straddling["f"]))
    rows = heard.load(end_ms + 300).frame.collect()
    assert rows["timestamp"].max() == minute_of(32)
    assert rows["trade_count"][-1] == single + 2, "of the trades that began in it"


def test_the_newest_minute_waits_for_the_frames_that_show_its_sockets_alive(heard: Heard) -> None:
    told, end_ms = trades_of(3), FIRST_MS + 3 * MINUTE_MS
    ticks = range(FIRST_MS, end_ms, 500)
    book = [book_ticker(n, ms) for n, ms in enumerate(ticks)]
    levels = [depth(9 * n + 1, 9 * n + 9, 9 * n, ms) for n, ms in enumerate(ticks)]
    frames = sorted([*told, *book, *levels, *alive(FIRST_MS, end_ms - 1000)], key=lambda each: each["E"])
    single = sum(each["l"] - each["f"] + 1 for each in told if each["T"] >= FIRST_MS + 2 * MINUTE_MS)
    heard.hear(*frames, kline(32, single, told[-1]["l"]))
    at_ms = end_ms + 300

    def newest() -> Any:
        return heard.load(at_ms).frame.collect()["timestamp"].max()

    assert newest() == minute_of(31)
    heard.hear(*alive(end_ms, end_ms), depth(9 * len(ticks) + 1, 9 * len(ticks) + 9, 9 * len(ticks), end_ms + 50))
    assert newest() == minute_of(31), "a ticker may be on its way"
    heard.hear(book_ticker(len(ticks), end_ms + 60))
    assert newest() == minute_of(32)
    assert heard.load(end_ms + MINUTE_MS).frame.collect()["avg_spread_usdt"][-1] is not None


def test_a_newest_minute_that_never_is_shown_alive_is_there_as_the_collector_closed_it(heard: Heard) -> None:
    told, end_ms = trades_of(3), FIRST_MS + 3 * MINUTE_MS
    single = sum(each["l"] - each["f"] + 1 for each in told if each["T"] >= FIRST_MS + 2 * MINUTE_MS)
    heard.hear(*told, *alive(FIRST_MS, end_ms - 9_000), kline(32, single, told[-1]["l"]))
    assert heard.load(end_ms + 300).frame.collect()["timestamp"].max() == minute_of(31)
    first = end_ms // MINUTE_MS - 1
    rebuild(heard.store.catalog.live_records_dir, LiveRows(heard.store.catalog), SYMBOL, first, first + 1)
    rows = heard.load(end_ms + 2_500).frame.collect()
    assert rows["timestamp"].max() == minute_of(32)
    assert rows["mark_price_close"][-1] is None


def test_a_lake_without_records_or_commits_has_no_live_rows(tmp_path: Path) -> None:
    root = tmp_path / "lake"
    root.mkdir()
    at = OPEN + HOUR
    frame, certificate = load(SYMBOL, OPEN, at, live=True, settings=settings_of(root), clock=lambda: at)
    assert frame.collect().is_empty()
    assert (certificate.live_from, certificate.live_rows) == (OPEN, 0)


def test_a_table_without_live_rows_refuses(heard: Heard) -> None:
    with pytest.raises(SettingsError, match="has no live rows"):
        heard.load(FIRST_MS, table="klines_1m")


@pytest.fixture
def spot(tmp_path: Path) -> spot_frames.Hearing:
    root = tmp_path / "lake"
    root.mkdir()
    return spot_frames.Hearing(store_at(root, SPOT_BARS_1S).catalog.live_records_dir)


def test_seconds_go_on_to_the_second_before_the_last_trade(spot: spot_frames.Hearing, tmp_path: Path) -> None:
    first_ms = spot_frames.START_MS
    for number, second in enumerate((0, 1, 2, 5, 6)):
        ms = first_ms + 1000 * second + 100
        spot.hear(spot_frames.wrapped(spot_frames.trade(number, ms, 100 + number)), (ms + 8) * 1_000_000)
        spot.hear(spot_frames.wrapped(spot_frames.quote(number + 1, 99 + number)), (ms + 9) * 1_000_000)
    buffers, _ = spot.writer.take()
    spot.writer.write(buffers, spot.intake.next_seq)
    forget(spot.writer)
    start = instant(first_ms)
    options: dict[str, Any] = {
        "live": True, "settings": settings_of(tmp_path / "lake"), "clock": lambda: start + 10 * SECOND,
    }  # fmt: skip
    found = load(SYMBOL, start, start + MINUTE, table="bars_1s", **options)
    rows = found.frame.collect()
    assert [(at - start) // SECOND for at in rows["window_start"]] == [1, 2, 3, 4, 5]
    assert rows["trade_count"].to_list() == [1, 1, 0, 0, 1]
    assert rows["close"].to_list() == [101.0, 102.0, 102.0, 102.0, 103.0]
    assert rows["bid"].to_list() == [100.0, 101.0, 101.0, 101.0, 102.0]
    assert rows[PROVISIONAL].all()
    assert found.certificate.live_rows == 5
    traded = load(SYMBOL, start, start + MINUTE, ["close"], table="bars_1s_traded", **options).frame.collect()
    assert traded.columns == ["window_start", "close", PROVISIONAL]
    assert traded["close"].to_list() == [101.0, 102.0, 103.0]


def kline_1s(second: int, count: int, last_id: int) -> dict[str, Any]:
    """The frame that says that a second is closed."""
    ms = spot_frames.START_MS + 1000 * second
    bar = {"t": ms, "T": ms + 999, "s": SYMBOL, "i": "1s", "L": last_id, "n": count, "x": True}
    return {"e": "kline", "E": ms + 1005, "s": SYMBOL, "k": bar}


def test_seconds_whose_klines_are_closed_wait_for_no_further_trade(spot: spot_frames.Hearing, tmp_path: Path) -> None:
    first_ms, start = spot_frames.START_MS, instant(spot_frames.START_MS)
    for number, second in enumerate((0, 1, 2)):
        ms = first_ms + 1000 * second + 100
        spot.hear(spot_frames.wrapped(spot_frames.trade(number, ms, 100 + number)), (ms + 8) * 1_000_000)
        spot.hear(spot_frames.wrapped(spot_frames.quote(number + 1, 99 + number)), (ms + 9) * 1_000_000)
    for bar in (kline_1s(2, 1, 2), kline_1s(3, 0, -1), kline_1s(4, 0, -1), kline_1s(6, 0, -1)):
        spot.hear(spot_frames.wrapped(bar), (bar["E"] + 8) * 1_000_000)
    spot.close()
    found = load(
        SYMBOL, start, start + MINUTE, table="bars_1s", live=True, settings=settings_of(tmp_path / "lake"),
        clock=lambda: start + 10 * SECOND,
    )  # fmt: skip
    rows = found.frame.collect()
    assert [(at - start) // SECOND for at in rows["window_start"]] == [1, 2, 3, 4], "the kline of the second 5 is lost"
    assert rows["trade_count"].to_list() == [1, 1, 0, 0]
    assert rows["close"].to_list() == [101.0, 102.0, 102.0, 102.0]
    assert rows["bid"].to_list() == [100.0, 101.0, 101.0, 101.0], "the socket stood, and no other quote came"


def minutes_of(root: Path, frames: list[dict[str, Any]], now_ms: int) -> pl.DataFrame:
    """Minutes from the half hour on that the records of these frames prove, with nothing committed."""
    store = store_at(root)
    writer = SegmentWriter(store.catalog.live_records_dir)
    for seq, data in enumerate(frames):
        writer.add(*record(seq, data)[:7])
    writer.write(writer.take()[0], 1)
    forget(writer)
    window = HeardWindow(store, SYMBOL, minute_of(30), UM_MINUTE.layout.row_start(instant(now_ms)), 60, 10 * SECOND)
    return heard_minutes(window)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_nothing_is_invented_whatever_is_lost_repeated_or_late(tmp_path_factory: Any, seed: int) -> None:
    """A live minute equals that of all trades, and is there only where no trade of it is lacking."""
    chance, root = random.Random(seed), tmp_path_factory.mktemp("records")
    told = trades_of(8, every_ms=chance.choice([4_000, 25_000, 70_000]))
    kept = [each for each in told if chance.random() > 0.03]
    order = sorted([*kept, *chance.sample(kept, len(kept) // 4)], key=lambda each: each["T"] + chance.randrange(9_000))
    now_ms = FIRST_MS + chance.randrange(2 * MINUTE_MS, 9 * MINUTE_MS)
    found = minutes_of(root / "some", order, now_ms)
    same = minutes_of(root / "every", told, FIRST_MS + 10 * MINUTE_MS).join(
        found, on="timestamp", how="semi", maintain_order="left"
    )
    others = [name for name in UM_MINUTE.names if name not in UM_MINUTE.collected]
    assert_frame_equal(found.select(others), same.select(others), check_exact=True)
    assert found.height or now_ms < FIRST_MS + 4 * MINUTE_MS or len(kept) < len(told)
    heard_ids = {each["a"] for each in kept}
    for at in found["timestamp"]:
        assert at + MINUTE <= instant(now_ms)
        assert {each["a"] for each in told if at <= instant(each["T"]) < at + MINUTE} <= heard_ids
