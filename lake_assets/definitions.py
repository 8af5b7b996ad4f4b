"""The code location: all assets, checks and resources, assembled from the settings.

Belongs here: which families of assets exist, and the executor. Does not belong here: any asset's body.
"""

from __future__ import annotations

import dagster as dg

from lake_assets.assets.minute import build_minute_asset
from lake_assets.assets.vision import build_vision_asset, offered_streams
from lake_assets.resources import build_resources
from lake_resources.settings import LakeSettings


def build_definitions(settings: LakeSettings) -> dg.Definitions:
    """The code location of the given settings."""
    assets = [
        asset
        for symbol in settings.symbols
        for asset in (
            *(build_vision_asset(symbol, stream, settings) for stream in offered_streams(settings)),
            build_minute_asset(symbol, settings),
        )
    ]
    return dg.Definitions(
        assets=assets,
        resources=build_resources(settings),
        # A step process of its own would add 3 s of CPU to every run, and runs have one step.
        executor=dg.in_process_executor,
    )


defs = build_definitions(LakeSettings())
