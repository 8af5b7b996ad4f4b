"""`lake feed-1h`: options, exit codes, the watch mode, rebuilding."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console
from typer.testing import CliRunner

from lake_assets.cli.commands_feed import Choice, Exit, run_command
from lake_assets.cli.main import app
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.bars_duckdb import BarsTable
from lake_tests.bench.feed_1h import FeedBench, at, case_bar, case_bars, feed_bench, long_bars

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[FeedBench]:
    with feed_bench(tmp_path, long_bars(at(14), 900)) as found:
        yield found


def run(bench: FeedBench, **choice: object) -> tuple[Exit, str]:
    out = io.StringIO()
    code = run_command(bench.feed, Choice(**choice), Console(file=out, width=400))  # type: ignore[arg-type]
    return code, out.getvalue()


def test_done_prints_one_line_of_numbers(bench: FeedBench) -> None:
    code, text = run(bench, catch_up=True)
    assert code == Exit.DONE
    assert "pulled=729 validated=0 appended=727 target=2024-01-15 13:00 coverage=727 rows 2023-12-16 07:00" in text
    assert len(text.splitlines()) == 1
    code, text = run(bench)
    assert (code, "pulled=3 validated=2 appended=0" in text) == (Exit.DONE, True)


def test_a_young_table_is_done_with_a_warning(bench: FeedBench, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = run(bench)
    text = capsys.readouterr().err
    assert code == Exit.DONE
    assert "warning: the inference file is not complete: 1 of 727 hours" in text


def test_a_mismatch_is_refused(bench: FeedBench) -> None:
    run(bench, catch_up=True)
    bench.exchange.now += timedelta(hours=1)
    bench.exchange.bars[at(13)][3] = "1.25"
    code, text = run(bench)
    assert code == Exit.REFUSED
    assert "2024-01-15 13:00 close: table" in text
    assert "exchange 1.25" in text


def test_a_hole_names_the_command_that_repairs_it(bench: FeedBench) -> None:
    run(bench, catch_up=True)
    bench.exchange.now += timedelta(hours=1)
    bench.exchange.bars |= long_bars(at(18), 4)
    bench.exchange.now += timedelta(hours=3)
    code, text = run(bench)
    assert (code, "`lake feed-1h --catch-up`" in text) == (Exit.REFUSED, True)
    assert run(bench, catch_up=True)[0] == Exit.DONE
    assert bench.hours()[-4:] == [14, 15, 16, 17]


def test_a_changed_history_is_not_done(bench: FeedBench, capsys: pytest.CaptureFixture[str]) -> None:
    run(bench, catch_up=True)
    bench.sql("UPDATE ohlcv_btcusdt_1h SET low = 1 WHERE timestamp = '2024-01-01 00:00:00'")
    code, _ = run(bench)
    text = capsys.readouterr().err
    assert code == Exit.REFUSED
    assert "1 earlier rows of the table changed, first 2024-01-01 00:00" in text


def test_what_is_not_there_yet_can_be_repeated(bench: FeedBench) -> None:
    bench.exchange.late[at(13)] = 1
    assert run(bench)[0] == Exit.NOT_THERE_YET
    assert run(bench)[0] == Exit.DONE


def test_a_broken_exchange_table_or_disk_fails(bench: FeedBench) -> None:
    bench.exchange.broken = 500
    code, text = run(bench)
    assert (code, "pulled=0" in text) == (Exit.FAILED, True)
    bench.exchange.broken = None
    bench.feed.table.path.write_bytes(b"no database" * 10)
    assert run(bench)[0] == Exit.FAILED


def test_a_dry_run_names_the_files(bench: FeedBench) -> None:
    code, text = run(bench, dry_run=True, debug=True)
    assert code == Exit.DONE
    assert "_for_inference.csv" in text
    assert "api_db_parity: outcome=append" in text
    assert not bench.feed.table.path.exists()


def test_a_rebuild_keeps_the_old_table_and_begins_where_asked(bench: FeedBench) -> None:
    run(bench)
    code, text = run(bench, rebuild=True, seed_from=at(-20))
    assert code == Exit.DONE
    assert "the old table is kept as" in text
    (aside,) = bench.feed.table.path.parent.glob("ohlcv.duckdb.2024*Z")
    assert BarsTable(aside).snapshot().rows.height == 1
    assert bench.hours() == list(range(-20, 14))
    bench.exchange.broken = 500
    with pytest.raises(Exception, match="scripted"):
        run(bench, rebuild=True)
    assert bench.hours() == list(range(-20, 14))


def test_watching_catches_up_and_goes_on_after_errors(bench: FeedBench, capsys: pytest.CaptureFixture[str]) -> None:
    out, looks = io.StringIO(), []

    def sleep(seconds: float) -> None:
        """What happens between two looks."""
        looks.append((seconds, bench.hours()[-1] if bench.feed.table.path.exists() else None, len(out.getvalue())))
        if len(looks) == 2:
            bench.exchange.broken = 503
            bench.exchange.now += timedelta(hours=1)
        elif len(looks) == 3:
            bench.exchange.broken = None
        elif len(looks) == 4:
            raise KeyboardInterrupt

    choice = Choice(catch_up=True, watch_s=60)
    assert run_command(bench.feed, choice, Console(file=out, width=400), sleep=sleep) == Exit.DONE
    assert [(seconds, newest) for seconds, newest, _ in looks] == [(60, 13), (60, 13), (60, 13), (60, 14)]
    assert looks[0][2] == looks[1][2]  # nothing to do, nothing asked or said
    assert "waiting: " in out.getvalue()
    assert capsys.readouterr().err.rstrip().endswith("stopped")


def test_options_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SimulatorServer(symbols=("BTCUSDT",), limits=False) as sim:
        monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "lake"))
        monkeypatch.setenv("LAKE_REST_URL", sim.base_url)
        given = ["feed-1h", "--duckdb", str(tmp_path / "x.duckdb"), "--persist-dir", str(tmp_path / "csv")]
        given += ["--dataset", "My Set, 60", "--n-recent", "4", "--buffer-hours", "2", "--inference-source", "api"]
        done = CliRunner().invoke(app, [*given, "--catch-up", "--once"])
        assert done.exit_code == Exit.DONE, done.output
        assert "appended=723" in done.output
        (inference,) = (tmp_path / "csv" / "my_set_60").glob("2*_for_inference.csv")
        assert pl.read_csv(inference).height == 723
        assert BarsTable(tmp_path / "x.duckdb").snapshot().rows.height == 723
        assert CliRunner().invoke(app, [*given, "--n-recent", "1"]).exit_code == Exit.USAGE
        assert CliRunner().invoke(app, [*given, "--no-such-option"]).exit_code == Exit.USAGE
        assert CliRunner().invoke(app, [*given, "--rebuild", "--dry-run"]).exit_code == Exit.USAGE
        assert CliRunner().invoke(app, [*given, "--from", "2024-01-01"]).exit_code == Exit.USAGE
        fresh = [*given, "--duckdb", str(tmp_path / "y.duckdb"), "--from"]
        assert CliRunner().invoke(app, [*fresh, "2999-01-01"]).exit_code == Exit.USAGE
        monkeypatch.setenv("LAKE_EXCHANGE", "binance")
        assert CliRunner().invoke(app, given).exit_code == Exit.USAGE


def test_case_a23_through_the_command(tmp_path: Path) -> None:
    with feed_bench(tmp_path, case_bars(8, 11)) as bench:
        bench.exchange.now -= timedelta(hours=4)  # 10:23:45, the hour before is 09:00
        bench.seed(case_bars(8, 9))
        bench.exchange.now += timedelta(hours=2)  # 12:23:45, target 11:00
        assert run(bench)[0] == Exit.REFUSED
        assert run(bench, catch_up=True)[0] == Exit.DONE
        assert bench.hours() == [8, 9, 10, 11]
        assert bench.rows()["open"].to_list() == [float(case_bar(hour)[0]) for hour in (8, 9, 10, 11)]
