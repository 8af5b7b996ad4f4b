"""Settings from a file: `lake.yml` of the working directory, or the one that `LAKE_CONFIG` names.

Belongs here: reading YAML into settings, also in the form of the crypto-lake's `config.yml`.
Does not belong here: any setting (`settings`), anything else in the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from lake_resources.errors import SettingsError
from lake_resources.testing_mode import CompressedTimes

OWN_NAME, OTHER_NAME = "lake.yml", "config.yml"
MOST_BYTES = 1 << 16
"""Reading YAML takes the square of some texts: a file of settings has a few KiB."""
_PREFIX = "lake_"
_OTHER_SECTIONS = frozenset(
    {"base_path", "general", "exchanges", "collector", "transformer", "macro_minute", "testing"}
)
"""What only the crypto-lake's file has; a `config.yml` with none of it is somebody else's and is left alone."""

BECAME: dict[str, str] = {
    "base_path": "root",
    "symbols": "spot_symbols",
    "general.base_path": "root",
    "exchanges.symbols": "spot_symbols",
    "exchanges.rest_url": "spot_rest_url",
    "exchanges.wss_url": "spot_ws_url",
    "macro_minute.tickers": "macro_tickers",
    "macro_minute.startup_backfill_days": "macro_first_days",
    "macro_minute.runtime_lookback_days": "macro_look_back_days",
}
"""Keys of the crypto-lake's `config.yml`, and the setting that each became; its README names the first two bare."""
KEPT = "testing"
"""A section of it that is a group of settings of the same names."""
NOT_NEEDED: dict[str, str] = {
    "general.timezone": "all times are UTC",
    "general.log_level": "logs hold what happened, at one level",
    "exchanges.name": "Binance is the only exchange",
    "collector.write_interval_sec": "records are on the disk within LAKE_COLLECTOR_FLUSH_S",
    "collector.reconnect_backoff": "reconnects wait 1 to 60 s with jitter",
    "collector.max_reconnect_backoff": "reconnects wait 1 to 60 s with jitter",
    "collector.reconnect_jitter": "reconnects wait 1 to 60 s with jitter",
    "collector.output_format": "JSONL is written by `lake raw-export`",
    "transformer.resample_interval_sec": "bars of seconds are a table of their own",
    "transformer.parquet_compression": "files are compressed with zstd",
    "transformer.schedule_minutes": "what is collected is folded as it comes",
    "testing.macro_transform_interval_min": "macro minutes are committed as they come",
    "macro_minute.schedule_minutes": "a schedule in Dagster runs every 15 minutes",
}
"""Keys of it without a setting, and why none is needed."""


@dataclass(frozen=True)
class ConfigFile:
    """A file of settings.

    Attributes:
        path: where it lies; None where there is none.
        values: settings by name, as the file gives them.
        unused: keys that are no settings, with the reason.
    """

    path: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    unused: Mapping[str, str] = field(default_factory=dict)


def read_config(named: Path | None, known: frozenset[str]) -> ConfigFile:
    """The file of settings of the working directory, or the one that is named.

    Args:
        named: path of the file; None for `lake.yml`, else the crypto-lake's `config.yml`, where there is one.
        known: names of all settings.

    Raises:
        SettingsError: the file is not there though it was named, is no YAML, or has a key that is no setting.
    """
    if named is not None:
        return _read(named, known)
    if Path(OWN_NAME).exists():
        return _read(Path(OWN_NAME), known)
    other = Path(OTHER_NAME)
    return _of_crypto_lake(other, _table(other), known) if other.exists() and _is_other(other) else ConfigFile()


def _read(path: Path, known: frozenset[str]) -> ConfigFile:
    table = _table(path)
    if (_OTHER_SECTIONS - known) & set(table):
        return _of_crypto_lake(path, table, known)
    values = {}
    for key, value in table.items():
        name = key.lower().removeprefix(_PREFIX)
        if name not in known:
            raise SettingsError(
                f"{path}: there is no setting {key!r}", remedy="docs/settings.md lists all; correct the file"
            )
        values[name] = _plain(value)
    return ConfigFile(path.resolve(), values)


def _is_other(path: Path) -> bool:
    try:
        return bool(_OTHER_SECTIONS & set(_table(path)))
    except SettingsError:
        return False


def _of_crypto_lake(path: Path, table: Mapping[str, Any], known: frozenset[str]) -> ConfigFile:
    values: dict[str, Any] = {}
    unused: dict[str, str] = {}
    for section, given in table.items():
        # The section `exchanges` is a list; Binance's entry is the only one that it ever had.
        entries = given[0] if isinstance(given, list) and given and isinstance(given[0], dict) else given
        named = (
            {f"{section}.{key}": (key, value) for key, value in entries.items()} if isinstance(entries, dict) else {}
        )
        for name, (key, value) in (named or {section: (section, given)}).items():
            setting = BECAME.get(name)
            if setting in known:
                values[str(setting)] = _without_path(_plain(value))
            elif section == KEPT and key in CompressedTimes.model_fields:
                values.setdefault(KEPT, {})[key] = _plain(value)
            else:
                unused[name] = NOT_NEEDED.get(name, "nothing here depends on it")
    return ConfigFile(path.resolve(), values, unused)


def _without_path(value: Any) -> Any:
    """An address of Binance without the path that the crypto-lake writes behind it; ours name hosts."""
    if not isinstance(value, str) or "://" not in value:
        return value
    return value.removesuffix("/").removesuffix("/api/v3").removesuffix("/ws")


def _plain(value: Any) -> Any:
    """A value in the form that the environment would give it: lists are comma separated, days are text."""
    if isinstance(value, list):
        if any(isinstance(each, list | dict) for each in value):  # its text could be a million times as long
            raise SettingsError("a list of settings holds another list", remedy="Give single values")
        return ",".join(str(each) for each in value)
    return value.isoformat() if isinstance(value, date) else value


def _table(path: Path) -> Mapping[str, Any]:
    remedy = "Mend it, or remove it; docs/settings.md shows its form"
    try:
        if path.stat().st_size > MOST_BYTES:
            raise SettingsError(f"{path} has more than {MOST_BYTES} bytes", remedy=remedy)
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"there is no file {path}", remedy="Correct LAKE_CONFIG") from None
    except (OSError, ValueError, ArithmeticError, yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}", remedy=remedy) from error
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise SettingsError(f"{path} is no table of settings", remedy=remedy)
    return found


class ConfigFileSource(PydanticBaseSettingsSource):
    """The file as a source of settings, below the environment and `.env`.

    Args:
        settings_class: the settings.
        named: path of the file, if one was named.
    """

    def __init__(self, settings_class: type[BaseSettings], named: Path | None) -> None:
        super().__init__(settings_class)
        self.file = read_config(named, frozenset(settings_class.model_fields))

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """The value of one setting, as the base class asks for it."""
        return self.file.values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """All values of the file by the name of their setting."""
        return dict(self.file.values)
