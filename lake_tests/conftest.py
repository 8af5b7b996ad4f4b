"""What all tests share: recorded exchange data, and which worker runs what. Nothing that knows a module under test."""

from __future__ import annotations

import compileall
import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis
import pytest
from _pytest.assertion import rewrite
from xdist.scheduler import LoadFileScheduling

# A test has the spot market where it asks for it: three more symbols would be three more of everything elsewhere.
os.environ.setdefault("LAKE_SPOT_SYMBOLS", "")
os.environ.setdefault("LAKE_MACRO_TICKERS", "")

# What the tests write lives for a moment. On a disk they would wait for it: a lake flushes every file and every row.
_MEMORY, _ROOM_BYTES = Path("/dev/shm"), 6 * 2**30
if _MEMORY.is_dir():
    _found = os.statvfs(_MEMORY)
    # Where there is no room, or no program may be started, it is the disk; whoever names a place has that.
    if _found.f_bavail * _found.f_frsize > _ROOM_BYTES and not _found.f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))

# A script that starts the suite in the background has it ignore SIGINT, and Dagster then SIGTERM: each run would
# wait a minute for processes that do not end.
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

RECORDED = Path(__file__).resolve().parents[2] / "shared" / "data"
_TESTS = Path(__file__).resolve().parent
_PACKAGES = [
    _TESTS.parent / name for name in ("lake_assets", "lake_resources", "lake_tests/support", "lake_tests/bench")
]

# The same examples each time and on any machine: no run may fail for its luck or for its speed.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session")
def recorded() -> Callable[[str], Path]:
    """Path of a recorded real file; skips the test where the recordings are absent."""

    def path(relative: str) -> Path:
        found = RECORDED / relative
        if not found.exists():
            pytest.skip(f"no recorded data here: {relative}")
        return found

    return path


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """pytest's own, but for tests that are marked `disk`, whose files lie on one."""
    if request.node.get_closest_marker("disk") is None:
        yield tmp_path
        return
    with TemporaryDirectory(prefix="minute-lake-test-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def pytest_configure(config: pytest.Config) -> None:
    """Compile once what each worker, and each of some hundred processes, would compile anew.

    Where `PYTHONDONTWRITEBYTECODE` is set nobody else writes it; and workers that begin together rewrite the same
    assertions side by side, which is a third of what starting one costs.
    """
    if hasattr(config, "workerinput"):
        return
    for package in _PACKAGES:
        compileall.compile_dir(package, quiet=2)
    if config.getoption("numprocesses", None):
        files = [path for path in sorted(_TESTS.rglob("*.py")) if path.name.startswith(("test_", "conftest"))]
        with ProcessPoolExecutor(2, get_context("fork"), _CONFIG.append, (config,)) as pool:
            list(pool.map(_rewrite, files, chunksize=16))


_CONFIG: list[pytest.Config] = []


def _rewrite(path: Path) -> None:
    """Put a test module's rewritten assertions where pytest looks for them, unless they are there or may not be."""
    folder = rewrite.get_cache_dir(path)
    kept = folder / (path.stem + rewrite.PYC_TAIL)
    if rewrite._read_pyc(path, kept) is None and rewrite.try_makedirs(folder):
        source_hash, code = rewrite._rewrite_test(path, _CONFIG[0])
        rewrite._write_pyc(_CONFIG[0].stash[rewrite.assertstate_key], code, source_hash, kept)


_JOURNEYS = "lake_tests/e2e/"
_OUTAGE = "lake_tests/e2e/test_outage.py"
_WEEKS = "lake_tests/integration/test_year.py"


class _Together(LoadFileScheduling):
    """A worker takes a file at a time; the journeys, which share one running stack, are like one file.

    (The marker `xdist_group` says so too, but xdist 3.8 does not see it under pytest 9.2, and both workers started the
    stack.)
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return _JOURNEYS if path.startswith(_JOURNEYS) and path != _OUTAGE else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Files in the order of `pytest_collection_modifyitems`, not those with the most tests first."""
    if config.getvalue("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    return _Together(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that no worker is left alone with it at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}

    def turn(item: pytest.Item) -> int:
        for place, first in enumerate((_OUTAGE, _JOURNEYS, _WEEKS)):
            if item.nodeid.startswith(first):
                return place
        return 3 if item.path in slow else 4

    items.sort(key=turn)


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: looking through it for garbage costs a third of a second."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """An interpreter that ends lets go of everything."""
    gc.unfreeze()
