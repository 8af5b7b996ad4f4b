"""A day of book-ticker rows is read in bounded memory, whatever its size."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROWS = 6_000_000
LINE = "{0},27981.30000000,12.91100000,27981.40000000,7.25800000,1696204800012,1696204800018\n"
# VmHWM is of this program alone; ru_maxrss would begin with that of the process that started it.
READER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from lake_resources.binance.archives.archive_csv import read_frames
from lake_resources.binance.um_streams import UM_STREAMS
rows = sum(frame.height for frame in read_frames(Path(sys.argv[2]), UM_STREAMS["book_ticker"]))
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(rows, int(status["VmHWM"].split()[0]) // 1024)
"""


@pytest.mark.slow
def test_six_million_rows_stay_below_140_mib(tmp_path: Path) -> None:
    path = tmp_path / "BTCUSDT-bookTicker-2023-10-02.zip"
    block = "".join(LINE.format(3_319_366_863_672 + n) for n in range(100_000)).encode()
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.csv", "w") as file,
    ):
        for _ in range(ROWS // 100_000):
            file.write(block)
    repository = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", READER, str(repository), str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240).stdout
    rows, peak_mib = map(int, said.split())
    assert rows == ROWS
    assert peak_mib < 140
