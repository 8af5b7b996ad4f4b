"""Child processes in groups of their own: started, kept alive, and ended together.

Belongs here: these processes as such, their logs. Does not belong here: what runs in them (`stack`), where they find
each other (`places`).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Self

from lake_assets.local_stack.places import PROJECT
from lake_resources.errors import LakeError

_STOP_S = 7.0
"""All processes together are given so long to end by themselves; with the killing of the rest it stays below 10 s."""
_LOG_END_BYTES, _PR_SET_PDEATHSIG = 1500, 1
_RESTART_FIRST_S, _RESTART_MAX_S = 2.0, 60.0
_STEADY_S = 300.0
"""A process that ran so long before it ended is started again after the first pause."""


@dataclass
class _Kept:
    """A process that is started again when it ends.

    Attributes:
        command, environment: what it was started with.
        started_s: when, monotonic seconds.
        pause_s: before it is started again.
        due_s: when it may be, monotonic seconds; None while it runs.
        hangs: given for how many seconds it has run, says why it is to be killed; empty while it is well.
    """

    command: Sequence[str]
    environment: dict[str, str]
    started_s: float
    pause_s: float
    due_s: float | None = None
    hangs: Callable[[float], str] = lambda _: ""


@dataclass
class Stack:
    """Running child processes. `address` is the web UI."""

    address: str
    logs: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _log_days: dict[str, date] = field(default_factory=dict)

    def keep(
        self,
        name: str,
        command: Sequence[str],
        environment: dict[str, str],
        hangs: Callable[[float], str] = lambda _: "",
    ) -> None:
        """Start a process that `tend` starts again when it ends, and kills when it hangs.

        Args:
            name: of the process.
            command: what follows `python -m`.
            environment: of the process.
            hangs: given for how many seconds it has run, says why it is to be killed; empty while it is well.
        """
        self.start(name, command, environment)
        self._kept[name] = _Kept(command, environment, time.monotonic(), _RESTART_FIRST_S, hangs=hangs)

    def rotate_logs(self, today: date, keep_days: int) -> list[Path]:
        """Begin the log of each process anew where it was begun before today, and remove old ones.

        Processes append to the file that they were started with, so it is copied to `{name}.log.YYYY-MM-DD`, and then
        cut; a line that comes between these two is lost.

        Args:
            today: UTC day; a log of it is left alone.
            keep_days: days for which old logs are kept.

        Returns:
            The logs that were set aside.
        """
        aside: list[Path] = []
        for name in self.processes:
            log = self.logs / f"{name}.log"
            begun = self._log_days.setdefault(name, today)
            old = log.with_name(f"{log.name}.{begun:%Y-%m-%d}")
            if begun >= today or not log.is_file():
                continue
            self._log_days[name] = today
            if log.stat().st_size:
                with log.open("rb") as content, old.open("ab") as kept:
                    shutil.copyfileobj(content, kept)
                os.truncate(log, 0)
                aside.append(old)
        for path in self.logs.glob("*.log.????-??-??"):
            if date.fromisoformat(path.name[-10:]) < today - timedelta(days=keep_days):
                path.unlink(missing_ok=True)
        return aside

    def tend(self) -> list[str]:
        """Start kept processes that ended, with growing pauses between; a line for each of what was seen or done.

        One that hangs is killed with its children, and has ended then.
        """
        said = []
        now_s = time.monotonic()
        for name, kept in self._kept.items():
            process = self.processes[name]
            code = process.poll()
            if code is None:
                if why := kept.hangs(now_s - kept.started_s):
                    _signal_group(process.pid, signal.SIGKILL)
                    said.append(f"{name} was killed: {why}")
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

    def start(self, name: str, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        """Start one process, in our own environment where none is given; its output goes to `{logs}/{name}.log`."""
        self.logs.mkdir(parents=True, exist_ok=True)
        path = self.logs / f"{name}.log"
        if name not in self._log_days and path.is_file():
            # Of an earlier start: its last line tells its day.
            self._log_days[name] = datetime.fromtimestamp(path.stat().st_mtime, UTC).date()
        with path.open("ab") as log:
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
