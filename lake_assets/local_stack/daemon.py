"""Dagster's daemon: `python -m lake_assets.local_stack.daemon`.

Belongs here: this one process, and how long its code servers are kept. Does not belong here: what the daemon does
(Dagster), starting and watching the process (`stack`).

`dagster-daemon run` replaces its code server every minute, and each imports Dagster, polars and the lake anew: two
thirds of what the platform took at rest. Started by hand it still does.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lake_resources.clock import HOUR
from lake_resources.dagster_instance import open_instance
from lake_resources.dagster_private import keep_engines, run_daemon

_RELOADED_AFTER = HOUR
"""A server that evaluates sensors for so long is replaced, whatever it may have leaked."""


def main() -> None:
    """Tend sensors, schedules, the queue and backfills until interrupted."""
    options = argparse.ArgumentParser(description="Dagster's daemon.")
    options.add_argument("--workspace", type=Path, required=True, help="workspace.yaml of the code locations")
    workspace: Path = options.parse_args().workspace
    with open_instance() as instance:
        keep_engines(instance)
        run_daemon(instance, workspace, reload_after=_RELOADED_AFTER)


if __name__ == "__main__":
    main()
