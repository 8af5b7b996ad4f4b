"""What the watchdog tells people by the webhook.

Belongs here: when a verdict is worth a message. Does not belong here: sending (`lake_resources.messages.outbox`).
"""

from __future__ import annotations

from collections.abc import Callable

from lake_assets.automation.health import Health
from lake_resources.errors import LakeError
from lake_resources.messages.alerts import Alert
from lake_resources.messages.outbox import Outbox


class Teller:
    """Posts to the webhook when the platform's problems change, and delivers older messages that it did not take.

    Args:
        outbox: of the lake.
        say: takes a line for the log.
    """

    def __init__(self, outbox: Outbox, say: Callable[[str], None]) -> None:
        self._outbox = outbox
        self._say = say
        self._told: tuple[str, ...] = ()
        self._trouble = ""

    def tell(self, health: Health) -> None:
        """Post the verdict if its problems are others than those posted last; else deliver what still waits.

        A platform that is starting is not judged. What cannot be posted is said in the log and tried at the next look.
        """
        kinds = self._told if health.status == "STARTING" else tuple(sorted(map(_kind, health.problems)))
        try:
            if kinds == self._told:
                trouble = self._outbox.deliver()
            else:
                alert = _alert(health)
                self._say(f"{alert.subject}: {alert.detail}")
                trouble = self._outbox.post(alert)
                self._told = kinds
        except LakeError as error:
            trouble = f"people could not be told, the next look tries again: {error}"
        if trouble != self._trouble and trouble:
            self._say(trouble)
        self._trouble = trouble

    def close(self) -> None:
        """Close the outbox."""
        self._outbox.close()


def _alert(health: Health) -> Alert:
    if health.problems:
        return Alert("unhealthy", f"{len(health.problems)} problems", "\n".join(health.problems), health.at)
    return Alert("healthy_again", "well again", "Nothing needs a person.", health.at)


def _kind(problem: str) -> str:
    """The first 60 characters of a problem without digits: the same problem with other figures is no news."""
    return "".join(letter for letter in problem if not letter.isdigit())[:60]
