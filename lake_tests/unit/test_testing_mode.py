"""What testing mode makes of the settings: a root of its own, other ports, shorter intervals."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lake_assets.local_stack.places import child_environment, dagster_home
from lake_resources.config_file import read_config
from lake_resources.config_origin import BY_TESTING, config_lines
from lake_resources.errors import SettingsError
from lake_resources.messages.alerts import Alert
from lake_resources.messages.outbox import open_outbox
from lake_resources.settings import LakeSettings
from lake_tests.support.receiver import receiver

TESTING = {"enabled": True}


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory without settings in the environment."""
    for name in [name for name in os.environ if name.startswith("LAKE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_root_ports_and_intervals_are_those_of_the_document(tmp_path: Path) -> None:
    found = LakeSettings(root=tmp_path / "lake", testing=TESTING)
    assert found.lake_root == tmp_path / "lake" / "test"
    assert (found.webserver_port, found.dashboard_port, found.simulator_port) == (3100, 8601, 9000)
    assert (found.macro_first_days, found.macro_look_back_days, found.heal_days) == (1, 1, 3)
    assert (found.testing.transform_interval_min, found.testing.macro_interval_min) == (2, 1)
    assert (found.hot_interval_s, found.heal_interval_s, found.promote_interval_s) == (30, 10, 10)
    assert found.testing.first_build_s == 120
    assert dagster_home(found) == tmp_path / "lake" / "test" / "dagster_home"
    assert LakeSettings(root=tmp_path / "lake").lake_root == tmp_path / "lake"


def test_no_place_that_was_set_by_itself_stays_outside_of_the_testing_root(tmp_path: Path) -> None:
    own = {
        "root": tmp_path / "lake",
        "ledger_url": f"sqlite:///{tmp_path}/lake/other.sqlite",
        "governor_path": tmp_path / "lake" / "governor.sqlite",
        "feed_duckdb": tmp_path / "lake" / "one.duckdb",
        "feed_persist_dir": tmp_path / "lake" / "csv",
        "slices_root": tmp_path / "lake" / "raw",
        "spot_raw_dir": tmp_path / "lines",
    }
    paths = {name for name, declared in LakeSettings.model_fields.items() if "Path" in str(declared.annotation)}
    assert paths - {"config"} == set(own) - {"ledger_url"}, "a new place has to be given up in testing mode, too"
    found = LakeSettings(**own, testing=TESTING)  # type: ignore[arg-type]
    places = [
        found.ledger_file,
        found.resolved_governor_path,
        found.resolved_feed_duckdb,
        found.resolved_feed_persist_dir,
        found.resolved_slices_root,
        found.spot_raw_dir or tmp_path,
    ]
    assert [place for place in places if not place.is_relative_to(tmp_path / "lake" / "test")] == []


def test_children_hear_what_was_applied_and_apply_it_no_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "lake"))
    monkeypatch.setenv("LAKE_TESTING__ENABLED", "true")
    monkeypatch.setenv("LAKE_TESTING__PORT_SHIFT", "7")
    monkeypatch.setenv("LAKE_PROMOTE_INTERVAL_S", "6000")
    ours = LakeSettings()
    for name, value in child_environment(ours).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LAKE_TESTING__ENABLED")
    monkeypatch.delenv("LAKE_TESTING__PORT_SHIFT")
    theirs = LakeSettings()
    for name in ("lake_root", "webserver_port", "promote_interval_s", "heal_interval_s", "macro_first_days"):
        assert getattr(theirs, name) == getattr(ours, name)
    assert (ours.webserver_port, ours.promote_interval_s) == (3007, 200)


@pytest.mark.parametrize("base", [".", "lake", "lake/../lake"])
def test_a_testing_root_that_holds_the_lakes_own_is_refused(tmp_path: Path, base: str) -> None:
    with pytest.raises(SettingsError, match="LAKE_TESTING__BASE_PATH"):
        LakeSettings(root=tmp_path / "lake", testing=TESTING | {"base_path": tmp_path / base})


def test_the_weight_of_the_exchange_is_counted_together_or_not_at_all(tmp_path: Path) -> None:
    inside, outside = tmp_path / "lake" / "governor.sqlite", tmp_path / "governor.sqlite"
    with pytest.raises(SettingsError, match="LAKE_GOVERNOR_PATH"):
        LakeSettings(root=tmp_path / "lake", exchange="binance", governor_path=inside, testing=TESTING)
    found = LakeSettings(root=tmp_path / "lake", exchange="binance", governor_path=outside, testing=TESTING)
    assert found.resolved_governor_path == outside


def test_both_files_switch_it_on(directory: Path) -> None:
    (directory / "lake.yml").write_text("root: mine\ntesting:\n  enabled: true\n  macro_interval_min: 3\n")
    found = LakeSettings()
    assert (found.lake_root, found.testing.macro_interval_min) == (directory / "mine" / "test", 3)
    origins = {line.variable: line.origin for line in config_lines()[0]}
    assert origins["LAKE_ROOT"] == origins["LAKE_HEAL_DAYS"] == BY_TESTING
    assert origins["LAKE_TESTING__MACRO_INTERVAL_MIN"] == str(directory / "lake.yml")
    (directory / "lake.yml").unlink()
    (directory / "config.yml").write_text(
        "general: {base_path: lake}\ntesting: {enabled: true, base_path: apart, macro_transform_interval_min: 1}\n"
    )
    read = read_config(None, frozenset(LakeSettings.model_fields))
    assert "testing.macro_transform_interval_min" in read.unused
    assert LakeSettings().lake_root == directory / "apart"


def test_every_page_carries_the_label_below_its_heading(tmp_path: Path) -> None:
    page = "# Heading\n\ntext\n"
    assert LakeSettings(root=tmp_path).testing.labelled(page) == page
    compressed = LakeSettings(root=tmp_path, testing=TESTING).testing
    assert compressed.labelled(page) == "# Heading\n\nMODE: TEST\n\ntext\n"


def test_messages_to_people_carry_it_too(tmp_path: Path) -> None:
    with receiver() as hook:
        settings = LakeSettings(root=tmp_path, webhook_url=hook.url, testing=TESTING)
        outbox = open_outbox(settings)
        assert outbox.post(Alert("unhealthy", "1 problem", "it rains", datetime(2026, 11, 18, tzinfo=UTC))) == ""
        outbox.close()
    assert [body["subject"] for body in hook.bodies] == ["MODE: TEST: 1 problem"]
