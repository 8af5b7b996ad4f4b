"""What counts as a problem, and the form of the heartbeat."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lake_assets.automation.health import judge
from lake_assets.automation.health_page import heartbeat, page, told_parts
from lake_assets.automation.platform import (
    BuilderFacts,
    CollectorFacts,
    Facts,
    HoleFacts,
    MacroFacts,
    RunFacts,
    ScheduleFacts,
    SensorFacts,
    SpotFacts,
    TableFacts,
)

NOW = datetime(2026, 11, 18, 15, 30, tzinfo=UTC)


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


def heard(**span: float) -> dict[str, dict[str, datetime | None]]:
    return {"BTCUSDT": {"market": ago(**span), "public": ago(**span)}}


HOT = SensorFacts("hot_band", running=True, interval_s=30, last_tick=ago(seconds=20))
WELL = Facts(
    started=ago(hours=5),
    stopping=False,
    automation=True,
    daemon_beat=ago(seconds=15),
    sensors=[HOT],
    hot_run=RunFacts(ago(seconds=40), ago(seconds=30)),
    collector=CollectorFacts(wanted=True, latency_p50_ms=10.5, latency_p95_ms=25.3, heard=heard(seconds=40)),
    minutes={"BTCUSDT": ago(minutes=1)},
    raw_count_today=100,
    minute_rows_today=930,
)


def test_all_is_well() -> None:
    health = judge(WELL, NOW)
    assert (health.status, health.problems, health.well) == ("HEALTHY", (), True)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"daemon_beat": ago(minutes=3)}, "daemon has been silent"),
        ({"watchdog_beat": ago(minutes=3)}, "watchdog has been silent"),
        ({"sensors": [replace(HOT, last_tick=ago(minutes=3))]}, "has not ticked for 3 min"),
        ({"sensors": [replace(HOT, running=False)]}, "switched off"),
        ({"sensors": [replace(HOT, error="KeyError: x")]}, "failed: KeyError"),
        ({"minutes": {"BTCUSDT": ago(minutes=9)}}, "BTCUSDT is 9 min behind"),
        ({"minutes": {"BTCUSDT": None}}, "no minute yet"),
        ({"hot_run": RunFacts(ago(minutes=1), ago(seconds=50), "run abc")}, "run abc"),
        ({"collector": CollectorFacts(wanted=True, heard=heard(minutes=4))}, "collector is silent"),
        ({"late_archives": ["klines_1m of BTCUSDT for 2026-11-15 is not published"]}, "late: klines_1m"),
    ],
)
def test_each_problem_is_named(changes, word) -> None:
    health = judge(replace(WELL, **changes), NOW)
    assert health.status == "ERROR"
    assert not health.well
    assert word in " ".join(health.problems)


@pytest.mark.parametrize(
    ("eth", "named"),
    [
        ({"market": ago(minutes=7), "public": ago(minutes=1)}, ["of ETHUSDT on the market socket, last at 2026"]),
        ({"market": ago(minutes=1), "public": None}, ["of ETHUSDT on the public socket for 10 min or longer"]),
        ({"market": None, "public": None}, ["of ETHUSDT on the market", "of ETHUSDT on the public"]),
        ({"market": ago(minutes=1), "public": ago(minutes=2)}, []),
    ],
)
def test_a_silent_symbol_or_socket_is_named_though_others_are_heard(eth, named) -> None:
    facts = replace(WELL, collector=CollectorFacts(wanted=True, heard=heard(seconds=40) | {"ETHUSDT": eth}))
    health = judge(facts, NOW)
    assert len(health.problems) == len(named)
    assert all(wanted in found for wanted, found in zip(named, health.problems, strict=True))
    assert heartbeat(facts, health)["collector"]["status"] == ("error" if named else "running")


def test_a_slow_heartbeat_is_given_its_time() -> None:
    slow = replace(WELL, beat_every=timedelta(minutes=10), watchdog_beat=ago(minutes=19))
    assert judge(slow, NOW).well
    late = replace(slow, watchdog_beat=ago(minutes=21))
    assert "the watchdog has been silent for 21 min" in judge(late, NOW).problems[0]


def test_what_is_no_problem() -> None:
    slow = SensorFacts("promote_archives", running=True, interval_s=300, last_tick=ago(minutes=14))
    new = SensorFacts("alert_failures", running=True, interval_s=30, last_tick=None, since=ago(minutes=2))
    never_collected = CollectorFacts()
    facts = replace(WELL, sensors=[HOT, slow, new], collector=never_collected, started=None)
    assert judge(facts, NOW).well
    by_hand = replace(WELL, automation=False, sensors=[replace(HOT, running=False)], minutes={"BTCUSDT": None})
    assert judge(by_hand, NOW).well, "without automation nobody promises fresh minutes"


NEVER = SensorFacts("heal_holes", running=True, interval_s=300, last_tick=None)
DAILY = ScheduleFacts("audit_daily", running=True, due=ago(hours=6), last_tick=ago(hours=6), since=ago(days=9))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"sensors": [NEVER]}, "sensor heal_holes has never ticked: read daemon.log"),
        ({"sensors": [replace(NEVER, since=ago(minutes=4))]}, "sensor heal_holes has never ticked: read daemon.log"),
        ({"sensors": [NEVER], "started": ago(minutes=4)}, "sensor heal_holes has never ticked: read daemon.log"),
        ({"sensors": [NEVER], "started": ago(minutes=3)}, None),
        ({"schedules": [DAILY]}, None),
        (
            {"schedules": [replace(DAILY, last_tick=ago(hours=30))]},
            "schedule audit_daily has not ticked: it was due at 2026-11-18T09:30:00Z",
        ),
        (
            {"schedules": [replace(DAILY, last_tick=None)]},
            "schedule audit_daily has not ticked: it was due at 2026-11-18T09:30:00Z",
        ),
        ({"schedules": [replace(DAILY, last_tick=ago(hours=30), due=ago(minutes=4))]}, None),
        ({"schedules": [replace(DAILY, last_tick=ago(hours=30))], "started": ago(minutes=4)}, None),
        ({"schedules": [replace(DAILY, last_tick=None, since=ago(hours=5))]}, None),
        (
            {"schedules": [replace(DAILY, last_tick=None, since=None)]},
            "schedule audit_daily was never taken up by the daemon: read daemon.log",
        ),
        (
            {"schedules": [replace(DAILY, running=False)]},
            "schedule audit_daily is switched off: switch it on in Dagster's UI, page Automation",
        ),
        (
            {"schedules": [replace(DAILY, error="KeyError: x")]},
            "the last tick of schedule audit_daily failed: KeyError: x",
        ),
        ({"schedules": [replace(DAILY, running=False)], "automation": False}, None),
    ],
)
def test_a_sensor_that_never_ticked_and_a_schedule_that_missed_its_time(changes, problem) -> None:
    health = judge(replace(WELL, **changes), NOW)
    assert health.problems == (() if problem is None else (problem,))


def test_starting_and_stopped() -> None:
    young = replace(WELL, started=ago(minutes=1), minutes={"BTCUSDT": None})
    assert judge(young, NOW).status == "STARTING"
    assert judge(young, NOW).well
    assert judge(replace(WELL, stopping=True), NOW).status == "STOPPED"
    never = replace(WELL, daemon_beat=None, started=None)
    assert judge(never, NOW).status == "STOPPED"
    assert not judge(never, NOW).well


def test_spot_is_told_by_its_latency_and_its_silence() -> None:
    told = replace(WELL.collector, spot=SpotFacts(ago(minutes=1), 12, 40, 900))
    facts = replace(WELL, collector=told)
    assert judge(facts, NOW).well
    beat = heartbeat(facts, judge(facts, NOW))
    assert beat["collector"]["spot"] == {
        "last_latency_p50_ms": 12,
        "last_latency_p95_ms": 40,
        "last_latency_max_ms": 900,
        "last_seen_ts": "2026-11-18T15:29:00Z",
    }
    assert "Spot: last seen 2026-11-18T15:29:00Z, latency p50 12" in page(beat)
    silent = replace(WELL, collector=replace(told, spot=SpotFacts()))
    assert judge(silent, NOW).problems == ("the collector hears nothing of spot",)


def test_the_heartbeat_has_the_promised_fields() -> None:
    beat = heartbeat(WELL, judge(WELL, NOW))
    assert beat["ts_utc"] == "2026-11-18T15:30:00Z"
    assert beat["collector"] == {
        "status": "running",
        "last_latency_p50_ms": 10.5,
        "last_latency_p95_ms": 25.3,
        "last_latency_max_ms": None,
        "last_seen_ts": "2026-11-18T15:29:20Z",
        "symbols": {
            "BTCUSDT": {
                "market_last_seen_ts": "2026-11-18T15:29:20Z",
                "public_last_seen_ts": "2026-11-18T15:29:20Z",
            }
        },
    }
    assert set(beat["macro_minute"]) == {
        "status",
        "last_run_start",
        "last_run_end",
        "last_run_rows_written",
        "last_error",
    }
    assert beat["transformer"] == {
        "status": "idle",
        "last_run_start": "2026-11-18T15:29:20Z",
        "last_run_end": "2026-11-18T15:29:30Z",
        "last_error": None,
    }
    assert beat["sensors"]["hot_band"]["last_tick_ts"] == "2026-11-18T15:29:40Z"
    assert beat["files"]["raw_count_today"] == 100
    assert beat["files"]["minute_rows_today"] == 930
    running = heartbeat(replace(WELL, hot_run=RunFacts(ago(seconds=5))), judge(WELL, NOW))
    assert running["transformer"]["status"] == "running"


MACRO = MacroFacts(RunFacts(ago(minutes=2), ago(minutes=1)), rows_written=1500, rows_today=2000)


def test_each_market_macro_minutes_and_the_files_of_today_are_told() -> None:
    heard_of_spot = replace(WELL.collector, spot=SpotFacts(ago(minutes=1), 12, 40, 900))
    facts = replace(WELL, collector=heard_of_spot, macro=MACRO, second_rows_today=50_000)
    beat = heartbeat(facts, judge(facts, NOW))
    assert beat["mode"] == "PRODUCTION"
    assert beat["markets"]["um"] == {
        "status": "running",
        "last_latency_p50_ms": 10.5,
        "last_latency_p95_ms": 25.3,
        "last_latency_max_ms": None,
        "last_seen_ts": "2026-11-18T15:29:20Z",
    }
    assert beat["markets"]["spot"] == {"status": "running"} | beat["collector"]["spot"]
    assert beat["macro_minute"] == {
        "status": "idle",
        "last_run_start": "2026-11-18T15:28:00Z",
        "last_run_end": "2026-11-18T15:29:00Z",
        "last_run_rows_written": 1500,
        "last_error": None,
    }
    assert beat["files"] == {
        "raw_count_today": 100,
        "parquet_1s_rows_today": 50_000,
        "minute_rows_today": 930,
        "macro_min_rows_today": 2000,
    }
    lines = "\n".join(told_parts(beat))
    assert "collector of um: running" in lines
    assert "collector of spot: running" in lines
    assert "macro minutes: idle" in lines
    assert "50000 rows of seconds, 2000 macro rows, 100 raw files" in lines
    text = page(beat)
    assert "Market spot: running." in text
    assert "50000 rows of seconds of spot." in text
    assert "MODE: TEST" not in text


def test_a_silent_market_is_its_own_and_a_failed_macro_run_is_a_problem() -> None:
    broken = replace(MACRO, run=RunFacts(ago(minutes=2), ago(minutes=1), "run abc"))
    facts = replace(WELL, collector=replace(WELL.collector, spot=SpotFacts()), macro=broken)
    health = judge(facts, NOW)
    beat = heartbeat(facts, health)
    assert {name: row["status"] for name, row in beat["markets"].items()} == {"um": "running", "spot": "error"}
    assert beat["macro_minute"]["status"] == "error"
    assert "the last run of macro minutes failed: run abc" in health.problems
    stopped = replace(facts, stopping=True)
    beat = heartbeat(stopped, judge(stopped, NOW))
    assert {row["status"] for row in beat["markets"].values()} == {"stopped"}


def test_testing_mode_stands_in_the_heartbeat_and_on_the_page() -> None:
    facts = replace(WELL, testing=True)
    beat = heartbeat(facts, judge(facts, NOW))
    assert beat["mode"] == "TEST"
    assert page(beat).splitlines()[2] == "MODE: TEST"


def test_the_page_says_the_same() -> None:
    sick = replace(WELL, daemon_beat=ago(minutes=3))
    text = page(heartbeat(sick, judge(sick, NOW)))
    assert text.startswith("# Health: ERROR\n")
    assert "- the daemon has been silent for 3 min" in text
    assert "| BTCUSDT | 2026-11-18T15:29:00Z |" in text
    assert "930 minute rows, 100 raw files" in text


HOLES = HoleFacts(
    missing=132,
    oldest_missing=ago(days=12),
    quarantined=2,
    oldest_quarantined=ago(days=3),
    explained=1,
    watermark=ago(days=12, minutes=1),
)


@pytest.mark.parametrize(
    ("held", "text"),
    [
        (
            HOLES,
            (
                "BTCUSDT: missing hours: 132, the oldest 2026-11-06T15:30:00Z; hours in quarantine: 2, the oldest "
                "2026-11-15T15:30:00Z; the watermark stands at 2026-11-06T15:29:00Z although minutes up to "
                "2026-11-18T15:29:00Z are committed"
            ),
        ),
        (
            HoleFacts(watermark=ago(hours=3)),
            (
                "BTCUSDT: the watermark stands at 2026-11-18T12:30:00Z although minutes up to "
                "2026-11-18T15:29:00Z are committed"
            ),
        ),
        (HoleFacts(watermark=ago(hours=3), watermark_explained=True, explained=4), None),
        (HoleFacts(watermark=ago(hours=2)), None),
    ],
)
def test_holes_are_counted_and_the_oldest_is_named(held: HoleFacts, text: str | None) -> None:
    facts = replace(WELL, holes={"BTCUSDT": held})
    assert judge(facts, NOW).problems == (() if text is None else (text,))
    assert judge(replace(facts, automation=False), NOW).well, "by hand, holes are left on purpose"


def test_the_heartbeat_says_how_many_hours_are_not_there() -> None:
    facts = replace(WELL, holes={"BTCUSDT": HOLES})
    beat = heartbeat(facts, judge(facts, NOW))
    assert beat["symbols"]["BTCUSDT"] == {
        "newest_minute_end_ts": "2026-11-18T15:29:00Z",
        "watermark_ts": "2026-11-06T15:29:00Z",
        "missing_hours": 132,
        "oldest_missing_ts": "2026-11-06T15:30:00Z",
        "quarantined_hours": 2,
        "oldest_quarantined_ts": "2026-11-15T15:30:00Z",
        "explained_hours": 1,
    }
    assert "| BTCUSDT | 2026-11-18T15:29:00Z | 2026-11-06T15:29:00Z | 132 | 2 | 1 |" in page(beat)


def test_a_resident_builder_that_is_silent_is_named_and_its_turns_count_as_runs() -> None:
    turn = (ago(seconds=6), ago(seconds=5))
    lives = replace(WELL, builder=BuilderFacts(ago(seconds=89), turn=turn))
    assert judge(lives, NOW).well
    told = heartbeat(lives, judge(lives, NOW))["transformer"]
    assert told["last_run_end"] == f"{turn[1]:%Y-%m-%dT%H:%M:%SZ}"
    assert told["builder_last_seen_ts"] == f"{ago(seconds=89):%Y-%m-%dT%H:%M:%SZ}"
    silent = replace(WELL, builder=BuilderFacts(ago(seconds=90)))
    assert any("resident builder has been silent for 90 s" in text for text in judge(silent, NOW).problems)
    assert judge(replace(silent, automation=False), NOW).well
    ahead = replace(WELL, builder=BuilderFacts(ago(hours=-1)))
    assert any("the clock was set back by 3600 s" in text for text in judge(ahead, NOW).problems)


def test_further_tables_are_judged_as_the_minute_table_is() -> None:
    seconds = TableFacts(
        "hour", timedelta(seconds=1), {"SOLUSDT": ago(minutes=7), "PEPEUSDT": None}, {"SOLUSDT": HOLES}
    )
    held = HoleFacts(contradicted=1, oldest_contradicted=ago(hours=20))
    days = TableFacts("day", timedelta(hours=1), {"SOLUSDT": ago(minutes=50)}, {"SOLUSDT": held})
    facts = replace(WELL, tables={"spot_bars_1s": seconds, "spot_klines_1h": days})
    health = judge(facts, NOW)
    assert health.problems == (
        "SOLUSDT in spot_bars_1s is 7 min behind: its newest row ended at 2026-11-18T15:23:00Z",
        "PEPEUSDT in spot_bars_1s has no row yet",
        (
            "SOLUSDT in spot_bars_1s: missing hours: 132, the oldest 2026-11-06T15:30:00Z; hours in quarantine: 2, the "
            "oldest 2026-11-15T15:30:00Z; the watermark stands at 2026-11-06T15:29:00Z although rows up to "
            "2026-11-18T15:23:00Z are committed"
        ),
        (
            "SOLUSDT in spot_klines_1h: days that are contradicted: 1, the oldest 2026-11-17T19:30:00Z; `lake holes` "
            "says by what"
        ),
    )
    beat = heartbeat(facts, health)
    assert beat["tables"]["spot_bars_1s"]["PEPEUSDT"]["newest_row_end_ts"] is None
    assert beat["tables"]["spot_bars_1s"]["SOLUSDT"]["missing_partitions"] == 132
    assert beat["tables"]["spot_klines_1h"]["SOLUSDT"]["contradicted_partitions"] == 1
    text = page(beat)
    assert "| spot_bars_1s | SOLUSDT | 2026-11-18T15:23:00Z | 2026-11-06T15:29:00Z | 132 | 2 | 1 | 0 | 0 |" in text
    assert "## Further tables" not in page(heartbeat(WELL, judge(WELL, NOW)))
    assert judge(replace(facts, automation=False), NOW).well
