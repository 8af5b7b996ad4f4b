"""CPU of starting commands of `lake` on a small lake of the simulator, each in a fresh process.

Belongs here: making the lake, starting the commands. Does not belong here: judging the figures.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from lake_tests.bench.meter import metered
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, bench_on, exchange, hours

_START = "from lake_assets.cli.main import main; main()"
_ROUNDS = 5
COMMANDS: dict[str, tuple[str, ...]] = {
    "help": ("--help",),
    "show": ("show", SYMBOL, "--day", f"{DAY:%Y-%m-%d}"),
    "missing": ("missing",),
    "holes": ("holes", SYMBOL, "--start", f"{DAY:%Y-%m-%d}", "--end", f"{DAY:%Y-%m-%d}T05:00"),
    "show-watermark": ("show-watermark",),
    "health": ("health",),
}


def cpu_of(arguments: tuple[str, ...], environment: dict[str, str]) -> float:
    """User and system seconds of one process, and of what it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", _START, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # 1 is an answer: hours are missing, and nothing of the stack runs.
    if done.returncode not in {0, 1} or not done.stdout:
        raise SystemExit(f"lake {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Median CPU seconds of each command, after a first start that fills the bytecode caches."""
    with TemporaryDirectory() as folder, metered() as figures:
        with exchange() as sim, bench_on(sim, Path(folder)) as bench:
            bench.at(PUBLISHED).build(hours(0, 5))
            root = bench.settings.lake_root
        environment = {"PATH": "/usr/bin:/bin", "HOME": folder, "LAKE_ROOT": str(root), "LAKE_SYMBOLS": SYMBOL}
        for name, arguments in COMMANDS.items():
            cpu_of(arguments, environment)
            figures[name] = median(cpu_of(arguments, environment) for _ in range(_ROUNDS))


if __name__ == "__main__":
    main()
