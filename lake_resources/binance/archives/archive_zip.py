"""The one member of a Vision zip, inflated piece by piece and checked by length and crc.

Belongs here: the zip's directory and the member's bytes, in bounded memory. Does not belong here: what the bytes mean
(archive_csv.py, metrics_csv.py), downloading (vision.py).
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from isal import igzip_lib, isal_zlib

from lake_resources.errors import ArchiveCorrupt

# Inflated about six-fold; pieces near 1 MiB would be fresh pages from the kernel each time (1.6 x the CPU).
_PIECE_BYTES = 1 << 16
_INFLATED_BYTES = 1 << 20  # bounds memory where a file packs far better than that
_INFLATE_ERROR: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]  # isal's stub says: an instance
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 0x1


def member_pieces(zip_path: Path) -> Iterator[bytes]:
    """The only file of a zip, inflated piece by piece; entries of directories do not count.

    Raises:
        ArchiveCorrupt: torn zip, another number of files than one, wrong length or crc. The latter two are known only
            at the end: use nothing before the iterator has ended.
    """
    try:
        with zip_path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) != 1:
                names = ", ".join(member.filename for member in members[:5])
                raise ArchiveCorrupt(str(zip_path), f"{len(members)} members instead of one: {names}")
            yield from _inflated(file, members[0])
    except (zipfile.BadZipFile, _INFLATE_ERROR, EOFError, struct.error) as error:
        raise ArchiveCorrupt(str(zip_path), f"torn or damaged zip ({error})") from error


def _inflated(file: BinaryIO, member: zipfile.ZipInfo) -> Iterator[bytes]:
    file.seek(member.header_offset)
    signature, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    if signature != b"PK\x03\x04" or member.flag_bits & _ENCRYPTED:
        raise zipfile.BadZipFile("no readable member at the place the directory names")
    if member.compress_type not in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        raise zipfile.BadZipFile(f"compression method {member.compress_type}")
    file.seek(name_bytes + extra_bytes, 1)
    inflate = isal_zlib.decompressobj(wbits=-15) if member.compress_type == zipfile.ZIP_DEFLATED else None
    left, size_bytes, crc = member.compress_size, 0, 0
    packed = b""
    while packed or left:
        if not packed:
            packed = file.read(min(_PIECE_BYTES, left))
            left -= len(packed)
            if not packed:
                raise EOFError("the file ends inside the member")
        piece = inflate.decompress(packed, _INFLATED_BYTES) if inflate else packed
        packed = inflate.unconsumed_tail if inflate else b""
        size_bytes += len(piece)
        crc = isal_zlib.crc32(piece, crc)
        yield piece
    if inflate is not None and not inflate.eof:
        raise EOFError("the compressed data has no end")
    if size_bytes != member.file_size or crc != member.CRC:
        found = f"{size_bytes} bytes with crc {crc:08x}"
        raise zipfile.BadZipFile(f"{found} instead of {member.file_size} with {member.CRC:08x}")
