"""Command line of the simulator: `python -m lake_resources.simulator`.

Belongs here: reading arguments and serving in the foreground. Does not belong here: anything else.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lake_resources.simulator.exchange import Setup
from lake_resources.simulator.market import replay
from lake_resources.simulator.market.seeded_market import Market
from lake_resources.simulator.market.specs import DEFAULT_SYMBOLS
from lake_resources.simulator.server import SimulatorServer
from lake_resources.simulator.ws.recording import Replay, read_recording


def main(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 8900,
    seed: Annotated[int, typer.Option(help="Same seed, same market.")] = 7,
    symbols: Annotated[str, typer.Option(help="Symbols that trade, comma separated.")] = ",".join(DEFAULT_SYMBOLS),
    spot_symbols: Annotated[
        str | None, typer.Option(help="Symbols that trade on spot; those of futures where not given.")
    ] = None,
    rate: Annotated[float, typer.Option(help="Mean aggregate trades per minute.")] = 15.0,
    replay_files: Annotated[
        list[Path] | None, typer.Option("--replay", help="CSV of 1m or 1h klines that becomes the market; repeatable.")
    ] = None,
    symbol: Annotated[str, typer.Option(help="Symbol of the replayed klines.")] = "BTCUSDT",
    ws_replay: Annotated[
        list[Path] | None, typer.Option(help="Recorded WebSocket file(s), `<epoch stamp> <frame>` lines; repeatable.")
    ] = None,
    ws_replay_speed: Annotated[float, typer.Option(help="Recorded seconds per second; 0 as fast as possible.")] = 1.0,
    speed: Annotated[float, typer.Option(help="Seconds of the exchange per second.")] = 1.0,
    liquidations: Annotated[float, typer.Option(help="Mean liquidations per symbol and minute.")] = 2.0,
    interval: Annotated[str | None, typer.Option(help="1m or 1h; found out where not given.")] = None,
) -> None:
    """Serve the simulated exchange until interrupted. Exit code 2 for a file that cannot be replayed."""
    names = _names(symbols)
    replays: dict[str, Market] = {}
    try:
        if replay_files:
            replays[symbol] = replay.load(replay_files, symbol, interval=interval, seed=seed, rate_per_min=rate)
        recorded = Replay(read_recording(ws_replay), speed=ws_replay_speed) if ws_replay else None
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(2) from error
    setup = Setup(
        seed=seed,
        symbols=names,
        rate_per_min=rate,
        replays=replays,
        speed=speed,
        liquidations_per_min=liquidations,
        ws_replay=recorded,
        spot_symbols=None if spot_symbols is None else _names(spot_symbols),
    )
    server = SimulatorServer(setup, port=port)
    server.bind()
    sys.stdout.write(f"simulator: {server.base_url} seed {seed}, symbols {', '.join(names)}\n")
    sys.stdout.flush()
    server.serve_forever()


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    typer.run(main)
