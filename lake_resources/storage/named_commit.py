"""Partitions become visible by a transaction alone, whoever else writes on whatever host.

Belongs here: the commit over a ledger that several hosts share: bytes under a name that holds their hash, then one
transaction that reads again, decides again and swaps rows. Does not belong here: the gate, staging (`commit`), which
version is better (`decision`), removing what no row names (`garbage`).

There are no intents: what a crash leaves is a file that no row names. A writer that lost its lock meanwhile does no
harm, for the transaction decides on what is committed then.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from lake_resources.storage.decision import CommitOutcome, decide
from lake_resources.storage.disk import disk_errors, fsync_dirs, make_dirs
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.ledger import Partition
from lake_resources.storage.parquet import StagedFile
from lake_resources.storage.store import Store

Made = Sequence[tuple[Partition, StagedFile]]
"""Candidates as their rows would be, with their staged files."""


def commit_named(store: Store, symbol: str, made: Made) -> list[CommitOutcome]:
    """Decide on candidates of one symbol, and commit those that are accepted.

    Args:
        store: the table, over a shared ledger.
        symbol: whose partitions.
        made: at least one candidate, each with its staged file, which stays; its path holds its hash.

    Returns:
        One outcome per candidate, in their order.

    Raises:
        DiskFull: no space; nothing was committed.
        LedgerUnreachable: nothing was committed, or all was and the answer got lost; the same call again tells.
    """
    starts = [partition.start for partition, _ in made]
    span = min(starts), max(starts) + store.layout.step
    held = {row.start: row for row in store.ledger.partitions(symbol, *span)}
    outcomes, accepted = _decided(store, held, made)
    if not accepted:
        return outcomes
    publish_named(store, accepted)

    def again(found: dict[datetime, Partition]) -> list[Partition]:
        nonlocal outcomes, accepted
        if found != held:
            outcomes, accepted = _decided(store, found, made)
            publish_named(store, accepted)
        return [partition for partition, _ in accepted]

    store.ledger.commit_decided(symbol, span, again)
    return outcomes


def publish_named(store: Store, files: Made) -> None:
    """Give staged files their names, durably; where a name is taken, its file holds the same bytes.

    One that is there is touched, so that no collector of garbage takes it for an old one; one that was damaged is
    replaced. The staged files stay.
    """
    placed = [(file, store.catalog.absolute(partition.path)) for partition, file in files]
    with disk_errors(f"publish {len(placed)} file(s)"):
        changed = [directory for _, path in placed for directory in make_dirs(path.parent)]
        for file, path in placed:
            _place(file, path)
            changed.append(path.parent)
        fsync_dirs(changed)


def _place(file: StagedFile, path: Path) -> None:
    try:
        os.link(file.temp_path, path)
    except FileExistsError:
        with suppress(FileNotFoundError):  # a collector of garbage was faster: it is placed below
            os.utime(path)
            if file_hash(path) == file.content_hash:
                return
        spare = file.temp_path.with_suffix(".again")
        os.link(file.temp_path, spare)
        spare.replace(path)


def _decided(
    store: Store, held: Mapping[datetime, Partition], made: Made
) -> tuple[list[CommitOutcome], list[tuple[Partition, StagedFile]]]:
    found = [(decide(store, held.get(partition.start), partition), partition, file) for partition, file in made]
    return [outcome for (outcome, _), _, _ in found], [(row, file) for (_, publish), row, file in found if publish]
