"""Partitions become visible by a transaction alone, whoever else writes on whatever host.

Belongs here: the commit over a ledger that several hosts share: bytes under a name that holds their hash, then one
transaction that reads again, decides again and swaps rows. Does not belong here: the gate, staging (`commit`), which
version is better (`decision`), removing what no row names (`garbage`).

There are no intents: what a crash leaves is a file that no row names. A writer that lost its lock meanwhile does no
harm, for the transaction decides on what is committed then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from lake_resources.storage.decision import CommitOutcome, decide
from lake_resources.storage.ledger.ledger import Partition
from lake_resources.storage.parquet import StagedFile
from lake_resources.storage.store import Store

Made = Sequence[tuple[Partition, StagedFile]]
"""Candidates as their rows would be, with their staged files."""


def commit_named(
    store: Store, symbol: str, made: Made, over: Mapping[datetime, str | None] = MappingProxyType({})
) -> list[CommitOutcome]:
    """Decide on candidates of one symbol, and commit those that are accepted.

    Args:
        store: the table, over a shared ledger.
        symbol: whose partitions.
        made: at least one candidate, each with its staged file, which stays; its path holds its hash.
        over: by start, what was committed when the inputs of a candidate were asked for (`decide`).

    Returns:
        One outcome per candidate, in their order.

    Raises:
        DiskFull: no space; nothing was committed.
        StoreUnreachable: the files could not be put; nothing was committed.
        LedgerUnreachable: nothing was committed, or all was and the answer got lost; the same call again tells.
    """
    starts = [partition.start for partition, _ in made]
    span = min(starts), max(starts) + store.layout.step
    held = {row.start: row for row in store.ledger.partitions(symbol, *span)}
    outcomes, accepted = _decided(store, held, made, over)
    if not accepted:
        return outcomes
    taken = store.files.publish([(file, partition.path) for partition, file in accepted])

    def again(found: dict[datetime, Partition]) -> list[Partition]:
        nonlocal outcomes, accepted
        if found != held:
            outcomes, accepted = _decided(store, found, made, over)
            store.files.publish([(file, partition.path) for partition, file in accepted])
        elif taken:  # nobody collects garbage while this transaction lasts
            store.files.publish(taken)
        return [partition for partition, _ in accepted]

    store.ledger.commit_decided(symbol, span, again)
    return outcomes


def _decided(
    store: Store, held: Mapping[datetime, Partition], made: Made, over: Mapping[datetime, str | None]
) -> tuple[list[CommitOutcome], list[tuple[Partition, StagedFile]]]:
    found = [
        (decide(store, held.get(partition.start), partition, over.get(partition.start)), partition, file)
        for partition, file in made
    ]
    return [outcome for (outcome, _), _, _ in found], [(row, file) for (_, publish), row, file in found if publish]
