"""The directory of a lake: whose it is, and whether there is one.

Belongs here: the file `EXCHANGE` that makes a directory a lake, refusing to mix exchanges in one root.
Does not belong here: what lies in it (`catalog`, `ledger`).
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from lake_resources.errors import SettingsError, StorageError
from lake_resources.storage.blobs import Blobs
from lake_resources.storage.disk import disk_errors

_MARKER = "EXCHANGE"


def require_lake(root: Path, exchange: str) -> None:
    """Refuse a root without a lake of the exchange; nothing is written.

    Raises:
        SettingsError: there is no directory, none that a lake was begun in, or it holds data of another exchange.
        StorageError: it cannot be read.
    """
    with disk_errors(f"read {root}"):
        if not (root / _MARKER).is_file():
            what = f"{root} is no lake" if root.is_dir() else f"there is no lake at {root}"
            raise SettingsError(
                what, remedy="Set LAKE_ROOT or LAKE_EXCHANGE to the lake you mean, or begin one with `lake init-state`"
            )
    _require_exchange(root, exchange)


def claim_root(root: Path, exchange: str) -> None:
    """Mark a root as holding data of one exchange, and create it; simulated and real rows are never mixed.

    Raises:
        SettingsError: it holds data of another one.
        StorageError: it cannot be created or marked.
    """
    marker = root / _MARKER
    with disk_errors(f"claim {root}"):
        root.mkdir(parents=True, exist_ok=True)
        if not marker.exists():
            with tempfile.NamedTemporaryFile("w", dir=root, prefix=f".{_MARKER}-") as file:
                file.write(exchange + "\n")
                file.flush()
                # Two first users at once: one of them names the exchange, and neither reads a half-written name.
                with suppress(FileExistsError):
                    os.link(file.name, marker)
    _require_exchange(root, exchange)


def claim_blobs(blobs: Blobs, exchange: str) -> None:
    """Mark a bucket as holding data of one exchange, as `claim_root` does with a directory.

    Raises:
        SettingsError: it holds data of another one.
        StorageError: it cannot be read or marked.
    """
    if _MARKER not in blobs.names(""):
        with suppress(StorageError):  # two first users at once: what stands there afterwards decides
            blobs.write(_MARKER, f"{exchange}\n".encode(), create=True)
    _require_same(blobs.where(""), blobs.read(_MARKER).decode(errors="replace").strip(), exchange)


def _require_exchange(root: Path, exchange: str) -> None:
    with disk_errors(f"read {root / _MARKER}"):
        found = (root / _MARKER).read_text(encoding="utf-8", errors="replace").strip()
    _require_same(str(root), found, exchange)


def _require_same(where: str, found: str, exchange: str) -> None:
    if found != exchange:
        raise SettingsError(
            f"{where} holds data of the exchange {found[:40]!r}, the settings say {exchange!r}",
            remedy="Set LAKE_ROOT to another directory: simulated and real rows are never mixed",
        )
