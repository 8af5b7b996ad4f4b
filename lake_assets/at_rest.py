"""The lake at rest: its files, ledger and clock, without the clients of the exchange.

Belongs here: opening it for commands that read what is there. Does not belong here: anything that asks the exchange
(`lake`), any work with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from lake_resources.clock import Clock, system_clock
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import Catalog
from lake_resources.storage.ledger.ledger import Ledger
from lake_resources.storage.root import require_lake


@dataclass(frozen=True)
class LakeAtRest:
    """What reading a lake needs.

    Attributes:
        clock: the only source of the current time.
        safety_lag_minutes: a minute is built once it is closed for this long.
    """

    catalog: Catalog
    ledger: Ledger
    clock: Clock
    safety_lag_minutes: int

    def close(self) -> None:
        """Close connections; the lake on the disk is not touched."""
        self.ledger.close()


def open_at_rest(settings: LakeSettings, *, clock: Clock = system_clock) -> LakeAtRest:
    """Open a lake that is there: a mistyped root is not created by looking at it.

    Raises:
        SettingsError: there is none, or it belongs to another exchange.
    """
    require_lake(settings.lake_root, settings.exchange)
    return LakeAtRest(
        Catalog(settings.lake_root),
        Ledger(settings.resolved_ledger_url, settings.lake_root),
        clock,
        settings.safety_lag_minutes,
    )
