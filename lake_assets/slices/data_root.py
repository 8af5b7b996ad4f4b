"""A data root of raw slices, opened: where answers and statuses lie, and who is asked.

Belongs here: the record. Does not belong here: opening it from the settings (`server`), any work on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from lake_assets.slices.expected import PAUSE
from lake_resources.binance.rest.rest_client import BinanceRest
from lake_resources.clock import Clock
from lake_resources.storage.ledger.slice_rows import SliceRows
from lake_resources.storage.raw_store import RawStore


@dataclass(frozen=True)
class Slices:
    """The slices of a data root.

    Attributes:
        root: local directory of the locks; the data root itself where that is a directory.
        rows: the ledger.
        store: the answers, below `binance/<endpoint>/raw/` of the data root; the manifests lie there, too.
        rest: who is asked, by market.
        clock: the current instant, for stamps and pauses; what is final is decided by the exchange's clock.
        pause: how long the same gap is left alone.
    """

    root: Path
    rows: SliceRows
    store: RawStore
    rest: Mapping[str, BinanceRest]
    clock: Clock
    pause: timedelta = PAUSE
