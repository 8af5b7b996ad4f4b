"""Processes of the local stack that end by themselves: most are an error, a kept one is started again."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from lake_assets.console import stack as module
from lake_assets.console.stack import Stack
from lake_resources.errors import LakeError

_SLEEPS = ["timeit", "-n", "1", "-r", "1", "import time; time.sleep(60)"]


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    monkeypatch.setattr(module, "_RESTART_FIRST_S", 0.2)
    return Stack("http://127.0.0.1:1", tmp_path)


def _killed(stack: Stack, name: str) -> int:
    process = stack.processes[name]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    return process.pid


def _said(stack: Stack, wanted: str) -> str:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for line in stack.tend():
            if wanted in line:
                return line
        time.sleep(0.02)
    raise AssertionError(f"{wanted!r} was not said")


def test_a_kept_process_is_started_again_with_growing_pauses(stack: Stack) -> None:
    with stack:
        stack.keep("collector", _SLEEPS, dict(os.environ))
        assert stack.tend() == []
        pauses = []
        for _ in range(2):
            before = _killed(stack, "collector")
            said = _said(stack, "ended with code -9")
            stack.check()
            began = time.monotonic()
            _said(stack, "was started again")
            pauses.append(time.monotonic() - began)
            assert stack.processes["collector"].pid != before
        assert "collector.log" in said
        assert stack.processes["collector"].poll() is None
        assert 0.1 < pauses[0] < pauses[1]
    assert stack.processes["collector"].poll() is not None


def test_another_process_that_ends_is_an_error_with_its_log(stack: Stack) -> None:
    with stack:
        stack.start("daemon", ["no_such_module_of_ours"], dict(os.environ))
        stack.processes["daemon"].wait(20)
        with pytest.raises(LakeError, match=r"daemon ended with code 1(.|\n)*no_such_module_of_ours"):
            stack.check()
