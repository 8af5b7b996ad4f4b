"""Shards: each symbol in exactly one code location, all of them together what one location has."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.workspace.load_target import WorkspaceFileTarget
from typer.testing import CliRunner

from lake_assets.cli.main import app
from lake_assets.code_location import build_definitions
from lake_resources.collector.journal import ConnectionRow, Journal, KnownRow
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.shards import Shard, parse_shard

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "ADAUSDT")


def names(definitions: dg.Definitions) -> dict[str, Counter[str]]:
    """What a code location has, by kind."""
    repository = definitions.get_repository_def()
    graph = repository.asset_graph
    return {
        "assets": Counter(key.to_user_string() for key in graph.materializable_asset_keys),
        "checks": Counter(map(str, graph.asset_check_keys)),
        "schedules": Counter(each.name for each in repository.schedule_defs),
        "sensors": Counter(each.name for each in repository.sensor_defs),
    }


def of_um(found: dict[str, Counter[str]]) -> set[str]:
    """Symbols of USD-M that a code location has."""
    return {key.split("/")[1] for key in found["assets"] if key.startswith("um/")}


def test_shards_together_are_the_whole(tmp_path: Path) -> None:
    given = {"root": tmp_path, "symbols": SYMBOLS[:2], "spot_symbols": ("SOLUSDT",), "macro_tickers": ("SPY",)}
    whole = names(build_definitions(LakeSettings(_env_file=None, **given)))  # type: ignore[call-arg,arg-type]
    shards = [
        names(build_definitions(LakeSettings(_env_file=None, **given, shard=f"{number}/2")))  # type: ignore[call-arg,arg-type]
        for number in (1, 2)
    ]
    for kind in ("assets", "checks"):
        assert whole[kind] == shards[0][kind] + shards[1][kind], kind
    assert whole["schedules"] == shards[0]["schedules"]
    assert "feed_1h_hourly" in shards[0]["schedules"]
    assert not {"feed_1h_hourly", "macro_every_15_minutes"} & shards[1]["schedules"].keys()
    assert of_um(shards[1]) == {"ETHUSDT"}
    # Each looks after its own symbols, in a code location of its own.
    assert whole["sensors"] == shards[0]["sensors"]
    assert {"hot_band", "heal_holes", "promote_archives"} <= shards[1]["sensors"].keys()


def test_collectors_of_two_shards_note_their_own_connections_in_one_ledger(tmp_path: Path) -> None:
    url, at = f"sqlite:///{tmp_path / 'ledger.sqlite'}", datetime(2026, 2, 15, tzinfo=UTC)
    first, second, whole = (Journal(url, "um", shard=shard) for shard in ("1/2", "2/2", ""))
    first.write([ConnectionRow(1, "market", at)])
    second.write([ConnectionRow(1, "public", at), KnownRow("ETHUSDT", 7, 29_000_000)])
    assert [row.route for row in first.left_open()] == ["market"]
    assert [row.route for row in second.left_open()] == ["public"]
    assert whole.left_open() == []
    # Ids are of a symbol, whoever heard it.
    assert first.known() == second.known() == whole.known()
    assert set(whole.known()) == {"ETHUSDT"}
    for journal in (first, second, whole):
        journal.close()


def test_a_symbol_keeps_its_shard_when_others_are_appended() -> None:
    before, after = (tuple(f"S{index}" for index in range(count)) for count in (30, 47))
    for number in range(1, 13):
        shard = Shard(number, 12)
        assert shard.part_of(after)[: len(shard.part_of(before))] == shard.part_of(before)
    assert sorted(name for number in range(1, 13) for name in Shard(number, 12).part_of(after)) == sorted(after)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2", "1/5000"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="LAKE_SHARD"):
        parse_shard(text)


def test_more_shards_than_symbols_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has none of 4 symbols"):
        LakeSettings(_env_file=None, root=tmp_path, symbols=SYMBOLS, shard="5/5")  # type: ignore[call-arg]


def test_the_workspace_is_generated_and_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster finds each shard by its name in the file."""
    values = {"ROOT": tmp_path / "lake", "SYMBOLS": ",".join(SYMBOLS), "SPOT_SYMBOLS": "", "SHARD": "1/4"}
    for name, value in values.items():
        monkeypatch.setenv(f"LAKE_{name}", str(value))
    path = tmp_path / "workspace.yaml"
    done = CliRunner().invoke(app, ["workspace", "--shards", "2", "--out", str(path)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "2 shards of 2 to 2 symbols" in done.output
    first, second = WorkspaceFileTarget(paths=[str(path)]).create_origins()
    assert [first.location_name, second.location_name] == ["lake-1", "lake-2"]
    pointer = second.loadable_target_origin
    found = getattr(__import__(pointer.module_name, fromlist=[pointer.attribute]), pointer.attribute)
    assert of_um(names(found)) == {"ETHUSDT", "ADAUSDT"}
    CliRunner().invoke(app, ["workspace", "--first-port", "4001", "--out", str(path)], catch_exceptions=False)
    assert yaml.safe_load(path.read_text())["load_from"] == [
        {"grpc_server": {"host": "127.0.0.1", "port": 4001, "location_name": "lake-1"}}
    ]
