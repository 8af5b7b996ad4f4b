"""Keeping raw answers complete: opening a data root, one round, rounds without end.

Belongs here: wiring from the settings, the lock of a set of slices, waiting between rounds. Does not belong here: a
round's steps (`loop`), Dagster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from lake_assets.slices.data_root import Slices
from lake_assets.slices.endpoints import ENDPOINTS, endpoint_of
from lake_assets.slices.loop import Round, run_round
from lake_assets.slices.manifest import directory
from lake_resources.clock import Clock, system_clock
from lake_resources.data_root import data_root_of
from lake_resources.errors import ExchangeError, PartitionBusy, SettingsError
from lake_resources.rest_access import rest_access
from lake_resources.settings import LakeSettings
from lake_resources.storage.blobs import open_blobs
from lake_resources.storage.file_store import open_files
from lake_resources.storage.ledger.slice_rows import SliceRows, SliceSet
from lake_resources.storage.locks import is_held, writer_lock
from lake_resources.storage.raw_store import RawStore
from lake_resources.storage.root import claim_blobs, claim_root

Say = Callable[[str], None]


def slice_rows(settings: LakeSettings) -> SliceRows:
    """The ledger of the slices; nothing is opened or created before the first use."""
    is_own = settings.slices_root is not None
    files = open_files(settings.resolved_slices_root) if is_own else open_files(settings.lake_root, settings.store_url)
    return SliceRows(settings.resolved_slices_ledger_url, files=files)


@contextmanager
def open_slices(
    settings: LakeSettings,
    *,
    data_root: Path | str | None = None,
    begin: bool = True,
    clock: Clock = system_clock,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Slices]:
    """The slices of a data root: the argument, else `QLIR_DATA_ROOT` or `LAKE_SLICES_ROOT`, else below the lake's root.

    Raises:
        SettingsError: the root holds data of another exchange, is the URL of no bucket, or is not there and shall not
            be begun (`begin`).
        StorageError: the bucket cannot be reached.
    """
    if data_root is not None:
        settings = settings.model_copy(update={"slices_root": data_root_of(data_root)})
    root = settings.resolved_slices_root
    place = settings.lake_root if settings.slices_root is None else root
    if not begin and not settings.slices_bucket and not place.is_dir():
        raise SettingsError(f"there are no slices at {root}", remedy="Set LAKE_ROOT, or --data-root, to those you mean")
    claim_root(place, settings.exchange)
    blobs = open_blobs(settings.slices_bucket or root)
    if settings.slices_bucket:
        claim_blobs(blobs, settings.exchange)
    markets = {endpoint.market.name: endpoint.market for endpoint in ENDPOINTS.values()}
    with ExitStack() as opened:
        rest = {
            name: opened.enter_context(closing(rest_access(settings, market).open(clock=clock, sleep=sleep)))
            for name, market in markets.items()
        }
        rows = opened.enter_context(closing(slice_rows(settings)))
        yield Slices(
            root, rows, RawStore(blobs, settings.slices_form), rest, clock, timedelta(seconds=settings.slices_pause_s)
        )


@contextmanager
def alone(slices: Slices, of: SliceSet, *, timeout_s: float = 0) -> Iterator[None]:
    """Nobody else writes slices of this endpoint, symbol and interval meanwhile: no loop, no Dagster run, no command.

    Raises:
        PartitionBusy: another process is at work on them, and was for all of the time-out.
    """
    with writer_lock(_lock_of(slices, of), timeout_s=timeout_s):
        yield


def is_worked_on(slices: Slices, of: SliceSet) -> bool:
    """Whether a process is at work on slices of this endpoint, symbol and interval now."""
    return is_held(_lock_of(slices, of))


def _lock_of(slices: Slices, of: SliceSet) -> Path:
    return slices.root / ".locks" / f"slices-{of.endpoint}-{of.symbol}-{of.interval}.lock"


def run_once(
    slices: Slices, of: SliceSet, *, until: int | None = None, most: int | None = None, first: int | None = None
) -> Round:
    """One round over the slices of an endpoint, symbol and interval; no other process works on them meanwhile.

    Raises:
        PartitionBusy: another process is at work on them.
        ExchangeError, SettingsError: as `run_round`.
    """
    endpoint = endpoint_of(of.endpoint, of.interval)
    with alone(slices, of):
        return run_round(slices, endpoint, of, until=until, most=most, first=first)


def start_data_server(
    symbols: Sequence[str] | None = None,
    intervals: Sequence[str] = ("1m",),
    *,
    endpoint: str = "klines",
    data_root: Path | str | None = None,
    settings: LakeSettings | None = None,
    rounds: int | None = None,
    say: Say = print,
) -> list[Round]:
    """Keep the raw answers of some symbols complete, until interrupted: generate → diff → fetch → persist.

    Args:
        symbols: e.g. `["BTCUSDT"]`; default those of the settings.
        intervals: of the endpoint, e.g. `1m`, `1s`.
        endpoint: `klines`, `fundingRate` or `aggTrades`.
        data_root: a directory or `s3://bucket/prefix`; default `QLIR_DATA_ROOT`, else below the lake's root.
        settings: default the environment's.
        rounds: end after so many; default never.
        say: takes a line per set of slices and round.

    Returns:
        What the last round did, one per symbol and interval.

    Raises:
        SettingsError: no such endpoint, interval or symbol.
        StorageError: an answer or a status cannot be written.
    """
    settings = settings or LakeSettings()
    sets = [SliceSet(endpoint, symbol, interval) for symbol in symbols or settings.symbols for interval in intervals]
    for of in sets:
        endpoint_of(of.endpoint, of.interval)
    done: list[Round] = []
    with open_slices(settings, data_root=data_root) as slices:
        count = 0
        try:
            while rounds is None or count < rounds:
                done = [_tried(slices, of, say) for of in sets]
                count += 1
                if rounds is None or count < rounds:
                    time.sleep(settings.slices_poll_s)
        except KeyboardInterrupt:  # how whoever started it ends it; every answer so far is on the disk
            say("interrupted: the next start goes on from here")
    return done


def summary(done: Round) -> str:
    """A round as one line for people."""
    counts = ", ".join(f"{count} {status}" for status, count in sorted(done.standing.items()))
    line = f"{directory(done.of)}: {done.expected} slices ({counts or 'none yet'}), {done.asked} asked for"
    return f"{line}; stopped: {done.stopped}" if done.stopped else line


def _tried(slices: Slices, of: SliceSet, say: Say) -> Round:
    """A round that an exchange or another process at work does not end: the next one tries again."""
    try:
        done = run_once(slices, of)
    except (ExchangeError, PartitionBusy) as error:
        done = replace(Round(of), stopped=str(error))
    say(summary(done))
    return done
