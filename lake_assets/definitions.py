"""What Dagster loads: the code location of the settings that the environment gives.

Belongs here: that, once. Does not belong here: assembling it (`code_location`), of which a run's process may need a
part alone (`run_scope`).
"""

from __future__ import annotations

import dagster as dg

from lake_assets.code_location import build_definitions
from lake_assets.run_scope import scoped
from lake_resources.settings import LakeSettings

__all__ = ["build_definitions", "build_for_process", "defs"]


def build_for_process() -> dg.Definitions:
    """The code location, or the part of it that the run of this process is about."""
    return build_definitions(scoped(LakeSettings()))


defs = build_for_process()
