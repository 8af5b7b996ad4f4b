"""The weight governor by itself: windows, waiting, headers, pauses and bans."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lake_resources.errors import Banned, SettingsError, StorageError
from lake_resources.governor import WeightGovernor

HOST = "fapi.binance.com"
START = datetime(2026, 2, 15, 12, 0, 10, tzinfo=UTC)


class Hands:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = START

    def clock(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 3600
        self.now += timedelta(seconds=seconds)

    @property
    def waited_s(self) -> float:
        return (self.now - START).total_seconds()


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def governor(tmp_path: Path, hands: Hands) -> WeightGovernor:
    return WeightGovernor(tmp_path / "sub" / "governor.sqlite", hands.clock, 0.8, hands.sleep)


def ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def test_what_fits_is_granted_at_once_and_the_rest_in_the_next_minute(governor: WeightGovernor, hands: Hands) -> None:
    for _ in range(96):
        governor.acquire(HOST, "weight_1m", 20)
    assert governor.used(HOST, "weight_1m") == 1920
    assert hands.waited_s == 0
    governor.acquire(HOST, "weight_1m", 1)
    assert hands.now == START.replace(minute=1, second=0)
    assert governor.used(HOST, "weight_1m") == 1


def test_hosts_and_buckets_do_not_share_a_budget(governor: WeightGovernor, hands: Hands) -> None:
    governor.acquire(HOST, "weight_1m", 1920)
    governor.acquire("127.0.0.1:8900", "weight_1m", 1920)
    governor.acquire(HOST, "futures_data", 800)
    governor.acquire(HOST, "funding", 400)
    assert hands.waited_s == 0


@pytest.mark.parametrize(("bucket", "limit"), [("futures_data", 800), ("funding", 400)])
def test_five_minute_buckets_hold_over_any_five_minutes(
    governor: WeightGovernor, hands: Hands, bucket: str, limit: int
) -> None:
    granted: list[datetime] = []
    for _ in range(limit * 2 + limit // 2):
        governor.acquire(HOST, bucket, 1)
        granted.append(hands.now)
        hands.now += timedelta(seconds=0.25)
    for first, later in zip(granted, granted[limit:], strict=False):
        assert later - first >= timedelta(minutes=5)
    assert hands.waited_s < 14 * 60


def test_the_header_raises_the_counter_and_never_lowers_it(governor: WeightGovernor, hands: Hands) -> None:
    governor.acquire(HOST, "weight_1m", 20)
    governor.observe(HOST, "weight_1m", 1910)
    assert governor.used(HOST, "weight_1m") == 1910
    governor.observe(HOST, "weight_1m", 3)
    governor.acquire(HOST, "weight_1m", 10)
    assert hands.waited_s == 0
    governor.acquire(HOST, "weight_1m", 1)
    assert hands.waited_s == 50


def test_an_answer_of_the_minute_before_does_not_fill_this_one(governor: WeightGovernor, hands: Hands) -> None:
    hands.now = START.replace(minute=1, second=0, microsecond=300_000)
    governor.observe(HOST, "weight_1m", 1800, answered_at=START.replace(second=59))
    assert governor.used(HOST, "weight_1m") == 0
    governor.observe(HOST, "weight_1m", 25, answered_at=START.replace(minute=1, second=0))
    assert governor.used(HOST, "weight_1m") == 25
    governor.observe(HOST, "weight_1m", 30, answered_at=START + timedelta(days=200))
    assert governor.used(HOST, "weight_1m") == 30


def test_a_pause_is_waited_for(governor: WeightGovernor, hands: Hands) -> None:
    governor.pause(HOST, ms(START + timedelta(seconds=95)))
    governor.pause(HOST, ms(START + timedelta(seconds=5)))
    governor.acquire(HOST, "funding", 1)
    assert hands.waited_s == 95


def test_a_ban_raises_at_once_and_outlives_the_process(governor: WeightGovernor, hands: Hands, tmp_path: Path) -> None:
    until = START + timedelta(hours=1)
    governor.ban(HOST, ms(until))
    governor.ban(HOST, ms(START))
    governor.close()
    reopened = WeightGovernor(tmp_path / "sub" / "governor.sqlite", hands.clock, 0.8, hands.sleep)
    for bucket in ("weight_1m", "funding"):
        with pytest.raises(Banned, match="banned until 2026-02-15T13:00:10") as caught:
            reopened.acquire(HOST, bucket, 1)
        assert caught.value.until_ms == ms(until)
    assert reopened.used(HOST, "weight_1m") == 0
    reopened.acquire("127.0.0.1:8900", "weight_1m", 1)
    assert hands.waited_s == 0
    hands.now = until
    reopened.acquire(HOST, "weight_1m", 1)


def test_a_ban_that_comes_while_waiting_ends_the_wait(tmp_path: Path, hands: Hands) -> None:
    path = tmp_path / "governor.sqlite"

    def sleep_while_another_is_banned(seconds: float) -> None:
        hands.sleep(seconds)
        WeightGovernor(path, hands.clock).ban(HOST, ms(hands.now + timedelta(hours=1)))

    governor = WeightGovernor(path, hands.clock, 0.8, sleep_while_another_is_banned)
    governor.acquire(HOST, "weight_1m", 1920)
    with pytest.raises(Banned):
        governor.acquire(HOST, "weight_1m", 1)


def test_a_cost_that_never_fits_is_a_wrong_setting(tmp_path: Path, hands: Hands) -> None:
    governor = WeightGovernor(tmp_path / "governor.sqlite", hands.clock, 0.005, hands.sleep)
    with pytest.raises(SettingsError, match="LAKE_WEIGHT_SHARE"):
        governor.acquire(HOST, "weight_1m", 20)


def test_a_clock_that_stands_still_does_not_hang(tmp_path: Path) -> None:
    slept: list[float] = []
    governor = WeightGovernor(tmp_path / "governor.sqlite", lambda: START, 0.8, slept.append)
    for _ in range(3):
        governor.acquire(HOST, "weight_1m", 1900)
    assert slept == [50.0, 50.0, 60.0]


def test_a_clock_that_steps_back_a_second_keeps_what_was_counted(governor: WeightGovernor, hands: Hands) -> None:
    hands.now = START.replace(minute=1, second=0)
    governor.acquire(HOST, "weight_1m", 1920)
    hands.now -= timedelta(seconds=1)
    governor.acquire(HOST, "weight_1m", 1)
    assert hands.now >= START.replace(minute=2, second=0)


def test_old_minutes_are_forgotten(governor: WeightGovernor, hands: Hands, tmp_path: Path) -> None:
    for _ in range(50):
        governor.acquire(HOST, "futures_data", 1)
        governor.acquire(HOST, "weight_1m", 1)
        hands.now += timedelta(minutes=1)
    governor.close()
    db = sqlite3.connect(tmp_path / "sub" / "governor.sqlite")
    assert db.execute("SELECT bucket, count(*) FROM spent GROUP BY bucket ORDER BY bucket").fetchall() == [
        ("futures_data", 6), ("weight_1m", 1),
    ]  # fmt: skip
    db.close()


def test_a_file_that_cannot_be_written_is_an_error_of_the_lake(tmp_path: Path) -> None:
    blocked = tmp_path / "governor.sqlite"
    blocked.mkdir()
    with pytest.raises(StorageError, match=r"weight governor .*governor\.sqlite.*LAKE_GOVERNOR_PATH"):
        WeightGovernor(blocked, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC)).acquire("host", "weight_1m", 1)
