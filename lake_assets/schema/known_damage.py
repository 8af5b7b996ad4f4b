"""Known damage of what the exchange publishes: days of a stream of which somebody reported that something is wrong.

Belongs here: the typed loader of `known_damage.csv`, and finding the damage of a symbol. Does not belong here: holes
whose minutes are known exactly (`holes`). Damage excuses nothing: the minutes are not known, and a real loss of the
same day must stay visible. It is named beside what is missing: nobody has to search for a cause that is on record.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib import resources

from lake_assets.schema.known_holes import ANY_SYMBOL
from lake_resources.errors import SettingsError

FIELDS = ("stream", "symbol", "first_day", "last_day", "cause", "reference")


@dataclass(frozen=True)
class Damage:
    """Days of one stream that are known to be damaged.

    Attributes:
        stream: name of the stream, e.g. `metrics`.
        symbol: symbol, or `*` for all (or where the report names none).
        first_day: first UTC day.
        last_day: last UTC day, inclusive.
        cause: what is known about it.
        reference: where that is written.
    """

    stream: str
    symbol: str
    first_day: date
    last_day: date
    cause: str
    reference: str

    @property
    def text(self) -> str:
        """Stream, cause and reference in one line."""
        return f"{self.stream}: {self.cause} ({self.reference})"

    def touches(self, start: datetime, end: datetime) -> bool:
        """Whether one of its days overlaps `[start, end)`, UTC."""
        first = datetime(self.first_day.year, self.first_day.month, self.first_day.day, tzinfo=UTC)
        last = datetime(self.last_day.year, self.last_day.month, self.last_day.day, tzinfo=UTC)
        return first < end and start < last + timedelta(days=1)


def parse_damage(text: str) -> tuple[Damage, ...]:
    """Read damage from CSV text with the header of `known_damage.csv`; days are ISO 8601 UTC days.

    Raises:
        SettingsError: the header is another one, or a line has an empty field, no days, or days out of order.
    """
    reader = csv.DictReader(io.StringIO(text))
    if tuple(reader.fieldnames or ()) != FIELDS:
        raise SettingsError(f"known_damage.csv: header is {reader.fieldnames}", remedy=f"Use {','.join(FIELDS)}")
    return tuple(_damage(row, reader.line_num) for row in reader)


@cache
def known_damage() -> tuple[Damage, ...]:
    """The damage that comes with the project."""
    return parse_damage(resources.files("lake_assets.schema").joinpath("known_damage.csv").read_text("utf-8"))


def damage_of(damage: Iterable[Damage], symbol: str, start: datetime, end: datetime) -> list[Damage]:
    """The damage of one symbol on the days of `[start, end)`."""
    return [each for each in damage if each.symbol in (symbol, ANY_SYMBOL) and each.touches(start, end)]


def _damage(row: dict[str, str | None], line: int) -> Damage:
    texts = {field: (row[field] or "").strip() for field in FIELDS}
    if not all(texts.values()):
        raise SettingsError(f"known_damage.csv line {line}: an empty field in {texts}", remedy="Fill every field")
    try:
        first, last = (date.fromisoformat(texts.pop(field)) for field in ("first_day", "last_day"))
    except ValueError as error:
        raise SettingsError(f"known_damage.csv line {line}: {error}", remedy="Give days as 2024-02-16") from error
    if last < first:
        raise SettingsError(f"known_damage.csv line {line}: {last} is before {first}", remedy="Swap the days")
    return Damage(first_day=first, last_day=last, **texts)
