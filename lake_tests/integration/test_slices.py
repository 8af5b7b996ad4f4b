"""Slices and loaded windows: the rows, and a certificate that tells what they are worth."""

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from typer.testing import CliRunner

from lake_assets.cli.main import app
from lake_assets.exports.export import ExportRequest, ExportTarget, write_export
from lake_assets.quality.certificate import certify
from lake_assets.reading import load, scan_minutes, verify
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import DAY, MINUTE
from lake_resources.errors import NotClean, SettingsError, StorageError
from lake_resources.known_hole import KnownHole
from lake_resources.settings import LakeSettings
from lake_resources.storage.commit import Rejection, commit_partitions, quarantine_partition
from lake_resources.storage.compaction import Period, clear, compact
from lake_resources.storage.root import claim_root
from lake_tests.support.sound_hours import FIRST, HOUR, NOW, SYMBOL, candidate, commit_sound, open_files, sound_rows

pytestmark = pytest.mark.slow

END = FIRST + 2 * DAY


@pytest.fixture
def here(tmp_path, monkeypatch):
    root = tmp_path / "lake"
    root.mkdir()
    claim_root(root, "simulator")
    store = open_files(root)
    for name, value in {"ROOT": root, "SYMBOLS": SYMBOL}.items():
        monkeypatch.setenv(f"LAKE_{name}", str(value))
    yield store
    store.ledger.close()


def commit(here, first, count, without=(), seed=7):
    """Commit hours; minutes of `without` (offsets from the first hour) are not there."""
    rows = sound_rows(first, count, seed)
    gone = [first + offset * MINUTE for offset in without]
    parts = [rows.slice(60 * n, 60).filter(~pl.col("timestamp").is_in(gone)) for n in range(count)]
    hours = [candidate(first + n * HOUR, part) for n, part in enumerate(parts)]
    commit_partitions(here, SYMBOL, hours, clock=lambda: NOW)


def certificate(here, start=FIRST, end=END, now=NOW):
    return certify(here, SYMBOL, start, end, now=now, lag_minutes=3, columns=["close"])


def holes(found):
    return [(hole.start, hole.rows, hole.cause, hole.explained) for hole in found.holes]


def test_a_whole_window_is_clean(here):
    commit_sound(here, FIRST, 48)
    found = certificate(here)
    assert (found.clean, found.completeness_pct, found.present_rows, found.holes) == (True, 100.0, 2880, ())
    assert found.sources["klines_1m"] == {"archive": 2880}


def test_every_hole_has_its_cause(here):
    known = FIRST + 5 * HOUR + 10 * MINUTE
    here.ledger.declare_hole(KnownHole("klines_1m", SYMBOL, known, known + 5 * MINUTE, "halt", "issue 1"))
    commit(here, FIRST, 10, without=[*range(310, 316), 130])
    quarantine_partition(
        here, SYMBOL, Rejection(FIRST + 10 * HOUR, None, ["ohlc"], "low above close"), clock=lambda: NOW
    )
    commit(here, FIRST + 11 * HOUR, 35)
    found = certificate(here)
    assert holes(found) == [
        (FIRST + 130 * MINUTE, 1, "minutes missing from a committed hour", False),
        (known, 5, "halt", True),
        (known + 5 * MINUTE, 1, "minutes missing from a committed hour", False),
        (FIRST + 10 * HOUR, 60, "hour in quarantine: ohlc", False),
        (FIRST + 46 * HOUR, 120, "hour not committed", False),
    ]
    assert (found.expected_rows, found.missing_rows, found.unexplained_rows) == (2880, 187, 182)
    assert found.completeness_pct == 93.5
    only_known = certificate(here, FIRST + 3 * HOUR, known + 5 * MINUTE)
    assert only_known.clean
    assert only_known.completeness_pct < 100


def test_a_window_into_the_present_expects_what_is_closed_and_is_not_clean(here):
    commit_sound(here, FIRST, 5)
    now = FIRST + 5 * HOUR + 4 * MINUTE + timedelta(seconds=30)
    found = certificate(here, FIRST, FIRST + 6 * HOUR, now)
    assert (found.as_of, found.expected_rows, found.missing_rows) == (FIRST + 301 * MINUTE, 301, 1)
    assert not found.clean
    assert certificate(here, FIRST, FIRST + 5 * HOUR, now).clean


def test_load_gives_the_rows_of_the_reader_and_the_certificate(here):
    commit_sound(here, FIRST, 48)
    frame, found = load(SYMBOL, FIRST, END, ["close"], require="clean", clock=lambda: NOW)
    assert frame.collect().equals(scan_minutes(SYMBOL, FIRST, END, ["timestamp", "close"]).collect())
    assert found == certificate(here)
    assert load(SYMBOL, FIRST, END, clock=lambda: NOW).frame.collect_schema() == UM_MINUTE.polars_schema
    bars = load(SYMBOL, FIRST, END, ["close", "vwap_1m"], timeframe="1d", clock=lambda: NOW).frame.collect()
    assert bars.columns == ["timestamp", "minutes", "complete", "close", "vwap"]
    assert bars["minutes"].to_list() == [1440, 1440]


def test_clean_refuses_and_names_the_holes(here):
    commit(here, FIRST, 48, without=[77])
    with pytest.raises(NotClean, match=r"1 minutes without .* 2026-01-15 01:17 to 2026-01-15 01:18"):
        load(SYMBOL, FIRST, END, require="clean", clock=lambda: NOW)
    assert load(SYMBOL, FIRST, END, clock=lambda: NOW).certificate.unexplained_rows == 1
    with pytest.raises(NotClean, match="need not exist yet"):
        load(SYMBOL, FIRST + 2 * HOUR, END, require="clean", clock=lambda: END)


def test_compaction_does_not_change_a_certificate_or_a_slice(here, tmp_path):
    commit(here, FIRST, 48, without=[77])
    before = certificate(here)
    first = slice_(here, tmp_path / "before").path.read_bytes()
    period = Period(SYMBOL, "day", FIRST, FIRST + DAY)
    compact(here, period, here.ledger.partition_files(SYMBOL, FIRST, FIRST + DAY), clock=lambda: NOW)
    clear(here, SYMBOL, clock=lambda: NOW, grace=timedelta(0))
    assert not here.catalog.partition_path(SYMBOL, FIRST).exists()
    assert certificate(here) == before
    assert slice_(here, tmp_path / "after").path.read_bytes() == first


def slice_(here, out, form="parquet", symbol=SYMBOL, **given):
    request = ExportRequest(FIRST, END, **given)
    return write_export(here, symbol, request, ExportTarget(out, form, "simulator"), now=NOW, lag_minutes=3)


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_slice_and_its_certificate_lie_side_by_side(here, tmp_path, form):
    commit(here, FIRST, 48, without=[77])
    written = slice_(here, tmp_path / "out", form, timeframe="1h", columns=("open", "close", "volume_btc"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"BTCUSDT_1h_20260115T0000_20260117T0000_3columns-e112ef89.{form}",
        f"BTCUSDT_1h_20260115T0000_20260117T0000_3columns-e112ef89.{form}.certificate.json",
    }
    rows = pl.read_parquet(written.path) if form == "parquet" else pl.read_csv(written.path, try_parse_dates=True)
    assert rows.columns == ["symbol", "timestamp", "minutes", "complete", "open", "close", "volume_btc"]
    assert rows.height == 48
    assert rows["timestamp"].to_list() == [FIRST + n * HOUR for n in range(48)]
    told = json.loads(written.certificate_path.read_text())
    assert told["sha256"] == hashlib.sha256(written.path.read_bytes()).hexdigest() == written.sha256
    assert (told["rows"], told["incomplete_bars"], told["unexplained_minutes"], told["clean"]) == (48, 1, 1, False)
    assert (told["completeness_pct"], told["exchange"], told["timeframe"]) == (99.96, "simulator", "1h")
    assert told["holes"][0]["cause"] == "minutes missing from a committed hour"
    first = (written.path.read_bytes(), written.certificate_path.read_bytes())
    again = slice_(here, tmp_path / "out", form, timeframe="1h", columns=("open", "close", "volume_btc"))
    assert (again.path.read_bytes(), again.certificate_path.read_bytes()) == first


def test_minutes_of_all_columns_and_months_are_written_as_they_are(here, tmp_path):
    start = FIRST + 17 * DAY - 3 * HOUR
    commit_sound(here, start, 6)
    request = ExportRequest(start + 7 * MINUTE, start + 6 * HOUR - MINUTE)
    written = write_export(here, SYMBOL, request, ExportTarget(tmp_path, "parquet", "x"), now=NOW, lag_minutes=3)
    expected = scan_minutes(SYMBOL, request.start, request.end, settings=LakeSettings()).collect()
    assert pl.read_parquet(written.path).drop("symbol").equals(expected)
    assert expected.height == 352
    nulls = json.loads(written.certificate_path.read_text())["null_values"]
    assert nulls["oi_contracts"] == 352
    assert "close" not in nulls


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"symbol": "ETHUSDT"}, SettingsError, "ETHUSDT has no row"),
        ({"columns": ("clos",)}, SettingsError, "no column clos"),
        ({"columns": ("latency_engine",), "timeframe": "5m"}, SettingsError, "no value for bars"),
        ({"require": "clean"}, NotClean, "1 minutes without an explanation"),
    ],
)
def test_what_cannot_be_sliced_leaves_no_file(here, tmp_path, given, error, message):
    commit(here, FIRST, 48, without=[77])
    with pytest.raises(error, match=message):
        slice_(here, tmp_path / "out", **given)
    assert not list((tmp_path / "out").glob("*")) or not (tmp_path / "out").exists()


def test_hours_committed_meanwhile_are_noticed(here, tmp_path, monkeypatch):
    commit_sound(here, FIRST, 48)
    original = pl.LazyFrame.collect

    def collect(frame, *arguments, **given):
        commit(here, FIRST, 1, seed=8)
        return original(frame, *arguments, **given)

    monkeypatch.setattr(pl.LazyFrame, "collect", collect)
    with pytest.raises(StorageError, match="were committed meanwhile"):
        slice_(here, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_command(here, tmp_path):
    commit(here, FIRST, 48, without=[77])
    window = ["--start", f"{FIRST:%Y-%m-%d}", "--end", f"{END:%Y-%m-%d}"]
    result = CliRunner().invoke(
        app,
        ["slice", *window, "--tf", "15m", "--columns", "open, close", "--format", "csv", "--out", str(tmp_path / "o")],
    )
    assert result.exit_code == 0, result.output
    assert "192 rows" in result.output.replace("\n", "")
    assert len(list((tmp_path / "o").iterdir())) == 2
    refused = CliRunner().invoke(app, ["slice", *window, "--require", "clean", "--out", str(tmp_path / "c")])
    assert isinstance(refused.exception, NotClean)
    assert not (tmp_path / "c").exists()


def lose(here, change):
    """Another file than the committed one, without anybody's knowledge."""
    path = here.catalog.partition_path(SYMBOL, FIRST + 5 * HOUR)
    change(pl.read_parquet(path)).write_parquet(path)


@pytest.mark.parametrize(
    "given",
    [{}, {"require": "clean"}, {"timeframe": "1h"}, {"timeframe": "1h", "incomplete": "omit"}],
    ids=["1m", "clean", "bars", "whole bars"],
)
@pytest.mark.parametrize(
    "change", [lambda rows: rows.slice(1), lambda rows: pl.concat([rows.head(1), rows])], ids=["lost", "doubled"]
)
def test_a_certificate_does_not_vouch_for_rows_that_are_not_there(here, tmp_path, given, change):
    commit_sound(here, FIRST, 48)
    slice_(here, tmp_path / "before", columns=("close",), **given)
    lose(here, change)
    with pytest.raises(StorageError, match="the certificate counts 2,880") as caught:
        slice_(here, tmp_path / "out", columns=("close",), **given)
    assert "lake audit --full" in str(caught.value.remedy)
    assert list((tmp_path / "out").iterdir()) == []


def test_minutes_that_are_not_due_yet_may_be_there(here, tmp_path):
    commit_sound(here, FIRST, 48)
    for timeframe in ("1m", "1h"):
        request = ExportRequest(FIRST, END, timeframe, ("close",))
        now = END - 10 * MINUTE
        written = write_export(here, SYMBOL, request, ExportTarget(tmp_path, "csv", "x"), now=now, lag_minutes=3)
        assert written.certificate.present_rows == 2867


def test_sources_count_the_minutes_that_are_there(here):
    commit(here, FIRST, 2, without=range(20))
    found = certificate(here, FIRST, FIRST + 20 * MINUTE)
    assert (found.present_rows, found.sources) == (0, {})
    found = certificate(here, FIRST + 10 * MINUTE, FIRST + 90 * MINUTE)
    assert (found.present_rows, found.sources["klines_1m"]) == (70, {"archive": 70})


def test_a_loaded_window_can_be_verified(here):
    commit_sound(here, FIRST, 48)
    found = load(SYMBOL, FIRST, END, ["close"], clock=lambda: NOW).certificate
    verify(found)
    period = Period(SYMBOL, "day", FIRST, FIRST + DAY)
    compact(here, period, here.ledger.partition_files(SYMBOL, FIRST, FIRST + DAY), clock=lambda: NOW)
    lose(here, lambda rows: rows.slice(1))
    verify(found)  # the day file serves this hour now
    path = here.catalog.partition_path(SYMBOL, FIRST + 30 * HOUR)
    sound = path.read_bytes()
    path.write_bytes(sound[:-1])
    with pytest.raises(StorageError, match="is not the file that was committed"):
        verify(found)
    path.write_bytes(sound)
    commit(here, FIRST + 31 * HOUR, 1, seed=8)
    with pytest.raises(StorageError, match="were committed since"):
        verify(found)


def test_another_zone_cuts_no_bar_and_names_the_file_in_utc(here, tmp_path):
    edge = datetime(2026, 2, 1, tzinfo=UTC)
    start, end = edge - 2 * DAY, edge + 2 * DAY
    commit_sound(here, start, 96)
    zone = timezone(timedelta(hours=5, minutes=30))
    given = {"now": NOW, "lag_minutes": 3}
    local = ExportRequest(start.astimezone(zone), end.astimezone(zone), "1d", ("close",))
    written = write_export(here, SYMBOL, local, ExportTarget(tmp_path / "local", "csv", "x"), **given)
    assert written.row_count == 4
    plain = write_export(
        here, SYMBOL, ExportRequest(start, end, "1d", ("close",)), ExportTarget(tmp_path / "utc", "csv", "x"), **given
    )
    assert (plain.path.name, plain.path.read_bytes()) == (written.path.name, written.path.read_bytes())
    with pytest.raises(ValueError, match="no time zone"):
        ExportRequest(start.replace(tzinfo=None), end)


def test_another_slice_has_another_name(here, tmp_path):
    commit(here, FIRST, 48, without=[77])
    requests = [
        {"columns": ("open", "close")},
        {"columns": ("close", "open")},
        {"columns": ("close",)},
        {"timeframe": "1h"},
        {"timeframe": "1h", "incomplete": "omit"},
        {"timeframe": "1h", "columns": ("close",)},
    ]
    written = [slice_(here, tmp_path / "out", "csv", **given) for given in requests]
    assert len({found.path for found in written}) == len(requests)
    assert [found.incomplete_bars for found in written] == [0, 0, 0, 1, 0, 1]
    assert [hashlib.sha256(found.path.read_bytes()).hexdigest() for found in written] == [f.sha256 for f in written]


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_what_is_half_written_is_hidden_and_goes_away(here, tmp_path, monkeypatch, form):
    start = FIRST + 17 * DAY - 3 * HOUR
    commit_sound(here, start, 6)
    out, seen = tmp_path / "out", []
    original = pl.LazyFrame.collect

    def collect(frame, *arguments, **given):
        if out.exists():
            seen.append({path.relative_to(out).parts[0] for path in out.rglob("*") if path.is_file()})
        if len(seen) == 2:
            raise KeyboardInterrupt
        return original(frame, *arguments, **given)

    monkeypatch.setattr(pl.LazyFrame, "collect", collect)
    with pytest.raises(KeyboardInterrupt):
        write_export(
            here, SYMBOL, ExportRequest(start, start + 6 * HOUR), ExportTarget(out, form, "x"), now=NOW, lag_minutes=3
        )
    assert seen[0] == set()
    assert [name[0] for name in seen[1]] == ["."], "what a killed process leaves is no file of this directory"
    assert list(out.iterdir()) == []
