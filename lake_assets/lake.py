"""The lake as one object: a table of it, clients and clock.

Belongs here: composing them. Does not belong here: any work with them, the lake without its clients (`at_rest`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from lake_assets.at_rest import LakeAtRest, store_of
from lake_assets.slices.as_source import slice_source
from lake_assets.source import Source
from lake_resources.binance.archives.vision_client import VisionClient
from lake_resources.binance.market import MARKETS
from lake_resources.binance.rest.rest_client import BinanceRest
from lake_resources.clock import Clock, system_clock
from lake_resources.input_limits import DEFAULT_LIMITS, InputLimits
from lake_resources.rest_access import rest_access
from lake_resources.settings import LakeSettings
from lake_resources.storage.locks import DEFAULT_TIMEOUT_S
from lake_resources.storage.root import claim_root, require_lake

CODE_VERSION = "1"
"""Version of the transforms: raised by hand when the same inputs give other rows, so that hours are rebuilt."""

HOT_LOCK_WAIT_S = 5.0
"""`Lake.lock_wait_s` of what keeps all symbols of the hot band: a lock is held for a commit or a rename, so that who
has it for longer hangs, and the others would wait too."""


@dataclass(frozen=True)
class Lake(LakeAtRest):
    """Everything that building an hour needs: the lake at rest, and the exchange.

    Attributes:
        rest_of: REST of each market, by its name.
        vision: the archives of all markets.
        max_ffill_minutes: how long a slow series may be carried forward.
        quote_carry: how long a quote of spot stands for later seconds.
        ask_rest: without it hours are built from archives, and from what REST said before.
        limits: how much a file of strangers may hold.
        before_rest: sources that are asked before REST is, in order; hours that one has are not asked for again.
        judging: nothing is fetched and no file of a partition is written: builds only say of what is committed what
            its sources say of it.
        lock_wait_s: how long a build waits for another writer of its symbol, seconds.
    """

    rest_of: Mapping[str, BinanceRest]
    vision: VisionClient
    max_ffill_minutes: int
    quote_carry: timedelta = timedelta(seconds=10)
    ask_rest: bool = True
    limits: InputLimits = DEFAULT_LIMITS
    before_rest: tuple[Source, ...] = ()
    judging: bool = False
    lock_wait_s: float = DEFAULT_TIMEOUT_S

    @property
    def rest(self) -> BinanceRest:
        """REST of the market whose table the work is on."""
        return self.rest_of[self.store.layout.market]

    def close(self) -> None:
        """Close connections and threads; the lake on the disk is not touched."""
        for rest in self.rest_of.values():
            rest.close()
        self.vision.close()
        super().close()


def open_lake(
    settings: LakeSettings, *, clock: Clock = system_clock, sleep: Callable[[float], None] = time.sleep
) -> Lake:
    """Open (and create, the first time) the lake of the settings.

    Raises:
        SettingsError: the root belongs to another exchange.
    """
    claim_root(settings.lake_root, settings.exchange, settings.ledger_file)
    return Lake(
        store=store_of(settings),
        clock=clock,
        safety_lag_minutes=settings.safety_lag_minutes,
        rest_of={
            name: rest_access(settings, market).open(clock=clock, sleep=sleep) for name, market in MARKETS.items()
        },
        vision=VisionClient(
            settings.resolved_vision_url,
            connections=settings.vision_connections,
            sleep=sleep,
            limits=settings.limits,
        ),
        max_ffill_minutes=settings.max_ffill_minutes,
        quote_carry=timedelta(seconds=settings.quote_carry_s),
        limits=settings.limits,
        before_rest=(slice_source(settings),),
    )


def open_existing(settings: LakeSettings, *, clock: Clock = system_clock) -> Lake:
    """Open a lake that is there, with the clients of its exchange: a mistyped root is not created by looking at it.

    Raises:
        SettingsError: there is none, or it belongs to another exchange.
    """
    require_lake(settings.lake_root, settings.exchange, settings.ledger_file)
    return open_lake(settings, clock=clock)
