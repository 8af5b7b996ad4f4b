"""Which streams of a partition had a source.

Belongs here: the check `source_coverage`.
Does not belong here: choosing a source, or what becomes NULL without one (`transforms.assemble`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import polars as pl

from lake_assets.schema.known_damage import Damage
from lake_assets.schema.table import Table
from lake_assets.validation.outcome import CheckOutcome, outcome
from lake_assets.validation.rules import all_excused, in_hole
from lake_resources.known_hole import KnownHole


def source_coverage(
    table: Table,
    start: datetime,
    kinds: Mapping[str, str],
    rows: pl.DataFrame | None = None,
    *,
    holes: Sequence[KnownHole] = (),
    damage: Sequence[Damage] = (),
    never: Collection[str] = (),
) -> CheckOutcome:
    """Warn where a stream that can have a source has none, a slow series ran out, or aggTrades of minutes are nowhere.

    A stream without a source is excused by known holes of it that cover the whole partition, rows without ticks by
    known holes that name them. Known damage of the day excuses nothing, it is named.

    Args:
        table: the table that is built.
        start: start of the partition, UTC.
        kinds: kind of source per stream (`archive`, `archive+rest`, `rest`, `ws`, `none`); not listed is `none`.
        rows: the partition's rows, if the columns that are carried and those of ticks are to be looked at.
        holes: known holes of the symbol.
        damage: known damage of the symbol on that day.
        never: streams that the exchange does not have for the symbol at all.

    Returns:
        An outcome with the number of streams without a source, the rows in which a carried column is NULL, and those
        whose ticks no source has whole.
    """
    end = start + table.layout.step
    expected = [use.name for use in table.streams if use.name not in never and use.could_have_archive(start.date())]
    without = [stream for stream in expected if kinds.get(stream, "none") == "none"]
    excused = [stream for stream in without if all_excused(holes, stream, start, end)]
    absent = [stream for stream in without if stream not in excused]
    carried = [name for name in table.running_out if table.column(name).stream not in never]
    nulls = {} if rows is None else {name: rows[name].null_count() for name in carried}
    ran_out = {name: count for name, count in nulls.items() if count}
    ticks = {} if rows is None else _without_ticks(table, rows, kinds, holes)
    lost = sum(ticks.values())
    slow = {table.column(name).stream for name in table.running_out} if ran_out else set()
    concerned = {*without, *slow, *(stream for stream, count in ticks.items() if count)}
    metadata = {
        "streams": len(expected),
        "absent": len(absent),
        f"stale_{table.row_word}s": max(ran_out.values(), default=0),
        f"lost_trade_{table.row_word}s": lost,
        "absent_streams": ", ".join(absent) or None,
        "stale_columns": ", ".join(f"{name}: {count}" for name, count in ran_out.items()) or None,
        "excused_streams": ", ".join(excused) or None,
        "known_damage": "; ".join(each.text for each in damage if each.stream in concerned) or None,
    }
    return outcome("source_coverage", passed=not absent and not ran_out and not lost, metadata=metadata)


def _without_ticks(
    table: Table, rows: pl.DataFrame, kinds: Mapping[str, str], holes: Sequence[KnownHole]
) -> dict[str, int]:
    """By stream of ticks that has a source, the rows that no source holds whole and no known hole names."""
    found = {}
    for use in table.streams:
        counted = table.of_stream(use.name, "zero")
        if use.silence == "lost" and counted and kinds.get(use.name, "none") != "none":
            absent = table.absent(counted[0].name)
            if set(absent.meta.root_names()) <= set(rows.columns):
                absent = absent & ~in_hole(holes, use.name, table.layout.time_column)
                found[use.name] = rows.select(absent.sum()).item()
    return found
