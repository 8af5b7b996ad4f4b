"""What the watchdog tells people by the webhook.

Belongs here: when a verdict is worth a message. Does not belong here: sending (`lake_resources.alerts`).
"""

from __future__ import annotations

from collections.abc import Callable

from lake_assets.automation.health import Health
from lake_resources.alerts import Alert, send
from lake_resources.settings import LakeSettings


def tell(settings: LakeSettings, health: Health, told: tuple[str, ...], say: Callable[[str], None]) -> tuple[str, ...]:
    """Tell the webhook what changed; returns what it knows now."""
    if health.status == "STARTING":
        return told
    kinds = tuple(sorted(_kind(problem) for problem in health.problems))
    if kinds == told:
        return told
    if kinds:
        alert = Alert("unhealthy", f"{len(health.problems)} problems", "\n".join(health.problems), health.at)
    else:
        alert = Alert("healthy_again", "well again", "Nothing needs a person.", health.at)
    say(f"{alert.subject}: {alert.detail}")
    trouble = send(settings.webhook_url, alert)
    if trouble:
        say(trouble)
    return kinds


def _kind(problem: str) -> str:
    """A problem without the figures that change every minute."""
    return "".join(letter for letter in problem if not letter.isdigit())[:60]
