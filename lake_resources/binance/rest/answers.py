"""What an answer of the REST interface means: a decoded body, or one error of the tree.

Belongs here: statuses, error codes and ban texts of Binance.
Does not belong here: retries, counting, the shape of a particular endpoint's body (rest_payloads.py).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import orjson

from lake_resources.binance.market import FUTURES_DATA
from lake_resources.errors import (
    Banned,
    ExchangeError,
    GeoBlocked,
    MalformedAnswer,
    OutsideRetention,
    RateLimited,
    RequestRefused,
    ServerError,
)
from lake_resources.http import Answer

WEIGHT_HEADER = "x-mbx-used-weight-1m"
# A ban lasts 2 minutes at least.
DEFAULT_BAN_S = 120.0
AGG_TRADES_TOO_OLD = -4166
BAD_PARAMETER = -1130

_BANNED_UNTIL = re.compile(r"banned until (\d{13})")


def decode(answer: Answer, endpoint: str, path: str, now: datetime) -> object:
    """The decoded JSON of a good answer.

    Args:
        answer: what came.
        endpoint: path and query, for the error's text.
        path: the path alone.
        now: instant of the answer; bans and waits count from it.

    Raises:
        ExchangeError: the leaf of the tree that the status and the body mean.
    """
    if answer.status != 200:
        raise _error(answer, endpoint, path, now)
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError as error:
        raise MalformedAnswer(endpoint, f"200 with a body that is not JSON: {_excerpt(answer.body)}") from error


def used_weight(answer: Answer) -> int | None:
    """Weight used in the exchange's running minute, where the answer tells it."""
    text = answer.headers.get(WEIGHT_HEADER, "")
    return int(text) if text.isdigit() else None


def answered_at(answer: Answer) -> datetime | None:
    """The exchange's clock when it answered, to the second (header `Date`)."""
    try:
        return parsedate_to_datetime(answer.headers.get("date", "")).astimezone(UTC)
    except ValueError:
        return None


def _error(answer: Answer, endpoint: str, path: str, now: datetime) -> ExchangeError:
    code, text = _code_and_text(answer.body)
    found = f"{answer.status}{f' ({code})' if code is not None else ''}: {text}"
    status = answer.status
    if status == 429:
        return RateLimited(endpoint, found, retry_after_s=_retry_after_s(answer, now, _to_next_minute_s(now)))
    if status == 418:
        until_ms = int((now.timestamp() + _retry_after_s(answer, now, DEFAULT_BAN_S)) * 1000)
        told = _BANNED_UNTIL.search(text)
        return Banned(endpoint, found, until_ms=max(until_ms, int(told[1]) if told else 0))
    if status == 451:
        return GeoBlocked(endpoint, found, status=status)
    if status == 408 or status >= 500:
        return ServerError(endpoint, found, status=status)
    if code == AGG_TRADES_TOO_OLD or (code == BAD_PARAMETER and path.startswith(FUTURES_DATA) and "startTime" in text):
        return OutsideRetention(endpoint, found, status=status, code=code)
    remedy = None
    if status == 403:
        remedy = "The exchange's firewall refused the call, which is not a limit: check address, proxy and base URL"
    return RequestRefused(endpoint, found, status=status, code=code, remedy=remedy)


def _code_and_text(body: bytes) -> tuple[int | None, str]:
    """Code and message of an error body; firewall and proxy bodies are HTML or empty."""
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None, _excerpt(body)
    if isinstance(decoded, dict) and isinstance(decoded.get("code"), int):
        return decoded["code"], str(decoded.get("msg", ""))
    return None, _excerpt(body)


def _retry_after_s(answer: Answer, now: datetime, default_s: float) -> float:
    """Seconds of `Retry-After`, which may be a number or an HTTP date."""
    text = answer.headers.get("retry-after", "").strip()
    if not text:
        return default_s
    try:
        return max(float(text), 0.0)
    except ValueError:
        pass
    try:
        return max((parsedate_to_datetime(text) - now).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return default_s


def _to_next_minute_s(now: datetime) -> float:
    return 60.0 - now.timestamp() % 60.0


def _excerpt(body: bytes) -> str:
    text = " ".join(body[:400].decode("utf-8", "replace").split())
    return text[:160] or "an empty body"
