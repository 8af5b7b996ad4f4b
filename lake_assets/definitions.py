"""What Dagster loads: the code location of the settings that the environment gives.

Belongs here: that, once. Does not belong here: assembling it (`code_location`), of which a run's process may need a
part alone (`run_scope`).
"""

from __future__ import annotations

import atexit
import gc

import dagster as dg

from lake_assets.loading import without_collecting
from lake_assets.run_scope import scoped
from lake_resources.settings import LakeSettings

__all__ = ["build_for_process", "defs"]


def build_for_process() -> dg.Definitions:
    """The code location, or the part of it that the run of this process is about."""
    with without_collecting():
        # A third of the garbage that is looked for in vain is that of the modules.
        from lake_assets.code_location import build_definitions

        return build_definitions(scoped(LakeSettings()))


defs = build_for_process()
# They stay as long as the process does: what Dagster makes of them is then looked at alone.
gc.freeze()
atexit.register(gc.unfreeze)
