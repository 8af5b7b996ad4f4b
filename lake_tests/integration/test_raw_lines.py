"""Raw records of spot as JSON lines: the document's layout out of the lake, and old trees of it into the lake."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lake_assets.live.raw_import import import_raw
from lake_assets.live.raw_lines import FIELDS, export_raw, part_path, read_lines
from lake_assets.live.spot_records import HEALED_SOURCE, spot_records
from lake_assets.transforms.trade_fold import folded
from lake_resources.binance.market import SPOT
from lake_resources.clock import SECOND
from lake_resources.errors import NotYet, SettingsError
from lake_resources.storage.catalog import MarketPaths
from lake_tests.support.spot_frames import START_MS, SYMBOL, Hearing, official_minutes, quote, trade, wrapped

START = datetime.fromtimestamp(START_MS / 1000, UTC)
MINUTES = 3


def fill_lake(root: Path) -> Hearing:
    """Three minutes of trades and quotes, with a gap that an order heals, and a last event just before midnight."""
    hearing = Hearing(MarketPaths(root, SPOT.name).live_records_dir)
    for number in range(170):
        ms = START_MS + 1000 * number
        if number not in (100, 101):
            hearing.hear(wrapped(trade(number, ms, 100 + number % 7, 1.5, sell=number % 2 == 0)), ms * 1_000_000)
        hearing.hear(wrapped(quote(number, 99 + number % 7)), ms * 1_000_000 + 300_000_000)
    row = {"a": 9, "p": "102", "q": "3", "f": 100, "l": 101, "T": START_MS + 100_000, "m": True}
    hearing.intake.healed(SYMBOL, [row], 1.0)
    hearing.close()
    return hearing


def exported(root: Path, out: Path) -> list[Path]:
    return list(export_raw(root, SYMBOL, START, START + timedelta(minutes=MINUTES), out).files)


def lines_of(paths: list[Path]) -> list[dict[str, Any]]:
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def test_the_documents_layout_and_fields_by_event_time(tmp_path: Path) -> None:
    fill_lake(tmp_path / "lake")
    paths = exported(tmp_path / "lake", tmp_path / "out")
    first = (START.hour * 60) + START.minute
    day = tmp_path / "out" / "raw" / "binance" / SYMBOL / f"{START:%Y-%m-%d}"
    assert paths == [day / f"part_{first + number:03d}.jsonl" for number in range(MINUTES)]
    for number, path in enumerate(paths):
        rows = lines_of([path])
        assert {row["ts_event"] // 60_000 - START_MS // 60_000 for row in rows} == {number}, "60 s of event time"
        assert [row["ts_event"] for row in rows] == sorted(row["ts_event"] for row in rows)
    rows = lines_of(paths)
    assert all(set(FIELDS) <= set(row) for row in rows)
    told = next(row for row in rows if row["trade_id"] == 4)
    assert told == {
        "symbol": SYMBOL, "ts_event": START_MS + 4000, "ts_recv": START_MS + 4000, "price": 104.0, "qty": 1.5,
        "side": "sell", "bid": None, "ask": None, "stream": "trade", "trade_id": 4,
    }  # fmt: skip
    assert {row["stream"] for row in rows} == {"trade", "bookTicker"}
    healed = [row for row in rows if "last_trade_id" in row]
    assert [(row["trade_id"], row["last_trade_id"], row["qty"]) for row in healed] == [(100, 101, 3.0)]
    jq = shutil.which("jq")
    if jq is not None:  # readable by plain tools
        counted = subprocess.run([jq, "-s", "length", str(paths[0])], capture_output=True, check=True, text=True)
        assert int(counted.stdout) == len(lines_of(paths[:1]))
    assert pl.read_ndjson(paths[0]).height == len(lines_of(paths[:1]))
    again = {path: path.read_bytes() for path in paths}
    assert exported(tmp_path / "lake", tmp_path / "out") == paths
    assert {path: path.read_bytes() for path in paths} == again
    assert not list(tmp_path.glob("out/**/.part*"))


def test_the_day_of_a_file_is_that_of_its_events_and_not_of_their_receipt() -> None:
    late = datetime(2026, 1, 31, 23, 59, 59, 900_000, UTC)
    assert part_path(Path(), SYMBOL, late) == Path(f"raw/binance/{SYMBOL}/2026-01-31/part_1439.jsonl")


def test_what_was_exported_is_imported_as_the_same_bars_and_only_once(tmp_path: Path) -> None:
    fill_lake(tmp_path / "lake")
    exported(tmp_path / "lake", tmp_path / "out")
    other = tmp_path / "other"
    told = import_raw(other, tmp_path / "out", lambda: START_MS * 1_000_000)
    assert (told.files, told.known, told.torn, told.refused, told.without_id) == (3, 0, 0, 0, 0)
    window = START, START + timedelta(minutes=MINUTES)
    mine, theirs = (spot_records(root, SYMBOL, *window) for root in (tmp_path / "lake", other))
    bars = folded(theirs.fills, SECOND)
    assert bars.height > 150
    assert bars.equals(folded(mine.fills, SECOND))
    assert theirs.trades.filter(pl.col("source") == HEALED_SOURCE).height == 1
    assert theirs.quotes.select("at", "bid", "ask").equals(mine.quotes.select("at", "bid", "ask"))
    assert len(theirs.connected) == 1
    again = import_raw(other, tmp_path / "out", lambda: START_MS * 1_000_000)
    assert (again.files, again.known, again.lines) == (0, 3, 0)
    assert spot_records(other, SYMBOL, *window).trades.equals(theirs.trades)


def test_an_old_tree_with_torn_lines_and_without_ids_is_imported(tmp_path: Path) -> None:
    day = tmp_path / "raw" / "binance" / SYMBOL / "2025-03-01"
    day.mkdir(parents=True)
    at = int(datetime(2025, 3, 1, 12, tzinfo=UTC).timestamp()) * 1000
    # The earlier system's lines: its quotes carry the local clock, which is 1.5 s behind here.
    old = [
        {"symbol": SYMBOL, "ts_event": at + 100 * n, "ts_recv": at + 100 * n - 1500, "price": 1.0 + n, "qty": 2.0,
         "side": "buy", "bid": None, "ask": None, "stream": "btcusdt@trade", "trade_id": 50 + n if n else None}
        for n in range(30)
    ]  # fmt: skip
    seen = {"symbol": SYMBOL, "ts_event": at - 500, "ts_recv": at - 500, "price": None, "qty": None, "side": None,
            "bid": 9.0, "ask": 9.5, "stream": "btcusdt@bookTicker"}  # fmt: skip
    text = "\n".join(json.dumps(row) for row in [*old, seen])
    (day / "part_000.jsonl").write_text(text + '\n{"symbol":"BTCUSDT","ts_ev')
    (day / "part_001.jsonl").write_text('{"no": "record"}\nnothing\n' + json.dumps(old[5] | {"symbol": "../x"}) + "\n")
    told = import_raw(tmp_path / "lake", tmp_path / "raw", lambda: at * 1_000_000)
    assert (told.files, told.lines, told.torn, told.refused, told.without_id) == (2, 31, 1, 3, 1)
    start = datetime(2025, 3, 1, 11, 59, tzinfo=UTC)
    found = spot_records(tmp_path / "lake", SYMBOL, start, start + timedelta(minutes=5))
    assert found.trades["first_id"].to_list() == list(range(51, 80))
    assert found.quotes["at"].to_list() == [start + timedelta(minutes=1, seconds=1)], "placed by the measured offset"


def test_a_file_that_is_torn_in_its_only_line_loses_that_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "part_000.jsonl"
    path.write_bytes(b'{"symbol":"A","ts_recv":1700000000000}\n{"symbol":"A","ts_re')
    (found,) = read_lines(path)
    assert (len(found.rows), found.torn, found.refused) == (1, True, 0)


def test_a_stranger_s_tree_is_read_in_chunks_and_its_odd_lines_are_counted(tmp_path: Path) -> None:
    at = 1_740_830_399_000
    sound = json.dumps(
        {"symbol": SYMBOL, "ts_event": at, "ts_recv": at, "price": 1.0, "qty": 2.0, "side": "buy", "trade_id": 7}
    )
    odd = (
        [sound.replace(str(at), time) for time in ("1e999", "-5", "9" * 30, "true", "1e300")]
        + [sound.replace("1.0", price) for price in ("1e999", "[]", '"nan"')]
        + ["x" * 200_000, "[" * 3000, "9" * 5000]
    )
    (tmp_path / "a.jsonl").write_text("\n".join([*odd, sound.ljust(65_000)] + [sound.ljust(65_000)] * 140))
    os.mkfifo(tmp_path / "b.jsonl")
    assert len(list(read_lines(tmp_path / "a.jsonl"))) == 2
    told = import_raw(tmp_path / "lake", tmp_path, lambda: at * 1_000_000)
    assert (told.files, told.lines, told.torn, told.refused) == (1, 141, 0, len(odd))


def test_the_recorded_trades_survive_the_way_out_and_in(recorded: Callable[[str], Path], tmp_path: Path) -> None:
    hearing = Hearing(MarketPaths(tmp_path / "lake", SPOT.name).live_records_dir)
    hearing.play(recorded("ws/spot__btcusdt_20240808.gz"), recorded("ws/spot__btcusdt_20240809.gz"))
    hearing.close()
    first, end = datetime(2024, 8, 8, 23, 54, tzinfo=UTC), datetime(2024, 8, 9, 0, 6, tzinfo=UTC)
    written = export_raw(tmp_path / "lake", SYMBOL, first, end, tmp_path)
    assert {path.parent.name for path in written.files} == {"2024-08-08", "2024-08-09"}
    import_raw(tmp_path / "other", tmp_path / "raw", lambda: 1)
    found = spot_records(tmp_path / "other", SYMBOL, first, end)
    wanted = datetime(2024, 8, 8, 23, 55, tzinfo=UTC), datetime(2024, 8, 9, 0, 5, tzinfo=UTC)
    bars = folded(found.fills, timedelta(minutes=1)).filter(pl.col("open_time").is_between(*wanted, closed="left"))
    assert bars.equals(official_minutes(recorded, *wanted))


def test_a_file_of_something_else_is_no_raw_file_and_is_not_taken_for_imported(tmp_path: Path) -> None:
    tree, lake = tmp_path / "tree", tmp_path / "lake"
    tree.mkdir()
    other = tree / "users.jsonl"
    other.write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    for named in (other, tree):
        with pytest.raises(SettingsError, match=r"holds no raw lines: no line of its 1 file\(s\) is a record"):
            import_raw(lake, named, lambda: 1)
    at = START_MS
    row = {"symbol": SYMBOL, "ts_event": at, "ts_recv": at, "price": 1.0, "qty": 2.0, "side": "buy", "trade_id": 7}
    (tree / "part_000.jsonl").write_text(json.dumps(row) + "\n")
    (tree / "part_001.jsonl").write_text("")
    told = import_raw(lake, tree, lambda: at * 1_000_000)
    assert (told.files, told.lines, told.foreign) == (2, 1, [str(other)])
    again = import_raw(lake, tree, lambda: at * 1_000_000)
    assert (again.files, again.known, again.foreign) == (0, 2, [str(other)])


def test_a_tree_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no"):
        import_raw(tmp_path / "lake", tmp_path / "absent", lambda: 1)
    with pytest.raises(NotYet, match=r"no \*\.jsonl file"):
        import_raw(tmp_path / "lake", tmp_path, lambda: 1)
