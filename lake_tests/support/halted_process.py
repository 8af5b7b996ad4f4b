"""A process that stops or kills itself on its way, waited for until it has.

Belongs here: starting it, seeing that it was halted, ending it. Does not belong here: what it does and where it halts
(`halted_hot`, `halted_writer`).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]


@contextmanager
def halted_process(command: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Start a command and wait until it was stopped or killed; it ends with the block. What it prints can be read."""
    with subprocess.Popen(command, cwd=_REPOSITORY, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status) or os.WIFSIGNALED(status), f"it was not halted: {status}"
            if os.WIFSIGNALED(status):
                process.returncode = -os.WTERMSIG(status)
            yield process
        finally:
            process.kill()
