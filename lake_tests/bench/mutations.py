"""Ways in which bytes of others go wrong: seeded changes of real ones.

Belongs here: bytes in, bytes out. Does not belong here: what reads them (`fuzz`).
"""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable, Sequence

NASTY = [
    b"", b"0", b"-1", b"NaN", b"nan", b"inf", b"-Infinity", b"null", b"true", b"[]", b"{}", b'""', b"1e999", b"1E+12",
    b"9" * 20, b"9" * 400, b"-9223372036854775808", b"18446744073709551616", b"0.1.2", b"\xff\xfe", b"\x00",
    "٣".encode(), "²".encode(), b"1_000", b"0x10", b'"', b'""', b"\r", b"\n", b"\r\n", b",", b",,,,,,,,,,",
    b"2026-13-45",
    b"9999-12-31 23:59:59", b"0001-01-01 00:00:00", b"253402300800000", b"99999999999999999", b"[" * 2000,
    b'{"code":-1003,"msg":"banned until 9999999999999"}', b"x" * 70_000, b"Infinity", b"1.7976931348623157e308",
]  # fmt: skip
"""What stands in the place of a field."""

_Change = Callable[[random.Random, bytes], bytes]


def _spot(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + int(rng.expovariate(1 / 8)) + 1)


def _flip(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def _lose(rng: random.Random, data: bytes) -> bytes:
    start, end = _spot(rng, data)
    return data[:start] + data[end:]


def _lose_one(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + 1 :]


def _insert(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]


def _repeat(rng: random.Random, data: bytes) -> bytes:
    start, end = _spot(rng, data)
    return data[:end] + data[start:end] * rng.randrange(1, 50) + data[end:]


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _behead(rng: random.Random, data: bytes) -> bytes:
    return data[rng.randrange(len(data)) :]


def _swap(rng: random.Random, data: bytes) -> bytes:
    a, b, c = sorted(rng.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _unix_lines(_rng: random.Random, data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n") if b"\r\n" in data else data.replace(b"\n", b"\r\n")


def _field(rng: random.Random, data: bytes) -> bytes:
    """One field, between separators of CSV or JSON, becomes something nasty."""
    at = rng.randrange(len(data))
    start = max(data.rfind(sep, 0, at) for sep in (b",", b":", b"\n", b'"', b"[", b" ")) + 1
    ends = [end for sep in (b",", b"\n", b'"', b"]", b"}", b" ") if (end := data.find(sep, start)) >= 0]
    return data[:start] + rng.choice(NASTY) + data[min(ends, default=len(data)) :]


def _line(rng: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(4)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == 2:
        lines.insert(at, lines[other])
    else:
        lines[at] = lines[at][: len(lines[at]) // 2]
    return b"\n".join(lines)


_CHANGES: tuple[_Change, ...] = (
    _flip, _lose, _lose_one, _insert, _repeat, _cut, _behead, _swap, _unix_lines, _field, _field, _field, _line, _line,
)  # fmt: skip


def mutated(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """One to four changes, now and then joined with bytes of another sample."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if data:
            data = rng.choice(_CHANGES)(rng, data)
    if others and rng.random() < 0.03:
        other = rng.choice(others)
        data = data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]
    return data


def near_the_directory(rng: random.Random, data: bytes) -> bytes:
    """The same for the last bytes of a zip alone, where its numbers are."""
    cut = max(len(data) - 160, 0)
    return data[:cut] + mutated(rng, data[cut:], ())


def zipped(name: str, csv: bytes) -> bytes:
    """A sound zip of one CSV."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(name, csv)
    return buffer.getvalue()
