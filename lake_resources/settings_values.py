"""Values of settings: what is no value of its setting, said with the name of the variable and without any secret.

Belongs here: parsing and refusing single values. Does not belong here: the settings themselves (`settings`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError

from lake_resources.errors import SettingsError
from lake_resources.secrets import masked

_Found = TypeVar("_Found")
SECRETS = frozenset({"ledger_url", "webhook_url"})
"""Settings whose values are never shown: a password, or an address that is one."""


def named(variable: str, parse: Callable[[str], _Found], text: str) -> _Found:
    """What a variable's text means.

    Raises:
        SettingsError: it means nothing; the text names the variable.
    """
    try:
        return parse(text)
    except SettingsError as error:
        raise SettingsError(f"{variable}: {error.what}", remedy=error.remedy) from None


def with_scheme(url: str, schemes: tuple[str, ...]) -> str:
    """The URL as it is; empty stands for the default.

    Raises:
        ValueError: it is no URL of one of these schemes.
    """
    try:
        found = urlsplit(url)
        sound = found.scheme in schemes and bool(found.hostname) and (found.port is None or found.port > 0)
    except ValueError:
        sound = False
    if url and not sound:
        raise ValueError(f"give an address such as {schemes[-1]}://host")
    return url


def refused(error: ValidationError) -> SettingsError:
    """What pydantic says of the first wrong value, as one sentence that names the variable."""
    found = error.errors(include_url=False, include_context=False)
    first = found[0]
    name = "__".join(part for part in first["loc"] if isinstance(part, str)) or "settings"
    variable = name.upper() if name.lower().startswith("lake_") else f"LAKE_{name.upper()}"
    why = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return SettingsError(f"there is no setting {variable}", remedy="docs/settings.md lists all; correct .env")
    shown = "" if name in SECRETS else f" is {masked(str(first['input']))[:80]!r}"
    more = f" ({len(found) - 1} more settings are wrong)" if len(found) > 1 else ""
    return SettingsError(
        f"{variable}{shown}: {why[:1].lower()}{why[1:]}{more}", remedy="docs/settings.md says what each setting takes"
    )
