"""A table of the lake as declared: everything that the platform must know to build, judge, store and read it.

Belongs here: the `Table` record and what follows from its columns and its uses of streams together. Does not belong
here: any table (`lake_assets.tables`), views of columns alone (`column_set`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from lake_assets.schema.check_spec import CheckSpec
from lake_assets.schema.column_set import ColumnSet
from lake_assets.schema.stream_use import StreamUse
from lake_resources.clock import HOUR, MINUTE
from lake_resources.layout import TableLayout

_WORDS = {timedelta(seconds=1): "second", MINUTE: "minute", HOUR: "hour"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Table(ColumnSet):
    """A table of the lake.

    Attributes:
        columns: its columns in file order.
        layout: its name, market, grain, partitions and place.
        streams: how it uses each of its streams, in the order in which messages name them.
        primary_key: columns that identify a row; `symbol` is in the path, not in the file.
        sort_order: columns a file is sorted by.
        builder: what makes its rows: where its `build.builder.Builder` stands, as `module:NAME`. It is named and not
            held, so that who only reads the table imports nothing that builds it. Empty of a table whose partitions
            are no rows of streams, and which is built in a way of its own.
        checks: the checks of each of its partitions, by name, in the order in which they are shown.
        sparse: a row that no source has is no row, and the verdict of its partition says so; else the gate refuses a
            partition that lacks a row.
        second_look_after: how long after the end of a partition a second look may settle that its source has no more
            rows; until then a row that lacks is neither there nor lost. None: a row that is due and lacks is missing.
        told_late: how late its source may tell a row that is there.
        export_mark: what names of exported files say besides the symbol; empty where that is enough.
        heard: what makes rows from the collector's records alone, before they are committed: where its
            `live.live_tail.Hearing` stands, as `module:name`. Empty of a table that has no such rows.
    """

    layout: TableLayout
    streams: tuple[StreamUse, ...]
    primary_key: tuple[str, ...]
    sort_order: tuple[str, ...]
    checks: Mapping[str, CheckSpec]
    builder: str = ""
    sparse: bool = False
    second_look_after: timedelta | None = None
    told_late: timedelta = timedelta(0)
    export_mark: str = ""
    heard: str = ""

    @property
    def name(self) -> str:
        """Table name."""
        return self.layout.name

    @property
    def row_stream(self) -> str:
        """Name of the stream whose rows are the rows of the table."""
        return self.layout.row_stream

    @property
    def row_word(self) -> str:
        """What a row is, in words: `minute`, `second`, or `row` where its length has no name."""
        return _WORDS.get(self.layout.grain, "row")

    def row_text(self, instant: datetime) -> str:
        """The time of a row for a reader, to the minute, or to the second where rows are shorter than minutes."""
        return f"{instant:%Y-%m-%d %H:%M}" if self.layout.grain % MINUTE == timedelta(0) else f"{instant:%F %T}"

    def check_text(self, check: CheckSpec) -> str:
        """What a check asserts of a partition of this table, for a reader."""
        return check.text.format(row=self.row_word, span=self.layout.span, required=len(self.required))

    @cached_property
    def uses(self) -> dict[str, StreamUse]:
        """The uses by name of the stream."""
        return {use.name: use for use in self.streams}

    def uses_carrying(self, max_ffill_minutes: int) -> dict[str, StreamUse]:
        """The uses by name of the stream, where slow series are carried for so many minutes."""
        return {use.name: use.looking_back(max_ffill_minutes) for use in self.streams}

    @cached_property
    def row_makers(self) -> tuple[str, ...]:
        """Names of the streams without which there is no row."""
        return tuple(use.name for use in self.streams if use.required)

    @cached_property
    def origins(self) -> dict[str, str]:
        """The columns that may be NULL for lack of their stream, with that stream.

        Columns of the row stream are known wherever there is a row.
        """
        return {
            column.name: column.stream
            for column in self.columns
            if column.stream != self.row_stream and not column.never_null
        }

    @cached_property
    def running_out(self) -> tuple[str, ...]:
        """Columns whose values are carried forward, and in which a NULL says that the series stopped for too long."""
        return tuple(
            column.name
            for use in self.streams
            if use.silence == "lost"
            for column in self.of_stream(use.name, "carried")
        )
