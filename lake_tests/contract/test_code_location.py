"""What Dagster shows of the lake, as a text that is read in a review: keys, checks, partitions, jobs, times, targets.

A difference is a renamed asset that loses its history, a schedule at another time, or what was meant. If it is meant:
`python -m lake_tests.contract.test_code_location` writes the text anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from lake_assets.code_location import build_definitions
from lake_assets.resources import build_resources
from lake_resources.settings import LakeSettings

SNAPSHOT = Path(__file__).with_name("code_location.txt")
# Begins while the archive of book_ticker was still written, so that its bounded partitions are shown, too.
SETTINGS = LakeSettings(
    _env_file=None, symbols=("BTCUSDT", "币安人生USDT"), start=date(2024, 3, 1), root="/lake",
    spot_symbols=("SOLUSDT",), macro_tickers=("ES=F",), slice_symbols=("SOLUSDT",),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _no_settings_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LAKE_")]:
        monkeypatch.delenv(name)


def shown(settings: LakeSettings) -> str:
    """The code location as text."""
    repository = build_definitions(settings).get_repository_def()
    return "\n".join([*_assets(repository), *_jobs(repository), *_schedules(repository), *_sensors(repository)]) + "\n"


def _assets(repository: dg.RepositoryDefinition) -> Iterator[str]:
    graph = repository.asset_graph
    checks = {
        key: sorted(check.name for check in graph.asset_check_keys if check.asset_key == key) for key in _keys(graph)
    }
    yield "ASSETS"
    for key in _keys(graph):
        node = graph.get(key)
        (spec,) = [spec for spec in node.assets_def.specs if spec.key == key]
        yield f"{key.to_user_string()}"
        yield f"  op {node.assets_def.op.name}, group {node.group_name}, kinds {', '.join(sorted(node.kinds))}"
        yield f"  partitions {_partitions(node.partitions_def)}"
        yield f"  runs {_policy(node.backfill_policy)}{', skippable' if spec.skippable else ''}"
        yield f"  metadata {', '.join(sorted(spec.metadata)) or 'none'}"
        yield f"  after {', '.join(sorted(dep.asset_key.to_user_string() for dep in spec.deps)) or 'nothing'}"
        yield f"  checks {', '.join(checks[key]) or 'none'}"


def _keys(graph: dg.AssetGraph) -> list[dg.AssetKey]:
    return sorted(graph.get_all_asset_keys(), key=lambda key: key.to_user_string())


def _partitions(found: dg.PartitionsDefinition | None) -> str:
    if not isinstance(found, dg.TimeWindowPartitionsDefinition):
        return "none"
    end = f" to {found.end:%Y-%m-%dT%H:%M}" if found.end else f" end_offset {found.end_offset}"
    return f"{found.cron_schedule} from {found.start:%Y-%m-%dT%H:%M}{end} as {found.fmt} {found.timezone}"


def _policy(found: dg.BackfillPolicy | None) -> str:
    if found is None:
        return "one per partition"
    return "a range at once" if found.max_partitions_per_run is None else f"{found.max_partitions_per_run} at once"


def _jobs(repository: dg.RepositoryDefinition) -> Iterator[str]:
    yield "\nJOBS"
    for job in sorted(repository.get_all_jobs(), key=lambda job: job.name):
        if job.name.startswith("__"):
            continue
        targets = sorted(key.to_user_string() for key in job.asset_layer.executable_asset_keys)
        yield f"{job.name}: {', '.join(targets) or 'op ' + ', '.join(sorted(node.name for node in job.nodes))}"


def _schedules(repository: dg.RepositoryDefinition) -> Iterator[str]:
    yield "\nSCHEDULES"
    for one in sorted(repository.schedule_defs, key=lambda one: one.name):
        yield f"{one.name}: {one.cron_schedule} {one.execution_timezone} → {one.job_name} {one.default_status.value}"


def _sensors(repository: dg.RepositoryDefinition) -> Iterator[str]:
    yield "\nSENSORS"
    for one in sorted(repository.sensor_defs, key=lambda one: one.name):
        jobs = ", ".join(sorted(target.job_name for target in one.targets)) or "every failed run"
        yield f"{one.name}: every {one.minimum_interval_seconds or 30} s → {jobs} {one.default_status.value}"


def test_the_code_location_is_the_one_that_was_reviewed() -> None:
    assert shown(SETTINGS) == SNAPSHOT.read_text("utf-8"), (
        "if the difference is meant: python -m lake_tests.contract.test_code_location"
    )


def test_no_secret_of_the_settings_is_shown_in_the_ui() -> None:
    secrets = {"ledger_url": "postgresql+psycopg://me:{}@host/lake", "webhook_url": "https://hooks.example/{}"}
    given = {name: text.format("very-secret") for name, text in secrets.items()} | {"web_token": "very-secret"}
    settings = SETTINGS.model_copy(update=given)
    shown_resources = str({name: vars(found) for name, found in build_resources(settings).items()})
    assert "very-secret" not in shown_resources
    assert str(SETTINGS.lake_root / "ledger.sqlite") in str(vars(build_resources(SETTINGS)["lake"]))


if __name__ == "__main__":
    SNAPSHOT.write_text(shown(SETTINGS), encoding="utf-8")
