"""Hours of a lake of before, which have no verdict, are judged from what the lake holds; nothing is rebuilt."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from datetime import timedelta

import polars as pl
import pytest
from typer.testing import CliRunner

from lake_assets.automation.health import judge
from lake_assets.automation.health_page import heartbeat
from lake_assets.automation.platform import Facts, HoleFacts
from lake_assets.build.judge_anew import judge_unjudged
from lake_assets.cli.main import app
from lake_assets.inputs.doubted_hours import doubted_hours
from lake_assets.quality.month_card import render, report_card
from lake_resources.clock import HOUR
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.ledger import NewVerdict
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, Bench, hours

pytestmark = pytest.mark.slow

HOURS = hours(8, 12)
CUT = DAY + 9 * HOUR + timedelta(minutes=29)
FORGOTTEN = PUBLISHED + 48 * HOUR


def forget(bench: Bench) -> dict[object, tuple[str | None, str | None]]:
    """The ledger of a lake of before: no hour has a verdict; returns those that there were."""
    before = {row.start: (row.verdict, row.verdict_detail) for row in held(bench)}
    with sqlite3.connect(bench.settings.lake_root / "ledger.sqlite") as ledger:
        ledger.execute("UPDATE partitions SET verdict = NULL, verdict_detail = NULL")
    ledger.close()
    assert doubted_hours(bench.lake.ledger, SYMBOL, DAY, DAY + 24 * HOUR) == {}
    return before


def held(bench: Bench) -> list:  # type: ignore[type-arg]
    return bench.lake.ledger.partitions(SYMBOL, DAY, DAY + 24 * HOUR)


def test_sound_hours_are_judged_as_a_build_judges_them(bench: Bench) -> None:
    bench.at(PUBLISHED).build(HOURS)
    before, files = forget(bench), bench.committed()
    bench.sim.clear_requests()
    found = judge_unjudged(bench.lake, SYMBOL, DAY, DAY + 24 * HOUR, report=bench.reports.append)
    assert {verdict.kind for verdict in found.values()} == {"clean"}
    assert {row.start: (row.verdict, row.verdict_detail) for row in held(bench)} == before
    assert (bench.committed(), bench.sim.requests) == (files, []), "nothing is rebuilt, nobody is asked"
    assert judge_unjudged(bench.lake, SYMBOL, DAY, DAY + 24 * HOUR, report=bench.reports.append) == {}
    # The next build finds what it would have said itself.
    assert {result.status for result in bench.build(HOURS)} == {"unchanged"}


def test_rows_that_another_version_wrote_are_judged_as_those_rows(bench: Bench) -> None:
    bench.at(PUBLISHED).build(HOURS)
    other = held(bench)[1]
    path = bench.lake.catalog.absolute(other.path)
    pl.read_parquet(path).write_parquet(path, compression="lz4")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest != other.content_hash
    with sqlite3.connect(bench.settings.lake_root / "ledger.sqlite") as ledger:
        ledger.execute(
            "UPDATE partitions SET content_hash = ?, size_bytes = ? WHERE path = ?",
            (digest, path.stat().st_size, other.path),
        )
    ledger.close()
    before = forget(bench)
    judge_unjudged(bench.lake, SYMBOL, DAY, DAY + 24 * HOUR, report=bench.reports.append)
    assert {row.start: (row.verdict, row.verdict_detail) for row in held(bench)} == before
    assert (held(bench)[1].content_hash, file_hash(path)) == (digest, digest), "the row is of the file that is there"


def test_an_archive_that_is_cut_is_found_in_a_lake_of_before(bench: Bench) -> None:
    bench.fault("missing_minutes", "daily/aggTrades/", start=CUT, end=DAY + 24 * HOUR)
    bench.at(FORGOTTEN).build(HOURS)
    before = forget(bench)
    assert len(judge_unjudged(bench.lake, SYMBOL, DAY, DAY + 24 * HOUR, report=bench.reports.append, most=3)) == 3
    judge_unjudged(bench.lake, SYMBOL, DAY, DAY + 24 * HOUR, report=bench.reports.append)
    doubts = doubted_hours(bench.lake.ledger, SYMBOL, DAY, DAY + 24 * HOUR)
    assert {at: verdict.kind for at, verdict in doubts.items()} == {
        at: kind for at, (kind, _) in before.items() if kind != "clean"
    }
    assert set(doubts) == set(HOURS[1:])
    card = report_card(bench.lake.store, SYMBOL, DAY, now=bench.now, lag_minutes=3)
    assert card.verdict == "LOOK"
    assert "## In doubt" in render(card, "x.png")


def test_an_hour_whose_sources_are_gone_is_unproven(bench: Bench) -> None:
    bench.at(PUBLISHED).build(HOURS)
    forget(bench)
    archive = bench.lake.ledger.archive(SYMBOL, "klines_1m", f"{DAY:%Y-%m-%d}")
    assert archive is not None
    bench.lake.catalog.absolute(archive.path).unlink()
    found = judge_unjudged(bench.lake, SYMBOL, DAY, DAY + 24 * HOUR, report=bench.reports.append)
    assert {verdict.kind for verdict in found.values()} <= {"unproven", "contradicted", "partial"}
    assert all("klines_1m: nothing of its source is kept" in verdict.text for verdict in found.values())


def test_the_command_says_what_it_judged(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.fault("missing_minutes", "daily/aggTrades/", start=CUT, end=DAY + 24 * HOUR)
    bench.at(FORGOTTEN).build(HOURS)
    forget(bench)
    monkeypatch.setenv("LAKE_ROOT", str(bench.settings.lake_root))
    monkeypatch.setenv("LAKE_SYMBOLS", SYMBOL)
    done = CliRunner().invoke(app, ["judge", "--json"])
    assert done.exit_code == 1, done.output
    (said,) = json.loads(done.stdout)
    assert (said["judged"], len(said["doubts"])) == (4, 3)
    assert CliRunner().invoke(app, ["judge"]).exit_code == 0, "nothing is left to be judged"


def test_health_hears_what_is_contradicted() -> None:
    facts = Facts(daemon_beat=FORGOTTEN, minutes={SYMBOL: FORGOTTEN})
    assert not any("contradicted" in text for text in judge(facts, FORGOTTEN).problems)
    held = HoleFacts(doubted=3, contradicted=2, oldest_contradicted=DAY)
    told = Facts(daemon_beat=FORGOTTEN, minutes={SYMBOL: FORGOTTEN}, holes={SYMBOL: held})
    problems = judge(told, FORGOTTEN).problems
    beat = heartbeat(told, judge(told, FORGOTTEN))
    assert beat["verdicts"][SYMBOL] == {"doubted_hours": 3, "contradicted_hours": 2}
    assert any("hours that are contradicted: 2, the oldest 2026-11-18T00:00:00Z" in text for text in problems)


def test_a_verdict_that_is_there_is_not_overwritten(bench: Bench) -> None:
    bench.at(PUBLISHED).build(HOURS[:1])
    bench.lake.ledger.set_verdicts(SYMBOL, [NewVerdict(HOURS[0], "unproven", "{}")])
    assert held(bench)[0].verdict == "clean"
