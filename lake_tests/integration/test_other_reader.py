"""Another user of the machine reads a lake in which he may not write: every command that reads, and the dashboard."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lake_assets.cli.command_table import COMMANDS
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, bench_on, exchange, hours

NOBODY = 65_534
WINDOW = ("--start", f"{DAY:%Y-%m-%d}", "--end", f"{DAY:%Y-%m-%d}T02:00")
READERS: dict[str, tuple[str, ...]] = {
    "show": (SYMBOL,),
    "show-watermark": (),
    "missing": (),
    "holes": (),
    "audit": WINDOW,
    "parity": ("--list",),
    "validate-rules": (),
    "validate-final": (),
    "slices": ("show",),
    "export": (*WINDOW, "--out", "bars"),
    "slice": (*WINDOW, "--out", "sliced"),
    "materialize-duckdb": ("--db-path", "own.duckdb"),
    "raw-export": (SYMBOL, *WINDOW, "--out", "raw"),
    "live": (),
    "config": (),
    "health": (),
    "doctor": (),
}
"""Commands that change nothing of a lake, with arguments that let them write where the reader may."""
WRITERS = {
    "up", "demo", "init-state", "run-once", "run-daemon", "keep-hot", "backfill-years", "backfill-range",
    "backfill-klines", "judge", "declare-hole", "rebuild-ledger", "rebuild-live", "catalog", "research-views",
    "feed-1h", "collect", "raw-import", "backup", "restore", "compact", "inspect-metrics-columns",
    "report-to-dagster", "collect-garbage", "workspace", "worker",
}  # fmt: skip
RUN = """
import contextlib, io, json, sys, traceback
from lake_assets.cli.main import main
ended = {}
for name, arguments in json.loads(sys.argv[1]).items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        sys.argv = ["lake", name, *arguments]
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    ended[name] = [code, out.getvalue()[-2000:], err.getvalue()[-2000:]]
print(json.dumps(ended))
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may enter; that of the tests is its owner's alone."""
    path = Path(tempfile.mkdtemp(prefix="other-reader-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def as_nobody() -> list[str]:
    """How a process is started as another user; skips where that cannot be done here."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become another user, with setpriv")
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all"]
    tried = subprocess.run([*command, sys.executable, "-c", "import polars"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("another user may not run this interpreter")
    return command


def test_every_command_is_a_reader_or_a_writer() -> None:
    assert READERS.keys() | WRITERS == set(COMMANDS)
    assert not READERS.keys() & WRITERS


@pytest.mark.slow
def test_another_user_reads_what_he_may_not_write(place: Path) -> None:
    command, own = as_nobody(), place / "own"
    own.mkdir()
    os.chown(own, NOBODY, NOBODY)
    with exchange() as sim, bench_on(sim, place) as bench:
        bench.at(PUBLISHED).build(hours(0, 2))
        root = bench.settings.lake_root
        before = listed(root)
        values = {"LAKE_ROOT": root, "LAKE_SYMBOLS": SYMBOL, "LAKE_WEBSERVER_PORT": 1, "LAKE_REST_ATTEMPTS": 1}
        values |= {"LAKE_REST_URL": sim.base_url, "LAKE_VISION_URL": sim.base_url, "LAKE_WS_URL": sim.ws_url}
        told = os.environ | {name: str(value) for name, value in values.items()} | {"HOME": str(own)}
        done = subprocess.run(
            [*command, sys.executable, "-c", RUN, json.dumps(READERS)], capture_output=True, text=True, check=False,
            cwd=own, env=told | {"PYTHONPATH": str(Path(__file__).parents[2])}, timeout=480,
        )  # fmt: skip
        after = listed(root)
    assert done.returncode == 0, done.stderr
    ended = json.loads(done.stdout.splitlines()[-1])
    assert set(ended) == set(READERS)
    for name, (code, out, err) in ended.items():
        assert code in {0, 1, 3}, (name, code, out, err)
        assert "Traceback" not in out + err, (name, out, err)
    for name in ("show", "show-watermark", "audit", "export", "materialize-duckdb"):
        assert ended[name][0] == 0, ended[name]
    assert after == before


def listed(root: Path) -> dict[str, int]:
    """Files below a root with their sizes."""
    return {str(path.relative_to(root)): path.stat().st_size for path in root.rglob("*") if path.is_file()}
