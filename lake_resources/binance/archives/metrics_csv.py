"""The metrics archive, of which every fourth file has damaged rows: what is sound is read, what is not is named.

Belongs here: one small CSV, cell by cell. Does not belong here: the other streams (archive_csv.py), where any damage
refuses the file; which minute knows a value.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

import polars as pl

from lake_resources.binance.archives.archive_zip import any_failure_is_the_files, member_pieces
from lake_resources.binance.wire_columns import METRICS_COLUMNS
from lake_resources.clock import EPOCH
from lake_resources.errors import ArchiveCorrupt
from lake_resources.input_limits import DEFAULT_LIMITS, InputLimits

VALUES = tuple(name for name in METRICS_COLUMNS if name not in ("create_time", "symbol"))
_NOTHING = frozenset({"", "null", "none", "nan", "na", "n/a", "-", "\\n"})
"""Spellings (lower case) of a value that was not published: a hole, and no damage."""
_SHORTEST_TIME = len("2020-09-01 00:05")
_MICROSECONDS_FROM = 10**14
_SHOWN = 5


@dataclass(frozen=True)
class Metrics:
    """What a metrics archive holds.

    Attributes:
        frame: columns METRICS_COLUMNS, sorted by create_time, each once.
        defects: every row or value that is not in the frame as it was published, in words and in file order.
    """

    frame: pl.DataFrame
    defects: tuple[str, ...]

    def summary(self) -> str:
        """The defects in one line, the first few in full; empty without any."""
        more = [f"and {len(self.defects) - _SHOWN} more"] if len(self.defects) > _SHOWN else []
        return "; ".join([*self.defects[:_SHOWN], *more])


@dataclass(frozen=True)
class _Row:
    line: int
    time: datetime
    symbol: str
    values: tuple[float | None, ...]


def read_metrics(
    zip_path: Path,
    limits: InputLimits = DEFAULT_LIMITS,
) -> Metrics:
    """Read a metrics archive; a row or value that makes no sense is left out and named instead of losing the day.

    A row without a readable time, with another number of fields or of another symbol than the first is left out. A
    value that is no number, not finite or negative is null. Rows of one time are one row: a null gives way to a value,
    and where two values contradict each other nobody knows which is right, so it is null.

    Args:
        zip_path: a zip with one CSV member.

    Raises:
        ArchiveCorrupt: torn zip, no CSV, columns of something else, not one row that can be read, or more than `limits`
            allow.
    """
    with any_failure_is_the_files(zip_path):
        return _read_metrics(zip_path, limits)


def _read_metrics(zip_path: Path, limits: InputLimits) -> Metrics:
    text = _whole(zip_path, limits).decode("utf-8-sig", "replace")
    defects: list[str] = []
    try:
        rows = list(_rows(str(zip_path), text, defects))
    except csv.Error as error:
        raise ArchiveCorrupt(str(zip_path), f"no table of fields ({error})") from error
    if defects and not rows:
        raise ArchiveCorrupt(str(zip_path), f"not one row can be read: {defects[0]}")
    rows.sort(key=lambda row: row.time)
    merged = [_merged(list(group), defects) for _, group in groupby(rows, key=lambda row: row.time)]
    columns = {"create_time": [row.time for row in merged], "symbol": [row.symbol for row in merged]}
    values = {name: [row.values[index] for row in merged] for index, name in enumerate(VALUES)}
    return Metrics(pl.DataFrame(columns | values, schema=METRICS_COLUMNS), tuple(defects))


def _whole(zip_path: Path, limits: InputLimits) -> bytes:
    text = bytearray()
    for piece in member_pieces(zip_path, limits):
        text += piece
        if len(text) > limits.metrics_bytes:
            raise ArchiveCorrupt(str(zip_path), f"more than {limits.metrics_bytes:,} bytes of CSV")
    if any(len(line) > limits.line_bytes for line in text.split(b"\n")):
        raise ArchiveCorrupt(str(zip_path), f"a line of more than {limits.line_bytes:,} bytes")
    return bytes(text)


def _rows(path: str, text: str, defects: list[str]) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    names: Sequence[str] = tuple(METRICS_COLUMNS)
    symbol = ""
    first = True
    for cells in reader:
        fields = [cell.strip() for cell in cells]
        if not any(fields):
            continue
        if first:
            first = False
            if not fields[0][:1].isdigit():
                names = _header(path, fields, defects)
                continue
        line = f"line {reader.line_num}"
        if len(fields) != len(names):
            defects.append(f"{line}: {len(fields)} fields instead of {len(names)}")
            continue
        row = dict(zip(names, fields, strict=True))
        time = _time(row["create_time"])
        if time is None:
            defects.append(f"{line}: no readable create_time ({row['create_time']!r})")
            continue
        symbol = symbol or row["symbol"]
        if row["symbol"] not in ("", symbol):
            defects.append(f"{line}: a row of {row['symbol']} among those of {symbol}")
            continue
        values = tuple(_value(row.get(name, ""), f"{line}, {name}", defects) for name in VALUES)
        yield _Row(reader.line_num, time, symbol, values)


def _header(path: str, fields: list[str], defects: list[str]) -> list[str]:
    """Names by position: a column may stand elsewhere, or be absent, but time and symbol must be there."""
    if not {"create_time", "symbol"} <= set(fields) or len(set(fields)) != len(fields):
        raise ArchiveCorrupt(path, f"columns {', '.join(fields)} instead of {', '.join(METRICS_COLUMNS)}")
    defects += [f"no column {name}" for name in VALUES if name not in fields]
    return fields


def _time(text: str) -> datetime | None:
    """`YYYY-MM-DD HH:MM:SS` UTC, or epoch milliseconds or microseconds; None for anything else."""
    try:
        if text.isdecimal():
            unit = timedelta(microseconds=1) if int(text) >= _MICROSECONDS_FROM else timedelta(milliseconds=1)
            found = EPOCH + int(text) * unit
        else:
            found = datetime.fromisoformat(text.removesuffix(" UTC")) if len(text) >= _SHORTEST_TIME else EPOCH
    except (ValueError, OverflowError):
        return None
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    # The stream began in 2020; what is older was in another unit, or no time at all.
    return found if found.year >= 2020 else None


def _value(text: str, where: str, defects: list[str]) -> float | None:
    if text.lower() in _NOTHING:
        return None
    try:
        value = float(text)
    except ValueError:
        defects.append(f"{where}: {text!r} is no number")
        return None
    if not math.isfinite(value) or value < 0:
        defects.append(f"{where}: {text} cannot be")
        return None
    return value


def _merged(rows: list[_Row], defects: list[str]) -> _Row:
    """Rows of one time as one."""
    if len(rows) == 1:
        return rows[0]
    values: list[float | None] = []
    for index, name in enumerate(VALUES):
        found = dict.fromkeys(row.values[index] for row in rows if row.values[index] is not None)
        values.append(next(iter(found)) if len(found) == 1 else None)
        if len(found) > 1:
            lines = " and ".join(str(row.line) for row in rows)
            said = " and ".join(str(value) for value in found)
            defects.append(f"lines {lines}, {name}: {said} for {rows[0].time:%Y-%m-%d %H:%M:%S}")
    return _Row(rows[0].line, rows[0].time, rows[0].symbol, tuple(values))
