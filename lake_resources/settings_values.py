"""Values of settings: what is no value of its setting, said with the name of the variable and without any secret.

Belongs here: parsing and refusing single values. Does not belong here: the settings themselves (`settings`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from lake_resources.data_root import BUCKET
from lake_resources.errors import SettingsError
from lake_resources.secrets import masked

_Found = TypeVar("_Found")
_READ_OTHERWISE = frozenset("*?[]{}#%")
POSTGRES = "postgresql"
"""How the URL of a ledger on a server begins."""
SECRETS = frozenset({"broker_url", "dagster_url", "ledger_url", "web_token", "webhook_url"})
"""Settings whose values are never shown: a password or token, or an address that holds or is one."""


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


class GovernorPlace(NamedTuple):
    """Where the weight governor counts.

    Attributes:
        path: SQLite file of this host.
        url: SQLAlchemy URL of the Postgres that hosts of one address share; empty where the file counts.
        egress_id: name of that address.
    """

    path: Path
    url: str = ""
    egress_id: str = ""


def ledger_address(url: str) -> str:
    """The URL of a ledger, with an absolute path where it is a file; empty stands for the default.

    Raises:
        SettingsError: it is neither a file of SQLite nor a database of Postgres; the URL is not shown, for it may hold
            a password.
    """
    url = url.strip()
    if not url:
        return url
    scheme, mark, file = url.partition(":///")
    if url.startswith(POSTGRES):
        driver, _, address = url.partition("://")
        if driver in {"postgresql", "postgresql+psycopg"} and _names_database(url):
            return f"postgresql+psycopg://{address}"
    elif mark and scheme in {"sqlite", "sqlite+pysqlite"} and _is_file(file):
        return f"{scheme}:///{Path(file).resolve()}"
    raise SettingsError(
        f"LAKE_LEDGER_URL ({url.partition(':')[0][:20]!r} …) is neither a file of SQLite nor a database of Postgres by "
        "psycopg: over any other, concurrent writers would lose committed rows",
        remedy="Leave it empty, or set it to sqlite:////path/ledger.sqlite on a local disk, or for several hosts to "
        "postgresql+psycopg://user@host/database; signs such as @ / ? # in a password are written as %40 %2F %3F %23",
    )


def store_address(url: str, root: Path) -> str:
    """The URL of an object store for the lake's files, empty where they lie in the root itself.

    Raises:
        SettingsError: it is neither a bucket nor the root; the URL is shown without what may be a key.
    """
    text = url.strip()
    if not text or text.rstrip("/") in {"file:", root.as_uri()}:
        return ""
    bucket, *prefix = text.removeprefix(BUCKET).rstrip("/").split("/")
    odd = {"", ".", ".."}.intersection(prefix) or _READ_OTHERWISE.intersection(text) or "@" in text
    if text.startswith(BUCKET) and bucket and not odd:
        return text.rstrip("/")
    # What follows ? or # may be a key that somebody took for an option.
    shown = f"{text.partition('://')[0]}://***" if "@" in text else re.sub(r"[?#].*", "?***", text, flags=re.DOTALL)
    raise SettingsError(
        f"LAKE_STORE_URL {shown[:80]!r} is no place for the lake's files",
        remedy="Leave it empty for files below LAKE_ROOT, or give s3://bucket/prefix; keys are given by "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a service of one's own by AWS_ENDPOINT_URL",
    )


def refuse_without_server(ledger_file: Path | None, **shared: str) -> None:
    """Refuse settings that hosts share while the ledger is a file of one host.

    Raises:
        SettingsError: one of them is set; names the first.
    """
    for name, value in shared.items():
        if value and ledger_file is not None:
            raise SettingsError(
                f"{name} is set, but the ledger is a file of this host",
                remedy=f"Set LAKE_LEDGER_URL to the Postgres that the hosts share, or leave {name} empty",
            )


def local_place(value: str | Path) -> Path | None:
    """An absolute path of a directory or file, also of `file:///path`; None for empty.

    Raises:
        SettingsError: it is the URL of another place, which would else become a directory of that name.
    """
    text = str(value).strip()
    scheme, mark, _ = text.partition("://")
    if mark and isinstance(value, str):
        if scheme == "file" and text.startswith("file:///"):
            return Path(unquote(urlsplit(text).path)).resolve()
        raise SettingsError(
            f"{scheme[:20]}:// is no place for the lake's files",
            remedy="Give a directory: files of the lake lie in an object store by LAKE_STORE_URL, raw slices by "
            "LAKE_SLICES_ROOT",
        )
    return Path(value).resolve() if text else None


def refuse_odd_places(places: Mapping[str, object]) -> None:
    """Refuse places, by the setting that names them, that globs and URLs read otherwise; None stands for the default.

    Raises:
        SettingsError: names the character.
    """
    for name, place in places.items():
        found = next((mark for mark in str(place or "") if mark in _READ_OTHERWISE or not mark.isprintable()), "")
        if found:
            raise SettingsError(
                f"{name}: the path {str(place)!r} has {found!r}, which globs and URLs read otherwise",
                remedy="Choose a place without any of *?[]{}#% (the working directory counts where a path is relative)",
            )


def _is_file(path: str) -> bool:
    # Options of SQLite (?mode=ro) would change, or silently not change, how writers exclude each other.
    named_otherwise = path.startswith((":memory:", "file:")) or "?" in path or path.endswith("/")
    return bool(path) and not named_otherwise and not Path(path).is_dir()


def server_address(url: str, *, needs_database: bool) -> bool:
    """Whether a URL names a host (or, as `host=`, its socket), a sound port, and a database where one is needed."""
    if needs_database:
        return _names_database(url)
    try:
        found = urlsplit(url)
        return bool(found.hostname) and found.netloc.count("@") < 2 and (found.port is None or found.port > 0)
    except ValueError:
        return False


def _names_database(url: str) -> bool:
    try:
        found = urlsplit(url)
        # An @ of a password that is not encoded would make the rest of it the name of a host, which errors show.
        return found.netloc.count("@") < 2 and len(found.path) > 1 and (found.port is None or found.port > 0)
    except ValueError:
        return False


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


def file_of_ledger(url: str) -> Path | None:
    """The file of a ledger's URL, None where it is on a server."""
    return None if url.startswith(POSTGRES) else Path(url.partition(":///")[2].partition("?")[0])
