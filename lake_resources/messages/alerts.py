"""Telling people outside: one JSON message to a webhook.

Belongs here: the message's form, sending it once. Does not belong here: what is worth telling, keeping what was not
delivered (`outbox`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import httpx

_TIMEOUT_S = 5.0
_REFUSED_FOR_GOOD = {400, 413, 415, 422}
"""It is this message that the receiver does not take; others may follow."""


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


@dataclass(frozen=True)
class Delivery:
    """What became of a message.

    Attributes:
        trouble: what went wrong, for a log; empty when it was delivered (or when there is no address).
        settled: it need not be sent again: it was delivered, or the receiver will never take it.
    """

    trouble: str = ""
    settled: bool = True


def deliver(url: str, alert: Alert) -> Delivery:
    """Post an alert. A receiver that is down must not stop the lake, so nothing is raised."""
    if not url:
        return Delivery()
    try:
        answer = httpx.post(url, json=alert.body(), timeout=_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # Its text may hold the address, and the address is the secret.
        return Delivery(f"the webhook did not answer: {type(error).__name__}", settled=False)
    if answer.is_success:
        return Delivery()
    return Delivery(f"the webhook answered {answer.status_code}", settled=answer.status_code in _REFUSED_FOR_GOOD)
