"""A disk that is full while hours are built (a 4 MB tmpfs): a clear error, nothing committed lost, then all is well."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lake_resources.clock import HOUR
from lake_resources.errors import DiskFull
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import DAY, ON_THE_DAY, PUBLISHED, Bench, bench_on, hours, statuses

SIZE = 4 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted file system of 4 MB; skips where mounting is not permitted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("there is no mount")
    try:
        subprocess.run(
            [mount, "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting a tmpfs is not permitted: {error}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def small(sim: SimulatorServer, small_disk: Path) -> Iterator[Bench]:
    """A lake on that disk, ledger and governor too."""
    with bench_on(sim, small_disk) as found:
        yield found


def fill(disk: Path, leave: int) -> Path:
    """Take all space but `leave` bytes."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
    with filler.open("r+b") as file:
        file.truncate(max(filler.stat().st_size - leave, 0))
    return filler


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "leave"),
    [
        ("archive", 0),
        ("archive", 65_536),
        ("archive", 524_288),
        ("rest", 16_384),
        ("rest", 65_536),
        ("rest", 131_072),
    ],
)
def test_a_full_disk_loses_nothing(small: Bench, bench: Bench, small_disk: Path, source: str, leave: int) -> None:
    now = PUBLISHED if source == "archive" else ON_THE_DAY
    first, more = hours(12, 13), hours(0, 15)
    small.at(ON_THE_DAY).build(first)
    before = small.committed()
    filler = fill(small_disk, leave)
    small.at(now)
    with pytest.raises(DiskFull, match=r"(no space|disk is full).*\. Free (some )?space"):
        small.build(more)
    after = small.committed()
    assert after.keys() >= before.keys()
    for hour in first:
        assert small.rows(hour).height == 60

    filler.unlink()
    results = small.at(now).build(more)
    assert set(statuses(results)) <= {"committed", "unchanged"}
    bench.at(ON_THE_DAY).build(first)
    bench.at(now).build(more)
    assert small.committed() == bench.committed()
    assert small.lake.ledger.watermark("BTCUSDT") == bench.lake.ledger.watermark("BTCUSDT")
    assert list(small.lake.catalog.temp_dir.glob("*")) == []
    assert DAY + 14 * HOUR in small.committed()
