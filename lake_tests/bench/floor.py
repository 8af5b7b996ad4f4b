"""The floor of a day: what any program must do with its zips.

Belongs here: download, sha256, inflate, crc, parse, and one aggregation or the files of hours, each with the fastest
library at hand. Does not belong here: anything of the lake, whose cost is measured against this.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from isal import isal_zlib

from lake_tests.bench.meter import metered

_PIECE_BYTES = 1 << 17
_BLOCK_BYTES = 4 << 20
_LOCAL_HEADER_BYTES = 30
_TYPES = {
    "agg_trade_id": pl.Int64(),
    "price": pl.Float64(),
    "quantity": pl.Float64(),
    "first_trade_id": pl.Int64(),
    "last_trade_id": pl.Int64(),
    "transact_time": pl.Int64(),
    "is_buyer_maker": pl.Boolean(),
}
_NEEDED = [1, 2, 5, 6]


def floor_of_agg_trades(url: str) -> pl.DataFrame:
    """One zip of aggTrades to sums per minute of the columns that the minute table is made of."""
    packed = _verified(url)
    parts = []
    for number, block in enumerate(_blocks(packed)):
        frame = pl.read_csv(block, has_header=number == 0, schema=_TYPES, columns=_NEEDED)
        parts.append(_sums(frame.with_columns(minute=(pl.col("transact_time") // 60_000).set_sorted())))
    return _sums(pl.concat(parts))


def floor_of_bars(url: str, folder: Path) -> None:
    """One zip of 86,400 bars without a header to 24 Parquet files, each written, flushed to the disk and renamed."""
    frame = pl.read_csv(b"".join(_blocks(_verified(url))), has_header=False)
    for hour in range(24):
        staged = folder / f"{hour}.tmp"
        frame.slice(3600 * hour, 3600).write_parquet(staged, compression="uncompressed")
        with staged.open("rb") as file:
            os.fsync(file.fileno())
        staged.rename(folder / f"{hour:02}.parquet")
    assert frame.height == 24 * 3600


def _verified(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        packed: bytes = answer.read()
    hashlib.sha256(packed).hexdigest()
    return packed


def _sums(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.group_by("minute", maintain_order=True).agg(
        pl.col("price").max(),
        pl.col("quantity").sum(),
        pl.col("transact_time").max(),
        pl.col("is_buyer_maker").sum().cast(pl.Int64),
    )


def _blocks(packed: bytes) -> Iterator[bytes]:
    """Whole lines of the only member, inflated piece by piece."""
    member = zipfile.ZipFile(io.BytesIO(packed)).infolist()[0]
    name_bytes, extra_bytes = struct.unpack_from("<26xHH", packed, member.header_offset)
    begin = member.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
    inflate, crc = isal_zlib.decompressobj(-15), 0
    parts: list[bytes] = []
    size = 0
    for offset in range(begin, begin + member.compress_size, _PIECE_BYTES):
        piece = inflate.decompress(packed[offset : min(offset + _PIECE_BYTES, begin + member.compress_size)])
        crc = isal_zlib.crc32(piece, crc)
        parts.append(piece)
        size += len(piece)
        if size >= _BLOCK_BYTES:
            cut = piece.rfind(b"\n") + 1
            parts[-1] = piece[:cut]
            yield b"".join(parts)
            parts, size = [piece[cut:]], len(piece) - cut
    assert crc == member.CRC
    if parts:
        yield b"".join(parts)


if __name__ == "__main__":
    url, *scratch = sys.argv[1:]
    with TemporaryDirectory(dir=scratch[0] if scratch else None) as folder, metered():
        if scratch:
            floor_of_bars(url, Path(folder))
        else:
            floor_of_agg_trades(url)
