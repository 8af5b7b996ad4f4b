"""The files of a run: what was pulled, what inference reads, and the pointer to the newest complete set.

Belongs here: names, atomic publishing, the pointer, retention. Does not belong here: which bars are in them.
A reader never sees a half-written file; `latest` never names an incomplete one and never goes back in time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import polars as pl

from lake_resources.storage.disk import disk_errors, fsync_dirs, fsync_file
from lake_resources.storage.locks import writer_lock

RUN_TIME_FORMAT = "%Y%m%d_%H%M%SZ"
PULL_SUFFIX = "_api_pull.csv"
INFERENCE_SUFFIX = "_for_inference.csv"
DIFFERENCES_SUFFIX = "_differences.csv"
LATEST = "latest.json"
LATEST_INFERENCE = "latest_for_inference.csv"
_STAMP_LENGTH = len("20240115_142345Z")


@dataclass(frozen=True)
class Artifacts:
    """Where the files of one run are.

    Attributes:
        run_time: their common prefix.
        api_pull, inference: always there once the run has ended.
        differences: only where table and exchange differ.
    """

    run_time: str
    api_pull: Path
    inference: Path
    differences: Path | None = None


class ArtifactStore:
    """The directory of one dataset: `{persist_dir}/{dataset_slug}`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def begin(self, now: datetime, pulled: pl.DataFrame) -> str:
        """Publish the snapshot of a pull and so claim its run time.

        Two runs of one second get different run times (`…Z_2`), so that neither overwrites the other.

        Returns:
            The run time, the prefix of all files of this run.
        """
        stamp = now.astimezone(UTC).strftime(RUN_TIME_FORMAT)
        with self._locked():
            number, run_time = 1, stamp
            while self.path(run_time, PULL_SUFFIX).exists():
                number += 1
                run_time = f"{stamp}_{number}"
            self._publish(self.path(run_time, PULL_SUFFIX), _csv(pulled))
        return run_time

    def write_inference(self, run_time: str, bars: pl.DataFrame) -> Path:
        """Publish the inference file of a run."""
        path = self.path(run_time, INFERENCE_SUFFIX)
        self._publish(path, _csv(bars))
        return path

    def write_differences(self, run_time: str, differences: pl.DataFrame) -> Path:
        """Publish both versions of what differs."""
        path = self.path(run_time, DIFFERENCES_SUFFIX)
        self._publish(path, _csv(differences))
        return path

    def path(self, run_time: str, suffix: str) -> Path:
        """Path of a run's file."""
        return self.directory / f"{run_time}{suffix}"

    def point(self, run_time: str, target: datetime, manifest: Mapping[str, object]) -> bool:
        """Let `latest` name a run's complete files, unless it names a newer hour already.

        Args:
            run_time: of the run.
            target: newest hour of its inference file, UTC-naive.
            manifest: further fields for consumers.

        Returns:
            Whether it was moved.
        """
        path = self.path(run_time, INFERENCE_SUFFIX)
        with self._locked(), disk_errors(f"point {self.directory / LATEST}"):
            content = path.read_bytes()
            fields = {
                "run_time": run_time,
                "target_hour": f"{target:%Y-%m-%d %H:%M:%S}",
                "api_pull": f"{run_time}{PULL_SUFFIX}",
                "for_inference": path.name,
                "sha256": hashlib.sha256(content).hexdigest(),
                **manifest,
            }
            current = self.latest()
            if current is not None and str(current["target_hour"]) > str(fields["target_hour"]):
                return False
            # A copy, not a link: the directory may lie on a file system that has none (exFAT).
            self._publish(self.directory / LATEST_INFERENCE, content)
            self._publish(self.directory / LATEST, json.dumps(fields, indent=2).encode() + b"\n")
        return True

    def latest(self) -> dict[str, object] | None:
        """The manifest that `latest` holds, None before the first complete file."""
        try:
            found: dict[str, object] = json.loads((self.directory / LATEST).read_bytes())
        except FileNotFoundError:
            return None
        return found

    def prune(self, now: datetime, keep_days: int) -> int:
        """Remove files of runs older than `keep_days` (0 keeps all), never those that `latest` names.

        Files that say what differed stay: they are evidence.
        """
        if not keep_days:
            return 0
        oldest = (now.astimezone(UTC) - timedelta(days=keep_days)).strftime(RUN_TIME_FORMAT)
        current = self.latest() or {}
        kept = {current.get("api_pull"), current.get("for_inference")}
        removed = 0
        for path in self.directory.glob("[0-9]*Z*.csv"):
            old = path.name[:_STAMP_LENGTH] < oldest
            if old and path.name.endswith((PULL_SUFFIX, INFERENCE_SUFFIX)) and path.name not in kept:
                with suppress(FileNotFoundError):  # another run prunes too
                    path.unlink()
                    removed += 1
        return removed

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with writer_lock(self.directory / ".lock"):
            yield

    def _publish(self, path: Path, content: bytes) -> None:
        """Write beside the path, then rename."""
        temporary = path.with_name(f".{path.name}.{uuid4().hex}")
        with disk_errors(f"write {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(content)
                fsync_file(temporary)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            fsync_dirs([path.parent])


def _csv(frame: pl.DataFrame) -> bytes:
    """Times without a zone; doubles as short as they stay exact."""
    return frame.write_csv(datetime_format="%Y-%m-%d %H:%M:%S").encode()
