"""What a broken or hostile host sends: bodies without end, or one byte at a time, bombs, zips that lost bytes.

Belongs here: the bytes, made piece by piece. Does not belong here: which request gets them (`faults`).
"""

from __future__ import annotations

import asyncio
import io
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator

from starlette.responses import Response, StreamingResponse

from lake_resources.simulator.faults import Fault

_MIB = 1 << 20
_DIRECTORY = b"PK\x01\x02"


def response(fault: Fault) -> Response:
    """The answer of an `endless`, `trickle` or `packed` fault."""
    if fault.kind == "packed":
        return StreamingResponse(
            _packed(fault.size_mib), media_type="application/json", headers={"Content-Encoding": "gzip"}
        )
    return StreamingResponse(_slow(fault) if fault.kind == "trickle" else _endless(), media_type="application/json")


async def _endless() -> AsyncIterator[bytes]:
    piece = b"[" + b"1," * (_MIB // 8)
    while True:
        yield piece
        await asyncio.sleep(0)


async def _slow(fault: Fault) -> AsyncIterator[bytes]:
    while True:
        yield b"1"
        await asyncio.sleep(fault.delay_s)


def _packed(size_mib: int) -> Iterator[bytes]:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    yield packer.compress(b'["')
    for _ in range(size_mib):
        yield packer.compress(bytes(_MIB))
    yield packer.compress(b'"]') + packer.flush()


def damaged_zip(body: bytes, fault: Fault) -> bytes:
    """A zip after a `lost_byte` or `unix_lines` fault: its directory is whole, what it points at has moved."""
    directory = max(body.rfind(_DIRECTORY), 1)
    if fault.kind == "unix_lines":
        return body.replace(b"\r\n", b"\n")
    at = min(int(directory * fault.fraction), directory - 1)
    return body[:at] + body[at + 1 :]


def stuffed_zip(stem: str, csv: bytes, fault: Fault) -> bytes:
    """A zip of a `crowded` fault (`count` members), or of an `inflating` one.

    The latter repeats the CSV's last line `size_mib` MiB long, with `every=0` as one line.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        if fault.kind == "crowded":
            for number in range(fault.count):
                archive.writestr(f"{stem}-{number}.csv", b"")
        else:
            _fill(archive, f"{stem}.csv", csv, fault)
    return buffer.getvalue()


def _fill(archive: zipfile.ZipFile, name: str, csv: bytes, fault: Fault) -> None:
    last = csv.rstrip(b"\n").rsplit(b"\n", 1)[-1] + b"\n"
    block = (last if fault.every else last.strip()) * (_MIB // len(last))
    with archive.open(name, "w", force_zip64=True) as member:
        member.write(csv)
        for _ in range(fault.size_mib):
            member.write(block)
