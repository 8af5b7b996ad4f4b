"""The watchdog: a small process that looks at the platform from outside every minute and writes what it sees.

Belongs here: the process, writing the heartbeat. Does not belong here: finding the facts (`look`), the verdict
(`automation.health`), what is told to the webhook (`telling`).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import FrameType

from lake_assets.at_rest import store_of
from lake_assets.automation.health import Health, judge
from lake_assets.automation.health_page import heartbeat, page
from lake_assets.automation.platform import Facts
from lake_assets.watchdog.last_words import heartbeat_path, report_path
from lake_assets.watchdog.look import find_facts
from lake_assets.watchdog.telling import Teller
from lake_resources.clock import system_clock
from lake_resources.dagster_history import open_history
from lake_resources.errors import LakeError
from lake_resources.messages.outbox import open_outbox
from lake_resources.settings import LakeSettings
from lake_resources.storage.disk import replace_text


def write(settings: LakeSettings, facts: Facts, health: Health) -> None:
    """Write the heartbeat; a reader sees the old one or the new one."""
    beat = heartbeat(facts, health)
    replace_text(heartbeat_path(settings), json.dumps(beat, indent=2) + "\n")
    replace_text(report_path(settings), page(beat))


def run(
    settings: LakeSettings, home: Path, *, started: datetime, stop: threading.Event, say: Callable[[str], None]
) -> None:
    """Look, write and wait, until told to stop; then write a last heartbeat.

    The webhook is told when the platform falls ill, when its problems become others, and when it is well again.

    Args:
        settings: of the lake.
        home: directory of its Dagster instance.
        started: when the platform was started, which may be long before this process was.
        stop: ends it.
        say: takes a line for the log.
    """
    ledger = store_of(settings).ledger
    teller = Teller(open_outbox(settings), say)
    with open_history(home) as history:
        while True:
            stopping = stop.is_set()
            now = system_clock()
            facts = find_facts(settings, history, ledger, now, started=started, stopping=stopping)
            health = _write(settings, facts, judge(facts, now))
            if stopping:
                break
            teller.tell(health)
            stop.wait(settings.heartbeat_s)
    teller.close()
    ledger.close()


def _write(settings: LakeSettings, facts: Facts, health: Health) -> Health:
    """Write the heartbeat; that it could not be written is a problem, too."""
    try:
        write(settings, facts, health)
    except (LakeError, OSError) as error:
        problem = f"the heartbeat could not be written: {error}"
        return Health("ERROR", (*health.problems, problem), health.at)
    return health


def main() -> None:
    """The process that `lake up` starts."""
    options = argparse.ArgumentParser(description="The watchdog of `lake up`.")
    options.add_argument("--started", type=datetime.fromisoformat, default=None, help="when the platform was, UTC")
    started = options.parse_args().started or system_clock()
    stop = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, end)

    def say(text: str) -> None:
        sys.stdout.write(f"{system_clock():%Y-%m-%d %H:%M:%S} {text}\n")
        sys.stdout.flush()

    say(f"watching, process {os.getpid()}")
    home = Path(os.environ["DAGSTER_HOME"])  # noqa: TID251 - `lake up` tells its children where Dagster's storage lies
    run(LakeSettings(), home, started=started, stop=stop, say=say)


if __name__ == "__main__":
    main()
