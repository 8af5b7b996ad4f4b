"""What Dagster loads: the code location of the settings that the environment gives.

Belongs here: that, once. Does not belong here: assembling it (`code_location`), of which a run's process may need a
part alone (`run_scope`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lake_assets.loading import without_collecting

if TYPE_CHECKING:
    import dagster as dg

__all__ = ["build_for_process", "defs"]


def build_for_process(*, for_good: bool = False) -> dg.Definitions:
    """The code location, or the part of it that the run of this process is about.

    Args:
        for_good: it stays as long as the process does.
    """
    with without_collecting(for_good=for_good):
        # A third of the garbage that is looked for in vain is that of the modules, Dagster's first of all.
        from lake_assets.code_location import build_definitions
        from lake_assets.run_scope import scoped
        from lake_resources.settings import LakeSettings

        return build_definitions(scoped(LakeSettings()))


defs = build_for_process(for_good=True)
