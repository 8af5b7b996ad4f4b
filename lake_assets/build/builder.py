"""What makes the rows of a table: the one function that each table brings along.

Belongs here: what such a function is given and gives, and how it is named beside the checks that compare its sources.
Does not belong here: any table's function (`rows` has the minute table's), the order of a build (`hours`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import import_module

import polars as pl

from lake_assets.build.reconcile import Compared, compare_sources
from lake_assets.inputs.spot_trades import NOTHING_BESIDE, SpotBeside
from lake_assets.inputs.stream_sources import StreamSources
from lake_assets.lake import Lake
from lake_assets.live.row_files import NOTHING, LiveHours
from lake_assets.schema.table import Table
from lake_assets.transforms.quote_placing import CARRY
from lake_assets.validation.outcome import CheckOutcome


@dataclass(frozen=True)
class Inputs:
    """What the rows of some partitions are made from.

    Attributes:
        table: whose rows.
        sources: by stream, for all hours in `[start, end)` and their look-back.
        starts: starts of the partitions that are wanted, UTC; there may be others between them.
        start: first instant, UTC.
        end: time after the last row.
        max_ffill_minutes: how long a slow series may be carried forward.
        live: what the collector has for them.
        symbol: whose rows; of tables whose rows name it.
        beside: trades and quotes of spot, for tables that are made of them.
        quote_carry: how long a quote stands for later rows.
    """

    table: Table
    sources: Mapping[str, StreamSources]
    starts: Sequence[datetime]
    start: datetime
    end: datetime
    max_ffill_minutes: int
    live: LiveHours = NOTHING
    symbol: str = ""
    beside: SpotBeside = NOTHING_BESIDE
    quote_carry: timedelta = CARRY

    def frame(self, stream: str) -> pl.DataFrame:
        """Wire rows of a stream in the window, and those before it that may reach into it, sorted by the key."""
        return self.sources[stream].reaching(self.start, self.end)


@dataclass(frozen=True)
class Made:
    """Rows of a table, and frames beside them that its comparisons of sources need.

    Attributes:
        frame: rows of the table, sorted by time; rows of partitions that nobody asked for are left out.
        beside: further frames by name.
    """

    frame: pl.DataFrame
    beside: Mapping[str, pl.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class Builder:
    """How the rows of a table are made, and how its sources are compared.

    Attributes:
        rows: a pure function of its inputs; same inputs, same rows.
        compare: the checks of each partition beside the gate's; by default coverage and the archive's parity.
        beside: reads trades and quotes of spot for some hours, where the table is made of them.
        collected: what the lake's collector heard is one of the sources.
        in_lanes: rows of several symbols can be made and judged in one pass (`lanes`).
    """

    rows: Callable[[Inputs], Made]
    compare: Callable[[Lake, str, Inputs, Made, Compared], dict[datetime, list[CheckOutcome]]] = field(
        default=lambda lake, symbol, inputs, _, compared: compare_sources(lake, symbol, inputs.sources, compared)
    )
    beside: Callable[[Lake, str, Sequence[datetime]], SpotBeside] | None = None
    collected: bool = False
    in_lanes: bool = False


def builder_of(table: Table) -> Builder:
    """The builder that a table's declaration names.

    Raises:
        TypeError: it names none, or what stands there is no builder.
    """
    if not table.builder:
        raise TypeError(f"{table.name} names no builder: it is built in a way of its own")
    module, _, name = table.builder.partition(":")
    found = getattr(import_module(module), name)
    if not isinstance(found, Builder):
        raise TypeError(f"{table.builder}, which {table.name} names as its builder, is a {type(found).__name__}")
    return found
