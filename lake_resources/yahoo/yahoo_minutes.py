"""Minutes from Yahoo's chart API through yfinance: the only module that knows yfinance, pandas and where Yahoo answers.

Belongs here: asking, cutting long windows, telling each failure by its kind. Does not belong here: judging what lacks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import polars as pl

from lake_resources.bar_values import PRICES
from lake_resources.errors import (
    ExchangeError,
    MalformedAnswer,
    OutsideRetention,
    OverLimit,
    RateLimited,
    RequestRefused,
    ServerError,
    TransportError,
)
from lake_resources.input_limits import DEFAULT_LIMITS, InputLimits
from lake_resources.spans import within
from lake_resources.yahoo.tickers import YAHOO_URL, calendar_of, parse_ticker

if TYPE_CHECKING:
    import pandas as pd

LONGEST_WINDOW = timedelta(days=7)
"""Yahoo answers at most 8 days of minutes at once; its older servers said 7."""
RETENTION = timedelta(days=30)
"""Minutes older than this are refused."""
_SHOWN_CHARACTERS = 300
_PAUSE_S = 60.0
"""How long to wait after a 429, which names no time."""

MINUTES_SCHEMA = pl.Schema(
    {
        "ts": pl.Datetime("us", "UTC"),
        "open": pl.Float64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "close": pl.Float64(),
        "volume": pl.Int64(),
    }
)
_ONE_AT_A_TIME = Lock()
"""yfinance keeps its session, cookies and base URL in module state."""


@dataclass(frozen=True)
class MinutesAnswer:
    """What Yahoo said of a window.

    Attributes:
        frame: columns `MINUTES_SCHEMA`, sorted, one row per minute that has a price; minutes that Yahoo sends without
            prices are no rows.
        known_until: the instant of Yahoo's newest price of the ticker, UTC: a minute that ends later still forms.
        asked_at: when the first request was sent, UTC.
        requests: how many calls of the chart API it took.
    """

    frame: pl.DataFrame
    known_until: datetime
    asked_at: datetime
    requests: int


class YahooMinutes:
    """Reads minutes of tickers.

    Args:
        base_url: where Yahoo's chart API answers; another than its own is a stand-in and gets no cookies.
        cache_directory: where yfinance keeps time zones and cookies.
        timeout_s: of one request as a whole.
        limits: how large an answer may be.
    """

    def __init__(
        self,
        base_url: str,
        cache_directory: Path,
        *,
        timeout_s: float = 30.0,
        limits: InputLimits = DEFAULT_LIMITS,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._cache_directory = cache_directory
        self._timeout_s = timeout_s
        self._limits = limits

    def minutes(self, ticker: str, start: datetime, end: datetime, *, now: datetime) -> MinutesAnswer:
        """Minutes of `[start, end)`, asked for in windows of at most 7 days.

        Args:
            ticker: as Yahoo writes it.
            start, end: UTC, whole minutes.
            now: the moment, UTC; nothing after it and nothing older than 30 days is asked for.

        Raises:
            SettingsError: the text is no ticker.
            OutsideRetention: the window ends before what Yahoo still serves.
            RateLimited: 429.
            RequestRefused: Yahoo knows no such ticker, or refuses the window.
            TransportError: no answer.
            OverLimit: it is larger than the limits allow.
            MalformedAnswer: an answer that is not of the chart API's form.
        """
        ticker = parse_ticker(ticker)
        # A minute of grace: what lies exactly on Yahoo's edge when it is planned is over it when it is asked for.
        first, last = max(start, now - RETENTION + timedelta(minutes=1)), min(end, now)
        if first >= last:
            raise OutsideRetention(
                _endpoint(ticker), f"{start:%FT%RZ} to {end:%FT%RZ} lies outside the last 30 days", status=422,
                code=None, remedy="Yahoo keeps minutes for 30 days: what was not kept in time cannot be had from it",
            )  # fmt: skip
        frames, known_until, requests = [], datetime.fromtimestamp(0, UTC), 0
        at = first
        with _ONE_AT_A_TIME:
            while at < last:
                until = min(at + LONGEST_WINDOW, last)
                frame, known = self._ask(ticker, at, until)
                frames.append(frame.filter(within("ts", start, end)))
                known_until = max(known_until, known)
                requests += 1
                at = until
        whole = pl.concat(frames).unique("ts", keep="last").sort("ts")
        return MinutesAnswer(whole, known_until, now, requests)

    def _ask(self, ticker: str, start: datetime, end: datetime) -> tuple[pl.DataFrame, datetime]:
        import yfinance
        from curl_cffi.requests.exceptions import RequestException
        from yfinance.exceptions import YFException, YFPricesMissingError, YFRateLimitError

        where = f"{_endpoint(ticker)}?interval=1m&period1={start.timestamp():.0f}&period2={end.timestamp():.0f}"
        statuses = _redirect(self._base_url, self._cache_directory, _Bounded(where, self._limits))
        asked = yfinance.Ticker(ticker)
        # Instants carry their zone, so the ticker's is not needed; yfinance would ask several hosts for it.
        asked._tz = "UTC"  # noqa: SLF001
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module=r"yfinance\.")
                found = asked.history(
                    interval="1m", start=start, end=end, auto_adjust=False, actions=False, keepna=True,
                    # Only papers have hours before and after; for all else yfinance would drop the last minute of days.
                    prepost=calendar_of(ticker) != "XNYS", timeout=self._timeout_s,
                )  # fmt: skip
            return _frame(found), _instant(asked.history_metadata["regularMarketTime"])
        except YFRateLimitError as error:
            raise RateLimited(where, str(error), retry_after_s=_PAUSE_S, remedy="Yahoo counts requests") from error
        except YFPricesMissingError as error:
            raise _refused(where, error.rationale, statuses[-1]) from error
        except (RequestException, OSError) as error:
            raise TransportError(
                where, f"{type(error).__name__}: {error}", remedy="Check the network and `LAKE_YAHOO_URL`"
            ) from error
        except (
            ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, YFException,
        ) as error:  # fmt: skip
            if statuses and statuses[-1] >= 500:
                raise ServerError(where, f"HTTP {statuses[-1]}", status=statuses[-1]) from error
            found = f"{type(error).__name__}: {str(error)[:_SHOWN_CHARACTERS]}"
            raise MalformedAnswer(where, f"no answer of the chart API ({found})") from error


def _endpoint(ticker: str) -> str:
    return f"Yahoo /v8/finance/chart/{ticker}"


def _refused(where: str, text: str, status: int) -> ExchangeError:
    if status >= 500:
        return ServerError(where, f"HTTP {status}: {text}", status=status)
    if "last 30 days" in text:
        return OutsideRetention(where, text, status=status, code=None)
    if status == 200:
        # Yahoo sends this form for a closed market, and also now and then in the middle of trading.
        return MalformedAnswer(where, "an answer without any minute", remedy="Ask again later")
    return RequestRefused(where, text, status=status, code=None, remedy="Check the ticker on finance.yahoo.com")


def _frame(found: pd.DataFrame) -> pl.DataFrame:
    table: dict[str, Any] = {name: found[name.capitalize()].to_numpy(dtype="float64") for name in PRICES}
    # Yahoo's missing volumes are those of currencies, which have none.
    table["volume"] = found["Volume"].fillna(0).to_numpy(dtype="int64")
    table["ts"] = found.index.tz_convert("UTC").tz_localize(None).to_numpy(dtype="datetime64[us]")
    frame = pl.DataFrame(table).with_columns(pl.col("ts").dt.replace_time_zone("UTC"), pl.col(PRICES).fill_nan(None))
    return frame.select(list(MINUTES_SCHEMA)).cast(MINUTES_SCHEMA).drop_nulls(PRICES)


def _instant(told: Any) -> datetime:
    """An instant of the answer's head: epoch seconds, or what yfinance made of them."""
    seconds = told.timestamp() if hasattr(told, "timestamp") else float(told)
    return datetime.fromtimestamp(seconds, UTC)


class _Bounded:
    """Asks as yfinance wants, and gives up an answer that is larger than any sound one.

    Args:
        where: the call, for the error's text.
        limits: how large an answer may be.
    """

    def __init__(self, where: str, limits: InputLimits) -> None:
        self._where = where
        self._limits = limits

    def __call__(self, method: Callable[..., Any], **request: Any) -> Any:
        """The answer of `method`, a call of yfinance's session.

        Raises:
            OverLimit: it has too many bytes, unpacked, or too many values.
        """
        from curl_cffi.curl import CURL_WRITEFUNC_ERROR
        from curl_cffi.requests.exceptions import RequestException

        most, body, over = self._limits.answer_bytes, bytearray(), False

        def take(piece: bytes) -> int:
            nonlocal over
            over = len(body) + len(piece) > most
            if over:
                return CURL_WRITEFUNC_ERROR
            body.extend(piece)
            return len(piece)

        try:
            # As everywhere: whoever answers sends nobody to another host.
            answer = method(**({"allow_redirects": False} | request), content_callback=take)
        except RequestException as error:
            if over:
                raise OverLimit(self._where, f"a body of more than {most:,} bytes") from error
            raise
        values = body.count(b",") + body.count(b"[") + body.count(b"{")
        if values > self._limits.answer_values:
            raise OverLimit(self._where, f"{values:,} values in one answer, more than {self._limits.answer_values:,}")
        answer.content = bytes(body)
        return answer


def _redirect(base_url: str, cache_directory: Path, bounded: _Bounded) -> list[int]:
    """Have yfinance ask `base_url`; there is no option for it (measured with 1.7.0), and modules import it by name.

    Args:
        base_url: where to ask.
        cache_directory: where yfinance keeps time zones and cookies.
        bounded: makes each call.

    Returns:
        The statuses of the answers from now on, as they come: its exceptions do not carry them.
    """
    import yfinance
    import yfinance.base
    import yfinance.const
    import yfinance.scrapers.history
    from yfinance.config import YfConfig
    from yfinance.data import YfData

    for module in (yfinance.const, yfinance.base, yfinance.scrapers.history):
        for name in ("_BASE_URL_", "_QUERY1_URL_"):
            if hasattr(module, name):
                setattr(module, name, base_url)
    YfConfig.debug.hide_exceptions = False
    cache_directory.mkdir(parents=True, exist_ok=True)
    yfinance.set_tz_cache_location(str(cache_directory))
    data, statuses = YfData(), []

    def note(url: str, request_method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        answer = YfData._make_request(data, url, partial(bounded, request_method), *args, **kwargs)  # noqa: SLF001
        statuses.append(answer.status_code)
        return answer

    data._make_request = note  # noqa: SLF001
    # What was asked for once may have been corrected since.
    data.cache_get.cache_clear()
    if base_url != YAHOO_URL:
        # Cookies come from hosts that are written into yfinance; a stand-in asks for none.
        data._get_cookie_and_crumb = lambda *_, **__: (None, "basic")  # noqa: SLF001
    return statuses
