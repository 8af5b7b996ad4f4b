"""The one member of a Vision zip, inflated piece by piece and checked by length and crc.

Belongs here: the zip's directory and the member's bytes, in bounded memory. Does not belong here: what the bytes mean
(archive_csv.py, metrics_csv.py), downloading (vision_client.py).
"""

from __future__ import annotations

import errno
import logging
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import polars as pl
from isal import igzip_lib, isal_zlib

from lake_resources.errors import ArchiveCorrupt, LakeError
from lake_resources.input_limits import DEFAULT_LIMITS, INFLATION_FREE_BYTES, InputLimits

log = logging.getLogger(__name__)

# Inflated about six-fold; pieces near 1 MiB would be fresh pages from the kernel each time (1.6 x the CPU).
_PIECE_BYTES = 1 << 16
_INFLATED_BYTES = 1 << 20  # bounds memory where a file packs far better than that
_INFLATE_ERROR: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]  # isal's stub says: an instance
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 0x1
_ENTRY_BYTES = 256  # of the directory, a long name included
_FARTHEST = 1 << 62


@contextmanager
def any_failure_is_the_files(zip_path: Path) -> Iterator[None]:
    """Whatever reading the bytes of a stranger's file raises says that they cannot be read, foreseen or not.

    Readers are pure functions of those bytes: a failure that nobody foresaw must cost this file and no other. It is
    logged with its traceback, for it is also a fault of ours. Errors of the tree and of the disk pass as they are.

    Raises:
        ArchiveCorrupt: instead of any other failure.
    """
    try:
        yield
    except (LakeError, OSError, MemoryError):
        raise
    except (Exception, pl.exceptions.PanicException) as error:
        log.exception("%s: reading it failed in a way that nobody foresaw", zip_path)
        raise ArchiveCorrupt(str(zip_path), f"it cannot be read ({type(error).__name__}: {error})") from error


def member_pieces(zip_path: Path, limits: InputLimits = DEFAULT_LIMITS) -> Iterator[bytes]:
    """The only file of a zip, inflated piece by piece; entries of directories do not count.

    Raises:
        ArchiveCorrupt: torn zip, another number of files than one, more of anything than `limits` allow, wrong length
            or crc. The latter two are known only at the end: use nothing before the iterator has ended.
    """
    try:
        with zip_path.open("rb") as file:
            member = _only_member(zip_path, file, limits)
            most = max(INFLATION_FREE_BYTES, limits.inflated_times * zip_path.stat().st_size)
            yield from _inflated(file, member, min(most, limits.inflated_bytes))
    except (zipfile.BadZipFile, _INFLATE_ERROR, EOFError, struct.error) as error:
        raise ArchiveCorrupt(str(zip_path), f"torn or damaged zip ({error})") from error


def _only_member(zip_path: Path, file: BinaryIO, limits: InputLimits) -> zipfile.ZipInfo:
    try:
        with zipfile.ZipFile(_Directory(file, limits.members * _ENTRY_BYTES)) as archive:
            entries = archive.infolist()
    except (ValueError, NotImplementedError, OverflowError, LookupError, RuntimeError) as error:
        # Offsets, names and versions that no zip has; the standard library names only some of them BadZipFile.
        raise zipfile.BadZipFile(f"a directory that makes no sense: {error}") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # of the disk
            raise
        raise zipfile.BadZipFile("a directory that names a place before the file") from error
    members = [entry for entry in entries if not entry.filename.endswith("/")]  # a name may be empty
    if len(entries) > limits.members or len(members) != 1:
        names = ", ".join(ascii(entry.filename[:80])[1:-1] for entry in members[:5])
        raise ArchiveCorrupt(str(zip_path), f"{len(members)} members instead of one: {names}")
    return members[0]


class _Directory:
    """A zip's file as the standard library reads its directory: never more at once than a directory may have."""

    def __init__(self, file: BinaryIO, most_bytes: int) -> None:
        self._file = file
        self._most_bytes = most_bytes
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > self._most_bytes:
            raise zipfile.BadZipFile(f"a directory of {size:,} bytes, more than {self._most_bytes:,}")
        return self._file.read(size)


def _inflated(file: BinaryIO, member: zipfile.ZipInfo, most_bytes: int) -> Iterator[bytes]:
    if not 0 <= member.header_offset <= _FARTHEST:
        raise zipfile.BadZipFile(f"the directory names the place {member.header_offset}")
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
        if size_bytes > most_bytes:
            raise zipfile.BadZipFile(f"it inflates to more than {most_bytes:,} bytes")
        crc = isal_zlib.crc32(piece, crc)
        yield piece
    if inflate is not None and not inflate.eof:
        raise EOFError("the compressed data has no end")
    if size_bytes != member.file_size or crc != member.CRC:
        found = f"{size_bytes} bytes with crc {crc:08x}"
        raise zipfile.BadZipFile(f"{found} instead of {member.file_size} with {member.CRC:08x}")
