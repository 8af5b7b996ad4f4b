"""What the watchdog said last: collector, latencies, late archives, for the page of quality.

Belongs here: reading its heartbeat, also where it is absent or torn. Does not belong here: judging, looking itself (the
watchdog does, once a minute).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lake_resources.settings import LakeSettings

_LATE = "late: "


def last_beat(settings: LakeSettings) -> Mapping[str, Any] | None:
    """The heartbeat as JSON values; None where no `lake up` has written one that reads."""
    path = settings.lake_root / "logs" / "health" / "heartbeat.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def age_text(beat: Mapping[str, Any], now: datetime) -> str:
    """When the heartbeat was written, and how long ago that is."""
    text = str(beat.get("ts_utc"))
    try:
        seconds = (now - datetime.fromisoformat(text)).total_seconds()
    except (ValueError, TypeError):
        return f"written at {text}"
    return f"written {seconds:,.0f} s ago, at {text}"


def latencies(beat: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per market whose collector the heartbeat knows: status, last frame, milliseconds from exchange to here."""
    collector = beat.get("collector")
    named = [("um", collector), ("spot", collector.get("spot") if isinstance(collector, dict) else None)]
    return [
        {
            "market": market,
            "status": found.get("status"),
            "last frame (UTC)": found.get("last_seen_ts"),
            "p50 ms": found.get("last_latency_p50_ms"),
            "p95 ms": found.get("last_latency_p95_ms"),
            "max ms": found.get("last_latency_max_ms"),
        }
        for market, found in named
        if isinstance(found, dict) and found
    ]


def late_archives(beat: Mapping[str, Any]) -> list[str]:
    """Archive files that are so late that people are told."""
    problems = beat.get("problems")
    texts = map(str, problems) if isinstance(problems, list) else ()
    return [text.removeprefix(_LATE) for text in texts if text.startswith(_LATE)]
