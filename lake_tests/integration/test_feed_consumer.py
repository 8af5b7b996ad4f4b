"""The example consumer takes what the feed publishes, and refuses what breaks the contract."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from lake_tests.bench.feed_1h import NOW, FeedBench, at, feed_bench, long_bars

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "examples" / "feed_consumer.py"


def consume(directory: Path, *options: str, now: str = "2024-01-15T14:30:00+00:00") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(directory), "--now", now, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeedBench]:
    with feed_bench(tmp_path_factory.mktemp("feed"), long_bars(at(13), 727)) as bench:
        assert bench.run(catch_up=True).inference_problem is None
        yield bench


def test_a_prediction_from_the_latest_file(published: FeedBench) -> None:
    done = consume(published.feed.files.directory)
    assert done.returncode == 0, done.stderr
    assert "727 hours until 2024-01-15 13:00:00" in done.stdout
    close = pl.read_csv(published.feed.files.directory / "latest_for_inference.csv")["close"]
    assert f"return_4h              {(close.log()[-1] - close.log()[-5]):+.6f}" in done.stdout
    assert "toy probability" in done.stdout


def test_an_hour_of_history_too_little_is_refused(published: FeedBench) -> None:
    done = consume(published.feed.files.directory, "--buffer-hours", "7")
    assert done.returncode == 1
    assert "727 rows; 728 are needed for 727 hours" in done.stderr


def test_a_stale_file_is_refused(published: FeedBench) -> None:
    late = (NOW + timedelta(hours=3)).isoformat()
    assert "closed 3:23:45 ago" in consume(published.feed.files.directory, now=late).stderr


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("2024-01-10 05:00:00", "2024-01-10 04:00:00", "not strictly hourly at 2024-01-10 04:00:00"),
        ("2024-01-10 05:00:00,", "2024-01-10 05:30:00,", "is not on the hour"),
        ("close,volume", "volume,close", "columns"),
    ],
)
def test_a_file_that_breaks_the_contract_is_refused(
    published: FeedBench, tmp_path: Path, old: str, new: str, text: str
) -> None:
    source = published.feed.files.directory
    manifest = (source / "latest.json").read_text()
    name = str((published.feed.files.latest() or {})["for_inference"])
    content = (source / name).read_text()
    (tmp_path / name).write_text(content.replace(old, new, 1))
    (tmp_path / "latest.json").write_text(manifest)
    assert "is not the file that latest.json describes" in consume(tmp_path).stderr
    digests = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for folder in (source, tmp_path)]
    (tmp_path / "latest.json").write_text(manifest.replace(*digests))
    done = consume(tmp_path)
    assert (done.returncode, text in done.stderr) == (1, True), done.stderr


def test_without_a_file_it_says_so(tmp_path: Path) -> None:
    assert consume(tmp_path).returncode == 1
