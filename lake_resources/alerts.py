"""Telling people outside: one JSON message to a webhook.

Belongs here: the message's form, sending it. Does not belong here: what is worth telling.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import httpx

_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Alert:
    """One message.

    Attributes:
        kind: `run_failed`, `archive_late`, `unhealthy` or `healthy_again`.
        subject: what it is about, in a few words.
        detail: the whole story.
        at: UTC.
    """

    kind: str
    subject: str
    detail: str
    at: datetime

    def body(self) -> dict[str, str]:
        """The JSON body. `text` is the whole message in one field, as chat services expect it."""
        return {
            "kind": self.kind,
            "subject": self.subject,
            "detail": self.detail,
            "ts_utc": f"{self.at:%Y-%m-%dT%H:%M:%SZ}",
            "text": f"minute-lake: {self.subject}\n{self.detail}",
        }


def send(url: str, alert: Alert) -> str:
    """Post an alert.

    Returns:
        What went wrong, for a log; empty when it was delivered (or when there is no address). A receiver that is down
        must not stop the lake, so nothing is raised.
    """
    if not url:
        return ""
    try:
        answer = httpx.post(url, json=alert.body(), timeout=_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"the webhook did not answer: {error!r}"
    return "" if answer.is_success else f"the webhook answered {answer.status_code}"
