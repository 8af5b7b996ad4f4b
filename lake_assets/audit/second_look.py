"""A second look at what one source alone has said: streams whose values nobody else states, asked for once more.

Belongs here: which days are due, which hours have one voice, what a difference leaves behind. Does not belong here:
klines of trades (`api_parity` compares those as stored), building hours again, when it runs.

A value of mark, index or premium prices, of metrics or of a settlement that fits its grid and its bounds is found to be
wrong by comparison alone. What REST says now is kept as an answer where it differs: the next build holds both against
each other, as it does with an archive that comes after an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from lake_assets.audit.weight_budget import WeightBudget
from lake_assets.inputs.disputes import compare_rows, reached_by_disputes
from lake_assets.inputs.kept_files import Held, held_inputs
from lake_assets.inputs.missing import NOT_WHOLE, note_found_unlike
from lake_assets.inputs.rest_answers import keep_answer, reachable
from lake_assets.inputs.stream_sources import StreamSources
from lake_assets.lake import Lake
from lake_assets.schema.stream_use import StreamUse
from lake_assets.source import Wanted, to_nobody
from lake_assets.validation.hour_verdict import streams_apart, with_comparison
from lake_assets.validation.parity import StreamParity
from lake_assets.windows import hours_between, runs_of
from lake_resources.binance.market import UM
from lake_resources.binance.stream import Stream
from lake_resources.binance.witness import Grid, Settlements
from lake_resources.clock import DAY, HOUR
from lake_resources.errors import StorageError
from lake_resources.storage.ledger.ledger import NewVerdict

NEWEST_DAYS = 2
"""Days before today that each look is about: the archives of the day before have come by then."""
ROUND_DAYS = 30
"""Every older day is looked at once in so many days."""
_DAY_OF_MINUTES = 1_500


@dataclass(frozen=True)
class Unlike:
    """Rows of one hour of which two sources say different values.

    Attributes:
        stream: of what.
        hour: start of the hour, UTC.
        text: stream, row, column and both values of the first of them.
    """

    stream: str
    hour: datetime
    text: str


@dataclass(frozen=True)
class SecondLook:
    """What a look found.

    Attributes:
        symbol: whose hours.
        compared: rows that both sides have, over all streams.
        requests: how many pages were asked for.
        unlike: hours and streams with values that differ, in order.
    """

    symbol: str
    compared: int
    requests: int
    unlike: tuple[Unlike, ...]


def days_due(lake: Lake, symbol: str, now: datetime) -> list[date]:
    """Days with committed hours that a look of today is about: the newest two that are over, and a part of the others.

    Args:
        lake: on the table.
        symbol: whose days.
        now: the instant of asking, UTC.
    """
    first, today = lake.ledger.first_partition(symbol), now.date()
    if first is None:
        return []
    days = [first.date() + n * DAY for n in range((today - first.date()).days)]
    return [
        day
        for day in days
        if (today - day).days <= NEWEST_DAYS or (day.toordinal() + today.toordinal()) % ROUND_DAYS == 0
    ]


def look_again(lake: Lake, symbol: str, days: Iterable[date], now: datetime, budget: WeightBudget) -> SecondLook:
    """Ask REST for hours of which the lake has one source alone, and compare value by value.

    A day of a stream costs one request (metrics five, one for each of their endpoints). What is equal leaves nothing
    behind. Where values differ the hour's verdict is contradicted, and that of the hours which the value is carried
    into. Beside an archive the answer is kept, and a missing source is recorded, so that healing builds the hour from
    both; beside an earlier answer it is not, and a later look that finds both equal takes the doubt back.

    Args:
        lake: on the table.
        symbol: whose hours.
        days: UTC days; hours that are not committed or not complete are left out.
        now: the instant of asking, UTC.
        budget: bounds the weight.

    Raises:
        ExchangeError: REST did not answer; what was found before is kept.
    """
    compared = requests = 0
    unlike: list[Unlike] = []
    for day in sorted(set(days)):
        start = datetime(day.year, day.month, day.day, tzinfo=now.tzinfo)
        rows = lake.ledger.partitions(symbol, start, start + DAY)
        hours = [
            hour
            for row in rows
            if row.complete
            for hour in hours_between(row.start, row.start + lake.store.layout.step)
        ]
        for use in lake.table.uses_carrying(lake.max_ffill_minutes).values():
            if not (stated_by_one(use) and use.stream.exists_for(symbol)):
                continue
            # A settlement of the evening before is still the value of the morning.
            wanted = [hours[0] - n * HOUR for n in range(use.look_back_hours, 0, -1)] + hours if hours else []
            held = held_inputs(lake, Wanted(symbol, wanted, now, to_nobody, use)) if hours else Held({}, {})
            alone = [h for h in wanted if (h in held.archives) != (h in held.answers) and reachable(lake, use, h, now)]
            for first, end in runs_of(alone):
                requests += _pay(lake, use, end - first, budget)
                parities = _compare(lake, symbol, use, held, (first, end), now)
                compared += sum(parity.compared for parity in parities.values())
                unlike += [
                    Unlike(use.name, hour, f"{parity.first}") for hour, parity in parities.items() if parity.differing
                ]
    return SecondLook(symbol, compared, requests, tuple(unlike))


def stated_by_one(use: StreamUse) -> bool:
    """Whether nobody else states the values of a stream, and REST can be asked for them once more."""
    witness = use.stream.witness
    of_grid = isinstance(witness, Grid) and not witness.bars_of_trades
    return use.stream.rest is not None and (of_grid or isinstance(witness, Settlements))


def _compare(
    lake: Lake, symbol: str, use: StreamUse, held: Held, window: tuple[datetime, datetime], now: datetime
) -> dict[datetime, StreamParity]:
    """What the lake has of contiguous hours against REST of now, by hour; what differs is kept and told."""
    hours = hours_between(*window)
    by_hour = {hour: held.archives.get(hour) or held.answers[hour] for hour in hours}
    try:
        ours = StreamSources(use, by_hour, {}).frame(*window)
    except StorageError:
        return {}  # a build, or the audit, tells of a file that does not read
    theirs = lake.rest.fetch(_by_the_day(use), symbol, *window)
    settled = min(window[1], now - use.settle)
    found = {
        hour: compare_rows(use.stream, ours, theirs, hour, min(hour + HOUR, settled))
        for hour in hours
        if hour < settled
    }
    apart = {hour: parity for hour, parity in found.items() if parity.differing}
    differing = reached_by_disputes(use, apart, ours, hours) | {h: f"{parity.first}" for h, parity in apart.items()}
    # An answer that is all there is stays: which of two is right the archive, or a later look, says.
    filed = sorted(apart.keys() & held.archives.keys())
    if filed:
        keep_answer(lake, Wanted(symbol, filed, now, to_nobody, use), theirs)
        reasons = {hour: f"{NOT_WHOLE}: {text}" for hour, text in differing.items()}
        note_found_unlike(lake, symbol, use.name, reasons, now)
    if any(parity.compared for parity in found.values()):
        _tell_verdicts(lake, symbol, use.name, hours, differing)
    return found


def _tell_verdicts(
    lake: Lake, symbol: str, stream: str, hours: Sequence[datetime], differing: Mapping[datetime, str]
) -> None:
    """Let the one verdict on the partitions of some hours say that two sources differ, or do so no more."""
    layout, new = lake.store.layout, list[NewVerdict]()
    texts = {layout.start_of(hour): text for hour, text in sorted(differing.items(), reverse=True)}
    for row in lake.ledger.partitions(symbol, hours[0], hours[-1] + HOUR):
        text = texts.get(row.start)
        if text is None and stream not in streams_apart(row.verdict_detail):
            continue
        said = None if text is None else f"{stream}: REST says otherwise now, first {text}"
        new.append(NewVerdict(row.start, *with_comparison(row.verdict, row.verdict_detail, stream, said)))
    lake.ledger.replace_verdicts(symbol, new)


def _pay(lake: Lake, use: StreamUse, length: timedelta, budget: WeightBudget) -> int:
    """Take from the budget what a window of a stream costs, and return how many pages that are."""
    rest = _by_the_day(use).rest
    assert rest is not None
    rows = max(1, use.rows_per_hour * (length // HOUR))
    endpoints = [part.endpoint for part in rest.parts] or [rest.endpoint]
    pages = 0
    for endpoint in endpoints:
        page = endpoint.page or rows
        for _ in range(-(-rows // page)):
            budget.take(lake.rest.base_url, endpoint.bucket, endpoint.cost({"limit": min(rows, page)}))
            pages += 1
    return pages


def _by_the_day(use: StreamUse) -> Stream:
    """The stream, bars in pages of a day, at the same price a minute."""
    stream = use.stream
    if stream.rest is None or not stream.is_klines or stream.market.name != UM.name:
        return stream
    return replace(stream, rest=replace(stream.rest, endpoint=replace(stream.rest.endpoint, page=_DAY_OF_MINUTES)))
