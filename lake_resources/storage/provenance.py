"""Which source each stream of an hour came from.

Belongs here: the reference of one stream's source, its rank, its JSON form in file metadata and ledger.
Does not belong here: choosing a source. Nothing in a reference may change between two runs of the same inputs
(no run id, no time of the run): it is part of the file's bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

SourceKind = Literal["archive", "archive+rest", "rest", "ws", "none"]

# An archive with minutes repaired from REST ranks as the archive does: either may replace the other, and then the
# number of rows decides. The same holds for what was captured from REST and from the WebSocket.
_RANK: dict[str, int] = {"none": 0, "ws": 1, "rest": 1, "archive+rest": 2, "archive": 2}


@dataclass(frozen=True)
class SourceRef:
    """Where one stream of an hour came from.

    Args:
        stream: the lake's name of the stream, e.g. `agg_trades`.
        kind: `archive`, `archive+rest`, `rest`, `ws` or `none` (the columns are NULL).
        reference: what exactly: sha256 of the zip, content hash of the capture, or the reason for `none`.
        detail: more of the same, JSON values only.
    """

    stream: str
    kind: SourceKind
    reference: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in get_args(SourceKind):
            raise ValueError(f"{self.stream}: {self.kind!r} is not a kind of source; {', '.join(_RANK)} are")

    def as_json(self) -> dict[str, Any]:
        """The reference as JSON values."""
        return {"stream": self.stream, "kind": self.kind, "reference": self.reference, "detail": dict(self.detail)}


def rank(kind: SourceKind) -> int:
    """How trustworthy a kind of source is; a higher one may replace a lower one, never the other way."""
    return _RANK[kind]


def sources_to_json(sources: Mapping[str, SourceRef]) -> str:
    """Canonical JSON of the sources of an hour: sorted keys, so equal sources are equal bytes."""
    return json.dumps(
        {name: ref.as_json() for name, ref in sources.items()}, sort_keys=True, separators=(",", ":"), allow_nan=False
    )


def sources_from_json(text: str) -> dict[str, SourceRef]:
    """The inverse of `sources_to_json`."""
    return {
        name: SourceRef(ref["stream"], ref["kind"], ref["reference"], ref["detail"])
        for name, ref in json.loads(text).items()
    }


def lower_ranked(before: Mapping[str, SourceRef], after: Mapping[str, SourceRef]) -> list[str]:
    """Streams whose source in `after` ranks lower than in `before`; a stream that is gone ranks as `none`."""

    def level(sources: Mapping[str, SourceRef], stream: str) -> int:
        return rank(sources[stream].kind) if stream in sources else 0

    return sorted(stream for stream in before if level(after, stream) < level(before, stream))


def describe(sources: Mapping[str, SourceRef], streams: Iterable[str]) -> str:
    """`stream=kind` of the named streams, for messages."""
    return ", ".join(f"{name}={sources[name].kind if name in sources else 'none'}" for name in streams)
