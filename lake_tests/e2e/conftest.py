"""One running stack (simulator, webserver, daemon) for all journeys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lake_assets.lake import Lake, open_lake
from lake_assets.local_stack.graphql import DagsterApi
from lake_assets.local_stack.stack import local_stack
from lake_assets.local_stack.supervision import Stack
from lake_resources.settings import LakeSettings
from lake_tests.support.outage import free_port


@dataclass(frozen=True)
class Journey:
    """What a user has in front of him."""

    settings: LakeSettings
    stack: Stack
    api: DagsterApi
    lake: Lake


@pytest.fixture(scope="session")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    settings = LakeSettings(
        root=tmp_path_factory.mktemp("lake"),
        exchange="simulator",
        symbols=("BTCUSDT",),
        simulator_port=free_port(),
        webserver_port=free_port(),
        # The hot band runs as it does for a user; these two would fill what other journeys leave out on purpose.
        heal_interval_s=86_400,
        promote_interval_s=86_400,
    )
    with local_stack(settings, say=print) as stack:
        api = DagsterApi(stack.address)
        yield Journey(settings, stack, api, open_lake(settings))
        api.close()
