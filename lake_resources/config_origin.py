"""Where the value of each setting came from: the environment, `.env`, a file of settings, or its default.

Belongs here: telling it, with secrets masked. Does not belong here: reading settings for use (`settings`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from lake_resources.config_file import ConfigFile, read_config
from lake_resources.secrets import masked
from lake_resources.settings import LakeSettings
from lake_resources.settings_values import SECRETS

HIDDEN = "(set, not shown)"
BY_TESTING = "testing mode"


@dataclass(frozen=True)
class ConfigLine:
    """One setting as it holds.

    Attributes:
        variable: its name in the environment, e.g. `LAKE_ROOT`.
        value: its value as text; secrets are not shown.
        origin: `environment`, `.env`, the path of a file of settings, `testing mode`, or `default`.
    """

    variable: str
    value: str
    origin: str


def config_lines() -> tuple[list[ConfigLine], ConfigFile]:
    """All settings with their origin, and the file of settings.

    Raises:
        SettingsError: a setting is wrong.
    """
    settings = LakeSettings()
    given = {"environment": _flat(EnvSettingsSource(LakeSettings)())}
    if Path(".env").exists():
        # The environment is read with both, so what is in `.env` alone is what the first did not name.
        given[".env"] = _flat(DotEnvSettingsSource(LakeSettings, env_file=".env")())
    file = read_config(settings.config, frozenset(LakeSettings.model_fields))
    if file.path is not None:
        given[str(file.path)] = _flat(file.values)
    by_testing = settings.testing.changed if settings.testing.enabled else frozenset()
    lines = []
    for name, value in _flat(settings.model_dump()).items():
        origin = (
            BY_TESTING
            if name in by_testing
            else next((where for where, values in given.items() if name in values), "default")
        )
        lines.append(ConfigLine(f"LAKE_{name.upper()}", _shown(name, value), origin))
    return lines, file


def _flat(values: Mapping[str, object], above: str = "") -> dict[str, object]:
    """Settings by name; those of a group carry its name before `__`."""
    found: dict[str, object] = {}
    for key, value in values.items():
        name = above + key.lower().removeprefix("lake_")
        inner = value.model_dump() if isinstance(value, BaseModel) else value
        found |= _flat(inner, f"{name}__") if isinstance(inner, Mapping) else {name: inner}
    return found


def _shown(name: str, value: object) -> str:
    if name in SECRETS:
        return HIDDEN if value else ""
    if isinstance(value, list | tuple):
        return ",".join(str(each) for each in value)
    return "" if value is None else masked(str(value))
