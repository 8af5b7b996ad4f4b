"""A relative root means one place for the process that was given it and for all that it starts."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lake_assets.local_stack import places
from lake_assets.local_stack.places import PROJECT, SHIPPED, child_environment, dagster_home
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings

pytestmark = pytest.mark.slow

_PARENT = """
from lake_assets.local_stack.places import child_environment
from lake_assets.local_stack.supervision import Stack
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_assets.watchdog.last_words import heartbeat_path

settings = LakeSettings()
with Stack(settings.web_address, settings.lake_root / "logs") as stack:
    settings.lake_root.mkdir(parents=True)
    stack.start("health", ["lake_assets.watchdog.heartbeat"], child_environment(settings))
    stack.wait_for("the heartbeat", heartbeat_path(settings).is_file, timeout_s=240)
print(settings.lake_root)
"""


@pytest.mark.parametrize(
    ("given", "wanted"),
    [({"LAKE_ROOT": "rel"}, "rel"), ({}, "data/simulator"), ({"LAKE_ROOT": ""}, "data/simulator")],
)
def test_a_child_process_writes_where_its_parent_says(given: dict[str, str], wanted: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAKE_")} | given
    environment["LAKE_FEED_PERSIST_DIR"] = "files"
    done = subprocess.run(
        [sys.executable, "-c", _PARENT], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    root = tmp_path / wanted
    assert done.stdout.strip() == str(root)
    assert (root / "logs" / "health" / "heartbeat.json").is_file()
    assert [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_relative_to(root)] == []
    assert not (PROJECT / "rel").exists()


def test_every_path_that_a_child_is_told_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = LakeSettings(
        root="lake", ledger_url="sqlite:///own.sqlite", governor_path="g.sqlite", feed_duckdb="x/feed.duckdb",
        web_hosts="a.example,b.example", web_token="secret",
    )  # type: ignore[arg-type]  # fmt: skip
    told = child_environment(settings)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir("/")
    child = LakeSettings()
    named = settings.model_dump(exclude_none=True)
    assert {name: value for name, value in child.model_dump(exclude_none=True).items() if name in named} == named | {
        "ledger_url": f"sqlite:///{tmp_path / 'own.sqlite'}"
    }
    assert child.lake_root == tmp_path / "lake"
    assert child.resolved_ledger_url == f"sqlite:///{tmp_path / 'own.sqlite'}"
    assert child.resolved_governor_path == tmp_path / "g.sqlite"
    assert child.resolved_feed_duckdb == tmp_path / "x" / "feed.duckdb"
    assert child.resolved_feed_persist_dir == tmp_path / "lake" / "feed" / "artifacts"
    assert (child.web_hosts, child.web_token) == (("a.example", "b.example"), "secret")
    assert told["DAGSTER_HOME"] == str(tmp_path / "lake" / "dagster_home")


def test_only_the_projects_own_lake_has_its_instance_in_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAKE_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert dagster_home(LakeSettings()) == tmp_path / "data" / "simulator" / "dagster_home"
    monkeypatch.chdir(PROJECT)
    assert dagster_home(LakeSettings()) == PROJECT / "dagster_home" / "simulator"


def test_a_dagster_yaml_that_somebody_changed_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LakeSettings(_env_file=None, root=tmp_path / "lake", exchange="simulator")
    own = dagster_home(settings) / "dagster.yaml"
    shipped = (PROJECT / "dagster_home" / "dagster.yaml").read_bytes()
    assert own.read_bytes() == shipped
    assert hashlib.sha256(shipped).hexdigest() in SHIPPED, "add the hash of this version; the older ones stay"
    own.write_text("storage:\n  postgres: {}\n", encoding="utf-8")
    dagster_home(settings)
    assert own.read_text(encoding="utf-8") == "storage:\n  postgres: {}\n"
    own.unlink()
    dagster_home(settings)
    assert own.read_bytes() == shipped

    own.write_text("telemetry: {}\n", encoding="utf-8")  # one that nobody changed, of a version before
    monkeypatch.setattr(places, "SHIPPED", SHIPPED | {hashlib.sha256(own.read_bytes()).hexdigest()})
    dagster_home(settings)
    assert own.read_bytes() == shipped


def test_a_lake_with_workers_begins_with_the_instance_of_a_cluster(tmp_path: Path) -> None:
    alone = LakeSettings(_env_file=None, root=tmp_path / "lake", exchange="simulator")
    own = dagster_home(alone) / "dagster.yaml"
    servers = {"dagster_url": "postgresql://me@host/dagster", "broker_url": "redis://host/0"}
    shared = LakeSettings(_env_file=None, root=tmp_path / "lake", exchange="simulator", **servers)
    cluster = (PROJECT / "dagster_home" / "cluster.yaml").read_bytes()
    assert hashlib.sha256(cluster).hexdigest() in SHIPPED, "add the hash of this version; the older ones stay"
    assert child_environment(shared)["LAKE_DAGSTER_URL"] == "postgresql+psycopg2://me@host/dagster"
    assert own.read_bytes() == cluster
    own.write_text("run_launcher: {}\n", encoding="utf-8")
    for settings in (shared, alone):
        assert (dagster_home(settings) / "dagster.yaml").read_text(encoding="utf-8") == "run_launcher: {}\n"


def test_addresses_of_servers_that_are_none_are_refused_without_being_shown() -> None:
    addresses = {
        "dagster_url": [
            "mysql://me:hunter2@host/x",
            "postgresql://me:hunter2@host:port/x",
            "postgresql://me:hunter2@h",
        ],
        "broker_url": ["amqp://me:hunter2@host", "redis://", "redis://:hunter2@host:port/0", "redis://:hunter@2@host"],
    }
    for name, address in ((name, address) for name, those in addresses.items() for address in those):
        with pytest.raises(SettingsError, match=f"LAKE_{name.upper()} is no address") as refused:
            LakeSettings(_env_file=None, **{name: address})  # type: ignore[arg-type]
        assert "hunter2" not in str(refused.value)


def test_workers_need_a_history_that_they_share() -> None:
    with pytest.raises(SettingsError, match="LAKE_BROKER_URL is set, but LAKE_DAGSTER_URL is empty"):
        LakeSettings(_env_file=None, broker_url="redis://host/0")
