"""What a run's process loads, by the assets that the run is about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lake_assets.run_scope import narrow, scoped, symbols_of_run
from lake_resources.settings import LakeSettings

SETTINGS = LakeSettings(_env_file=None, symbols=("BTCUSDT", "ETHUSDT"), spot_symbols=("SOLUSDT", "BTCUSDT"))


@pytest.fixture(autouse=True)
def whole_again() -> Iterator[None]:
    yield
    narrow(())


@pytest.mark.parametrize(
    ("keys", "symbols"),
    [
        ([["um", "ETHUSDT", "minute"], ["vision", "ETHUSDT", "metrics"]], ("ETHUSDT",)),
        ([["spot", "SOLUSDT", "bars_1s"], ["quality", "BTCUSDT", "audit"]], ("SOLUSDT", "BTCUSDT")),
        ([["feed", "btcusdt_1h"]], ("BTCUSDT",)),
        ([["um", "ETHUSDT", "minute"], ["research", "views"]], ()),
        ([["macro", "SPY", "minute"]], ()),
        ([], ()),
    ],
)
def test_symbols_of_a_run(keys: list[list[str]], symbols: tuple[str, ...]) -> None:
    assert symbols_of_run(keys, SETTINGS) == symbols


def test_a_process_is_about_the_run_that_it_was_told_last() -> None:
    assert scoped(SETTINGS) is SETTINGS
    narrow(("ETHUSDT",))
    found = scoped(SETTINGS)
    assert (found.symbols, found.spot_symbols, found.macro_tickers) == (("ETHUSDT",), (), ())
    narrow(("SOLUSDT",))
    assert (scoped(SETTINGS).symbols, scoped(SETTINGS).spot_symbols) == (("BTCUSDT",), ("SOLUSDT",))
    narrow(())
    assert scoped(SETTINGS) is SETTINGS
