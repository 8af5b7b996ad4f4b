"""Many frames of a socket as columns, all at once.

Belongs here: picking fields from the bytes of frames. Does not belong here: what a field means (`spot_records`,
`heard_minutes`), reading records (`lake_resources.collector`).
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson
import polars as pl

from lake_resources.binance.ws.frames import decode

_WRAPPED, _DATA = b'{"stream":', b'"data":'


def columns_of_frames(payloads: list[bytes], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Fields of frames as columns; one that a frame lacks is NULL.

    Args:
        payloads: frames of a socket as they came, wrapped by a combined stream or not.
        schema: the fields that are wanted, by their names in the frame.
    """
    if not payloads:
        return pl.DataFrame(schema=schema)
    lines = b"\n".join([_bare(payload) for payload in payloads])
    return pl.read_ndjson(lines, schema=schema)


def _bare(payload: bytes) -> bytes:
    """A frame without the wrapping of a combined stream, on one line."""
    if payload.startswith(_WRAPPED):
        payload = payload[payload.index(_DATA) + len(_DATA) : payload.rindex(b"}")]
    elif _DATA in payload:
        payload = orjson.dumps(decode(payload))
    return payload.replace(b"\n", b" ") if b"\n" in payload else payload
