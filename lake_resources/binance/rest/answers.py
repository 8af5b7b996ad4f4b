"""What an answer of the REST interface means: a decoded body, or one error of the tree.

Belongs here: statuses, error codes and ban texts of Binance.
Does not belong here: retries, counting, the shape of a particular endpoint's body (rest_payloads.py).
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import orjson

from lake_resources.binance.market import FUTURES_DATA
from lake_resources.errors import (
    Banned,
    ExchangeError,
    GeoBlocked,
    MalformedAnswer,
    OutsideRetention,
    OverLimit,
    RateLimited,
    RequestRefused,
    ServerError,
)
from lake_resources.http import Answer, http_date, retry_after_s
from lake_resources.input_limits import DEFAULT_LIMITS

WEIGHT_HEADER = "x-mbx-used-weight-1m"
# A ban lasts 2 minutes at least.
DEFAULT_BAN_S = 120.0
LONGEST_BAN_S = 3 * 86_400.0
"""Binance lengthens bans up to three days; what says more is no word of Binance."""
LONGEST_WAIT_S = 300.0
"""A limit of the exchange ends within 5 minutes, whatever an answer says."""
TOO_MANY_REQUESTS = -1003
SERVER_FAILED = frozenset({-1000, -1001, -1006, -1007, -1008, -1016})
"""Codes that say the exchange failed, whatever the status."""
AGG_TRADES_TOO_OLD = -4166
BAD_PARAMETER = -1130

LARGE_VALUES = 20_000
"""Commas and brackets of the largest page (1500 klines of 12 elements), about: with more, an answer is a large one."""

_BANNED_UNTIL = re.compile(r"banned until ([0-9]{13})")
_CLOCKS_APART = timedelta(days=366)
_ERROR_BYTES = 1 << 16
_WEIGHT = re.compile(r"[0-9]{1,9}")


def decode(
    answer: Answer, endpoint: str, path: str, now: datetime, most_values: int = DEFAULT_LIMITS.answer_values
) -> object:
    """The decoded JSON of a good answer.

    Args:
        answer: what came.
        endpoint: path and query, for the error's text.
        path: the path alone.
        now: instant of the answer; bans and waits count from it.
        most_values: commas and brackets at most: each can become a hundred bytes.

    Raises:
        ExchangeError: the leaf of the tree that status and body mean. An error of the exchange may come with status
            200 as well.
    """
    if answer.status != 200:
        raise _error(answer, endpoint, path, now)
    found = values_in(answer.body)
    if found > most_values:
        raise OverLimit(endpoint, f"{found:,} values in one answer, more than {most_values:,}")
    decoded = _decoded(answer.body)
    if decoded is _NO_JSON:
        raise MalformedAnswer(endpoint, f"200 with a body that is not JSON: {_excerpt(answer.body)}")
    if isinstance(decoded, dict) and _is_code(decoded.get("code")) and "msg" in decoded:
        raise _error(answer, endpoint, path, now)
    return decoded


def used_weight(answer: Answer) -> int | None:
    """Weight used in the exchange's running minute, where the answer tells it."""
    text = answer.headers.get(WEIGHT_HEADER, "").strip()
    return int(text) if _WEIGHT.fullmatch(text) else None


def answered_at(answer: Answer) -> datetime | None:
    """The exchange's clock when it answered, to the second (header `Date`)."""
    return http_date(answer.headers.get("date", ""))


def _error(answer: Answer, endpoint: str, path: str, now: datetime) -> ExchangeError:
    code, text = _code_and_text(answer.body)
    found = f"{answer.status}{f' ({code})' if code is not None else ''}: {text}"
    status = answer.status
    told = _BANNED_UNTIL.search(text)
    if status == 418 or (code == TOO_MANY_REQUESTS and told):
        wait_s = retry_after_s(answer.headers, now, DEFAULT_BAN_S, LONGEST_BAN_S)
        until_ms = int((now.timestamp() + wait_s) * 1000)
        # Its clock may be ahead of ours, but not by years.
        its_now = min(max(answered_at(answer) or now, now), now + _CLOCKS_APART)
        longest_ms = int((its_now.timestamp() + LONGEST_BAN_S) * 1000)
        return Banned(endpoint, found, until_ms=max(until_ms, min(int(told[1]), longest_ms) if told else 0))
    if status == 429 or code == TOO_MANY_REQUESTS:
        wait_s = retry_after_s(answer.headers, now, _to_next_minute_s(now), LONGEST_WAIT_S)
        return RateLimited(endpoint, found, retry_after_s=wait_s)
    if status == 451:
        return GeoBlocked(endpoint, found, status=status)
    if status == 408 or status >= 500 or code in SERVER_FAILED:
        return ServerError(endpoint, found, status=status)
    if code == AGG_TRADES_TOO_OLD or (code == BAD_PARAMETER and path.startswith(FUTURES_DATA) and "startTime" in text):
        return OutsideRetention(endpoint, found, status=status, code=code)
    remedy = None
    if status == 403:
        remedy = "The exchange's firewall refused the call, which is not a limit: check address, proxy and base URL"
    return RequestRefused(endpoint, found, status=status, code=code, remedy=remedy)


def _code_and_text(body: bytes) -> tuple[int | None, str]:
    """Code and message of an error body; firewall and proxy bodies are HTML or empty."""
    if len(body) > _ERROR_BYTES:
        return None, _excerpt(body)
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None, _excerpt(body)
    if isinstance(decoded, dict) and _is_code(decoded.get("code")):
        return decoded["code"], _excerpt(str(decoded.get("msg", "")).encode())
    return None, _excerpt(body)


def _is_code(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value < 0


_NO_JSON = object()


def _decoded(body: bytes) -> object:
    """What a body says, or `_NO_JSON`; the decoder's error would hold the whole body for as long as it is kept."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _NO_JSON


def values_in(body: bytes) -> int:
    """Commas and brackets of a body: about as many values as decoding makes of it."""
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def _to_next_minute_s(now: datetime) -> float:
    return 60.0 - now.timestamp() % 60.0


def _excerpt(body: bytes) -> str:
    text = " ".join(body[:400].decode("utf-8", "replace").split())
    return text[:160] or "an empty body"
