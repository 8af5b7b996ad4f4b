"""Bytes of a segment: blocks with length and checksum, each of one symbol.

Belongs here: packing records into blocks and reading them back, stopping at the first damaged byte.
Does not belong here: files, names, rotation (`segments`).
A reader of one symbol jumps over the others' blocks; a torn tail loses the last block and nothing before it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import SEEK_CUR
from typing import BinaryIO

from lake_resources.binance.ws.frames import Frame

MAGIC = b"MLSEG\x01\r\n"
_FILE = struct.Struct("<8sQ")
"""Magic, minute (epoch minutes)."""
_BLOCK = struct.Struct("<4sIIHH")
"""Marker, crc32 of what follows this field, length of the body, length of the symbol, check of these two and symbol.

The last one lets a reader trust the header of a block that it jumps over without reading its body.
"""
_MARKER = b"BLCK"
_RECORD = struct.Struct("<QqQBI")
"""seq, received_ns, conn, kind, length of the payload."""

FILE_HEADER_BYTES = _FILE.size
_CRC_FROM = 8


def file_header(minute: int) -> bytes:
    """First bytes of a segment of a minute (epoch minutes)."""
    return _FILE.pack(MAGIC, minute)


def record_parts(seq: int, received_ns: int, conn: int, kind: int, payload: bytes) -> tuple[bytes, bytes]:
    """A record as it stands in a block."""
    return _RECORD.pack(seq, received_ns, conn, kind, len(payload)), payload


def pack_block(symbol: str, parts: Sequence[bytes]) -> bytes:
    """One block of the records of a symbol, in order of `seq`."""
    name = symbol.encode()
    body = b"".join(parts)
    tail = struct.pack("<IHH", len(body), len(name), _head_check(len(body), name))
    crc = zlib.crc32(body, zlib.crc32(name, zlib.crc32(tail)))
    return b"".join((_MARKER, struct.pack("<I", crc), tail, name, body))


@dataclass
class Readable:
    """How far a segment can be read.

    Attributes:
        minute: its minute, or None where not even the header is whole.
        good_bytes: length up to the end of the last whole block.
        lost_bytes: what lies behind it: the torn tail.
    """

    minute: int | None
    good_bytes: int
    lost_bytes: int


def inspect(data: bytes) -> Readable:
    """Check every block of a segment."""
    minute = _minute(data)
    if minute is None:
        return Readable(None, 0, len(data))
    offset = FILE_HEADER_BYTES
    while (end := _block_end(data, offset)) is not None:
        offset = end
    return Readable(minute, offset, len(data) - offset)


def blocks(file: BinaryIO, symbols: frozenset[str] | None) -> Iterator[tuple[str, bytes]]:
    """Bodies of the blocks of some symbols (None: all), up to the first damaged one; the others are jumped over."""
    if _minute(file.read(FILE_HEADER_BYTES)) is None:
        return
    while len(head := file.read(_BLOCK.size)) == _BLOCK.size:
        marker, crc, body_bytes, name_bytes, head_check = _BLOCK.unpack(head)
        name = file.read(name_bytes)
        if marker != _MARKER or _head_check(body_bytes, name) != head_check:
            return
        symbol = name.decode(errors="replace")
        if symbols is not None and symbol not in symbols:
            file.seek(body_bytes, SEEK_CUR)
            continue
        body = file.read(body_bytes)
        if zlib.crc32(body, zlib.crc32(name, zlib.crc32(head[_CRC_FROM:]))) != crc:
            return
        yield symbol, body


def records(symbol: str, minute: int, body: bytes) -> Iterator[Frame]:
    """Records of a block."""
    offset, size, unpack = 0, _RECORD.size, _RECORD.unpack_from
    while offset < len(body):
        seq, received_ns, conn, kind, length = unpack(body, offset)
        offset += size
        yield Frame(seq, received_ns, conn, kind, symbol, minute, body[offset : offset + length])
        offset += length


def columns_of(body: bytes, into: dict[int, tuple[list[int], list[int], list[int], list[bytes]]]) -> None:
    """Records of a block as columns by kind, many times faster than one by one.

    Args:
        body: of a block.
        into: kind → seq, received_ns, conn and payload of each record, in order; kinds that are not in it are left out.
    """
    offset, size, end, unpack = 0, _RECORD.size, len(body), _RECORD.unpack_from
    while offset < end:
        seq, received_ns, conn, kind, length = unpack(body, offset)
        offset += size
        lists = into.get(kind)
        if lists is not None:
            lists[0].append(seq)
            lists[1].append(received_ns)
            lists[2].append(conn)
            lists[3].append(body[offset : offset + length])
        offset += length


def _head_check(body_bytes: int, name: bytes) -> int:
    return zlib.crc32(name, zlib.crc32(struct.pack("<I", body_bytes))) & 0xFFFF


def _minute(data: bytes) -> int | None:
    if len(data) < FILE_HEADER_BYTES:
        return None
    magic, minute = _FILE.unpack_from(data)
    return int(minute) if magic == MAGIC else None


def _block_end(data: bytes, offset: int) -> int | None:
    """End of the block at `offset`, or None where it is torn or damaged."""
    start = offset + _BLOCK.size
    if start > len(data):
        return None
    marker, crc, body_bytes, name_bytes, _ = _BLOCK.unpack_from(data, offset)
    end = start + int(name_bytes) + int(body_bytes)
    if marker != _MARKER or end > len(data) or zlib.crc32(memoryview(data)[offset + _CRC_FROM : end]) != crc:
        return None
    return int(end)
