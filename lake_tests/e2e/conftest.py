"""One running stack (simulator, webserver, daemon) for all journeys but the outage, which kills its own.

Most of a journey's time is waiting: for the daemon's rounds, for a minute to pass. So what takes longest is asked for
first, and looked at last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from typer.testing import CliRunner, Result

from lake_assets.cli.demo import demo_windows
from lake_assets.cli.main import app
from lake_assets.dagster_names import archive_key, hour_key
from lake_assets.lake import Lake, open_lake
from lake_assets.local_stack.graphql import DagsterApi
from lake_assets.local_stack.stack import local_stack
from lake_assets.local_stack.supervision import Stack
from lake_assets.metadata import minute_key, table_key, vision_key
from lake_assets.tables.offered import offered_streams
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import HOUR
from lake_resources.settings import LakeSettings
from lake_tests.support.waiting import free_port, wait_until


@dataclass
class Journey:
    """What a user has in front of him.

    Attributes:
        day: a published day, whose archives and hours `day_backfill` is at work on since the stack came up.
        klines: what `lake backfill-klines` said then, which launched days of candles.
    """

    settings: LakeSettings
    stack: Stack
    api: DagsterApi
    lake: Lake
    day: datetime
    day_backfill: str
    klines: Result | None = None

    def run(self, *arguments: str) -> Result:
        """A command of `lake` on the lake of this stack."""
        given = self.settings
        values = {
            "ROOT": given.root, "SYMBOLS": ",".join(given.symbols), "SPOT_SYMBOLS": SPOT_SYMBOL,
            "SIMULATOR_PORT": given.simulator_port, "WEBSERVER_PORT": given.webserver_port,
        }  # fmt: skip
        return CliRunner().invoke(app, arguments, env={f"LAKE_{name}": str(value) for name, value in values.items()})

    def wait(self, what: str, ready: Callable[[], object], *, seconds: float = 300) -> None:
        """Until `ready()` is true; the time is for machines with other work, no test depends on less of it."""

        def meanwhile() -> None:
            self.stack.check()
            self.stack.tend()

        wait_until(ready, what, seconds=seconds, every_s=0.5, meanwhile=meanwhile)


SPOT_SYMBOL, SPOT_HOURS = "SOLUSDT", 2
"""Of whose seconds so many hours are in the same backfill as the day of minutes."""
KLINES_ASKED = ("--lookback-days", "3", "--interval", "1m")
SECRET = "hunter2-of-the-webhook"
"""Part of a setting; no process, log, run or file of the lake may show it."""
_LAST = ("test_backfill_over_graphql", "test_klines_journey", "test_hot_band")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits for the stack to have done something comes after what asks it for something."""
    items.sort(key=lambda item: _LAST.index(item.path.stem) if item.path.stem in _LAST else -1)


def archive_ranges(settings: LakeSettings, day: datetime, now: datetime) -> list[tuple[Sequence[str], str, str]]:
    """Asset and partition of each archive of a day that is due by now."""
    return [
        (vision_key("BTCUSDT", stream.name).path, key, key)
        for stream in offered_streams(settings)
        if stream.name in UM_MINUTE.uses and UM_MINUTE.uses[stream.name].archive_due(day.date(), now)
        for key in [archive_key(stream, UM_MINUTE.uses[stream.name].period(day.date()))]
    ]


@pytest.fixture(scope="session")
def started_once(tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> Callable[[str], None]:
    """Refuses the second start of a stack in one run of the tests, in whatever worker."""

    def start(name: str) -> None:
        (tmp_path_factory.getbasetemp().parent / f"{name}-{testrun_uid}").touch(exist_ok=False)

    return start


@pytest.fixture(scope="session")
def journey(tmp_path_factory: pytest.TempPathFactory, started_once: Callable[[str], None]) -> Iterator[Journey]:
    started_once("journey")
    settings = LakeSettings(
        root=tmp_path_factory.mktemp("lake"),
        exchange="simulator",
        symbols=("BTCUSDT",),
        spot_symbols=(SPOT_SYMBOL,),
        simulator_port=free_port(),
        webserver_port=free_port(),
        # The hot band runs as it does for a user; these two would fill what other journeys leave out on purpose.
        heal_interval_s=86_400,
        promote_interval_s=86_400,
        webhook_url=f"http://127.0.0.1:9/{SECRET}",
    )
    with local_stack(settings, say=print) as stack:
        api, lake = DagsterApi(stack.address), open_lake(settings)
        now = lake.clock()
        day, _ = demo_windows(now)
        hours = (minute_key("BTCUSDT").path, hour_key(day), hour_key(day + timedelta(hours=23)))
        seconds = (
            table_key(SPOT_BARS_1S.layout, SPOT_SYMBOL).path,
            hour_key(day),
            hour_key(day + (SPOT_HOURS - 1) * HOUR),
        )
        backfill = api.launch_backfill([*archive_ranges(settings, day, now), hours, seconds], title="e2e")
        started = Journey(settings, stack, api, lake, day, backfill)
        started.klines = started.run("backfill-klines", *KLINES_ASKED, "--no-follow")
        yield started
        api.close()
        lake.close()
