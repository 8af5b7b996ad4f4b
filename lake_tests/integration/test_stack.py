"""Processes of the local stack that end by themselves: most are an error, a kept one is started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from lake_assets.local_stack import supervision as module
from lake_assets.local_stack.places import dagster_home
from lake_assets.local_stack.stack import BuilderWatch, _interruptible, local_stack
from lake_assets.local_stack.supervision import Stack
from lake_assets.resident.builder_beat import BuilderBeat, write_beat
from lake_resources.clock import HOUR
from lake_resources.errors import LakeError
from lake_resources.settings import LakeSettings
from lake_resources.storage.locks import writer_lock
from lake_tests.support.waiting import free_port, gone, group_gone, wait_until

_CHILD = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
_LEAVES_A_CHILD = ["timeit", "-n", "1", "-r", "1", "-s", _CHILD, "pass"]
_DEAF = [
    "timeit",
    "-n",
    "1",
    "-r",
    "1",
    "import signal, time; signal.signal(15, lambda *_: print(2, flush=True)); print(1, flush=True); time.sleep(200)",
]
_SLEEPS = ["timeit", "-n", "1", "-r", "1", "import time; time.sleep(60)"]


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    monkeypatch.setattr(module, "_RESTART_FIRST_S", 0.2)
    return Stack("http://127.0.0.1:1", tmp_path)


def _killed(stack: Stack, name: str) -> int:
    process = stack.processes[name]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(120)
    return process.pid


def _said(stack: Stack, wanted: str) -> str:
    lines: list[str] = []

    def said() -> bool:
        lines.extend(stack.tend())
        return any(wanted in line for line in lines)

    wait_until(said, repr(wanted))
    return next(line for line in lines if wanted in line)


def test_a_kept_process_is_started_again_with_growing_pauses(stack: Stack) -> None:
    with stack:
        stack.keep("collector", _SLEEPS, dict(os.environ))
        assert stack.tend() == []
        pauses = []
        for _ in range(2):
            began = time.monotonic()
            before = _killed(stack, "collector")
            said = _said(stack, "ended with code -9")
            stack.check()
            _said(stack, "was started again")
            pauses.append(time.monotonic() - began)
            assert stack.processes["collector"].pid != before
        assert "collector.log" in said
        assert stack.processes["collector"].poll() is None
        assert pauses[0] >= 0.2
        assert pauses[1] >= 0.4
    assert stack.processes["collector"].poll() is not None


def test_a_kept_process_that_hangs_is_killed_and_started_again(stack: Stack) -> None:
    hanging: set[int] = set()
    with stack:
        stack.keep(
            "builder", _SLEEPS, dict(os.environ),
            lambda ran_s: "it is silent" if ran_s >= 0 and stack.processes["builder"].pid in hanging else "",
        )  # fmt: skip
        assert stack.tend() == []
        before = stack.processes["builder"].pid
        # A stopped process ends by nothing else.
        os.kill(before, signal.SIGSTOP)
        hanging.add(before)
        assert stack.tend() == ["builder was killed: it is silent"]
        stack.processes["builder"].wait(120)
        _said(stack, "ended with code -9")
        _said(stack, "builder was started again")
        assert stack.processes["builder"].pid != before


def test_a_builder_hangs_when_it_is_silent_for_twice_as_long_as_runs_wait(tmp_path: Path) -> None:
    given: dict[str, Any] = {"_env_file": None}
    settings = LakeSettings(root=tmp_path, exchange="simulator", hot_builder_silent_s=20, **given)
    hangs, now = BuilderWatch(settings), datetime.now(UTC)
    assert hangs(39.9) == "", "it has just been started"
    assert "never heard" in hangs(40.0)
    write_beat(settings, BuilderBeat(now, 1, now))
    assert hangs(50.0) == ""
    assert hangs(89.9) == ""
    assert "silent for 40 s" in hangs(90.0)
    assert hangs(1.0) == "", "another one was started, and may take as long to speak"
    assert "silent for 41 s" in hangs(41.0)


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["an hour ahead", "an hour back"])
def test_a_builder_that_lives_is_not_killed_by_a_clock_nor_one_that_hangs_kept(tmp_path: Path, jump: timedelta) -> None:
    given: dict[str, Any] = {"_env_file": None}
    settings = LakeSettings(root=tmp_path, exchange="simulator", hot_builder_silent_s=20, **given)
    hangs, now = BuilderWatch(settings), datetime.now(UTC)
    write_beat(settings, BuilderBeat(now + jump, 1, now + jump))
    assert hangs(100.0) == "", "its clock was another one"
    assert "silent for 40 s" in hangs(140.0), "and nothing came since"


def test_another_process_that_ends_is_an_error_with_its_log(stack: Stack) -> None:
    with stack:
        stack.start("daemon", ["no_such_module_of_ours"], dict(os.environ))
        stack.processes["daemon"].wait(120)
        with pytest.raises(LakeError, match=r"daemon ended with code 1(.|\n)*no_such_module_of_ours"):
            stack.check()


def test_only_the_end_of_a_log_is_told(stack: Stack) -> None:
    (stack.logs / "daemon.log").write_text("old\n" * 1_000_000)
    with stack:
        stack.start("daemon", ["no_such_module_of_ours"], dict(os.environ))
        stack.processes["daemon"].wait(120)
        with pytest.raises(LakeError, match=r"no_such_module_of_ours") as ended:
            stack.check()
    assert len(str(ended.value)) < 2_000


def test_a_kept_process_is_started_again_while_another_is_waited_for(stack: Stack) -> None:
    with stack:
        stack.keep("collector", _SLEEPS, dict(os.environ))
        before = _killed(stack, "collector")
        stack.wait_for("it", lambda: stack.processes["collector"].pid != before, timeout_s=120)


def test_children_of_a_dead_process_end_with_the_stack(stack: Stack) -> None:
    with stack:
        stack.start("daemon", _LEAVES_A_CHILD, dict(os.environ))
        group = stack.processes["daemon"].pid
        stack.processes["daemon"].wait(120)
        assert not group_gone(group)
    wait_until(lambda: group_gone(group), "the end of the child")


def test_a_second_interrupt_kills_at_once(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STOP_S", 600.0)
    log = stack.logs / "daemon.log"

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    stack.start("daemon", _DEAF, dict(os.environ))
    stack.wait_for("it", lambda: log.read_text().startswith("1"), timeout_s=120)
    before = signal.signal(signal.SIGUSR1, interrupt)

    def when_it_is_deaf() -> None:
        wait_until(lambda: "2" in log.read_text(), "its first signal")
        os.kill(os.getpid(), signal.SIGUSR1)

    beside = threading.Thread(target=when_it_is_deaf)
    beside.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            stack.stop()
    finally:
        beside.join()
        signal.signal(signal.SIGUSR1, before)
    assert stack.processes["daemon"].returncode == -signal.SIGKILL


def test_all_processes_share_one_deadline_below_ten_seconds(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    assert module._STOP_S <= 9, "and the killing of what is left"
    monkeypatch.setattr(module, "_STOP_S", 0.5)
    names = ["collector", "daemon", "webserver"]
    for name in names:
        stack.start(name, _DEAF, dict(os.environ))
    for name in names:
        log = stack.logs / f"{name}.log"
        stack.wait_for(name, lambda log=log: log.read_text().startswith("1"), timeout_s=120)  # type: ignore[misc]
    stack.stop()
    assert [stack.processes[name].returncode for name in names] == [-signal.SIGKILL] * 3


def test_a_second_platform_of_a_lake_is_refused_on_other_ports_too(tmp_path: Path) -> None:
    given: dict[str, Any] = {"_env_file": None}
    settings = LakeSettings(root=tmp_path, exchange="binance", webserver_port=free_port(), **given)
    with (
        writer_lock(dagster_home(settings) / "stack.lock"),
        pytest.raises(LakeError, match="is running already"),
        local_stack(settings, say=lambda _: None),
    ):
        pass
    assert not (tmp_path / "logs").exists(), "nothing was started"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_processes_end_with_a_stack_that_is_killed(tmp_path: Path) -> None:
    starts_one = (
        "import os, sys, time; from pathlib import Path; from lake_assets.local_stack.supervision import Stack;"
        f"stack = Stack('', Path({str(tmp_path)!r})); stack.start('daemon', {_SLEEPS!r}, dict(os.environ));"
        "print(stack.processes['daemon'].pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", starts_one], stdout=subprocess.PIPE, cwd=module.PROJECT)
    assert parent.stdout is not None
    with parent.stdout:
        child = int(parent.stdout.readline())
    assert not gone(child)
    parent.kill()
    parent.wait(120)
    wait_until(lambda: gone(child), "the end of the child")


def test_a_closed_terminal_ends_the_stack_unless_that_is_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt), _interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with _interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
