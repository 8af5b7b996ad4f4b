"""Exports read by the programs they are for: `… -m lake_tests.bench.program_readers FREQTRADE_PYTHON NAUTILUS_PYTHON`.

Belongs here: writing both exports of a simulated day, having the programs read them, comparing. Does not belong here:
the readers, which run in the environments of the programs (`read_as_freqtrade`, `read_as_nautilus`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from lake_assets.at_rest import open_at_rest
from lake_assets.exports.export import ExportRequest
from lake_assets.exports.other_programs import mark_hours, pair_of, settlements, whole_bars, write_for_program
from lake_resources.clock import HOUR
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, bench_on, exchange, hours

_CLOSE = 1e-9


def main() -> None:
    """Exit code 1 when a program reads other rows than the lake has."""
    freqtrade, nautilus = sys.argv[1:3]
    with tempfile.TemporaryDirectory() as folder, exchange() as sim, bench_on(sim, Path(folder)) as bench:
        bench.at(PUBLISHED).build(hours(0, 9))
        lake, request = open_at_rest(bench.settings), ExportRequest(DAY, DAY + 9 * HOUR)
        places = {name: Path(folder) / name for name in ("freqtrade", "nautilus")}
        for program, out in places.items():
            write_for_program(
                lake.store, SYMBOL, request, out, program, now=PUBLISHED, lag_minutes=3  # type: ignore[arg-type]
            )  # fmt: skip
        pair = pair_of(SYMBOL, futures=True)
        theirs = _read(freqtrade, "read_as_freqtrade", str(places["freqtrade"]), pair, "1m")
        ours = {
            "futures": whole_bars(lake.store, SYMBOL, request),
            "mark": mark_hours(lake.store, SYMBOL, request),
            "funding_rate": settlements(lake.store, SYMBOL, request.start, request.end),
        }
        wrong = [
            f"freqtrade, {form} {kind}"
            for form in ("feather", "json")
            for kind, rows in ours.items()
            if not _same(theirs[f"{form} {kind}"], rows)
        ]
        wrong += [f"freqtrade, {form}: pairs" for form in ("feather", "json") if theirs[f"{form} pairs"] != [pair]]
        found = _read(nautilus, "read_as_nautilus", str(places["nautilus"]))
        wrong += [] if _same(found, ours["futures"]) else ["nautilus"]
        lake.close()
    bars = ours["futures"].height
    sys.stdout.write(f"{bars} bars; " + ("; ".join(wrong) or "both programs read what the lake has") + "\n")
    sys.exit(bool(wrong) or not bars)


def _read(python: str, module: str, *arguments: str) -> dict[str, Any]:
    command = [python, "-m", f"lake_tests.bench.{module}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _same(theirs: dict[str, Any], rows: pl.DataFrame) -> bool:
    return theirs["rows"] == rows.height and all(
        abs(float(theirs.get(name, 0.0)) - rows[name].sum()) <= _CLOSE * max(1.0, abs(rows[name].sum()))
        for name in ("open", "close", "volume")
    )


if __name__ == "__main__":
    main()
