"""Child processes of the benchmark: every measurement in one of its own, so that none warms or fattens another.

Belongs here: starting them, their servers, reading their figures. Does not belong here: what they measure.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

PROJECT = Path(__file__).resolve().parents[2]
SCRATCH = PROJECT / "data" / "bench"
COMPETITORS = PROJECT / ".venv-bench" / "bin" / "python"

Figures = dict[str, float]


def measure(module: str, *arguments: object, python: str | Path = sys.executable) -> Figures:
    """Run one module of this package; its last line of output is its figures."""
    command = [str(python), "-m", f"lake_tests.bench.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-500:]}\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def make(module: str, *arguments: object) -> None:
    """Run one module for what it leaves on the disk."""
    subprocess.run([sys.executable, "-m", f"lake_tests.bench.{module}", *map(str, arguments)], cwd=PROJECT, check=True)


@contextmanager
def served(root: Path, *, latency_ms: float = 0.0) -> Iterator[str]:
    """A static server of a directory, as its base URL."""
    command = [sys.executable, "-m", "lake_tests.bench.static_server", str(root), "--latency-ms", str(latency_ms)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def middle(runs: Sequence[Figures], name: str) -> float:
    """Median of one figure over runs."""
    return median(run[name] for run in runs)
