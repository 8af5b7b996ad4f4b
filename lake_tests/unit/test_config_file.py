"""A file of settings: what outranks it, what it may hold, and where each value is said to come from."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lake_assets.cli.main import app
from lake_resources.config_file import BECAME, NOT_NEEDED, read_config
from lake_resources.config_origin import HIDDEN, config_lines
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings

KNOWN = frozenset(LakeSettings.model_fields)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory without settings in the environment."""
    for name in ("LAKE_ROOT", "LAKE_SYMBOLS", "LAKE_EXCHANGE", "LAKE_CONFIG", "LAKE_WEBHOOK_URL", "LAKE_START"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def origin_of(name: str) -> tuple[str, str]:
    return next((each.value, each.origin) for each in config_lines()[0] if each.variable == name)


def test_the_environment_goes_before_env_and_env_before_the_file(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = directory / "lake.yml"
    file.write_text(
        "symbols: [SOLUSDT, btcusdt]\nLAKE_START: 2024-02-01\nhot_hours: 3\nroot: deep/lake\nlimits:\n  members: 7\n"
    )
    settings = LakeSettings()
    assert settings.symbols == ("SOLUSDT", "BTCUSDT")
    assert (settings.start, settings.hot_hours, settings.limits.members) == (date(2024, 2, 1), 3, 7)
    assert settings.lake_root == directory / "deep" / "lake"
    assert origin_of("LAKE_SYMBOLS") == ("SOLUSDT,BTCUSDT", str(file))
    assert origin_of("LAKE_LIMITS__MEMBERS") == ("7", str(file))
    (directory / ".env").write_text("LAKE_HOT_HOURS=4\n")
    assert LakeSettings().hot_hours == 4
    assert origin_of("LAKE_HOT_HOURS") == ("4", ".env")
    monkeypatch.setenv("LAKE_HOT_HOURS", "5")
    assert LakeSettings().hot_hours == 5
    assert origin_of("LAKE_HOT_HOURS") == ("5", "environment")
    assert LakeSettings(hot_hours=6).hot_hours == 6
    assert origin_of("LAKE_HEAL_DAYS") == ("30", "default")
    assert LakeSettings(_env_file=None).symbols == ("BTCUSDT", "ETHUSDT"), "without files there is no lake.yml either"


@pytest.mark.parametrize("where", ["environment", ".env"])
def test_a_file_can_be_named(directory: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    (directory / "other.yml").write_text("hot_hours: 2\n")
    if where == "environment":
        monkeypatch.setenv("LAKE_CONFIG", "other.yml")
    else:
        (directory / ".env").write_text("LAKE_CONFIG=other.yml\n")
    assert LakeSettings().hot_hours == 2
    (directory / "other.yml").unlink()
    with pytest.raises(SettingsError, match=r"no file .*other\.yml.* LAKE_CONFIG"):
        LakeSettings()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("hot_hour: 3\n", "no setting 'hot_hour'"),
        ("- a\n", "no table of settings"),
        ("1: 2\n", "no table of settings"),
        ("a: [\n", "cannot be read"),
        ("hot_hours: many\n", "LAKE_HOT_HOURS is 'many'"),
        ("symbols: [../x]\n", "LAKE_SYMBOLS"),
        ("start: banana\n", "LAKE_START"),
        ("a: " + "[" * 5000 + "\n", "cannot be read"),
    ],
)
def test_a_wrong_file_is_one_sentence(directory: Path, text: str, found: str) -> None:
    (directory / "lake.yml").write_text(text)
    with pytest.raises(SettingsError, match=found):
        LakeSettings()
    result = CliRunner().invoke(app, ["config"])
    assert isinstance(result.exception, SettingsError)


def test_bytes_that_are_no_text_and_files_that_are_too_long(directory: Path) -> None:
    file = directory / "lake.yml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="cannot be read"):
        LakeSettings()
    file.write_bytes(b"#" * (1 << 21))
    with pytest.raises(SettingsError, match="more than"):
        LakeSettings()


CRYPTO_LAKE = """\
general: {timezone: UTC, log_level: INFO, base_path: D:/CryptoDataLake}
exchanges:
  - name: binance
    symbols: [SOLUSDT, SUIUSDT]
    rest_url: https://api.binance.com/api/v3
collector: {write_interval_sec: 60, output_format: jsonl}
transformer: {resample_interval_sec: 1, schedule_minutes: 60}
qa: {enabled: true}
"""


def test_the_file_of_the_crypto_lake_is_read(directory: Path) -> None:
    (directory / "config.yml").write_text(CRYPTO_LAKE)
    found = read_config(None, KNOWN)
    assert found.values["root"] == "D:/CryptoDataLake"
    assert found.values["spot_symbols"] == "SOLUSDT,SUIUSDT"
    assert found.values["spot_rest_url"] == "https://api.binance.com"
    assert found.unused["collector.output_format"].startswith("JSONL is written")
    assert found.unused["qa.enabled"] == "nothing here depends on it"
    assert LakeSettings().root == directory / "D:" / "CryptoDataLake"
    (directory / "lake.yml").write_text("root: mine\n")
    assert LakeSettings().root == directory / "mine", "one's own file goes before it"


def test_the_keys_that_its_readme_names_count_bare_and_no_key_is_dropped_unsaid(directory: Path) -> None:
    (directory / "config.yml").write_text("base_path: deep/lake\nsymbols: [SOLUSDT, SUIUSDT]\nverbose: true\n")
    found = read_config(None, KNOWN)
    assert found.values == {"root": "deep/lake", "spot_symbols": "SOLUSDT,SUIUSDT"}
    assert set(found.unused) == {"verbose"}
    assert LakeSettings().lake_root == directory / "deep" / "lake"


def test_a_config_of_somebody_else_is_left_alone(directory: Path) -> None:
    (directory / "config.yml").write_text("site_name: docs\n")
    assert LakeSettings().root is None
    (directory / "config.yml").write_text("\t: [")
    assert LakeSettings().root is None


def test_every_key_of_the_crypto_lake_has_one_fate() -> None:
    assert not set(BECAME) & set(NOT_NEEDED)
    assert set(BECAME.values()) <= KNOWN


def test_secrets_are_not_shown(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_WEBHOOK_URL", "https://hooks.example/T0/secret")
    result = CliRunner().invoke(app, ["config", "--json"])
    assert result.exit_code == 0
    assert "secret" not in result.output
    lines = {each["variable"]: each for each in json.loads(result.stdout)["settings"]}
    assert lines["LAKE_WEBHOOK_URL"] == {"variable": "LAKE_WEBHOOK_URL", "value": HIDDEN, "origin": "environment"}
    assert set(lines) >= {f"LAKE_{name.upper()}" for name in KNOWN - {"limits", "testing"}}


def test_no_secret_of_any_setting_is_shown_as_a_table_or_as_json(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each setting that may hold one, wherever it came from: the environment, `.env`, the file."""
    secret = "hunter2"
    urls = {
        "LEDGER_URL": "postgresql+psycopg://me:{}@host/lake?password={}", "DAGSTER_URL": "postgresql://me:{}@host/dagster",
        "BROKER_URL": "redis://:{}@host:6379/0", "STORE_URL": "s3://bucket/prefix", "REST_URL": "http://me:{}@host",
        "SPOT_REST_URL": "http://me:{}@host", "VISION_URL": "http://me:{}@host", "YAHOO_URL": "http://me:{}@host",
        "WS_URL": "ws://me:{}@host", "SPOT_WS_URL": "ws://me:{}@host", "WEB_TOKEN": "{}",
        "WEBHOOK_URL": "https://hooks.example/T0/{}",
    }  # fmt: skip
    told = {f"LAKE_{name}": text.replace("{}", secret) for name, text in urls.items()}
    places = [dict(list(told.items())[at::3]) for at in range(3)]
    for name, value in places[0].items():
        monkeypatch.setenv(name, value)
    (directory / ".env").write_text("".join(f"{name}={value}\n" for name, value in places[1].items()))
    (directory / "lake.yml").write_text("".join(f'{name}: "{value}"\n' for name, value in places[2].items()))
    for options in ((), ("--json",)):
        result = CliRunner().invoke(app, ["config", *options])
        assert result.exit_code == 0, (result.output, result.exception)
        assert secret not in result.output
    origins = {each["variable"]: each["origin"] for each in json.loads(result.stdout)["settings"]}
    assert len({origins[name] for name in told}) == 3, "all three places were read"
