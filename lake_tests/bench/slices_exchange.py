"""A simulated exchange in a process of its own, with a clock that stands: what slices are fetched from.

Belongs here: serving until the parent closes the input; the first line of output is the URL. Does not belong here: any
measurement.
"""

from __future__ import annotations

import sys
from datetime import datetime

from lake_resources.simulator.server import SimulatorServer


def main() -> None:
    """Serve one quiet symbol at the instant of the first argument."""
    now = datetime.fromisoformat(sys.argv[1])
    with SimulatorServer(seed=7, symbols=("BTCUSDT",), clock=lambda: now, rate_per_min=1.0, limits=False) as sim:
        sys.stdout.write(f"{sim.base_url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
