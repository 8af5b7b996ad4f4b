"""The sign of life of the resident builder: a small file that it writes every few seconds, and whoever asks reads.

Belongs here: the form of the file, writing and reading it. Does not belong here: what follows from a builder that is
silent (`sensors.hot_band`, `automation.health`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from lake_resources.settings import LakeSettings
from lake_resources.storage.disk import replace_text


@dataclass(frozen=True)
class BuilderBeat:
    """What the resident builder says of itself.

    Attributes:
        at: when it said so, UTC.
        pid: its process.
        started: when it was started, UTC.
        turns: how often it looked what is due since then.
        turned: when the last of these ended, UTC.
        turn_ms: how long it took.
        failed: symbols whose last build failed, with the reason.
    """

    at: datetime
    pid: int
    started: datetime
    turns: int = 0
    turned: datetime | None = None
    turn_ms: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def turn(self) -> tuple[datetime, datetime] | None:
        """Start and end of the last turn, UTC; None before the first has ended."""
        return None if self.turned is None else (self.turned - timedelta(milliseconds=self.turn_ms), self.turned)


def builder_path(settings: LakeSettings) -> Path:
    """File of the resident builder's sign of life."""
    return settings.lake_root / "logs" / "health" / "builder.json"


def write_beat(settings: LakeSettings, beat: BuilderBeat) -> None:
    """Write a sign of life; a reader sees the last one or this one.

    Raises:
        DiskFull, StorageError: it cannot be written; the last one stays.
    """
    told = asdict(beat)
    told |= {name: value.isoformat() for name, value in told.items() if isinstance(value, datetime)}
    replace_text(builder_path(settings), json.dumps(told, indent=2) + "\n")


def last_beat(settings: LakeSettings) -> BuilderBeat | None:
    """The newest sign of life; None where there never was one, or what is there is none."""
    try:
        told = json.loads(builder_path(settings).read_text())
        times = {name: datetime.fromisoformat(told[name]) for name in ("at", "started", "turned") if told[name]}
        given = told | times
        return BuilderBeat(**given)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
