"""The code location of one shard, by name: `shard_3_of_12` is the third of twelve.

Belongs here: what `workspace.yaml` names, and writing that file. Does not belong here: assembling a code location
(`code_location`), which symbols a shard has (`lake_resources.shards`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

from lake_assets.loading import without_collecting
from lake_resources.settings import LakeSettings

if TYPE_CHECKING:
    import dagster as dg

_NAME = re.compile(r"shard_(\d+)_of_(\d+)")
_built: list[tuple[LakeSettings, dg.Definitions]] = []
"""The last that was built, and for which settings: a worker's process is about another run each time."""


def __getattr__(name: str) -> dg.Definitions:
    found = _NAME.fullmatch(name)
    if found is None:
        raise AttributeError(f"module {__name__} has no {name}")
    # What a worker's process has built is another run's next time.
    with without_collecting(for_good=not _built):
        # `lake workspace` reads this module, and needs no code location.
        from lake_assets.code_location import build_definitions
        from lake_assets.run_scope import scoped

        settings = scoped(LakeSettings(shard=f"{found[1]}/{found[2]}"))
        # Dagster asks for the name several times as it loads it.
        if not any(built_of == settings for built_of, _ in _built):
            _built[:] = [(settings, build_definitions(settings))]
    return _built[0][1]


def workspace(shards: int, *, directory: str, first_port: int | None = None) -> str:
    """`workspace.yaml` with a code location per shard.

    Args:
        shards: how many, at least one.
        directory: where Dagster starts the processes of the code locations.
        first_port: of code servers that run already, one per shard on ports in a row; None: Dagster starts them.
    """
    numbers = range(1, shards + 1)
    found: list[dict[str, dict[str, str | int]]]
    if first_port is None:
        found = [
            {
                "python_module": {
                    "module_name": __name__,
                    "attribute": f"shard_{number}_of_{shards}",
                    "location_name": f"lake-{number}",
                    "working_directory": directory,
                }
            }
            for number in numbers
        ]
    else:
        found = [
            {"grpc_server": {"host": "127.0.0.1", "port": first_port + number - 1, "location_name": f"lake-{number}"}}
            for number in numbers
        ]
    return str(yaml.safe_dump({"load_from": found}, sort_keys=False))
