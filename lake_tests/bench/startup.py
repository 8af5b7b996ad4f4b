"""CPU of starting commands of `lake` on a small lake of the simulator, over importing what they cannot do without.

Belongs here: making the lake, starting commands and bare interpreters in turns, each a fresh process. Does not belong
here: judging the figures.
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


_TERMINAL = "import pydantic_settings, rich.table, typer"
_LEDGER = f"{_TERMINAL}, polars, sqlalchemy"
"""What a command that reads settings and ledger, and shows a table, imports at least."""


def cpu_of(code: str, arguments: tuple[str, ...], environment: dict[str, str]) -> float:
    """User and system seconds of one interpreter, and of what it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # 1 is an answer: hours are missing, and nothing of the stack runs.
    if done.returncode not in {0, 1} or (arguments and not done.stdout):
        raise SystemExit(f"lake {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Median CPU of each command and over its imports, after a first start that fills the bytecode caches."""
    with TemporaryDirectory() as folder, metered() as figures:
        with exchange() as sim, bench_on(sim, Path(folder)) as bench:
            bench.at(PUBLISHED).build(hours(0, 5))
            root = bench.settings.lake_root
        environment = {"PATH": "/usr/bin:/bin", "HOME": folder, "LAKE_ROOT": str(root), "LAKE_SYMBOLS": SYMBOL}
        for name, arguments in COMMANDS.items():
            imports = _TERMINAL if name == "help" else _LEDGER
            cpu_of(_START, arguments, environment)
            cpu_of(imports, (), environment)
            turns = [(cpu_of(_START, arguments, environment), cpu_of(imports, (), environment)) for _ in range(_ROUNDS)]
            own, bare = (median(turn[side] for turn in turns) for side in (0, 1))
            figures |= {name: own, f"{name}_x": own / bare}


if __name__ == "__main__":
    main()
