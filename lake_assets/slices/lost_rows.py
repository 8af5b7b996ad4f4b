"""Rows of slices in a ledger that was lost, made anew from the answers of the lake's own data root.

Belongs here: which slices there are, and that nothing is asked of the exchange for them. Does not belong here: what an
answer says of its slice (`integrity`), the other tables of the ledger (`build.ledger_rebuild`).
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from lake_assets.slices.data_root import Slices
from lake_assets.slices.endpoints import ENDPOINTS, endpoint_of
from lake_assets.slices.integrity import rebuild
from lake_assets.slices.keys import parse_key
from lake_assets.slices.manifest import read_manifest
from lake_resources.clock import Clock
from lake_resources.errors import StorageError
from lake_resources.settings import LakeSettings
from lake_resources.storage.blobs import open_blobs
from lake_resources.storage.ledger.slice_rows import SliceRows, SliceSet
from lake_resources.storage.raw_store import RawStore


def rebuild_slices(settings: LakeSettings, ledger: Path, clock: Clock) -> tuple[int, list[str]]:
    """Give a new ledger a row for each kept answer that it has none of; the exchange is not asked for anything.

    Slices that lie elsewhere than in the lake have a ledger of their own, and nothing is done.

    Args:
        settings: of the lake.
        ledger: file of the new ledger.
        clock: the current instant, UTC: what is final is decided by it.

    Returns:
        How many rows were made, and the files that could not be read as an answer, each with its fault.
    """
    made, root = 0, settings.resolved_slices_root
    left_out: list[str] = []
    if settings.slices_root is not None:
        return made, left_out
    with closing(SliceRows(f"sqlite:///{ledger}", anew=True)) as rows:
        slices = Slices(root, rows, RawStore(open_blobs(root)), {}, clock)
        for of in _kept(root):
            first = _first_of_manifest(slices, of)
            if first is not None and rows.origin(of) is None:
                rows.keep_origin(of, first, clock())
            endpoint = endpoint_of(of.endpoint, of.interval)
            # Without the exchange nobody knows the newest id: a page of ids that is whole is final, another one is not.
            frontier = int(clock().timestamp() * 1000) if endpoint.newest_query is None else _NO_NEWEST
            count, refused = rebuild(slices, endpoint, of, frontier=frontier, but=rows.all_starts(of))
            made += count
            left_out += [f"slices/{each.subject}: {each.found}" for each in refused]
    return made, left_out


def _kept(root: Path) -> list[SliceSet]:
    """Endpoints, symbols and intervals that have a directory of answers."""
    found = [SliceSet(path.parents[2].name, path.parent.name, path.name) for path in root.glob("binance/*/raw/*/*")]
    return [of for of in sorted(found) if of.endpoint in ENDPOINTS and of.interval in ENDPOINTS[of.endpoint].intervals]


def _first_of_manifest(slices: Slices, of: SliceSet) -> int | None:
    """Where the slices begin, which a first slice without an answer would not tell; None without a sound manifest."""
    try:
        return min((parse_key(text).start for text in read_manifest(slices.store.blobs, of)["slices"]), default=None)
    except (StorageError, ValueError):
        return None


_NO_NEWEST = 1 << 62
