"""A Vision zip on disk to typed wire frames, block by block, never holding the CSV.

Belongs here: header and epoch unit sniffed from the data, CSV text to typed columns. Does not belong here: the zip
(archive_zip.py), the metrics with their damage (metrics_csv.py), downloading, any column of the lake.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from lake_resources.binance.archives.archive_zip import any_failure_is_the_files, member_pieces
from lake_resources.binance.archives.metrics_csv import read_metrics
from lake_resources.binance.stream import Stream
from lake_resources.binance.wire_columns import METRICS_COLUMNS, UTC_US
from lake_resources.errors import ArchiveCorrupt
from lake_resources.input_limits import DEFAULT_LIMITS, InputLimits

CHUNK_BYTES = 4 << 20
_BOM = b"\xef\xbb\xbf"
# Spot files are in microseconds since 2025; milliseconds reach this number in the year 5138.
MICROSECONDS_FROM = 10**14
_EARLIEST_MS = 1_262_304_000_000  # 2010-01-01: anything before is no time of this exchange
_LATEST_US = 4_102_444_800_000_000  # 2100-01-01
# Everywhere else an empty field is damage; without this one the distance between settlements tells it.
_NULLABLE = frozenset({"funding_interval_hours"})


def read_frames(
    zip_path: Path,
    stream: Stream,
    chunk_bytes: int = CHUNK_BYTES,
    limits: InputLimits = DEFAULT_LIMITS,
) -> Iterator[pl.DataFrame]:
    """Typed frames of a zip, in file order; memory is bounded by `chunk_bytes`, not by the file.

    Args:
        zip_path: a zip with one CSV member.
        stream: what it holds.
        chunk_bytes: CSV bytes per frame, about.
        limits: how much one file may hold.

    Yields:
        Frames with exactly `stream.columns`. Rows are neither sorted nor deduplicated. (`metrics` is one frame that is
        both: `read_metrics` without its list of defects.)

    Raises:
        ArchiveCorrupt: torn zip, wrong crc, unknown header, a row that cannot be read, or more than `limits` allow. The
            crc is known only at the end: use nothing of the frames before the iterator has ended.
    """
    if stream.columns == METRICS_COLUMNS:
        yield read_metrics(zip_path, limits).frame
        return
    reader, rows = _Reader(zip_path, stream), 0
    most_rows = limits.grid_rows if stream.time_column in stream.key else limits.rows
    with any_failure_is_the_files(zip_path):
        for block in line_blocks(zip_path, member_pieces(zip_path, limits), chunk_bytes, limits.line_bytes):
            frame = reader.typed(block)
            rows += frame.height
            if rows > most_rows:
                raise ArchiveCorrupt(str(zip_path), f"more than {most_rows:,} rows")
            if frame.height:
                yield frame


def sorted_once(zip_path: Path, stream: Stream, frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Frames of one archive as one, sorted by `stream.key`, identical rows once.

    Raises:
        ArchiveCorrupt: two different rows of one key.
    """
    if not frames:
        return pl.DataFrame(schema=stream.columns)
    frame = pl.concat(frames)
    first = frame[stream.key[0]]
    if len(stream.key) == 1 and first.is_sorted() and first.n_unique() == frame.height:
        return frame
    frame = frame.sort(stream.key, maintain_order=True)
    key = pl.struct(stream.key)
    if not frame.select(key.is_duplicated().any()).item():
        return frame
    frame = frame.unique(maintain_order=True)
    repeated = frame.filter(key.is_duplicated())
    if repeated.height:
        row = repeated.row(0, named=True)
        where = ", ".join(f"{name} {row[name]}" for name in stream.key)
        raise ArchiveCorrupt(str(zip_path), f"{repeated.height} different rows share a key, first at {where}")
    return frame


def line_blocks(zip_path: Path, pieces: Iterator[bytes], chunk_bytes: int, line_bytes: int) -> Iterator[bytes]:
    """Blocks of whole lines of at least `chunk_bytes` (the last one may be smaller, and lack its line end).

    Raises:
        ArchiveCorrupt: a line has more than `line_bytes`, whether it ends or not.
    """
    parts: list[bytes] = []
    size = open_bytes = 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        ended = piece.rfind(b"\n") + 1
        begun = open_bytes + (piece.find(b"\n") if ended else len(piece))
        open_bytes = len(piece) - ended + (0 if ended else open_bytes)
        if begun > line_bytes or _has_longer_line(piece, line_bytes):
            raise ArchiveCorrupt(str(zip_path), f"a line of more than {line_bytes:,} bytes")
        if size >= chunk_bytes and ended:
            rest = piece[ended:]
            parts[-1] = piece[:ended]
            yield b"".join(parts)
            parts, size = [rest], len(rest)
    last = b"".join(parts)
    if last:
        yield last


def _has_longer_line(piece: bytes, line_bytes: int) -> bool:
    """Whether a line that begins in the piece has more bytes of it; a look per `line_bytes`, not per line."""
    start = piece.find(b"\n") + 1
    while len(piece) - start > line_bytes:
        end = piece.rfind(b"\n", start, start + line_bytes + 1)
        if end < 0:
            return True
        start = end + 1
    return False


class _Reader:
    """Types the blocks of one file; knows how many lines came before."""

    def __init__(self, zip_path: Path, stream: Stream) -> None:
        self._path = str(zip_path)
        self._stream = stream
        self._lines = 0
        self._first = True
        unused = [f"unused_{n}" for n in range(stream.files.csv_columns - len(stream.columns))]
        self._names = [*stream.columns, *unused]
        self._wanted = list(range(len(stream.columns)))
        # Asking a column for its type takes longer than adding up the numbers of a small file.
        self._times = [index for index, dtype in enumerate(stream.columns.values()) if dtype == UTC_US]
        self._floats = {name for name, dtype in stream.columns.items() if dtype == pl.Float64}

    def typed(self, block: bytes) -> pl.DataFrame:
        if self._first:
            self._first = False
            block = self._without_header(block.removeprefix(_BOM).lstrip(b"\r\n"))
        block = block.lstrip(b"\r\n")
        last = block[block.rfind(b"\n", 0, -1) + 1 :]
        if not last.strip():
            block = block.rstrip()
            last = block[block.rfind(b"\n") + 1 :]
        if not block:
            return pl.DataFrame(schema=self._stream.columns)
        first = block[: block.find(b"\n") + 1 or None]
        for line, which in ((first, "first"), (last, "last")):
            if line.count(b",") != len(self._names) - 1:
                raise self._corrupt(f"the {which} line is torn", line)
        schema = self._schema(first)
        try:
            # Looking for quotes in every field costs a tenth of the parsing.
            quote = '"' if b'"' in block else None
            frame = pl.read_csv(block, has_header=False, schema=schema, columns=self._wanted, quote_char=quote)
        except pl.exceptions.PolarsError as error:
            raise self._corrupt(str(error).split("\n", 1)[0], block) from error
        lines = frame.height
        if frame.to_series(0).null_count():  # the exchange has no such row, an editor or a joined file has
            frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
        self._make_times(frame)
        self._refuse_unreadable(frame)
        self._lines += lines
        return frame

    def _without_header(self, block: bytes) -> bytes:
        """A file without a header starts with a digit; by date it cannot be told."""
        if block[:2].lstrip(b'"')[:1].isdigit() or not block.strip():
            return block
        line, _, rest = block.partition(b"\n")
        found = [name.strip().strip('"') for name in line.decode("utf-8", "replace").strip().split(",")]
        wanted = list(self._stream.columns)
        if found[: len(wanted)] != wanted or b"\r" in line.strip():
            raise ArchiveCorrupt(self._path, f"columns {', '.join(found)} instead of {', '.join(wanted)}")
        # A column that Binance appends one day is left out, like the unused last one of klines.
        self._names = [*wanted, *(f"unused_{n}" for n in range(len(found) - len(wanted)))]
        self._lines = 1
        return rest

    def _schema(self, first: bytes) -> dict[str, pl.DataType]:
        """Types to parse with; a time is text where the block's first line has it as text."""
        schema: dict[str, pl.DataType] = {}
        for name, field in zip(self._names, first.split(b","), strict=True):
            dtype = self._stream.columns.get(name, pl.String())
            if dtype == UTC_US:
                dtype = pl.String() if b"-" in field else pl.Int64()
            schema[name] = dtype
        return schema

    def _make_times(self, frame: pl.DataFrame) -> None:
        """Put the times of a frame in place of their text or number."""
        for index in self._times:
            column = frame.to_series(index)
            if column.dtype == pl.String:
                text = column.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
                column = text.dt.replace_time_zone("UTC")
            else:
                column = self._epoch(column)
            frame.replace_column(index, column)

    def _epoch(self, column: pl.Series) -> pl.Series:
        """Epoch milliseconds or microseconds, told apart by magnitude."""
        low, high = column.min(), column.max()
        if not isinstance(low, int) or not isinstance(high, int) or low < _EARLIEST_MS or high >= _LATEST_US:
            wrong = high if isinstance(high, int) and high >= _LATEST_US else low
            raise self._corrupt(f"column {column.name} holds {wrong!r}, which is no epoch time", b"")
        if high < MICROSECONDS_FROM:
            column = column * 1000
        elif low < MICROSECONDS_FROM:
            column = column.zip_with(column >= MICROSECONDS_FROM, column * 1000)
        return column.cast(UTC_US)

    def _refuse_unreadable(self, frame: pl.DataFrame) -> None:
        for column in frame:
            if column.null_count() and column.name not in _NULLABLE:
                row = column.is_null().arg_true()[0]
                raise self._corrupt(f"line {self._lines + row + 1}: no readable {column.name}", b"")
            # A sum is finite where all of it is, and costs a tenth of looking at each.
            if column.name in self._floats and not math.isfinite(column.sum()) and not column.is_finite().all():
                row = (~column.is_finite()).arg_true()[0]
                raise self._corrupt(f"line {self._lines + row + 1}: {column.name} is {column[row]}", b"")

    def _corrupt(self, found: str, block: bytes) -> ArchiveCorrupt:
        where = f"after line {self._lines}"
        if block:
            text = block.decode("utf-8", "replace")
            where += f" (within the next {text.count(chr(10)) + 1} lines)" if len(text) > 400 else f": {text}"
        return ArchiveCorrupt(self._path, f"{found}, {where}")
