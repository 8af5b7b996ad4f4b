"""The process of the live collector: `python -m lake_assets.live.process`, what `lake collect` turns into.

Belongs here: start, log lines, exit code. Does not belong here: collecting (`live.recorder`).
A module of its own because the command line imports Dagster, whose 70 MiB a process that runs for weeks need not hold.
"""

from __future__ import annotations

import argparse
import logging
import sys

from lake_assets.live.recorder import run_collector
from lake_resources.errors import LakeError
from lake_resources.legible import log_to_stdout
from lake_resources.settings import LakeSettings

log = logging.getLogger("lake.collector")


def main() -> int:
    """Collect until SIGTERM or SIGINT; 0 when it was stopped, 1 when the lake refused."""
    options = argparse.ArgumentParser()
    options.add_argument("--for", dest="for_s", type=float, default=None)
    for_s = options.parse_args().for_s
    log_to_stdout()
    try:
        settings = LakeSettings()
        log.info("collecting %s from %s (Ctrl+C stops it)", ", ".join(settings.symbols), settings.resolved_ws_url)
        parts = run_collector(settings, say=log.info, for_s=for_s)
    except LakeError as error:
        log.error("%s: %s", type(error).__name__, error)  # noqa: TRY400 - the message says it all
        return 1
    counts = parts.collector.intake.counts
    log.info(
        "stopped: %d frames, %d records, %d repeated trades, %d malformed frames",
        counts.frames,
        counts.records,
        counts.repeated_trades,
        counts.malformed,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
