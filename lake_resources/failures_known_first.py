"""An event log that tells of a run's failure when everything about it is known already.

Belongs here: the order, for any of Dagster's storages. Does not belong here: what is noted of a failed run
(`dagster_private`), how events are stored (`event_log`, `event_log_postgres`).
"""

from __future__ import annotations

from lake_resources.dagster_private import EventLogEntry, know_failure


class FailuresKnownFirst:
    """Beside one of Dagster's event log storages, before it in the bases: its `store_event` then comes second."""

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event; of a failure the run's status and tags come first."""
        if self.has_instance:  # type: ignore[attr-defined]
            know_failure(self._instance, event)  # type: ignore[attr-defined]
        super().store_event(event)  # type: ignore[misc]
