"""`lake live`: what it prints of a journal, and what it exits with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from lake_assets.cli.main import app
from lake_resources.binance.ws.frames import REFUSED, REFUSED_FRAMES
from lake_resources.collector.journal import ConnectionRow, GapRow, Journal
from lake_resources.collector.segments import SegmentWriter
from lake_resources.errors import SettingsError
from lake_resources.storage.root import claim_root
from lake_tests.support.stores import store_at

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
M = timedelta(minutes=1)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path))
    monkeypatch.setenv("LAKE_SYMBOLS", "BTCUSDT,ETHUSDT")
    claim_root(tmp_path, "simulator")
    one = Journal(f"sqlite:///{tmp_path / 'ledger.sqlite'}", "um")
    one.write(
        [
            ConnectionRow(1, "market", NOW - 5 * M, NOW + 10 * M, NOW + 11 * M, "stalled: nothing heard", 5_000),
            ConnectionRow(2, "market", NOW + 12 * M, NOW + 30 * M, NOW + 30 * M, "the collector stops", 6_000),
            ConnectionRow(3, "public", NOW - 5 * M, NOW + 30 * M, NOW + 30 * M, "the collector stops", 90_000),
            GapRow("BTCUSDT", 10, 19, NOW + 12 * M, "healed", NOW + 13 * M),
            GapRow("ETHUSDT", 50, 50, NOW + 20 * M, "lost", NOW + 21 * M, "ids 50 to 50: too old"),
        ]
    )
    yield one
    one.close()


def run(*arguments: str, start: datetime = NOW, end: datetime = NOW + 30 * M) -> Result:
    window = ("--start", f"{start:%Y-%m-%dT%H:%M}", "--end", f"{end:%Y-%m-%dT%H:%M}")
    return CliRunner().invoke(app, ["live", *arguments, *window])


def found(*arguments: str, **window: datetime) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(run(*arguments, "--json", **window).stdout)
    return answer


def test_connections_spans_and_gaps(journal: Journal) -> None:
    result = run()

    assert result.exit_code == 1, "a gap is lost"
    for text in ("stalled: nothing heard", "90,000", "120.0", "healed", "lost", "ids 50 to 50: too old"):
        assert text in result.output

    answer = found()
    assert [row["conn"] for row in answer["connections"]] == [1, 3, 2]
    assert answer["without_connection"] == [
        {
            "route": "market",
            "start": (NOW + 10 * M).isoformat(),
            "end": (NOW + 12 * M).isoformat(),
            "seconds": 120.0,
        }
    ]
    assert [(gap["symbol"], gap["ids"], gap["status"]) for gap in answer["trade_gaps"]] == [
        ("BTCUSDT", 10, "healed"),
        ("ETHUSDT", 1, "lost"),
    ]
    assert "refused_frames" not in answer


def test_spot_is_shown_beside_futures_and_decides_the_exit_code_too(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE_SPOT_SYMBOLS", "SOLUSDT")
    window = {"start": NOW + 21 * M, "end": NOW + 30 * M}
    assert run(**window).exit_code == 0
    spot = Journal(f"sqlite:///{tmp_path / 'ledger.sqlite'}", "spot")
    spot.write(
        [
            ConnectionRow(4, "", NOW - 5 * M, NOW + 25 * M, NOW + 26 * M, "the other side closed", 7_000),
            GapRow("SOLUSDT", 7, 9, NOW + 24 * M, "open"),
        ]
    )
    spot.close()
    result = run(**window)
    assert result.exit_code == 1
    assert "Connections of spot" in result.output
    assert "the other side closed" in result.output
    answer = found(**window)
    assert [row["conn"] for row in answer["spot"]["connections"]] == [4]
    assert [(gap["symbol"], gap["ids"]) for gap in answer["spot"]["trade_gaps"]] == [("SOLUSDT", 3)]
    assert [each["seconds"] for each in answer["spot"]["without_connection"]] == [300.0]
    assert run("BTCUSDT", **window).exit_code == 0, "gaps of other symbols do not count"


def test_the_range_is_half_open_and_decides_the_exit_code(journal: Journal) -> None:
    assert run(end=NOW + 20 * M).exit_code == 0
    assert run(start=NOW + 20 * M).exit_code == 1
    assert run(start=NOW + 21 * M).exit_code == 0
    assert [row["conn"] for row in found(start=NOW + 11 * M, end=NOW + 12 * M)["connections"]] == [3]


def test_an_open_gap_is_exit_code_1_and_other_symbols_do_not_count(journal: Journal) -> None:
    assert run("BTCUSDT").exit_code == 0
    journal.write([GapRow("BTCUSDT", 30, 31, NOW + 15 * M, "open", detail="403")])

    assert run("btcusdt").exit_code == 1
    assert [gap["detail"] for gap in found("BTCUSDT")["trade_gaps"]] == ["", "403"]


def test_frames_that_could_not_be_used_are_found(journal: Journal, tmp_path: Path) -> None:
    writer = SegmentWriter(store_at(tmp_path).catalog.live_records_dir)
    at_ns = int(NOW.timestamp()) * 1_000_000_000
    for minute, frame in ((0, b"{not json"), (40, b"out of range")):
        filed = int((NOW + minute * M).timestamp()) // 60
        writer.add(minute + 1, at_ns, 7, REFUSED, REFUSED_FRAMES, filed, frame)
    writer.write(writer.take()[0], 1)
    writer.close_before(None)

    expected = [{"received_at": NOW.isoformat(), "conn": 7, "frame": "{not json"}]
    assert found("--refused")["refused_frames"] == expected
    assert "{not json" in run("--refused").output


def test_without_a_range_it_is_the_last_day_and_without_a_collector_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path))
    claim_root(tmp_path, "simulator")
    result = CliRunner().invoke(app, ["live", "--json"])
    answer = json.loads(result.stdout)

    assert result.exit_code == 0
    assert answer["connections"] == answer["trade_gaps"] == []
    assert [each["route"] for each in answer["without_connection"]] == ["market", "public"]
    assert all(each["seconds"] > 86_000 for each in answer["without_connection"])


def test_an_empty_range_is_refused(journal: Journal) -> None:
    assert isinstance(run(end=NOW).exception, SettingsError)
