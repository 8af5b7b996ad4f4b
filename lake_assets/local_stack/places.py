"""Where the processes of one lake find each other: the instance's directory, their environment, free ports.

Belongs here: what every child process is told, absolute and once for all. Does not belong here: starting them
(`supervision`, `stack`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from lake_resources.errors import LakeError
from lake_resources.settings import LakeSettings

PROJECT = Path(__file__).resolve().parents[2]
"""Directory of `workspace.yaml` and of the packages; children run there."""

BUILDER_ENVIRONMENT = {
    "POLARS_MAX_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "_RJEM_MALLOC_CONF": "narenas:1,dirty_decay_ms:500,muzzy_decay_ms:0",
}
"""The resident builder's own: its frames are small, so that threads would cost more than they bring, and what each
allocator keeps aside for each thread would be a tenth of the memory that it may have."""

SHIPPED = frozenset(
    {
        "3c2b37a988d071dca2cb6456c0b9ac41d5f213bd5d07b28d3a206732a31ccc17",
        "07b00f4566f62cf006e11fc055cbdebffbd2a3c27c68486112afcbf3177ebe57",
        "fab7f76a753f17cee92abed2570692b6608ed02a5c71ef2560849edb33d0d99e",
        "7eb27470b87c5d42800d18960d9d31034af568cc30560f8bda36c13f03c09987",
        "2fb0e6cecd66384da7d0979c6d9fcfff90e004bbb4f611f25936eb90054ba4a5",
        "4d481e7d7cb79a76c632ff0d8271cbb66e6830ceafc041e1a845b1c8f9eaf875",
    }
)
"""sha256 of each `dagster.yaml` and `cluster.yaml` that the project ever had; one of a lake that is among them was
changed by nobody."""


def place_of_dagster_home(settings: LakeSettings) -> Path:
    """Directory of the Dagster instance that belongs to the settings' lake, there or not; nothing is written.

    Each lake has its own, so the UI never shows the partitions of one as those of another: `dagster_home` in the root,
    and in the project for the lakes that lie in the project's own `data` because no root was given.
    """
    in_project = settings.root is None and settings.lake_root == PROJECT / "data" / settings.exchange
    if in_project and not settings.broker_url:
        home = PROJECT / "dagster_home"
        return home / "simulator" if settings.exchange == "simulator" else home
    return settings.lake_root / "dagster_home"


def dagster_home(settings: LakeSettings) -> Path:
    """Directory of the Dagster instance that belongs to the settings' lake, created with its `dagster.yaml`.

    A `dagster.yaml` there that somebody changed (another database, a launcher) stays as it is. A lake with Celery
    workers begins with the one of a cluster.
    """
    home = place_of_dagster_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    source = PROJECT / "dagster_home" / ("cluster.yaml" if settings.broker_url else "dagster.yaml")
    own = home / "dagster.yaml"
    if own != source and (not own.exists() or hashlib.sha256(own.read_bytes()).hexdigest() in SHIPPED):
        shutil.copyfile(source, own)
    return home


def child_environment(settings: LakeSettings) -> dict[str, str]:
    """Environment of the child processes: ours, plus the instance directory and the settings in force.

    Every path is given, and absolute: a child has another working directory, and perhaps another `.env` in it.
    """
    inherited = {  # the group of testing mode is told as it was applied, not as somebody asked for it
        name: value
        for name, value in os.environ.items()  # noqa: TID251 - children inherit it, nothing is read from it here
        if not name.upper().startswith("LAKE_TESTING__")
    }
    paths = {
        "root": settings.lake_root,
        "ledger_url": settings.resolved_ledger_url,
        "governor_path": settings.resolved_governor_path,
        "feed_duckdb": settings.resolved_feed_duckdb,
        "feed_persist_dir": settings.resolved_feed_persist_dir,
    }
    values = settings.model_dump(mode="json", exclude_none=True) | paths
    passed = {f"LAKE_{name.upper()}": _as_text(value) for name, value in values.items()}
    return {**inherited, **passed, "DAGSTER_HOME": str(dagster_home(settings)), "PYTHONUNBUFFERED": "1"}


def _as_text(value: object) -> str:
    """A setting as the environment holds it: lists with commas, groups of settings as JSON."""
    if isinstance(value, list):
        return ",".join(value)
    return json.dumps(value) if isinstance(value, dict) else str(value)


def require_free(ports: Mapping[str, int]) -> None:
    """Refuse ports of loopback on which somebody listens.

    Args:
        ports: by the name of the setting that chooses them.

    Raises:
        LakeError: one is taken; names the setting.
    """
    for name, port in ports.items():
        with socket.socket() as probe:
            taken = probe.connect_ex(("127.0.0.1", port)) == 0
        if taken:
            raise LakeError(
                f"Port {port} is taken", remedy=f"Is `make up` running already? Stop it, or set {name} to a free port"
            )
