"""A command that runs alone has the simulated exchange, and leaves none behind."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from lake_assets.local_stack.lone_exchange import exchange_there
from lake_resources.settings import LakeSettings
from lake_tests.support.waiting import free_port


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_simulator_serves_the_symbols_of_the_settings_for_as_long_as_the_command_takes(tmp_path: Path) -> None:
    port = free_port()
    settings = LakeSettings(
        root=tmp_path / "lake",
        exchange="simulator",
        simulator_port=port,
        symbols=("ETHUSDT",),
        spot_symbols=("SOLUSDT",),
    )
    said: list[str] = []
    with exchange_there(settings, say=said.append):
        futures = httpx.get(f"http://127.0.0.1:{port}/fapi/v1/exchangeInfo").json()["symbols"]
        spot = httpx.get(f"http://127.0.0.1:{port}/api/v3/exchangeInfo").json()["symbols"]
    assert {"BTCUSDT", "ETHUSDT"} <= {row["symbol"] for row in futures}, "BTCUSDT is that of the 1H feed"
    assert "SOLUSDT" in {row["symbol"] for row in spot}
    assert said == ["the simulated exchange is not up: it is started for this command"]
    assert not answers(port)
    assert not (tmp_path / "lake").exists(), "it begins no lake"


def test_one_that_is_up_is_taken(tmp_path: Path) -> None:
    said: list[str] = []
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        port = somebody.getsockname()[1]
        with exchange_there(LakeSettings(root=tmp_path, exchange="simulator", simulator_port=port), say=said.append):
            assert said == []
        assert answers(port)


@pytest.mark.parametrize("given", [{"exchange": "binance"}, {"rest_url": "http://127.0.0.1:1"}])
def test_the_real_exchange_and_one_whose_address_is_given_are_left_alone(tmp_path: Path, given: dict[str, str]) -> None:
    port = free_port()
    settings = LakeSettings.model_validate({"root": tmp_path, "exchange": "simulator", "simulator_port": port} | given)
    said: list[str] = []
    with exchange_there(settings, say=said.append):
        assert not answers(port)
    assert said == []
