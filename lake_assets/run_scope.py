"""What the process of a run loads: definitions of the symbols that the run is about, not of the whole code location.

Belongs here: which symbols a run is about, and the settings of them alone. Does not belong here: building definitions
(`code_location`), the worker that executes one run after another (`run_worker`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dagster as dg

from lake_assets.dagster_names import FEED_NAMES, symbol_name
from lake_resources.dagster_instance import open_instance
from lake_resources.dagster_private import run_of_process
from lake_resources.settings import LakeSettings

_scope: list[tuple[str, ...]] = []


def symbols_of_run(keys: Iterable[Sequence[str]], settings: LakeSettings) -> tuple[str, ...]:
    """Symbols of assets; none where an asset is about no symbol, or about all of them: then everything is loaded.

    Args:
        keys: parts of the keys of the assets.
        settings: of the code location.
    """
    names = {symbol_name(each): each for each in _all(settings)}
    found: dict[str, None] = {}
    for key in keys:
        if tuple(key) == FEED_NAMES:
            found[settings.symbols[0]] = None  # it is about its own; any code location of a first shard has it
            continue
        symbol = next((names[part] for part in key if part in names), None)
        if symbol is None:
            return ()
        found[symbol] = None
    return tuple(found)


def keys_of(run: dg.DagsterRun) -> list[Sequence[str]]:
    """Parts of the keys of the assets that a run makes or checks."""
    checks = [each.asset_key for each in run.asset_check_selection or ()]
    return [key.path for key in (*(run.asset_selection or ()), *checks)]


def narrow(symbols: tuple[str, ...]) -> None:
    """From now on this process builds definitions of these symbols alone; of none: of all."""
    _scope[:] = [symbols] if symbols else []


def scoped(settings: LakeSettings) -> LakeSettings:
    """The settings of the symbols that the process is about: those that it was told, else those of its run."""
    wanted = set(_scope[0] if _scope else _of_process(settings))
    if not wanted:
        return settings
    return LakeSettings(
        symbols=tuple(each for each in settings.symbols if each in wanted) or settings.symbols[:1],
        spot_symbols=tuple(each for each in settings.spot_symbols if each in wanted),
        slice_symbols=tuple(each for each in settings.slice_symbols if each in wanted),
        macro_tickers=(),
        shard="",
    )


def _of_process(settings: LakeSettings) -> tuple[str, ...]:
    """Symbols of the run that a code server spawned this process for; none in any other process."""
    told = run_of_process()
    if told is None:
        return ()
    run_id, instance_ref = told
    with open_instance(instance_ref) as instance:
        run = instance.get_run_by_id(run_id)
    return () if run is None else symbols_of_run(keys_of(run), settings)


def _all(settings: LakeSettings) -> tuple[str, ...]:
    return (*settings.symbols, *settings.spot_symbols, *settings.slice_symbols)
