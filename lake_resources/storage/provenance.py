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

SourceKind = Literal[
    "archive", "archive+rest", "archive+ws", "archive+rest+ws", "rest", "rest+ws", "ws", "none"
]  # fmt: skip

# An archive with minutes repaired from elsewhere ranks as the archive does: either may replace the other, and then what
# is proven and the number of rows decide. The same holds for what was captured from REST and from the WebSocket.
_RANK: dict[str, int] = {"none": 0} | {
    kind: 2 if kind.startswith("archive") else 1 for kind in get_args(SourceKind) if kind != "none"
}

LOST = "lost"
"""In the detail of a reference: minutes of the hour that no source proves, e.g. `10-14,59`; absent where all are."""


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


def minutes_text(minutes: Iterable[int]) -> str:
    """Minutes of an hour as text, `10-14,59`; the inverse of `minutes_of`."""
    runs: list[list[int]] = []
    for minute in sorted(set(minutes)):
        if runs and minute == runs[-1][1] + 1:
            runs[-1][1] = minute
        else:
            runs.append([minute, minute])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)


def minutes_of(text: str) -> set[int]:
    """Minutes of an hour that `minutes_text` names."""
    found: set[int] = set()
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def lost_minutes(sources: Mapping[str, SourceRef], stream: str) -> set[int]:
    """Minutes of the hour that the source of a stream does not prove; all of them where there is no source."""
    if stream not in sources or sources[stream].kind == "none":
        return set(range(60))
    return minutes_of(str(sources[stream].detail.get(LOST, "")))


def lower_ranked(
    before: Mapping[str, SourceRef], after: Mapping[str, SourceRef], *, judged: bool = True, until_minute: int = 60
) -> list[str]:
    """Streams of which `after` loses something that `before` has: minutes that are proven, else a better source.

    Args:
        before: sources of what is there.
        after: sources of what would replace it; a stream that is gone is one without a source.
        judged: whether the sources of `before` were held against their witnesses; else only kinds are compared where
            those of `after` lack minutes, because nobody knows which minutes `before` lacks.
        until_minute: of the hour, from which on `before` has no rows: what `after` lacks there is no loss.
    """

    def level(sources: Mapping[str, SourceRef], stream: str) -> int:
        return rank(sources[stream].kind) if stream in sources else 0

    def worse(stream: str) -> bool:
        held = lost_minutes(before, stream)
        new = {minute for minute in lost_minutes(after, stream) if minute < until_minute}
        lower = level(after, stream) < level(before, stream)
        if held == new or (not judged and level(after, stream)):
            return lower
        return not new < held

    return sorted(stream for stream in before if worse(stream))


def describe(sources: Mapping[str, SourceRef], streams: Iterable[str]) -> str:
    """`stream=kind` of the named streams, for messages."""
    return ", ".join(f"{name}={sources[name].kind if name in sources else 'none'}" for name in streams)
