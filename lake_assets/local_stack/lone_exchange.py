"""The simulated exchange for a command that runs alone, without the platform that would have started it.

Belongs here: how the simulator is started, and when a command starts it for itself. Does not belong here: the platform
(`stack`), the simulator (`lake_resources.simulator`).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from lake_assets.feed_1h.bars import SYMBOL
from lake_assets.local_stack.supervision import Stack
from lake_resources.binance.market import MARKETS
from lake_resources.settings import LakeSettings

_PATIENCE_S = 60.0


def simulator_command(settings: LakeSettings) -> list[str]:
    """What follows `python -m` to serve all symbols of the settings, and that of the 1H feed."""
    symbols = dict.fromkeys([*settings.symbols, SYMBOL])
    spot = dict.fromkeys([*symbols, *settings.spot_symbols, *settings.slice_symbols])
    return [
        "lake_resources.simulator", "--port", str(settings.simulator_port), "--seed", str(settings.simulator_seed),
        "--symbols", ",".join(symbols), "--spot-symbols", ",".join(spot),
    ]  # fmt: skip


@contextmanager
def exchange_there(settings: LakeSettings, *, say: Callable[[str], None]) -> Iterator[None]:
    """Serve the simulated exchange meanwhile where it is the lake's exchange and nobody does: each call would fail.

    Nothing happens on the real exchange, or where an address of one was given.

    Args:
        settings: of the lake.
        say: takes the line that says so.

    Raises:
        LakeError: the simulator does not come up.
    """
    own = f"http://127.0.0.1:{settings.simulator_port}"
    urls = {settings.resolved_vision_url, *(settings.rest_url_of(market) for market in MARKETS.values())}
    if settings.exchange != "simulator" or urls != {own} or _answers(settings.simulator_port):
        yield
        return
    say("the simulated exchange is not up: it is started for this command")
    # Its log is of no use to anybody later, and the lake may not have begun.
    with TemporaryDirectory(prefix="simulator-") as logs, Stack(settings.web_address, Path(logs)) as stack:
        stack.start("simulator", simulator_command(settings))
        stack.wait_for("the simulator", lambda: _answers(settings.simulator_port), timeout_s=_PATIENCE_S)
        yield


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
