"""Servers that do not answer are told in one sentence by what would start processes, before any of them starts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lake_assets.local_stack.servers import require_servers
from lake_resources.errors import SettingsError, StorageError
from lake_resources.settings import LakeSettings
from lake_tests.support.postgres import postgres_server
from lake_tests.support.redis_server import redis_server
from lake_tests.support.scripted_s3 import scripted_s3

NOBODY = "postgresql://me:hunter2@127.0.0.1:1/lake"


def settings(root: Path, **given: str) -> LakeSettings:
    return LakeSettings(_env_file=None, root=root, exchange="simulator", **given)  # type: ignore[arg-type]


def test_a_lake_of_one_machine_asks_nobody(tmp_path: Path) -> None:
    require_servers(settings(tmp_path))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("LAKE_LEDGER_URL", {"ledger_url": NOBODY}),
        ("LAKE_DAGSTER_URL", {"dagster_url": NOBODY, "broker_url": "redis://:hunter2@127.0.0.1:1/0"}),
    ],
)
def test_a_server_that_is_not_there_is_told_without_its_password(
    tmp_path: Path, name: str, given: dict[str, str]
) -> None:
    pytest.importorskip("psycopg")
    pytest.importorskip("psycopg2")
    with pytest.raises(StorageError, match=rf"^{name}: its server does not answer.*refused.*correct host") as told:
        require_servers(settings(tmp_path, **given))
    assert "hunter2" not in str(told.value)
    assert "\n" not in str(told.value)


def test_a_bucket_that_is_not_there_is_told_by_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres_server() as postgres, scripted_s3() as service:
        for variable, value in service.variables.items():
            monkeypatch.setenv(variable, value)
        there = {"ledger_url": postgres.url(), "store_url": "s3://lake/x"}
        require_servers(settings(tmp_path, **there))
        service.refusing = 404, "NoSuchBucket"
        with pytest.raises(StorageError, match=r"^LAKE_STORE_URL: s3://lake/x.*: there is no such bucket"):
            require_servers(settings(tmp_path, **there))


def test_a_driver_that_is_not_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsError, match=r"driver .*not installed.*minute-lake\[scale\]"):
        require_servers(settings(tmp_path, ledger_url=NOBODY))


def test_a_wrong_database_user_or_number_is_told_as_the_server_says_it(tmp_path: Path) -> None:
    pytest.importorskip("psycopg2")
    with postgres_server() as postgres, redis_server() as broker:
        there = {"ledger_url": postgres.url(), "dagster_url": postgres.url(), "broker_url": broker.url}
        require_servers(settings(tmp_path, **there))
        wrong = {
            "LAKE_LEDGER_URL.*nowhere": {"ledger_url": postgres.url("nowhere")},
            "LAKE_DAGSTER_URL.*nobody": {"dagster_url": postgres.url().replace("lake@", "nobody:hunter2@")},
            "LAKE_BROKER_URL.*out of range": {"broker_url": f"{broker.url}9999"},
        }
        for told, given in wrong.items():
            with pytest.raises(StorageError, match=told) as refused:
                require_servers(settings(tmp_path, **there | given))
            assert "hunter2" not in str(refused.value)
            assert "\n" not in str(refused.value)
