"""`lake collect-garbage`: files that no row of the ledger names.

Belongs here: the command. Does not belong here: what is garbage (`storage.garbage`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from lake_assets.at_rest import open_at_rest
from lake_assets.cli.options import AsJson
from lake_assets.cli.printing import show_json, terminal
from lake_assets.tables.declared import TABLES
from lake_resources.settings import LakeSettings
from lake_resources.storage.commit import recover_unless_busy
from lake_resources.storage.garbage import drop_copies, find_garbage, remove_garbage

app = typer.Typer()
_SHOWN = 20


@app.command(name="collect-garbage")
def collect_garbage(
    remove: Annotated[bool, typer.Option("--remove", help="remove them; without it they are only listed")] = False,
    grace_hours: Annotated[
        float | None,
        typer.Option(
            min=0, help="age from which they are garbage, default LAKE_COMPACT_GRACE_HOURS", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List files that no row of the ledger names, of all tables; --remove takes them away after the grace.

    Killed writers leave them, and over a ledger that hosts share every content that was replaced. What a row names is
    never touched. Of files in an object store, --remove also takes away this host's copies that were not read for the
    grace. The grace is for writers that are at work and for readers that opened a file before it was replaced.

    Examples: `lake collect-garbage` · `lake collect-garbage --remove`
    """
    settings = LakeSettings()
    grace = timedelta(hours=settings.compact_grace_hours if grace_hours is None else grace_hours)
    lake = open_at_rest(settings)
    recover_unless_busy(lake.store)
    stores = [lake.of(table).store for table in TABLES.values()]
    found = find_garbage(stores, grace)
    copies = 0
    if remove:
        found = remove_garbage(lake.store, found, grace)
        copies = drop_copies(stores, grace)
    size = sum(each.size_bytes for each in found)
    if as_json:
        files = [{"path": each.path, "size_bytes": each.size_bytes} for each in found]
        show_json(
            {
                "removed": remove,
                "files": files,
                "size_bytes": size,
                "grace_hours": grace / timedelta(hours=1),
                "copies_removed": copies,
            }
        )
        return
    console = terminal()
    for each in found[:_SHOWN]:
        console.print(f"{each.path}  {each.size_bytes:,} bytes", soft_wrap=True, markup=False)
    if len(found) > _SHOWN:
        console.print(f"and {len(found) - _SHOWN:,} more (--json lists all)")
    if copies:
        console.print(f"{copies:,} copies on this host removed that were not read for so long")
    verb = "removed" if remove else "no row names; --remove takes them away"
    console.print(f"{len(found):,} files ({size / 1e6:.1f} MB) {verb}; grace {grace / timedelta(hours=1):g} h")
