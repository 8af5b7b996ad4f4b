"""Answers of sources into the lake: what was said of an hour is kept as a file and a ledger row.

Belongs here: REST as a source, asking one source after the other, keeping each different answer by hours.
Does not belong here: HTTP (`rest_client`), choosing between an answer and an archive (`sources`).
A rebuild needs no network because of it, and a later archive can be compared with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import polars as pl

from lake_assets.inputs.kept_files import from_answer
from lake_assets.inputs.stream_sources import keep_small
from lake_assets.lake import Lake
from lake_assets.schema.stream_use import StreamUse
from lake_assets.source import HourSource, Offer, Source, Wanted
from lake_assets.windows import hours_between, runs_of
from lake_resources.binance.rest.rest_client import BinanceRest
from lake_resources.binance.witness import ContiguousIds
from lake_resources.clock import HOUR
from lake_resources.errors import ExchangeError, OutsideRetention
from lake_resources.spans import rows_within
from lake_resources.storage.ledger.ledger import Capture
from lake_resources.storage.parquet import StagedFile, stage_all

_EDGE = timedelta(minutes=10)
"""Distance kept from the edge of the exchange's retention: the request takes time too."""


@dataclass
class AskedHours:
    """What was said of hours: by hour, the answer that was kept, or why there is none."""

    kept: dict[datetime, HourSource] = field(default_factory=dict)
    failures: dict[datetime, str] = field(default_factory=dict)


def reachable(lake: Lake, use: StreamUse, hour: datetime, now: datetime) -> bool:
    """Whether REST may be asked and still has the whole hour."""
    if not lake.ask_rest or use.stream.rest is None or hour >= now:
        return False
    retention = use.stream.rest.retention
    return retention is None or hour >= now - retention + _EDGE


def ask(lake: Lake, wanted: Wanted, sources: tuple[Source, ...] | None = None) -> AskedHours:
    """Ask sources for hours, one source after the other for what none before it had, and keep what they say.

    Each answer is durable before the next is asked for. A source that has nothing to give is no error but a result.

    Args:
        lake: where it is kept.
        wanted: hours of a stream.
        sources: whom to ask, in order; by default those before REST, and REST.
    """
    asked = AskedHours()
    for offer in _offers(lake, wanted, sources, asked):
        asked.kept |= {each.hour: from_answer(lake, each) for each in _keep(lake, [(wanted, offer)])}
    return asked


@dataclass
class Told:
    """What was said of the hours of one stream, and is not kept yet.

    Attributes:
        wanted: the hours.
        asked: what is kept already, and why there is none.
        offers: what is to be kept.
    """

    wanted: Wanted
    asked: AskedHours
    offers: list[Offer]


def told_of(lake: Lake, wanted: Sequence[Wanted]) -> list[Told]:
    """Ask for hours of several streams; what one request says is not kept yet, what several say is.

    Args:
        lake: whose sources are asked.
        wanted: hours of a stream each.
    """
    found = []
    for each in wanted:
        if len(each.starts) > each.used.hours_per_fetch:
            found.append(Told(each, ask(lake, each), []))
        else:
            asked = AskedHours()
            found.append(Told(each, asked, list(_offers(lake, each, None, asked))))
    return found


def keep_told(lake: Lake, told: Sequence[Told]) -> None:
    """Keep what was said of any number of streams and symbols in one transaction; durable when it returns."""
    captures = iter(_keep(lake, [(each.wanted, offer) for each in told for offer in each.offers]))
    for each in told:
        for offer in each.offers:
            each.asked.kept |= {hour: from_answer(lake, next(captures)) for hour in offer.starts}
        each.offers.clear()


def ask_together(lake: Lake, wanted: Sequence[Wanted]) -> list[AskedHours]:
    """Ask for hours of several streams, and keep what is said; what one request each says is kept at once.

    Args:
        lake: where it is kept.
        wanted: hours of a stream each.

    Returns:
        What was said of each, in order.
    """
    told = told_of(lake, wanted)
    keep_told(lake, told)
    return [each.asked for each in told]


def _offers(lake: Lake, wanted: Wanted, sources: tuple[Source, ...] | None, asked: AskedHours) -> Iterator[Offer]:
    """What each source says of the hours that none before it had; why there is nothing comes to stand in `asked`."""
    said = set[datetime]()
    for source in asked_sources(lake) if sources is None else sources:
        left = [hour for hour in wanted.starts if hour not in said]
        failures: dict[datetime, str] = {}
        for offer in source.offers(replace(wanted, starts=left)) if left else ():
            if offer.failure:
                failures |= dict.fromkeys(offer.starts, offer.failure)
            else:
                said |= set(offer.starts)
                yield offer
        for text in dict.fromkeys(failures.values()):
            told = f"{source.title} gave nothing for {len(failures)} of {len(left)} hours: {text}"
            wanted.report(f"{wanted.symbol} {wanted.used.name}: {told}")
        asked.failures |= failures
    asked.failures = {hour: text for hour, text in asked.failures.items() if hour not in said}


def asked_sources(lake: Lake) -> tuple[Source, ...]:
    """Whom hours are asked of that no file of the lake has, in order."""
    return (*lake.before_rest, RestSource(lake.rest))


@dataclass(frozen=True)
class RestSource:
    """REST of a market as a source: whoever looks for an hour pays requests for it.

    Attributes:
        rest: the market's client.
    """

    rest: BinanceRest
    title = "REST"

    def offers(self, wanted: Wanted) -> Iterator[Offer]:
        """Runs of hours, for neighbours share requests; of an hour that REST has forgotten the failure.

        Hours that had fallen out of its memory leave the others alone, after any other failure it is not asked again.
        """
        use, failure = wanted.used, ""
        for start, end in runs_of(wanted.starts, longest=use.hours_per_fetch):
            run = tuple(hours_between(start, end))
            if not failure:
                try:
                    rows = self._fetch(wanted, start, min(end, wanted.now))
                except OutsideRetention as error:
                    yield Offer(run, failure=str(error))
                    continue
                except ExchangeError as error:
                    failure = str(error)
                else:
                    by = f"{self.rest.base_url} {use.name} {wanted.symbol}"
                    yield Offer(run, rows=rows, asked_at=wanted.now, by=by)
                    continue
            yield Offer(run, failure=failure)

    def _fetch(self, wanted: Wanted, start: datetime, end: datetime) -> pl.DataFrame:
        """Trades of an open hour are asked for only from where the answer that is held had settled.

        A busy hour of them is dozens of requests, and the hot band asks every minute.
        """
        use, held, witness = wanted.used, wanted.held.get(start), wanted.used.stream.witness
        before = None if held is None else held.answer
        if held and before and isinstance(witness, ContiguousIds) and not before.complete:
            settled_until = before.captured_at - use.settle
            settled = _rows_before(held, use, settled_until)
            if settled.height:
                rows = self.rest.fetch(use.stream, wanted.symbol, settled_until, end)
                if rows.is_empty() or rows[witness.row_id][0] == settled[witness.row_id][-1] + 1:
                    return pl.concat([settled, rows])
        return self.rest.fetch(use.stream, wanted.symbol, start, end)


def _rows_before(held: HourSource, use: StreamUse, instant: datetime) -> pl.DataFrame:
    """Rows of an earlier answer; none where its file cannot be read, for it can be had again."""
    try:
        frame = pl.read_parquet(held.paths[0])
    except (pl.exceptions.PolarsError, OSError):
        return pl.DataFrame(schema=use.stream.columns)
    return frame.filter(pl.col(use.stream.time_column) < instant)


def keep_answer(lake: Lake, wanted: Wanted, rows: pl.DataFrame) -> None:
    """Keep what REST said of some hours.

    Args:
        lake: the lake.
        wanted: the hours, and when they were asked for.
        rows: the answer's wire frame; rows of other hours are left out.
    """
    by = f"{lake.rest.base_url} {wanted.used.name} {wanted.symbol}"
    _keep(lake, [(wanted, Offer(tuple(wanted.starts), rows=rows, asked_at=wanted.now, by=by))])


def _keep(lake: Lake, offers: Sequence[tuple[Wanted, Offer]]) -> list[Capture]:
    """Keep offers by hours, in one transaction; durable when it returns, in order of the offers and their hours."""
    parts = [(wanted, offer, hour, _part(wanted, offer, hour)) for wanted, offer in offers for hour in offer.starts]
    if not parts:
        return []
    staged = stage_all(
        [(part, _metadata(wanted, hour)) for wanted, _, hour, part in parts],
        lake.catalog.temp_dir,
    )
    paths = [
        lake.catalog.relative(lake.catalog.capture_path(wanted.used.name, wanted.symbol, hour, file.content_hash))
        for (wanted, _, hour, _), file in zip(parts, staged, strict=True)
    ]
    try:
        lake.files.publish(list(zip(staged, paths, strict=True)))
    finally:
        for file in staged:
            file.discard()
    captures = [
        _capture(wanted, offer, hour, file, path)
        for (wanted, offer, hour, _), file, path in zip(parts, staged, paths, strict=True)
    ]
    lake.ledger.record_captures(captures)
    for (wanted, _, hour, part), path in zip(parts, paths, strict=True):
        before = wanted.held.get(hour)
        keep_small(lake.files.here(path), wanted.used.stream, part, instead_of=() if before is None else before.paths)
    return captures


def _part(wanted: Wanted, offer: Offer, hour: datetime) -> pl.DataFrame:
    """Rows of one hour of an offer."""
    assert offer.rows is not None
    return rows_within(offer.rows, wanted.used.stream.time_column, hour, hour + HOUR)


def _metadata(wanted: Wanted, hour: datetime) -> dict[str, str]:
    told = {"lake.source": "rest", "lake.stream": wanted.used.name, "lake.symbol": wanted.symbol}
    return {**told, "lake.hour": hour.isoformat()}


def _capture(wanted: Wanted, offer: Offer, hour: datetime, file: StagedFile, path: str) -> Capture:
    asked_at = offer.asked_at
    assert asked_at is not None
    return Capture(
        symbol=wanted.symbol,
        stream=wanted.used.name,
        hour=hour,
        path=path,
        row_count=file.row_count,
        window_start=hour,
        window_end=min(hour + HOUR, asked_at),
        complete=wanted.used.is_final(hour, file.row_count, asked_at),
        request=offer.by,
        content_hash=file.content_hash,
        captured_at=asked_at,
    )
