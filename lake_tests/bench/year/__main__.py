"""`python -m lake_tests.bench.year`: the journey of a year, a table of planted against found, and how long it took.

Belongs here: arguments, printing, the exit code: 1 when a planted defect was not found, or anything else was.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
import warnings
from pathlib import Path

from lake_tests.bench.year.journey import Journey, findings_by_plant, journey
from lake_tests.bench.year.must import stretch
from lake_tests.bench.year.planted import Span

_SHOWN = 40


def main() -> int:
    """Run it in a temporary directory."""
    parser = argparse.ArgumentParser(prog="python -m lake_tests.bench.year", description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--symbols", default="BTCUSDT,ETHUSDT", help="two; the second is delisted part-way")
    parser.add_argument("--scratch", type=Path, help="directory for the temporary lake")
    given = parser.parse_args()
    first, second = given.symbols.split(",")
    span = Span(given.days, first, second)
    warnings.simplefilter("ignore")
    began, out = time.perf_counter(), sys.stdout

    def say(text: str) -> None:
        out.write(f"[{time.perf_counter() - began:5.0f} s] {text}\n")
        out.flush()

    # Dagster writes a line per event to the terminal.
    with (
        tempfile.TemporaryDirectory(prefix="lake-year-", dir=given.scratch) as root,
        (Path(root) / "dagster.log").open("w") as log,
        contextlib.redirect_stderr(log),
        journey(span, Path(root), say) as made,
    ):
        made.run()
    out.write(report(made))
    wrong = any(verdict.missed or verdict.invented for verdict in made.verdicts)
    elapsed = time.perf_counter() - began
    backfill = made.seconds["back-fill"]
    out.write(
        f"\n{span.days} days, {made.hours:,} hours back-filled in {backfill:.0f} s "
        f"({made.hours / backfill * 60:,.0f} hours per minute); all steps {elapsed:.0f} s\n"
    )
    return int(wrong)


def report(made: Journey) -> str:
    """A line per plant, then everything that differs."""
    lines = [f"{'planted':<28} {'symbol':<8} {'stream':<24} {'minutes':<24} {'promised':>8} {'found':>6}"]
    for plant in made.planted:
        promised, found = findings_by_plant(made.verdicts, plant)
        mark = "" if promised == found else "  MISSED"
        window = stretch(plant.start, plant.end)
        lines.append(
            f"{plant.kind:<28} {plant.symbol:<8} {plant.stream or '-':<24} {window:<24} {promised:>8} {found:>6}{mark}"
        )
    lines.append("")
    for verdict in made.verdicts:
        lines.append(
            f"{verdict.stage.name.lower():<12} {len(verdict.found):>6} findings, {len(verdict.missed)} missed, "
            f"{len(verdict.invented)} invented"
        )
        for name, findings in (("missed", verdict.missed), ("invented", verdict.invented)):
            lines += [f"  {name}: {' | '.join(finding)}" for finding in sorted(findings)[:_SHOWN]]
            if len(findings) > _SHOWN:
                lines.append(f"  … and {len(findings) - _SHOWN} more")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
