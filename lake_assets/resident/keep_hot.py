"""The resident builder as a process: one per lake, awake soon after each minute, with a sign of life.

Belongs here: the lock, the loop, the sign of life, start and end; `python -m lake_assets.resident.keep_hot` is what
`lake keep-hot` turns into. Does not belong here: what a turn does (`hot_builder`), when the next one is (`automation`).
A module of its own because the command line imports Dagster, whose 70 MiB a process that runs for weeks need not hold.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import FrameType

from lake_assets.automation.each_symbol import ITEM_ERRORS
from lake_assets.automation.resident_turns import next_turn
from lake_assets.lake import Lake, open_lake
from lake_assets.resident.builder_beat import BuilderBeat, write_beat
from lake_assets.resident.hot_builder import HotBuilder, Say, Turn
from lake_resources.errors import LakeError, PartitionBusy
from lake_resources.legible import log_to_stdout
from lake_resources.settings import LakeSettings
from lake_resources.storage.locks import writer_lock

log = logging.getLogger("lake.builder")
_BEAT_EVERY_S = 10.0


@dataclass
class _Heart:
    """Writes the sign of life, at most every ten seconds unless something is new; a full disk does not end a turn."""

    settings: LakeSettings
    lake: Lake
    say: Say
    started: datetime = field(init=False)
    beat: BuilderBeat = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.lake.clock()
        self.beat = BuilderBeat(self.started, os.getpid(), self.started)
        self._write(self.beat)

    def lives(self) -> None:
        now, told = self.lake.clock(), self.beat
        # A clock that was set back would else silence it for as long as it was ahead.
        if not 0 <= (now - told.at).total_seconds() < _BEAT_EVERY_S:
            self._write(replace(told, at=now))

    def turned(self, turn: Turn, began: datetime) -> None:
        now = self.lake.clock()
        took_ms = max(0, int((now - began).total_seconds() * 1000))
        turns = self.beat.turns + 1
        self._write(BuilderBeat(now, self.beat.pid, self.started, turns, now, took_ms, turn.failed))

    def _write(self, beat: BuilderBeat) -> None:
        self.beat = beat
        _tell_systemd()
        try:
            write_beat(self.settings, beat)
        except (LakeError, OSError) as error:
            self.say(f"the sign of life could not be written: {error}")


def _tell_systemd() -> None:
    """The same sign of life for `WatchdogSec` of the unit, where systemd started this process."""
    address = os.environ.get("NOTIFY_SOCKET")  # noqa: TID251 - systemd's own, no setting of the lake
    if address:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.sendto(b"WATCHDOG=1", "\0" + address[1:] if address.startswith("@") else address)


def keep_hot_once(lake: Lake, settings: LakeSettings, *, say: Say) -> Turn:
    """One turn of the resident builder, without waiting for anything.

    Args:
        lake: the lake; its clock says what is closed.
        settings: of the lake.
        say: takes a line for the log.

    Raises:
        PartitionBusy: the lake has a resident builder already.
    """
    with writer_lock(lake.catalog.builder_lock_path, timeout_s=0):
        heart, began = _Heart(settings, lake, say), lake.clock()
        turn = HotBuilder(lake, settings, say, lambda _: None, heart.lives).turn(wait=False)
        heart.turned(turn, began)
    return turn


def keep_hot(lake: Lake, settings: LakeSettings, *, say: Say, stop: threading.Event) -> None:
    """Take turns until told to stop, each just after a minute has closed.

    Args:
        lake: the lake; its clock says what is closed.
        settings: of the lake.
        say: takes a line for the log.
        stop: ends it after the turn that is at work.

    Raises:
        PartitionBusy: the lake has a resident builder already.
    """

    def sleep(seconds: float) -> None:
        stop.wait(seconds)

    with writer_lock(lake.catalog.builder_lock_path, timeout_s=0):
        heart = _Heart(settings, lake, say)
        builder, in_vain = HotBuilder(lake, settings, say, sleep, heart.lives), 0
        while not stop.is_set():
            began = lake.clock()
            turn = _turn(builder, say)
            heart.turned(turn, began)
            ended = lake.clock()
            behind = bool(turn.behind or turn.failed)
            in_vain = in_vain + 1 if behind and not turn.hours else 0
            due = next_turn(ended, behind=behind, in_vain=in_vain)
            # A clock that is set back meanwhile ends the waiting: else the band would stand still until it is there.
            while not stop.is_set() and ended <= (now := lake.clock()) < due:
                heart.lives()
                sleep(min((due - now).total_seconds(), _BEAT_EVERY_S))


def _turn(builder: HotBuilder, say: Say) -> Turn:
    """A turn; a ledger that is locked or damaged fails the turn, not the process."""
    try:
        return builder.turn()
    except ITEM_ERRORS as error:
        say(f"nothing could be looked at, the next turn tries again: {type(error).__name__}: {error}")
        return Turn(failed={"all": f"{type(error).__name__}: {error}"})


def run(settings: LakeSettings, *, say: Say, open_it: Callable[[LakeSettings], Lake] = open_lake) -> None:
    """Keep the hot band until SIGTERM or SIGINT.

    Raises:
        PartitionBusy: the lake has a resident builder already.
        SettingsError: the root belongs to another exchange.
    """
    stop = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    lake = open_it(settings)
    # What was imported lives as long as the process: it need not be looked through again and again.
    gc.freeze()
    try:
        with suppress(KeyboardInterrupt):
            keep_hot(lake, settings, say=say, stop=stop)
    finally:
        gc.unfreeze()
    lake.close()


def main() -> int:
    """The process; 0 when it was stopped, 1 when the lake refused."""
    log_to_stdout()
    try:
        settings = LakeSettings()
        log.info("keeping %s hot, process %d (Ctrl+C stops it)", ", ".join(settings.symbols), os.getpid())
        run(settings, say=log.info)
    except PartitionBusy:
        log.error("this lake has a resident builder already: stop the other one first")  # noqa: TRY400
        return 1
    except LakeError as error:
        log.error("%s: %s", type(error).__name__, error)  # noqa: TRY400 - the message says it all
        return 1
    log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
