"""Races of two hosts on every side of the ports: `python -m lake_tests.bench.races [--races 150]`.

A line for each side and kind of race: how many were run, how many ended wrong. Exits with 1 where one did, and with 3
where Postgres is not to be had: the file of SQLite and the disk were raced then, nothing else.

Belongs here: the sides. Does not belong here: the races (`lake_tests.support.races`), which the contract suites run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from lake_tests.support.minute_hours import lake
from lake_tests.support.postgres import postgres_server
from lake_tests.support.races import RACES
from lake_tests.support.s3_server import in_bucket, s3_server

SIDES = {
    "sqlite": "SQLite, files in a directory",
    "postgres": "Postgres, files in a shared directory",
    "bucket": "Postgres, files in a bucket",
}


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def race_side(title: str, root: Path, races: int) -> int:
    """All kinds of races in one lake of two hosts; how many ended wrong."""
    hosts = [lake(root), lake(root)]
    total = 0
    for kind, raced in RACES.items():
        began = time.monotonic()
        wrong = raced(hosts, races)
        total += wrong
        _say(f"{title}: {kind}: {races} races, {wrong} wrong ({time.monotonic() - began:.1f} s)")
    for host in hosts:
        host.close()
    return total


def main(given: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = argparse.ArgumentParser(description="Races of two hosts on every side of the ports.")
    options.add_argument("--races", type=int, default=150)
    races = options.parse_args(given).races
    wrong, missing = 0, ""
    with ExitStack() as held, tempfile.TemporaryDirectory(prefix="lake-races-") as directory:
        environment = held.enter_context(pytest.MonkeyPatch.context())
        server = service = None
        for side, title in SIDES.items():
            root = Path(directory) / side
            root.mkdir()
            try:
                if side != "sqlite":
                    server = server or held.enter_context(postgres_server())
                    server.under(root)
                if side == "bucket":
                    service = service or held.enter_context(s3_server())
                    in_bucket(service, root, environment)
            except pytest.skip.Exception as skipped:
                missing = str(skipped)
                _say(f"{title}: not run: {missing}")
                continue
            wrong += race_side(title, root, races)
    _say(f"{wrong} wrong" + ("" if not missing else ", and not every side was raced"))
    return 1 if wrong else 3 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
