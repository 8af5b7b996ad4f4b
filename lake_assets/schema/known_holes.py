"""Known holes of the exchange: minutes that Binance itself does not have, with cause and reference.

Belongs here: the typed loader of `known_holes.csv`, and finding the holes of a symbol.
Does not belong here: deciding what a hole excuses (`validation.gate`). Only holes whose minutes are known exactly are
listed: an excuse for a whole day would hide a real loss.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from importlib import resources

from lake_resources.errors import SettingsError
from lake_resources.instants import parse_whole_minute
from lake_resources.known_hole import KnownHole

ANY_SYMBOL = "*"
FIELDS = ("stream", "symbol", "start", "end", "cause", "reference")


def parse_holes(text: str) -> tuple[KnownHole, ...]:
    """Read the holes from CSV text with the header of `known_holes.csv`; times are ISO 8601 in UTC.

    Raises:
        SettingsError: the header is another one, or a line is not a hole of whole minutes.
    """
    reader = csv.DictReader(io.StringIO(text))
    if tuple(reader.fieldnames or ()) != FIELDS:
        raise SettingsError(f"known_holes.csv: header is {reader.fieldnames}", remedy=f"Use {','.join(FIELDS)}")
    return tuple(_hole(row, reader.line_num) for row in reader)


def _hole(row: dict[str, str | None], line: int) -> KnownHole:
    remedy = "Give both as whole minutes, e.g. 2024-08-12T00:05Z, the end half-open"
    try:
        start, end = (parse_whole_minute(row[field] or "") for field in ("start", "end"))
    except SettingsError as error:
        raise SettingsError(f"known_holes.csv line {line}: {error.what}", remedy=remedy) from error
    if start >= end:
        raise SettingsError(f"known_holes.csv line {line}: start {start} is not before end {end}", remedy=remedy)
    texts = {field: (row[field] or "").strip() for field in ("stream", "symbol", "cause", "reference")}
    if not all(texts.values()):
        raise SettingsError(f"known_holes.csv line {line}: an empty field in {texts}", remedy="Fill every field")
    return KnownHole(start=start, end=end, **texts)


@cache
def known_holes() -> tuple[KnownHole, ...]:
    """The holes that come with the project."""
    return parse_holes(resources.files("lake_assets.schema").joinpath("known_holes.csv").read_text("utf-8"))


def holes_of(holes: Iterable[KnownHole], symbol: str, start: datetime, end: datetime) -> list[KnownHole]:
    """The holes of one symbol that touch `[start, end)`."""
    return [hole for hole in holes if hole.symbol in (symbol, ANY_SYMBOL) and hole.start < end and hole.end > start]
