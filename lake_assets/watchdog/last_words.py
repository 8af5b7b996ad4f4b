"""The heartbeat's files, what it said last, and its last words when nobody else is left to write them.

Belongs here: what needs neither Dagster nor the ledger, so that it takes no time at the end. Does not belong here:
looking at the platform (`look`), the process that does (`heartbeat`).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lake_assets.automation.health import WAS_STOPPED, judge
from lake_assets.automation.health_page import heartbeat, page
from lake_assets.automation.platform import Facts
from lake_resources.settings import LakeSettings
from lake_resources.storage.disk import replace_text

_DAMAGED = (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What a file that is no heartbeat of ours makes of being read as one."""


def heartbeat_path(settings: LakeSettings) -> Path:
    """The heartbeat as JSON."""
    return settings.lake_root / "logs" / "health" / "heartbeat.json"


def report_path(settings: LakeSettings) -> Path:
    """The same as a Markdown page for people."""
    return settings.lake_root / "reports" / "health.md"


def last_words(settings: LakeSettings) -> tuple[datetime | None, bool]:
    """When the watchdog wrote its last heartbeat, UTC, and whether that one said that the platform was stopped."""
    try:
        beat = json.loads(heartbeat_path(settings).read_text())
        at = datetime.fromisoformat(beat["ts_utc"])
        return (at if at.tzinfo else at.replace(tzinfo=UTC)), WAS_STOPPED in beat["problems"]
    except _DAMAGED:  # as where there is none
        return None, False


def last_heartbeat(settings: LakeSettings, *, started: datetime, now: datetime) -> bool:
    """Write that the platform was stopped, where the watchdog was ended before it could write it itself.

    What the newest heartbeat of this start knows is kept; nothing is looked at, so that it takes no time.

    Args:
        settings: of the lake.
        started: when the platform was started; an older heartbeat is none of this start, UTC.
        now: the moment of the end, UTC.

    Returns:
        Whether it was needed.

    Raises:
        DiskFull: no space.
    """
    at, stopped = last_words(settings)
    if stopped and at is not None and at >= started.replace(microsecond=0):
        return False
    facts = Facts(started=started, stopping=True, testing=settings.testing.enabled)
    beat = heartbeat(facts, judge(facts, now))
    if at is not None and at >= started.replace(microsecond=0):
        beat = _stopped(settings, beat)
    replace_text(heartbeat_path(settings), json.dumps(beat, indent=2) + "\n")
    replace_text(report_path(settings), page(beat))
    return True


def _stopped(settings: LakeSettings, beat: dict[str, Any]) -> dict[str, Any]:
    """The newest heartbeat with everything stopped, or the given one where what is there is no whole heartbeat."""
    try:
        known = json.loads(heartbeat_path(settings).read_text())
        for part in ("collector", "macro_minute", "transformer"):
            known[part]["status"] = "stopped"
        for market in known["markets"].values():
            market["status"] = "stopped"
        known |= {name: beat[name] for name in ("ts_utc", "mode", "status", "problems")}
        page(known)
    except _DAMAGED:
        return beat
    return dict(known)
