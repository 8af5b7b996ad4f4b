"""Messages to people that wait until their receiver takes them.

Belongs here: a table in the ledger's database, delivering in order. Does not belong here: a message's form (`alerts`).
Whoever posts delivers too, and the watchdog at each look: one process at a time, so that nothing arrives twice unless
that process dies between sending and noting it.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from lake_resources.errors import PartitionBusy, StorageError
from lake_resources.messages.alerts import Alert, deliver
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import LakePaths
from lake_resources.storage.ledger.engine import LedgerEngine
from lake_resources.storage.ledger.tables import OUTBOX
from lake_resources.storage.locks import writer_lock
from lake_resources.testing_mode import TEST_LABEL

MOST_KEPT = 500
"""Of a receiver that is gone for good, the newest messages are enough."""
_PER_DELIVERY = 20


class Outbox(LedgerEngine):
    """Messages of one lake, oldest first.

    Args:
        ledger_url: SQLAlchemy URL of the ledger.
        webhook_url: of the receiver; without one nothing is kept.
        lock_path: lock of the process that delivers.
        mark: stands before the subject of each message.
    """

    def __init__(self, ledger_url: str, webhook_url: str, lock_path: Path, mark: str = "") -> None:
        super().__init__(ledger_url)
        self._webhook_url = webhook_url
        self._lock_path = lock_path
        self._mark = mark

    def post(self, *alerts: Alert) -> str:
        """Keep messages and deliver what can be delivered.

        Returns:
            What kept the receiver from taking them, for a log; they are tried again. Empty when they were delivered.

        Raises:
            StorageError: a message could neither be kept nor delivered.
        """
        if not self._webhook_url or not alerts:
            return ""
        alerts = tuple(replace(each, subject=f"{self._mark}{each.subject}") for each in alerts)
        try:
            self._put(alerts)
        except StorageError:
            # A ledger that is locked or damaged is just what people must hear of.
            found = [deliver(self._webhook_url, alert) for alert in alerts]
            if not all(each.settled for each in found):
                raise
            return "; ".join(each.trouble for each in found if each.trouble)
        return self.deliver()

    def deliver(self) -> str:
        """Send what waits, in order, until the receiver does not take a message; returns why not."""
        if not self._webhook_url:
            return ""
        trouble = ""
        with ExitStack() as held:
            try:
                held.enter_context(writer_lock(self._lock_path, timeout_s=0))
            except PartitionBusy:
                return ""  # another process is at it
            for number, alert in self.waiting(_PER_DELIVERY):
                found = deliver(self._webhook_url, alert)
                trouble = found.trouble or trouble
                if not found.settled:
                    break
                with self.writing() as connection:
                    connection.execute(sa.delete(OUTBOX).where(OUTBOX.c.id == number))
        return trouble

    def waiting(self, limit: int = MOST_KEPT) -> list[tuple[int, Alert]]:
        """Messages that were not delivered yet, oldest first, each with its number."""
        columns = (OUTBOX.c.id, OUTBOX.c.kind, OUTBOX.c.subject, OUTBOX.c.detail, OUTBOX.c.at_utc)
        with self.reading() as connection:
            rows = connection.execute(sa.select(*columns).order_by(OUTBOX.c.id).limit(limit)).all()
        return [(number, Alert(*message)) for number, *message in rows]

    def _put(self, alerts: tuple[Alert, ...]) -> None:
        rows = [
            {"kind": each.kind, "subject": each.subject, "detail": each.detail, "at_utc": each.at} for each in alerts
        ]
        with self.writing() as connection:
            connection.execute(sa.insert(OUTBOX), rows)
            newest = sa.select(OUTBOX.c.id).order_by(OUTBOX.c.id.desc()).limit(MOST_KEPT)
            connection.execute(sa.delete(OUTBOX).where(OUTBOX.c.id.not_in(newest)))


def open_outbox(settings: LakeSettings) -> Outbox:
    """The outbox of a lake."""
    lock = LakePaths(settings.lake_root).outbox_lock_path
    mark = f"{TEST_LABEL}: " if settings.testing.enabled else ""
    return Outbox(settings.resolved_ledger_url, settings.webhook_url, lock, mark)
