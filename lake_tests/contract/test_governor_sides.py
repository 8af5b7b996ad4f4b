"""One contract for the weight governor over a file of one host and over the Postgres of several hosts."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lake_resources.errors import Banned, SettingsError, StorageError
from lake_resources.governor import WeightGovernor
from lake_resources.rest_access import rest_access
from lake_resources.settings import LakeSettings
from lake_resources.settings_values import GovernorPlace
from lake_tests.support.postgres import postgres_server

HOST = "fapi.binance.com:443"
START = datetime(2026, 2, 15, 12, 0, 10, tzinfo=UTC)


class Full(Exception):
    """A governor would have slept."""


class Hands:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now = START

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += timedelta(seconds=seconds)


@pytest.fixture(scope="module")
def server():
    with postgres_server() as found:
        yield found


@pytest.fixture(params=["file", "postgres"])
def place(request, tmp_path):
    if request.param == "postgres":
        return GovernorPlace(tmp_path / "unused", request.getfixturevalue("server").fresh(), "office")
    return tmp_path / "governor.sqlite"


def ms(instant):
    return int(instant.timestamp() * 1000)


def refuse(_seconds):
    raise Full


def test_what_does_not_fit_waits_for_the_next_minute(place):
    hands = Hands()
    governor = WeightGovernor(place, hands.clock, 0.8, hands.sleep)
    governor.acquire(HOST, "weight_1m", 1920)
    assert hands.now == START
    governor.acquire(HOST, "weight_1m", 1)
    assert hands.now == START.replace(minute=1, second=0)
    assert governor.used(HOST, "weight_1m") == 1
    governor.observe(HOST, "weight_1m", 1900)
    governor.observe(HOST, "weight_1m", 3)
    assert governor.used(HOST, "weight_1m") == 1900
    governor.acquire("another", "weight_1m", 1920)
    assert hands.now == START.replace(minute=1, second=0)
    governor.close()


def test_a_ban_and_a_pause_are_known_to_all(place):
    hands = Hands()
    first, second = (WeightGovernor(place, hands.clock, 0.8, hands.sleep) for _ in range(2))
    first.pause(HOST, ms(START + timedelta(seconds=95)))
    first.pause(HOST, ms(START + timedelta(seconds=5)))
    second.acquire(HOST, "weight_1m", 1)
    assert hands.now == START + timedelta(seconds=95)
    until = START + timedelta(hours=1)
    second.ban(HOST, ms(until))
    second.ban(HOST, ms(START))
    with pytest.raises(Banned) as banned:
        first.acquire(HOST, "weight_1m", 1)
    assert banned.value.until_ms == ms(until)
    hands.now = until
    first.acquire(HOST, "weight_1m", 1)
    assert hands.now == until
    for governor in (first, second):
        governor.close()


def test_four_callers_get_exactly_the_share(place):
    def take_all(_caller):
        governor = WeightGovernor(place, lambda: START, 0.8, refuse)
        got = 0
        try:
            while True:
                governor.acquire(HOST, "weight_1m", 10)
                got += 10
        except Full:
            return got
        finally:
            governor.close()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(take_all, range(4))) == 1920


def test_hosts_of_other_addresses_have_a_budget_of_their_own(server, tmp_path):
    url = server.fresh()
    office, home = (
        WeightGovernor(GovernorPlace(tmp_path, url, name), lambda: START, 0.8, refuse) for name in ("office", "home")
    )
    office.acquire(HOST, "weight_1m", 1920)
    office.ban(HOST, ms(START + timedelta(hours=1)))
    home.acquire(HOST, "weight_1m", 1920)
    with pytest.raises(Full):
        home.acquire(HOST, "weight_1m", 1)
    office.close()
    home.close()


def test_a_restarted_server_is_used_again_and_forgets_nothing(server, tmp_path):
    place = GovernorPlace(tmp_path, server.fresh(), "office")
    governor = WeightGovernor(place, lambda: START, 0.8, refuse)
    governor.acquire(HOST, "weight_1m", 1000)
    governor.ban("other", ms(START + timedelta(hours=1)))
    server.stop("fast")
    with pytest.raises(StorageError, match="LAKE_EGRESS_ID"):
        governor.acquire(HOST, "weight_1m", 1)
    server.start()
    governor.acquire(HOST, "weight_1m", 920)
    with pytest.raises(Full):
        governor.acquire(HOST, "weight_1m", 1)
    with pytest.raises(Banned):
        governor.acquire("other", "weight_1m", 1)
    governor.close()


def test_the_settings_choose_the_side(server, tmp_path):
    url = server.fresh()
    alone = LakeSettings(_env_file=None, root=tmp_path)
    shared = LakeSettings(_env_file=None, root=tmp_path, ledger_url=url, egress_id="office")
    assert alone.governor_place == GovernorPlace(tmp_path / "governor.sqlite")
    assert shared.governor_place == GovernorPlace(tmp_path / "governor.sqlite", url, "office")
    assert LakeSettings(_env_file=None, root=tmp_path, ledger_url=url).governor_place.url == ""
    rest_access(shared).open()
    with pytest.raises(SettingsError, match="LAKE_LEDGER_URL"):
        LakeSettings(_env_file=None, root=tmp_path, egress_id="office")
    with pytest.raises(SettingsError, match="LAKE_EGRESS_ID"):
        LakeSettings(_env_file=None, root=tmp_path, ledger_url=url, egress_id="a b")


def test_a_file_needs_no_server(tmp_path: Path):
    governor = WeightGovernor(GovernorPlace(tmp_path / "governor.sqlite"), lambda: START, 0.8, refuse)
    governor.acquire(HOST, "weight_1m", 1)
    assert (tmp_path / "governor.sqlite").exists()
    governor.close()
