"""The local stack: simulator (if it is the exchange), collector, resident builder, Dagster's webserver and daemon.

Belongs here: which processes there are, in which order they start, what is waited for. Does not belong here: keeping
and ending processes (`supervision`), where they find each other (`places`), what runs in them.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType

from lake_assets.automation.resident_turns import silence_text
from lake_assets.local_stack.graphql import DagsterApi
from lake_assets.local_stack.lone_exchange import simulator_command
from lake_assets.local_stack.places import BUILDER_ENVIRONMENT, PROJECT, child_environment, dagster_home, require_free
from lake_assets.local_stack.servers import require_servers
from lake_assets.local_stack.supervision import Stack
from lake_assets.resident.builder_beat import BuilderBeat, last_beat
from lake_resources.clock import SECOND, system_clock
from lake_resources.errors import LakeError, PartitionBusy
from lake_resources.local_web import require_token
from lake_resources.settings import LakeSettings
from lake_resources.storage.locks import writer_lock

COLLECTOR, BUILDER, WATCHDOG, DASHBOARD = "collector", "builder", "health", "dashboard"
# For a machine with much other work; a process that ends meanwhile is told at once.
_PATIENCE_S = 300.0


@contextmanager
def local_stack(
    settings: LakeSettings,
    *,
    say: Callable[[str], None],
    further_ports: Mapping[str, int] | None = None,
    builder: bool = True,
    workspace: Path | None = None,
) -> Iterator[Stack]:
    """Start simulator (when it is the exchange), collector, builder, webserver and daemon; stop them at the end.

    Args:
        settings: of the lake.
        say: takes lines of progress.
        builder: also start the resident builder, where the settings ask for one.
        workspace: names the code locations, which `lake workspace` writes for many symbols; default the one of all.
        further_ports: ports that the caller will need, by the name of their setting: refused at once where taken.

    Raises:
        SettingsError: the web UI would listen beyond this machine without a token.
        LakeError: a port is taken, the platform of this lake runs already, or a process does not come up.
        StorageError: a server that the settings name does not answer.
    """
    require_token(settings.webserver_host, settings.web_token)
    wanted = {"LAKE_WEBSERVER_PORT": settings.webserver_port}
    if settings.exchange == "simulator":
        wanted["LAKE_SIMULATOR_PORT"] = settings.simulator_port
    wanted |= further_ports or {}
    require_free(wanted)
    require_servers(settings)
    stack = Stack(settings.web_address, settings.lake_root / "logs")
    environment = child_environment(settings)
    started = system_clock()
    settings.lake_root.mkdir(parents=True, exist_ok=True)
    locations = str((workspace or PROJECT / "workspace.yaml").absolute())
    with _alone(settings), _interruptible(), stack:
        _prepare_instance(environment, say)
        if settings.exchange == "simulator":
            stack.start("simulator", simulator_command(settings), environment)
        if settings.collector:
            stack.keep(COLLECTOR, ["lake_assets.live.process"], environment)
        if builder and settings.hot_builder and settings.automation:
            alone = environment | BUILDER_ENVIRONMENT
            stack.keep(BUILDER, ["lake_assets.resident.keep_hot"], alone, BuilderWatch(settings))
        stack.keep(WATCHDOG, ["lake_assets.watchdog.heartbeat", "--started", started.isoformat()], environment)
        stack.start("webserver", ["lake_assets.local_stack.webserver", "--workspace", locations], environment)
        stack.start("daemon", ["lake_assets.local_stack.daemon", "--workspace", locations], environment)
        api = DagsterApi(stack.address, token=settings.web_token)
        say("waiting for the webserver ...")
        stack.wait_for("the webserver", api.alive, timeout_s=_PATIENCE_S)
        stack.wait_for("the code location", api.location_loaded, timeout_s=_PATIENCE_S)
        say("waiting for the daemon ...")
        stack.wait_for("the daemon", lambda: api.daemons_healthy(started), timeout_s=_PATIENCE_S)
        api.close()
        yield stack


class BuilderWatch:
    """Says when the resident builder hangs: no other sign of life for twice as long as runs wait before they stand in.

    It may be waiting for the exchange that long; one that hangs may hold the lock of a symbol, which keeps those runs
    from it. Counted in seconds that the process ran: a clock that is set back or forward, or a machine that slept,
    makes no builder silent, and keeps none that hangs.

    Args:
        settings: of the lake.
    """

    def __init__(self, settings: LakeSettings) -> None:
        self._settings = settings
        self._patience_s = 2 * settings.hot_builder_silent_s
        self._beat: BuilderBeat | None = None
        self._heard_s = 0.0

    def __call__(self, ran_s: float) -> str:
        """Why the builder is to be killed, empty while it gives signs of life; takes for how long the process ran."""
        beat = last_beat(self._settings)
        if ran_s < self._heard_s:  # another process
            self._heard_s = 0.0
        if beat != self._beat:
            self._beat, self._heard_s = beat, ran_s
        silent_s = ran_s - self._heard_s
        if silent_s < self._patience_s:
            return ""
        return silence_text(timedelta.max if beat is None else silent_s * SECOND)


def keep_dashboard(stack: Stack, settings: LakeSettings) -> str:
    """Start the dashboard beside the others, and again whenever it ends; returns its address."""
    stack.keep(DASHBOARD, ["lake_assets.dashboard.web_server"], child_environment(settings))
    return f"http://127.0.0.1:{settings.dashboard_port}"


@contextmanager
def _alone(settings: LakeSettings) -> Iterator[None]:
    """Two daemons on one instance would do everything twice, and each start gives up the runs of the other."""
    with ExitStack() as held:
        try:
            held.enter_context(writer_lock(dagster_home(settings) / "stack.lock", timeout_s=0))
        except PartitionBusy as busy:
            raise LakeError(
                f"The platform of {settings.lake_root} is running already", remedy="Stop the other `lake up` first"
            ) from busy
        yield


def _prepare_instance(environment: dict[str, str], say: Callable[[str], None]) -> None:
    command = [sys.executable, "-m", "lake_assets.local_stack.before_start"]
    done = subprocess.run(  # noqa: S603 - our own command
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LakeError(
            f"The Dagster instance in {environment['DAGSTER_HOME']} did not open: {done.stderr[-1500:]}",
            remedy="Mend its dagster.yaml, or move the directory away to begin a new history",
        )
    for line in done.stdout.splitlines():
        say(line)


def watch(
    stack: Stack,
    *,
    say: Callable[[str], None],
    log_keep_days: int,
    meanwhile: Callable[[datetime], object] = lambda _now: None,
) -> None:
    """Stay until interrupted (Ctrl+C or SIGTERM) or a process ends by itself (LakeError); kept ones are restarted.

    Each log is begun anew every UTC day, and old ones are kept for `log_keep_days`. On a full disk they go on as they
    are, and are tried again at the next look. `meanwhile` is called at every look, with the time.
    """
    full = ""
    while True:
        stack.check()
        try:
            stack.rotate_logs(system_clock().date(), log_keep_days)
        except OSError as error:
            if str(error) != full:
                full = str(error)
                say(f"logs are not rotated: {error}")
        for line in stack.tend():
            say(line)
        meanwhile(system_clock())
        time.sleep(1.0)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end the stack as Ctrl+C does; a shell's background job would even ignore that.

    The processes are in sessions of their own, so nothing but this ends them.
    """

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # the terminal was closed, and not under `nohup`
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
