"""Files for freqtrade and NautilusTrader hold the lake's bars in these programs' own form, to the last decimal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from lake_assets.at_rest import LakeAtRest, open_at_rest
from lake_assets.exports.export import ExportRequest, ExportTarget, write_export
from lake_assets.exports.other_programs import bar_type, pair_of, places, whole_bars, write_for_program
from lake_resources.clock import HOUR
from lake_resources.errors import SettingsError
from lake_resources.storage.hashing import file_hash
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, bench_on, exchange, hours

FEATHER = pa.schema(
    {"date": pa.timestamp("ms", "UTC")} | dict.fromkeys(("open", "high", "low", "close", "volume"), pa.float64())
)
BARS = "BTCUSDT-PERP.BINANCE-1-MINUTE-LAST-EXTERNAL"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeAtRest]:
    """Nine hours of the published day: with a settlement at 00:00 and one at 08:00; the third hour is not there."""
    with exchange() as sim, bench_on(sim, tmp_path_factory.mktemp("lake")) as bench:
        bench.at(PUBLISHED).build([each for each in hours(0, 9) if each != DAY + 2 * HOUR])
        found = open_at_rest(bench.settings, clock=lambda: PUBLISHED)
        yield found
        found.close()


def request(timeframe: str = "1m") -> ExportRequest:
    return ExportRequest(DAY, DAY + 9 * HOUR, timeframe)  # type: ignore[arg-type]


def exported(lake: LakeAtRest, out: Path, program: str, timeframe: str = "1m") -> dict[str, Path]:
    found = write_for_program(
        lake.store, SYMBOL, request(timeframe), out, program, now=PUBLISHED, lag_minutes=3  # type: ignore[arg-type]
    )  # fmt: skip
    told = json.loads(found.certificate_path.read_text())
    assert [out / each["file"] for each in told["files"]] == list(found.paths)
    assert [each["sha256"] for each in told["files"]] == [file_hash(path) for path in found.paths]
    assert (told["bars"], told["program"]) == (found.row_count, program)
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []
    return {path.name: path for path in found.paths}


def test_freqtrade_has_candles_mark_and_funding_in_both_forms(lake: LakeAtRest, tmp_path: Path) -> None:
    files = exported(lake, tmp_path, "freqtrade")
    stems = ("BTC_USDT_USDT-1m-futures", "BTC_USDT_USDT-1h-mark", "BTC_USDT_USDT-1h-funding_rate")
    assert set(files) == {f"{stem}.{form}" for stem in stems for form in ("feather", "json")}
    assert {path.parent for path in files.values()} == {tmp_path / "futures"}
    bars = whole_bars(lake.store, SYMBOL, request())
    tables = {stem: feather.read_table(files[f"{stem}.feather"]) for stem in stems}
    assert {stem: table.schema.remove_metadata() for stem, table in tables.items()} == dict.fromkeys(stems, FEATHER)
    for stem, table in tables.items():
        frame = pl.DataFrame(pl.from_arrow(table))
        values = frame.with_columns(pl.col("date").dt.epoch("ms")).rows()
        assert orjson.loads(files[f"{stem}.json"].read_bytes()) == [list(row) for row in values]
        if stem.endswith("futures"):
            assert frame.equals(bars)
            assert frame.height == 8 * 60
    mark = pl.DataFrame(pl.from_arrow(tables[stems[1]]))
    assert mark["date"].dt.hour().to_list() == [0, 1, 3, 4, 5, 6, 7, 8]
    assert (mark["high"] >= mark["low"]).all()
    funding = pl.DataFrame(pl.from_arrow(tables[stems[2]]))
    assert funding["date"].to_list() == [DAY, DAY + 8 * HOUR]
    assert funding["open"].null_count() == 0
    assert funding.select("high", "low", "close", "volume").sum().row(0) == (0, 0, 0, 0)


def test_a_bar_that_lacks_a_minute_is_no_candle(lake: LakeAtRest, tmp_path: Path) -> None:
    files = exported(lake, tmp_path, "freqtrade", "1h")
    rows = orjson.loads(files["BTC_USDT_USDT-1h-futures.json"].read_bytes())
    assert [datetime.fromtimestamp(row[0] / 1000, UTC).hour for row in rows] == [0, 1, 3, 4, 5, 6, 7, 8]


def test_nautilus_has_a_catalog_of_bars_exact_to_the_last_decimal(lake: LakeAtRest, tmp_path: Path) -> None:
    files = exported(lake, tmp_path, "nautilus")
    name = "2026-11-18T00-01-00-000000000Z_2026-11-18T09-00-00-000000000Z.parquet"
    assert list(files.values()) == [tmp_path / "data" / "bar" / BARS / name]
    table = pq.read_table(files[name])
    assert {field.name: str(field.type) for field in table.schema} == {
        **dict.fromkeys(("open", "high", "low", "close", "volume"), "fixed_size_binary[16]"),
        "ts_event": "uint64",
        "ts_init": "uint64",
    }
    assert not any(field.nullable for field in table.schema)
    told = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert (told["bar_type"], told["instrument_id"]) == (BARS, "BTCUSDT-PERP.BINANCE")
    bars = whole_bars(lake.store, SYMBOL, request())
    for column, precision in (("close", "price_precision"), ("volume", "size_precision")):
        whole = [int.from_bytes(each.as_py(), "little", signed=True) for each in table[column]]
        scale = 10 ** int(told[precision])
        assert [each // (10**16 // scale) / scale for each in whole] == bars[column].to_list()
        assert {each % (10**16 // scale) for each in whole} == {0}
    ends = [int(at.timestamp()) * 10**9 for at in (bars["date"] + timedelta(minutes=1)).to_list()]
    assert table["ts_event"].to_pylist() == table["ts_init"].to_pylist() == ends


def test_a_catalog_holds_no_bar_twice(lake: LakeAtRest, tmp_path: Path) -> None:
    first = exported(lake, tmp_path, "nautilus")
    again = exported(lake, tmp_path, "nautilus")
    assert first == again, "the same window replaces its own file"
    other = ExportRequest(DAY + HOUR, DAY + 10 * HOUR)
    with pytest.raises(SettingsError, match="may not hold twice"):
        write_for_program(lake.store, SYMBOL, other, tmp_path, "nautilus", now=PUBLISHED, lag_minutes=3)
    empty = ExportRequest(DAY + 2 * HOUR, DAY + 3 * HOUR)
    with pytest.raises(SettingsError, match="no whole bar"):
        write_for_program(lake.store, SYMBOL, empty, tmp_path / "b", "freqtrade", now=PUBLISHED, lag_minutes=3)
    assert not (tmp_path / "b").exists()


def test_arrow_has_the_rows_of_parquet(lake: LakeAtRest, tmp_path: Path) -> None:
    found = {}
    for form in ("arrow", "parquet"):
        target = ExportTarget(tmp_path, form, "simulator")  # type: ignore[arg-type]
        found[form] = write_export(lake.store, SYMBOL, request(), target, now=PUBLISHED, lag_minutes=3)
    with pa.ipc.open_file(found["arrow"].path) as reader:
        rows = pl.DataFrame(pl.from_arrow(reader.read_all()))
    assert rows.equals(pl.read_parquet(found["parquet"].path))
    assert json.loads(found["arrow"].certificate_path.read_text())["sha256"] == found["arrow"].sha256


def test_names_are_the_programs() -> None:
    assert pair_of("BTCUSDT", futures=True) == "BTC/USDT:USDT"
    assert pair_of("SOLFDUSD", futures=False) == "SOL/FDUSD"
    with pytest.raises(SettingsError, match="ends with no known currency"):
        pair_of("XYZ", futures=True)
    assert bar_type("SOLUSDT", "1s", futures=False) == "SOLUSDT.BINANCE-1-SECOND-LAST-EXTERNAL"
    assert places(pl.DataFrame({"a": [1.5, 2.0, 0.125]}), ["a"]) == 3
    with pytest.raises(SettingsError, match="12 decimal places"):
        places(pl.DataFrame({"a": [1 / 3]}), ["a"])
