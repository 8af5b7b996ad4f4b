"""What Dagster loads: the code location of the settings that the environment gives.

Belongs here: that, once. Does not belong here: assembling it (`code_location`).
"""

from __future__ import annotations

from lake_assets.code_location import build_definitions
from lake_resources.settings import LakeSettings

__all__ = ["build_definitions", "defs"]

defs = build_definitions(LakeSettings())
