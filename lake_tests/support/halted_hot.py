"""The hot band's processes halted on their way: a builder in the middle of a turn, a sensor's tick while it tells.

Belongs here: the process and the other end of it. Does not belong here: any assertion, the points (tests name them).
The interpreter itself tells of each step (`sys.addaudithook`), so nothing of the project is replaced.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from lake_assets.dagster_names import HOT_SENSOR
from lake_assets.lake import open_lake
from lake_assets.local_stack.places import child_environment
from lake_assets.resident.keep_hot import keep_hot_once
from lake_resources.dagster_instance import open_instance
from lake_resources.settings import LakeSettings
from lake_tests.support.automated_lake import automated
from lake_tests.support.halted_process import halted_process
from lake_tests.support.simulated_lake import Bench, exchange

Work = Literal["build", "tell"]


@dataclass(frozen=True)
class Halt:
    """Where a process is halted.

    Attributes:
        event: that the interpreter tells before it does it: `open`, `os.rename`, `os.utime`.
        path: the end of the last of its paths.
        after: at the next event, by when it is done.
    """

    event: str
    path: str
    after: bool = False


def halted(
    work: Work, settings: LakeSettings, now: datetime, how: signal.Signals, halt: Halt
) -> AbstractContextManager[subprocess.Popen[str]]:
    """A turn of the builder, or a tick that tells, at `now`, stopped or killed on the way; it ends with the block."""
    words = [work, now.isoformat(), str(int(how)), halt.event, halt.path, "after" if halt.after else "before"]
    command = [sys.executable, "-m", "lake_tests.support.halted_hot", *words]
    return halted_process(command, child_environment(settings))


def _halt_at(how: int, halt: Halt) -> None:
    """Send this process a signal at the first event that is meant."""
    seen = done = False

    def look(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen, done
        if done:
            return
        told = [str(each) for each in arguments if isinstance(each, str | os.PathLike)]
        meant = event == halt.event and bool(told) and told[-1].endswith(halt.path)
        if seen or (meant and not halt.after):
            done = True
            os.kill(os.getpid(), how)
        seen = seen or meant

    sys.addaudithook(look)


def _build(settings: LakeSettings, now: datetime, how: int, halt: Halt) -> None:
    """One turn; prints what it built."""
    lake = open_lake(settings, clock=lambda: now, sleep=lambda _: None)
    _halt_at(how, halt)
    turn = keep_hot_once(lake, settings, say=print)
    for name, hours in turn.hours.items():
        for each in hours:
            sys.stdout.write(f"{name} {each.hour:%H} {each.status}\n")
    lake.close()


def _tell(settings: LakeSettings, now: datetime, how: int, halt: Halt) -> None:
    """One tick of the sensor of minutes without a cursor, on the instance of the environment."""
    with exchange(symbols=settings.symbols) as sim, open_instance() as instance:
        sim.clock.freeze(now)
        lake = open_lake(settings, clock=sim.clock.now, sleep=lambda _: None)
        with automated(Bench(sim, lake, settings), instance) as found:
            _halt_at(how, halt)
            found.tick(HOT_SENSOR)
        lake.close()


def main() -> None:
    """`halted_hot build|tell NOW SIGNAL EVENT PATH before|after`."""
    work, now, how = sys.argv[1], datetime.fromisoformat(sys.argv[2]), int(sys.argv[3])
    halt = Halt(sys.argv[4], sys.argv[5], after=sys.argv[6] == "after")
    (_build if work == "build" else _tell)(LakeSettings(), now, how, halt)


if __name__ == "__main__":
    main()
