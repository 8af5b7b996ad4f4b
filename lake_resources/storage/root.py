"""The directory of a lake: whose it is, and whether there is one.

Belongs here: the file `EXCHANGE` that makes a directory a lake (its ledger knows it too), refusing to mix exchanges in
one root.
Does not belong here: what lies in it (`catalog`, `ledger`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from lake_resources.errors import SettingsError, StorageError
from lake_resources.storage.blobs import Blobs
from lake_resources.storage.disk import disk_errors
from lake_resources.storage.ledger.identity import EXCHANGE_FILE, exchange_of


def require_lake(root: Path, exchange: str, ledger: Path | None = None) -> None:
    """Refuse a root without a lake of the exchange; nothing is written.

    Args:
        root: directory of the lake.
        exchange: the exchange of the settings.
        ledger: file of its ledger, default `ledger.sqlite` in the root; it knows the exchange where the file `EXCHANGE`
            was lost.

    Raises:
        SettingsError: there is no directory, none that a lake was begun in, or it holds data of another exchange.
        StorageError: it cannot be read.
    """
    with disk_errors(f"read {root}"):
        if exchange_held(root, ledger) is None:
            what = f"{root} is no lake" if root.is_dir() else f"there is no lake at {root}"
            raise SettingsError(
                what, remedy="Set LAKE_ROOT or LAKE_EXCHANGE to the lake you mean, or begin one with `lake init-state`"
            )
    _require_exchange(root, exchange, ledger)


def claim_root(root: Path, exchange: str, ledger: Path | None = None) -> None:
    """Mark a root as holding data of one exchange, and create it; simulated and real rows are never mixed.

    A lost mark is written anew where the ledger names the same exchange.

    Args:
        root, exchange, ledger: as in `require_lake`.

    Raises:
        SettingsError: it holds data of another one.
        StorageError: it cannot be created or marked.
    """
    marker = root / EXCHANGE_FILE
    with disk_errors(f"claim {root}"):
        root.mkdir(parents=True, exist_ok=True)
        if not marker.exists():
            _require_exchange(root, exchange, ledger)
            # Two first users at once: one of them names the exchange, and neither reads a half-written name.
            whole = root / f".{EXCHANGE_FILE}-{uuid4().hex}"
            try:
                whole.write_text(exchange + "\n", encoding="utf-8")
                with suppress(FileExistsError):
                    os.link(whole, marker)
            finally:
                whole.unlink(missing_ok=True)
    _require_exchange(root, exchange, ledger)


def claim_blobs(blobs: Blobs, exchange: str) -> None:
    """Mark a bucket as holding data of one exchange, as `claim_root` does with a directory.

    Raises:
        SettingsError: it holds data of another one.
        StorageError: it cannot be read or marked.
    """
    if EXCHANGE_FILE not in blobs.names(""):
        with suppress(StorageError):  # two first users at once: what stands there afterwards decides
            blobs.write(EXCHANGE_FILE, f"{exchange}\n".encode(), create=True)
    require_same_blobs(blobs, exchange)


def require_same_blobs(blobs: Blobs, exchange: str) -> None:
    """Refuse bytes that are marked as those of another exchange; nothing is written.

    Raises:
        SettingsError: they are.
        StorageError: they cannot be read.
    """
    if EXCHANGE_FILE in blobs.names(""):
        _require_same(blobs.where(""), blobs.read(EXCHANGE_FILE).decode(errors="replace").strip(), exchange)


def exchange_held(root: Path, ledger: Path | None) -> str | None:
    """The exchange whose data a root holds, as its mark says, else its ledger; None where neither does."""
    marker = root / EXCHANGE_FILE
    if marker.is_file():
        return marker.read_text(encoding="utf-8", errors="replace").strip()
    return exchange_of(root / "ledger.sqlite" if ledger is None else ledger)


def _require_exchange(root: Path, exchange: str, ledger: Path | None) -> None:
    with disk_errors(f"read {root / EXCHANGE_FILE}"):
        found = exchange_held(root, ledger)
    if found is not None:
        _require_same(str(root), found, exchange)


def _require_same(where: str, found: str, exchange: str) -> None:
    if found != exchange:
        raise SettingsError(
            f"{where} holds data of the exchange {found[:40]!r}, the settings say {exchange!r}",
            remedy="Set LAKE_ROOT to another directory: simulated and real rows are never mixed",
        )
