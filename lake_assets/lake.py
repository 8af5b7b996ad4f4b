"""The lake as one object: its files, ledger, clients and clock.

Belongs here: composing them, refusing to mix exchanges in one root.
Does not belong here: any work with them.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lake_resources.binance.archives.vision_client import VisionClient
from lake_resources.binance.rest.rest_client import BinanceRest
from lake_resources.clock import Clock, system_clock
from lake_resources.errors import SettingsError
from lake_resources.governor import WeightGovernor
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import Catalog
from lake_resources.storage.disk import disk_errors
from lake_resources.storage.ledger.ledger import Ledger

CODE_VERSION = "1"
"""Version of the transforms: raised by hand when the same inputs give other rows, so that hours are rebuilt."""


@dataclass(frozen=True)
class Lake:
    """Everything that building an hour needs.

    Attributes:
        clock: the only source of the current time.
        safety_lag_minutes: a minute is built once it is closed for this long.
        max_ffill_minutes: how long a slow series may be carried forward.
        ask_rest: without it hours are built from archives, and from what REST said before.
    """

    catalog: Catalog
    ledger: Ledger
    rest: BinanceRest
    vision: VisionClient
    clock: Clock
    safety_lag_minutes: int
    max_ffill_minutes: int
    ask_rest: bool = True

    def close(self) -> None:
        """Close connections and threads; the lake on the disk is not touched."""
        self.rest.close()
        self.vision.close()
        self.ledger.close()


def open_rest(
    settings: LakeSettings, *, clock: Clock = system_clock, sleep: Callable[[float], None] = time.sleep
) -> BinanceRest:
    """The REST client of the settings, behind the host's weight governor."""
    path = settings.resolved_governor_path
    path.parent.mkdir(parents=True, exist_ok=True)
    return BinanceRest(
        settings.resolved_rest_url,
        governor=WeightGovernor(path, clock=clock, share=settings.weight_share, sleep=sleep),
        clock=clock,
        timeout_s=settings.rest_timeout_s,
        attempts=settings.rest_attempts,
        sleep=sleep,
    )


def open_lake(
    settings: LakeSettings, *, clock: Clock = system_clock, sleep: Callable[[float], None] = time.sleep
) -> Lake:
    """Open (and create, the first time) the lake of the settings.

    Raises:
        SettingsError: the root belongs to another exchange.
    """
    root = settings.lake_root
    claim_root(root, settings.exchange)
    return Lake(
        Catalog(root),
        Ledger(settings.resolved_ledger_url, settings.lake_root),
        open_rest(settings, clock=clock, sleep=sleep),
        VisionClient(settings.resolved_vision_url, connections=settings.vision_connections, sleep=sleep),
        clock,
        settings.safety_lag_minutes,
        settings.max_ffill_minutes,
    )


def open_existing(settings: LakeSettings, *, clock: Clock = system_clock) -> Lake:
    """Open a lake that is there, for commands that change nothing: a mistyped root is not created by looking at it.

    Raises:
        SettingsError: there is none, or it belongs to another exchange.
    """
    require_lake(settings)
    return open_lake(settings, clock=clock)


def require_lake(settings: LakeSettings) -> None:
    """Refuse a root without a lake.

    Raises:
        SettingsError: there is no directory, or none that a lake was begun in.
    """
    root = settings.lake_root
    if not (root / "EXCHANGE").is_file():
        what = f"{root} is no lake" if root.is_dir() else f"there is no lake at {root}"
        raise SettingsError(
            what, remedy="Set LAKE_ROOT or LAKE_EXCHANGE to the lake you mean, or begin one with `lake init-state`"
        )


def claim_root(root: Path, exchange: str) -> None:
    """Mark a root as holding data of one exchange; simulated and real rows are never mixed.

    Raises:
        SettingsError: it holds data of another one.
    """
    root.mkdir(parents=True, exist_ok=True)
    marker = root / "EXCHANGE"
    if not marker.exists():
        with disk_errors(f"claim {root}"), tempfile.NamedTemporaryFile("w", dir=root, prefix=".EXCHANGE-") as file:
            file.write(exchange + "\n")
            file.flush()
            # Two first users at once: one of them names the exchange, and neither reads a half-written name.
            with suppress(FileExistsError):
                os.link(file.name, marker)
    found = marker.read_text().strip()
    if found != exchange:
        raise SettingsError(
            f"{root} holds data of the exchange {found!r}, the settings say {exchange!r}",
            remedy="Set LAKE_ROOT to another directory: simulated and real rows are never mixed",
        )
