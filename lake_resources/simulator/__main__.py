"""Command line of the simulator: `python -m lake_resources.simulator`.

Belongs here: reading arguments and serving in the foreground. Does not belong here: anything else.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lake_resources.simulator.server import SimulatorServer
from lake_resources.simulator.specs import DEFAULT_SYMBOLS


def main(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 8900,
    seed: Annotated[int, typer.Option(help="Same seed, same market.")] = 7,
    symbols: Annotated[str, typer.Option(help="Symbols that trade, comma separated.")] = ",".join(DEFAULT_SYMBOLS),
    rate: Annotated[float, typer.Option(help="Mean aggregate trades per minute.")] = 15.0,
) -> None:
    """Serve the simulated exchange until interrupted."""
    names = [name.strip() for name in symbols.split(",") if name.strip()]
    server = SimulatorServer(seed=seed, symbols=names, port=port, rate_per_min=rate)
    sys.stdout.write(f"simulator: {server.base_url} seed {seed}, symbols {', '.join(names)}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    typer.run(main)
