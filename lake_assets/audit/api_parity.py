"""Stored partitions against the klines that the exchange's API gives now: exact, and a day for one request.

Belongs here: which partitions are due, comparing them, what a difference makes of revisions and of the verdict.
Does not belong here: rebuilding, 1h bars (`parity_at_rest`), Dagster, when it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby

import polars as pl

from lake_assets.audit.weight_budget import WeightBudget
from lake_assets.lake import Lake
from lake_assets.schema.check_spec import CheckSpec
from lake_assets.validation.hour_verdict import with_comparison
from lake_assets.validation.outcome import CheckOutcome, outcome_of
from lake_assets.validation.parity import StreamParity, compare_stream
from lake_resources.binance.market import UM, Endpoint
from lake_resources.binance.stream import Stream
from lake_resources.clock import DAY
from lake_resources.storage.ledger.ledger import ComparedPartition, NewVerdict, Partition, Revision
from lake_resources.storage.reader import scan

SETTLED_AFTER = timedelta(minutes=10)
"""An hour that has just ended is left alone for so long: the exchange may still correct its last bar."""
API_PARITY = CheckSpec(
    "api_db_parity", "error", gate=False,
    text="The stored klines equal, value by value, those that the exchange's API gives now",
    counts=("compared", "only_lake", "only_exchange"),
)  # fmt: skip
_ASKED_AGAIN_AFTER = timedelta(hours=6)
_DAY_OF_MINUTES = 1_500
"""Rows that a page of klines of futures may have: a day of minutes is one request then, at the same price a minute."""
RUN_MINUTES = 10
"""A scheduled run takes what fits into so many minutes of the budget; the next one goes on."""


@dataclass(frozen=True)
class ParityRun:
    """What a run compared, and what it left.

    Attributes:
        compared: partitions in order.
        revisions: values that differ; also kept in the ledger.
        requests: how many were made.
        left: partitions that are still due, in order.
    """

    symbol: str
    compared: tuple[ComparedPartition, ...]
    revisions: tuple[Revision, ...]
    requests: int
    left: tuple[datetime, ...]

    @property
    def differing(self) -> tuple[ComparedPartition, ...]:
        """Partitions in which something differs."""
        return tuple(each for each in self.compared if _difference(each))


def due_partitions(lake: Lake, symbol: str, now: datetime) -> list[datetime]:
    """Complete partitions that were not compared since they were committed, or differed a while ago, in order.

    An exchange that says what is not true once must not contradict an hour for ever.
    """
    step = lake.store.layout.step
    held = lake.ledger.not_compared(symbol, now, now - _ASKED_AGAIN_AFTER)
    return [at for at in held if at + step + SETTLED_AFTER <= now]


def compare_due(lake: Lake, symbol: str, now: datetime, budget: WeightBudget) -> ParityRun:
    """Compare what is due, the newest days first, as far as a run may go.

    Raises:
        ExchangeError: REST did not answer; what was compared before is kept.
    """
    days = _by_day(due_partitions(lake, symbol, now))
    _, endpoint = _by_the_day(lake)
    cost, pages = _price(lake, endpoint, DAY)
    most = max(1, budget.requests_in(RUN_MINUTES, endpoint.bucket, cost) // pages)
    chosen = sorted(at for day in days[::-1][:most] for at in day)
    return compare_partitions(lake, symbol, chosen, now, budget)


def compare_partitions(
    lake: Lake, symbol: str, starts: Iterable[datetime], now: datetime, budget: WeightBudget
) -> ParityRun:
    """Compare committed partitions with the exchange of now, day by day, and keep what was found of each day.

    A difference becomes rows of `revisions` with both values and contradicts the verdict on its partition, until a
    later comparison finds both sides equal. Rows of the lake are not changed.

    Args:
        lake: on a table whose row stream are klines.
        symbol: whose partitions.
        starts: their starts; those that are not committed, or not closed, are left out.
        now: decides what is closed, UTC.
        budget: bounds the weight.

    Raises:
        ExchangeError: REST did not answer; nothing is concluded from that.
    """
    (stream, endpoint), layout = _by_the_day(lake), lake.store.layout
    compared: list[ComparedPartition] = []
    revisions: list[Revision] = []
    requests = 0
    for day in _by_day(sorted({layout.whole(start) for start in starts})):
        held = {row.start: row for row in lake.ledger.partitions(symbol, day[0], day[-1] + layout.step)}
        rows = [held[at] for at in day if at in held and at + layout.step <= now]
        if not rows:
            continue
        start, end = rows[0].start, rows[-1].start + layout.step
        cost, pages = _price(lake, endpoint, end - start)
        for _ in range(pages):
            budget.take(lake.rest.base_url, endpoint.bucket, cost)
        theirs, ours = lake.rest.fetch(stream, symbol, start, end), stored_klines(lake, symbol, start, end)
        requests += pages
        # The lake is the earlier of the two, as a capture is the earlier of it and its archive.
        found = [(row, compare_stream(stream, theirs, ours, row.start, row.start + layout.step)) for row in rows]
        new = [_compared(row, parity, now) for row, parity in found]
        restated = [each for row, parity in found for each in restatements(row, parity, now)]
        lake.ledger.record_revisions(restated)
        lake.ledger.record_parity(new, list(_verdicts(stream, rows, new)))
        compared += new
        revisions += restated
    left = due_partitions(lake, symbol, now)
    return ParityRun(symbol, tuple(compared), tuple(revisions), requests, tuple(left))


def parity_outcome(found: ComparedPartition) -> CheckOutcome:
    """The check `api_db_parity` of a partition that was compared; empty where neither side has a row."""
    return outcome_of(
        API_PARITY,
        passed=_difference(found) is None,
        metadata={
            "compared": found.compared,
            "differing": found.differing,
            "only_lake": found.only_lake,
            "only_exchange": found.only_exchange,
            "first": found.first,
            "compared_at": f"{found.compared_at:%Y-%m-%d %H:%M:%S}",
        },
    )


def stored_klines(lake: Lake, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
    """The rows of `[start, end)` in the wire form of the klines that they hold verbatim."""
    wire, layout = lake.table.verbatim(lake.table.row_stream), lake.store.layout
    columns = lake.table.uses[lake.table.row_stream].stream.columns
    rows = scan(lake.store, symbol, start, end, list(wire)).collect()
    return (
        rows.rename(wire)
        .with_columns(close_time=pl.col("open_time") + layout.grain - pl.duration(milliseconds=1))
        .select(list(columns))
        .cast(pl.Schema(columns))
    )


def restatements(row: Partition, parity: StreamParity, now: datetime) -> list[Revision]:
    """What the exchange says otherwise now than a committed partition, as rows of `revisions`."""
    return [
        Revision(
            symbol=row.symbol,
            stream=parity.stream,
            timestamp=cell["timestamp"],
            column=cell["column"],
            old_source=row.sources[parity.stream].kind,
            # Its value is part of its name: a second restatement of the same cell is another one.
            new_source=f"api:{cell['new']}",
            old_value=cell["old"],
            new_value=cell["new"],
            noticed_at=now,
        )
        for cell in parity.differences.iter_rows(named=True)
    ]


def note_parity(lake: Lake, stream: Stream, row: Partition, parity: StreamParity, now: datetime) -> None:
    """Keep one comparison of a stored partition, and let its one verdict say what it found.

    Args:
        lake: on the table.
        stream: its rows.
        row: the partition.
        parity: the API's rows as the archive, the stored ones as the capture.
        now: when they were compared, UTC.
    """
    new = [_compared(row, parity, now)]
    lake.ledger.record_parity(new, list(_verdicts(stream, [row], new)))


def _compared(row: Partition, parity: StreamParity, now: datetime) -> ComparedPartition:
    first = None
    if parity.differences.height:
        cell = parity.differences.row(0, named=True)
        first = f"{cell['timestamp']:%Y-%m-%d %H:%M} {cell['column']}: lake {cell['old']!r}, exchange {cell['new']!r}"
    return ComparedPartition(
        row.symbol, row.start, parity.compared, parity.differing, parity.only_captured, parity.only_archive, first, now
    )


def _difference(found: ComparedPartition) -> str | None:
    if not (found.differing or found.only_lake or found.only_exchange):
        return None
    counts = f"{found.differing} row(s) differ, {found.only_lake} only here, {found.only_exchange} only there"
    return f"the exchange's API says otherwise now: {counts}, first {found.first}"


def _verdicts(stream: Stream, rows: Sequence[Partition], new: Sequence[ComparedPartition]) -> Iterator[NewVerdict]:
    for row, found in zip(rows, new, strict=True):
        difference = _difference(found)
        said = None if difference is None else f"{stream.name}: {difference}"
        kind, detail = with_comparison(row.verdict, row.verdict_detail, stream.name, said)
        if (kind, detail) != (row.verdict, row.verdict_detail):
            yield NewVerdict(row.start, kind, detail)


def _price(lake: Lake, endpoint: Endpoint, length: timedelta) -> tuple[int, int]:
    """Weight of one request, and how many requests the rows of a window take."""
    rows = length // lake.store.layout.grain
    return endpoint.cost({"limit": min(rows, endpoint.page)}), -(-rows // endpoint.page)


def _by_day(starts: Iterable[datetime]) -> list[list[datetime]]:
    return [list(day) for _, day in groupby(starts, key=lambda at: at.date())]


def _by_the_day(lake: Lake) -> tuple[Stream, Endpoint]:
    """The row stream, asked for in the largest pages that its market allows, and the endpoint that gives them."""
    stream = lake.table.uses[lake.table.row_stream].stream
    if stream.rest is None:
        raise KeyError(stream.name)
    endpoint = stream.rest.endpoint
    if stream.market.name == UM.name:
        endpoint = replace(endpoint, page=_DAY_OF_MINUTES)
    return replace(stream, rest=replace(stream.rest, endpoint=endpoint)), endpoint
