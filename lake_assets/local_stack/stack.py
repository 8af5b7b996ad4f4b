"""The local stack: simulator (if it is the exchange), collector, Dagster's webserver and daemon as child processes.

Belongs here: starting, waiting for, watching and stopping these processes. Does not belong here: what runs in them.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Self

from lake_assets.feed_1h.bars import SYMBOL
from lake_assets.local_stack.graphql import DagsterApi
from lake_resources.clock import system_clock
from lake_resources.dagster_private import DAEMON_MODULE
from lake_resources.errors import LakeError, PartitionBusy
from lake_resources.settings import LakeSettings
from lake_resources.storage.locks import writer_lock

PROJECT = Path(__file__).resolve().parents[2]
COLLECTOR, WATCHDOG = "collector", "health"
_STOP_S = 15.0
_LOG_END_BYTES, _PR_SET_PDEATHSIG = 1500, 1
_RESTART_FIRST_S, _RESTART_MAX_S = 2.0, 60.0
_STEADY_S = 300.0
"""A process that ran so long before it ended is started again at once."""


def dagster_home(settings: LakeSettings) -> Path:
    """Directory of the Dagster instance that belongs to the settings' lake, created with its `dagster.yaml`.

    Each exchange has its own, as it has its own lake: the UI never shows simulated partitions as real ones.
    """
    home = PROJECT / "dagster_home" if settings.root is None else settings.lake_root / "dagster_home"
    if settings.exchange == "simulator" and settings.root is None:
        home = home / "simulator"
    home.mkdir(parents=True, exist_ok=True)
    source = PROJECT / "dagster_home" / "dagster.yaml"
    if home / "dagster.yaml" != source:
        shutil.copyfile(source, home / "dagster.yaml")
    return home


def child_environment(settings: LakeSettings) -> dict[str, str]:
    """Environment of the child processes: ours, plus the instance directory and the settings in force."""
    inherited = dict(os.environ)  # noqa: TID251 - children inherit the environment, nothing is read from it here
    values = settings.model_dump(mode="json", exclude_none=True)
    values["symbols"] = ",".join(settings.symbols)
    passed = {f"LAKE_{name.upper()}": str(value) for name, value in values.items()}
    return {**inherited, **passed, "DAGSTER_HOME": str(dagster_home(settings)), "PYTHONUNBUFFERED": "1"}


def port_is_free(port: int) -> bool:
    """Whether nothing listens on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@dataclass
class _Kept:
    """A process that is started again when it ends: what it was started with, and when it may be next."""

    command: Sequence[str]
    environment: dict[str, str]
    started_s: float
    pause_s: float
    due_s: float | None = None


@dataclass
class Stack:
    """Running child processes. `address` is the web UI."""

    address: str
    logs: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _kept: dict[str, _Kept] = field(default_factory=dict)

    def keep(self, name: str, command: Sequence[str], environment: dict[str, str]) -> None:
        """Start a process that `tend` starts again when it ends."""
        self.start(name, command, environment)
        self._kept[name] = _Kept(command, environment, time.monotonic(), _RESTART_FIRST_S)

    def tend(self) -> list[str]:
        """Start kept processes that ended, with growing pauses between; a line for each of what was seen or done."""
        said = []
        now_s = time.monotonic()
        for name, kept in self._kept.items():
            code = self.processes[name].poll()
            if code is None:
                continue
            if kept.due_s is None:
                if now_s - kept.started_s >= _STEADY_S:
                    kept.pause_s = _RESTART_FIRST_S
                kept.due_s = now_s + kept.pause_s
                said.append(f"{name} ended with code {code} (see {name}.log), again in {kept.pause_s:.0f} s")
            elif now_s >= kept.due_s:
                self.start(name, kept.command, kept.environment)
                kept.started_s, kept.due_s, kept.pause_s = now_s, None, min(2 * kept.pause_s, _RESTART_MAX_S)
                said.append(f"{name} was started again")
        return said

    def start(self, name: str, command: Sequence[str], environment: dict[str, str]) -> None:
        """Start one process; its output goes to `{logs}/{name}.log`."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(  # noqa: S603 - our own commands
                [sys.executable, "-m", *command], cwd=PROJECT, env=environment, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=_END_WITH_PARENT,
            )  # fmt: skip

    def check(self) -> None:
        """Raise LakeError when a process has ended by itself that is not kept."""
        for name, process in self.processes.items():
            if name not in self._kept and process.poll() is not None:
                raise LakeError(
                    f"{name} ended with code {process.returncode}; the end of its log:\n{self._last_lines(name)}",
                    remedy=f"Read {self.logs / name}.log",
                )

    def _last_lines(self, name: str) -> str:
        with (self.logs / f"{name}.log").open("rb") as log:  # it may have grown for months
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_END_BYTES))
            return log.read().decode(errors="replace")

    def wait_for(self, what: str, ready: Callable[[], bool], *, timeout_s: float) -> None:
        """Poll until `ready()`; raises LakeError when a process ended or the time is over."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            self.check()
            self.tend()
            if time.monotonic() > deadline:
                raise LakeError(
                    f"{what} was not ready within {timeout_s:.0f} s", remedy=f"Read the logs in {self.logs}"
                )
            time.sleep(0.5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the groups of all processes, then kill what is left; an interrupt meanwhile kills at once.

        Also that of a process that ended by itself: a daemon may have left its code server and runs.
        """
        groups = [process.pid for process in self.processes.values()]
        for group in groups:
            _signal_group(group, signal.SIGTERM)
        try:
            deadline = time.monotonic() + _STOP_S
            while time.monotonic() < deadline and any(map(self._lives, groups)):
                time.sleep(0.05)
        finally:
            for group in groups:
                _signal_group(group, signal.SIGKILL)
            for process in self.processes.values():
                process.wait()

    def _lives(self, group: int) -> bool:
        for process in self.processes.values():
            process.poll()  # one that ended would stay in its group until then
        return _signal_group(group, 0)


def _end_with_parent() -> Callable[[], object] | None:
    if sys.platform != "linux":
        return None
    set_option = ctypes.CDLL(None).prctl
    return lambda: set_option(_PR_SET_PDEATHSIG, signal.SIGTERM)


_END_WITH_PARENT = _end_with_parent()
"""Called in a new process: should `lake up` be killed, nobody is left to watch or to stop what it started."""


def _signal_group(group: int, number: int) -> bool:
    """Signal a process group; False when nothing is left of it."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def local_stack(settings: LakeSettings, *, say: Callable[[str], None]) -> Iterator[Stack]:
    """Start simulator (when it is the exchange), collector, webserver and daemon; stop them at the end.

    Raises:
        LakeError: a port is taken, the platform of this lake runs already, or a process does not come up.
    """
    address = f"http://127.0.0.1:{settings.webserver_port}"
    stack = Stack(address, settings.lake_root / "logs")
    wanted = {"LAKE_WEBSERVER_PORT": settings.webserver_port}
    if settings.exchange == "simulator":
        wanted["LAKE_SIMULATOR_PORT"] = settings.simulator_port
    for name, port in wanted.items():
        if not port_is_free(port):
            raise LakeError(
                f"Port {port} is taken", remedy=f"Is `make up` running already? Stop it, or set {name} to a free port"
            )
    environment = child_environment(settings)
    started = system_clock()
    settings.lake_root.mkdir(parents=True, exist_ok=True)
    workspace = ["-w", str(PROJECT / "workspace.yaml")]
    with _alone(settings), _interruptible(), stack:
        _prepare_instance(environment, say)
        if settings.exchange == "simulator":
            seed = str(settings.simulator_seed)
            symbols = dict.fromkeys([*settings.symbols, SYMBOL])  # the 1H feed has its own symbol
            simulator = ["lake_resources.simulator", "--port", str(settings.simulator_port), "--seed", seed]
            stack.start("simulator", [*simulator, "--symbols", ",".join(symbols)], environment)
        if settings.collector:
            stack.keep(COLLECTOR, ["lake_assets.live.process"], environment)
        stack.keep(WATCHDOG, ["lake_assets.watchdog.heartbeat", "--started", started.isoformat()], environment)
        listen = ["-h", "127.0.0.1", "-p", str(settings.webserver_port)]
        stack.start("webserver", ["dagster_webserver", *workspace, *listen], environment)
        stack.start("daemon", [DAEMON_MODULE, "run", *workspace], environment)
        api = DagsterApi(address)
        say("waiting for the webserver ...")
        stack.wait_for("the webserver", api.alive, timeout_s=120)
        stack.wait_for("the code location", api.location_loaded, timeout_s=120)
        say("waiting for the daemon ...")
        stack.wait_for("the daemon", lambda: api.daemons_healthy(started), timeout_s=120)
        api.close()
        yield stack


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


def watch(stack: Stack, *, say: Callable[[str], None]) -> None:
    """Stay until interrupted (Ctrl+C or SIGTERM) or a process ends by itself (LakeError); kept ones are restarted."""
    while True:
        stack.check()
        for line in stack.tend():
            say(line)
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
