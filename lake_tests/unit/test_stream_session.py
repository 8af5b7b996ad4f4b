"""One connection as a state machine: what is subscribed, what is waited for, when it is given up."""

from __future__ import annotations

import orjson
import pytest

from lake_resources.backoff import Backoff, Reconnecting
from lake_resources.binance.market import UM
from lake_resources.binance.ws.frames import AGG_TRADE, BOOK_TICKER, DEPTH, MARK_PRICE
from lake_resources.binance.ws.stream_session import SessionLimits, StreamSession
from lake_resources.binance.ws.subscriptions import names_of

SYMBOLS = ("BTCUSDT", "ETHUSDT")
ACK = {"result": None, "id": 1}


def session(route: str = "market", limits: SessionLimits | None = None) -> StreamSession:
    one = StreamSession(route, SYMBOLS, limits or SessionLimits())
    one.begin(100.0)
    one.requests()
    return one


def test_every_stream_is_on_its_route_and_in_lower_case() -> None:
    assert names_of(UM, "market", SYMBOLS) == [
        "btcusdt@kline_1m", "ethusdt@kline_1m", "btcusdt@forceOrder", "ethusdt@forceOrder",
        "btcusdt@aggTrade", "ethusdt@aggTrade",
        "btcusdt@markPrice@1s", "ethusdt@markPrice@1s",
    ]  # fmt: skip
    assert names_of(UM, "public", SYMBOLS) == [
        "btcusdt@bookTicker", "ethusdt@bookTicker", "btcusdt@depth@100ms", "ethusdt@depth@100ms",
    ]  # fmt: skip


def test_many_symbols_take_several_requests_of_at_most_200_names() -> None:
    one = StreamSession("market", tuple(f"S{number}USDT" for number in range(150)), SessionLimits())
    requests = [orjson.loads(request) for request in one.requests()]

    assert [len(request["params"]) for request in requests] == [200, 200, 200]
    assert [request["id"] for request in requests] == [1, 2, 3]
    assert {request["method"] for request in requests} == {"SUBSCRIBE"}


def test_what_can_be_spared_is_left_out_where_a_socket_would_carry_too_many_streams() -> None:
    symbols = [f"S{number}USDT" for number in range(257)]
    assert len(names_of(UM, "market", symbols[:256])) == 1024
    names = names_of(UM, "market", symbols)
    assert len(names) == 771
    assert not [name for name in names if "kline" in name]


def test_verified_by_acknowledgement_and_a_first_message_of_what_always_flows() -> None:
    one = session()
    one.reply(ACK, 100.1)
    one.frame(AGG_TRADE, "BTCUSDT", 100.2)
    assert not one.verified
    one.frame(MARK_PRICE, "ETHUSDT", 101.0)

    assert one.verified
    assert one.silent_streams() == [
        "btcusdt@kline_1m", "ethusdt@kline_1m", "btcusdt@forceOrder", "ethusdt@forceOrder", "ethusdt@aggTrade",
        "btcusdt@markPrice@1s",
    ]  # fmt: skip


def test_an_acknowledged_wrong_route_is_noticed() -> None:
    one = session("public")
    one.reply(ACK, 100.1)
    for second in range(30):
        one.frame(DEPTH, "BTCUSDT", 101.0 + second)

    assert one.verdict(115.0) is None
    found = one.verdict(121.0)
    assert found is not None
    assert "bookTicker" in found
    one.frame(BOOK_TICKER, "BTCUSDT", 121.1)
    assert one.verdict(121.2) is None


def test_no_acknowledgement() -> None:
    one = session(limits=SessionLimits(stall_s=60))
    one.frame(MARK_PRICE, "BTCUSDT", 105.0)

    assert one.verdict(109.9) is None
    assert "not acknowledged" in str(one.verdict(110.1))


def test_a_stall_is_noticed_within_15_s() -> None:
    one = session()
    one.reply(ACK, 100.1)
    one.frame(MARK_PRICE, "BTCUSDT", 101.0)

    assert one.verdict(110.9) is None
    assert "stalled" in str(one.verdict(115.0))


@pytest.mark.parametrize(
    "refusal", [{"error": {"code": 2, "msg": "Invalid request"}, "id": 1}, {"code": 4, "msg": "too many streams"}]
)
def test_a_refusal_ends_it(refusal: dict[str, object]) -> None:
    one = session()
    one.reply(refusal, 100.1)

    assert "refused" in str(one.verdict(100.2))


def test_rollover_before_the_exchange_cuts() -> None:
    one = session()

    assert one.due(100.0 + 23 * 3600 - 1) is None
    assert one.due(100.0 + 23 * 3600 + 1) == "old age"


def flowing(one: StreamSession, until_s: float, *streams: tuple[int, str]) -> None:
    """Every second a frame of each stream."""
    second = 101.0
    while second <= until_s:
        for kind, symbol in streams:
            one.frame(kind, symbol, second)
        second += 1.0


def test_one_stream_that_falls_silent_asks_for_a_successor_within_15_s() -> None:
    one = session()
    one.reply(ACK, 100.1)
    flowing(one, 110.0, (MARK_PRICE, "BTCUSDT"), (MARK_PRICE, "ETHUSDT"))
    flowing(one, 124.0, (MARK_PRICE, "BTCUSDT"))

    assert one.due(119.0) is None
    assert one.due(121.0) == "ethusdt@markPrice@1s silent for 11 s"
    assert one.verdict(121.0) is None, "the streams that flow are kept until the successor is there"


def test_a_stream_that_never_came_asks_for_nothing() -> None:
    one = session("public")
    flowing(one, 400.0, (BOOK_TICKER, "BTCUSDT"), (DEPTH, "BTCUSDT"))

    assert one.due(400.0) is None
    assert one.due(431.0) == "btcusdt@depth@100ms silent for 31 s"


def test_a_quiet_book_is_no_reason_but_a_price_that_moves_without_depth_is_one_within_15_s() -> None:
    one = session("public")
    both = [(kind, symbol) for kind in (BOOK_TICKER, DEPTH) for symbol in SYMBOLS]
    flowing(one, 110.0, *both)
    assert one.due(125.0) is None, "nothing moves"
    one.frame(BOOK_TICKER, "ETHUSDT", 125.0)
    assert one.due(134.9) is None, "the depth comes up to 100 ms later"
    assert one.due(135.1) == "ethusdt@depth@100ms silent for 10 s after its price moved"
    one.frame(DEPTH, "ETHUSDT", 135.2)
    assert one.due(135.3) is None


def test_depth_that_never_came_asks_for_nothing() -> None:
    one = session("public")
    flowing(one, 130.0, (BOOK_TICKER, "BTCUSDT"), (BOOK_TICKER, "ETHUSDT"), (DEPTH, "BTCUSDT"))

    assert one.due(130.0) is None


def test_trades_of_one_symbol_may_rest_those_of_all_may_not() -> None:
    one = session()
    flowing(one, 110.0, (MARK_PRICE, "BTCUSDT"), (AGG_TRADE, "BTCUSDT"), (AGG_TRADE, "ETHUSDT"))
    flowing(one, 300.0, (MARK_PRICE, "BTCUSDT"), (AGG_TRADE, "BTCUSDT"))
    assert one.due(300.0) is None

    flowing(one, 421.0, (MARK_PRICE, "BTCUSDT"))
    assert one.due(421.0) == "no aggTrade of any symbol for 121 s"


def test_backoff_doubles_and_is_forgotten_after_a_healthy_connection() -> None:
    waits = Reconnecting(Backoff(0.5, 60.0), healthy_s=60.0)

    assert [waits.after_s(0.0) for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    assert waits.after_s(59.0) == 60
    assert waits.after_s(61.0) == 0.5
    assert waits.after_s(0.0) == 1.0


def test_jitter_spreads_by_a_quarter() -> None:
    spread = Backoff(0.5, 60.0, jitter=0.25, chance=lambda: 1.0)
    assert [spread.after_s(failures) for failures in (0, 1, 2, 10_000)] == [0.0, 0.625, 1.25, 75.0]
