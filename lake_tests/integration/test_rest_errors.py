"""What the REST client makes of each bad answer, on a real socket (inventory A-13 and the error tree)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lake_resources.binance.rest.rest_client import BinanceRest, Patience
from lake_resources.errors import (
    Banned,
    ExchangeError,
    GeoBlocked,
    MalformedAnswer,
    OutsideRetention,
    RateLimited,
    RequestRefused,
    ServerError,
    TransportError,
)
from lake_resources.governor import WeightGovernor
from lake_tests.support.scripted_exchange import Reply, Route, in_order, scripted

NOON = datetime(2026, 2, 15, 12, 0, 10, tzinfo=UTC)
TIME = Reply({"serverTime": int(NOON.timestamp() * 1000)}, headers={"X-MBX-USED-WEIGHT-1M": "7"})


class Hands:
    """A clock that moves only when somebody sleeps."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now
        self.slept: list[float] = []

    def clock(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)


Opened = Callable[[str], BinanceRest]


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def opened(tmp_path: Path, hands: Hands) -> Opened:
    def open_(base_url: str) -> BinanceRest:
        governor = WeightGovernor(tmp_path / "governor.sqlite", hands.clock, sleep=hands.sleep)
        return BinanceRest(
            base_url, governor=governor, clock=hands.clock, patience=Patience(timeout_s=30), sleep=hands.sleep
        )

    return open_


def failing(opened: Opened, route: Route, expected: type[ExchangeError]) -> tuple[ExchangeError, int]:
    """The error of `server_time()` against `route`, and how many calls were made."""
    with scripted(route) as exchange, pytest.raises(expected) as caught:
        opened(exchange.base_url).server_time()
    assert type(caught.value) is expected
    assert "/fapi/v1/time" in str(caught.value)
    return caught.value, len(exchange.requests)


def test_two_429_then_an_answer_are_three_calls(opened: Opened, hands: Hands) -> None:
    limited = Reply({"code": -1003, "msg": "Too many requests"}, 429, {"Retry-After": "0"})
    with scripted(in_order(limited, limited, TIME)) as exchange:
        assert opened(exchange.base_url).server_time() == NOON
    assert len(exchange.requests) == 3
    assert sum(hands.slept) == 0


def test_retry_after_is_slept_before_the_next_call(opened: Opened, hands: Hands) -> None:
    limited = Reply({"code": -1003, "msg": "Too many requests"}, 429, {"Retry-After": "7"})
    with scripted(in_order(limited, TIME)) as exchange:
        opened(exchange.base_url).server_time()
    assert hands.now == NOON + timedelta(seconds=7)


def test_429_without_retry_after_waits_for_the_next_minute(opened: Opened, hands: Hands) -> None:
    with scripted(in_order(Reply(b"", 429), TIME)) as exchange:
        opened(exchange.base_url).server_time()
    assert hands.now == NOON.replace(minute=1, second=0)


def test_a_429_holds_back_every_process_of_the_host(opened: Opened, hands: Hands) -> None:
    limited = Reply({"code": -1003, "msg": "Too many requests"}, 429, {"Retry-After": "30"})
    with scripted(in_order(*[limited] * 5, TIME)) as exchange:
        first, second = opened(exchange.base_url), opened(exchange.base_url)
        with pytest.raises(RateLimited):
            first.server_time()
        before = hands.now
        assert second.server_time() == NOON
    assert hands.now == before + timedelta(seconds=30)


def test_400_is_one_call_and_names_the_code(opened: Opened) -> None:
    error, calls = failing(opened, in_order(Reply({"code": -1121, "msg": "Invalid symbol."}, 400)), RequestRefused)
    assert calls == 1
    assert isinstance(error, RequestRefused)
    assert error.code == -1121
    assert error.status == 400
    assert "Invalid symbol." in str(error)


def test_418_is_remembered_on_disk_and_nobody_calls_again(opened: Opened, hands: Hands) -> None:
    banned = Reply({"code": -1003, "msg": "Way too many requests; IP banned"}, 418, {"Retry-After": "300"})
    with scripted(in_order(banned, TIME)) as exchange:
        with pytest.raises(Banned) as first:
            opened(exchange.base_url).server_time()
        with pytest.raises(Banned, match="banned until 2026-02-15T12:05:10"):
            opened(exchange.base_url).fetch("agg_trades", "BTCUSDT", NOON - timedelta(hours=1), NOON)
        assert len(exchange.requests) == 1
        hands.now += timedelta(seconds=301)
        assert opened(exchange.base_url).server_time() == NOON
    assert first.value.until_ms == int((NOON + timedelta(seconds=300)).timestamp() * 1000)
    assert not first.value.retryable


def test_418_takes_the_end_of_the_ban_from_the_body(opened: Opened) -> None:
    until_ms = int(NOON.timestamp() * 1000) + 3_600_000
    text = f"Way too much request weight used; IP banned until {until_ms}. Please use WebSocket Streams."
    error, _ = failing(opened, in_order(Reply({"code": -1003, "msg": text}, 418)), Banned)
    assert isinstance(error, Banned)
    assert error.until_ms == until_ms


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply({"code": 0, "msg": "Service unavailable from a restricted location"}, 451), GeoBlocked),
        (Reply(b"<html><body>403 Forbidden</body></html>", 403), RequestRefused),
        (Reply(b"<html>not found</html>", 404), RequestRefused),
    ],
)
def test_a_refusal_is_one_call(opened: Opened, reply: Reply, expected: type[ExchangeError]) -> None:
    error, calls = failing(opened, in_order(reply), expected)
    assert calls == 1
    assert not error.retryable


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(b"", 503), ServerError),
        (Reply({"code": -1001, "msg": "Internal error"}, 500), ServerError),
        (Reply(b"timeout", 408), ServerError),
        (Reply(b"<html>captive portal</html>"), MalformedAnswer),
        (Reply([]), MalformedAnswer),
        (Reply(TIME.body, cut=5), TransportError),
    ],
)
def test_what_a_retry_can_help_is_retried_five_times(
    opened: Opened, hands: Hands, reply: Reply, expected: type[ExchangeError]
) -> None:
    error, calls = failing(opened, in_order(reply), expected)
    assert calls == 5
    assert error.retryable
    assert hands.slept == sorted(hands.slept)
    assert 3.7 < sum(hands.slept) < 4.7


def test_one_failure_is_cured_by_a_retry(opened: Opened) -> None:
    with scripted(in_order(Reply(TIME.body, cut=5), Reply(b"", 502), TIME)) as exchange:
        assert opened(exchange.base_url).server_time() == NOON
    assert len(exchange.requests) == 3


def test_no_server_at_all_is_a_transport_error(opened: Opened) -> None:
    with scripted(in_order(TIME)) as exchange:
        pass
    with pytest.raises(TransportError, match="LAKE_REST_URL"):
        opened(exchange.base_url).server_time()


@pytest.mark.parametrize(
    ("stream", "reply"),
    [
        (
            "agg_trades",
            Reply({"code": -4166, "msg": "Search window is restricted to recent 2 days only."}, 400),
        ),
        ("metrics", Reply({"code": -1130, "msg": "parameter 'startTime' is invalid."}, 400)),
    ],
)
def test_a_window_older_than_the_exchange_keeps(opened: Opened, stream: str, reply: Reply) -> None:
    with scripted(in_order(reply)) as exchange, pytest.raises(OutsideRetention) as caught:
        opened(exchange.base_url).fetch(stream, "BTCUSDT", NOON - timedelta(days=60), NOON)
    assert len(exchange.requests) == 1
    assert "archive" in str(caught.value)


def test_the_used_weight_header_slows_the_next_call(opened: Opened, hands: Hands) -> None:
    nearly_full = Reply(TIME.body, headers={"X-MBX-USED-WEIGHT-1M": "1920"})
    with scripted(in_order(nearly_full)) as exchange:
        rest = opened(exchange.base_url)
        rest.server_time()
        rest.server_time()
    assert hands.now == NOON.replace(minute=1, second=0)
