"""Settings: what is derived from them, and that their page is fresh."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake_resources.binance.market import SPOT
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.settings_page import settings_page
from lake_resources.storage.ledger.database import shown
from lake_resources.storage.ledger.engine import LedgerEngine

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def settings(**given: object) -> LakeSettings:
    return LakeSettings(_env_file=None, **given)  # type: ignore[call-arg, arg-type]


def test_two_lakes_of_a_host_share_what_they_spent_at_binance(tmp_path: Path) -> None:
    one, other = (settings(exchange="binance", root=tmp_path / name) for name in ("one", "other"))
    assert one.resolved_governor_path == other.resolved_governor_path
    assert not one.resolved_governor_path.is_relative_to(tmp_path)
    simulated = settings(exchange="simulator", root=tmp_path / "one")
    assert simulated.resolved_governor_path == tmp_path / "one" / "governor.sqlite"


def test_each_exchange_has_its_own_root() -> None:
    assert settings(exchange="binance").lake_root != settings(exchange="simulator").lake_root


def test_symbols_are_split_and_upper_case() -> None:
    assert settings(symbols="btcusdt, ethusdt,").symbols == ("BTCUSDT", "ETHUSDT")


def test_symbols_count_once_and_are_names_in_any_script() -> None:
    assert settings(symbols="btcusdt,BTCUSDT").symbols == ("BTCUSDT",)
    assert settings(symbols="BTCUSDT_260925,币安人生USDT").symbols == ("BTCUSDT_260925", "币安人生USDT")


@pytest.mark.parametrize("symbols", ["", "BTC/../USDT", "BTC USDT", "BTC.USDT", "."])
def test_what_is_no_symbol_is_refused(symbols: str) -> None:
    with pytest.raises(SettingsError, match="LAKE_SYMBOLS"):
        settings(symbols=symbols)


@pytest.mark.parametrize("options", ["?mode=ro", "?timeout=abc", "/"])
def test_a_ledger_in_a_file_has_a_name_and_no_options(tmp_path: Path, options: str) -> None:
    with pytest.raises(SettingsError, match="LAKE_LEDGER_URL"):
        settings(root=tmp_path, ledger_url=f"sqlite:///{tmp_path}/ledger.sqlite{options}")
    with pytest.raises(SettingsError, match="LAKE_LEDGER_URL"):
        settings(root=tmp_path, ledger_url=f"sqlite:///{tmp_path}")
    found = settings(root=tmp_path, ledger_url=f" sqlite:///{tmp_path}/ledger.sqlite ")
    assert found.ledger_url == f"sqlite:///{tmp_path}/ledger.sqlite"


def test_settings_that_are_printed_show_no_secret() -> None:
    secret = {
        "dagster_url": "postgresql://me:hunter2@host/x",
        "ledger_url": "postgresql://me:hunter2@host/x",
        "broker_url": "redis://:hunter2@host/0",
        "webhook_url": "https://host/hunter2",
        "web_token": "hunter2",
    }
    found = settings(**secret)
    assert all("hunter2" in getattr(found, name) for name in secret)
    assert "hunter2" not in repr(found) + str(found)


def test_a_ledgers_address_is_shown_without_a_password_in_an_option() -> None:
    assert shown("postgresql+psycopg://me:hunter2@host/lake?password=hunter2&sslmode=require") == (
        "postgresql+psycopg://me:***@host/lake?sslmode=require"
    )


def test_an_option_that_postgres_does_not_know_is_a_wrong_setting() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(SettingsError, match=r"nonsense.*LAKE_LEDGER_URL"):
        LedgerEngine("postgresql+psycopg://me@host/lake?nonsense=1")
    LedgerEngine("postgresql+psycopg://me@host/lake?sslmode=require&host=/a&host=/b").close()


def test_an_unknown_exchange_is_refused() -> None:
    with pytest.raises(SettingsError, match="LAKE_EXCHANGE is 'kraken'"):
        settings(exchange="kraken")


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == settings_page(), "run `make docs`"


def test_spot_symbols_are_a_list_a_preset_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAKE_SPOT_SYMBOLS", raising=False)
    assert settings().symbols_of(SPOT) == ("SOLUSDT", "SUIUSDT", "ADAUSDT")
    assert len(set(settings(spot_symbols="preset19").spot_symbols)) == 19
    assert settings(spot_symbols="").symbols_of(SPOT) == ()
    with pytest.raises(SettingsError, match="LAKE_SPOT_SYMBOLS"):
        settings(spot_symbols="SOL/USDT")


def test_streams_of_spot_come_from_their_own_host_or_the_simulators_route() -> None:
    assert settings(simulator_port=9000).ws_url_of(SPOT) == "ws://127.0.0.1:9000/spot"
    assert settings(exchange="binance").ws_url_of(SPOT) == SPOT.ws_url
    assert settings(spot_ws_url="ws://h:1").ws_url_of(SPOT) == "ws://h:1"


def test_the_root_of_slices_is_read_under_the_lakes_own_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QLIR_DATA_ROOT", raising=False)
    monkeypatch.setenv("SLICES_ROOT", "/another/programs")
    assert LakeSettings(_env_file=None).slices_root is None  # type: ignore[call-arg]
    monkeypatch.setenv("LAKE_SLICES_ROOT", "/ours")
    assert LakeSettings(_env_file=None).slices_root == Path("/ours")  # type: ignore[call-arg]
