"""What a commit into a bucket makes of a service that refuses, fails, loses answers or ignores conditions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lake_resources.errors import DiskFull, LakeError, SettingsError, StorageError, StoreUnreachable
from lake_resources.settings import LakeSettings
from lake_resources.storage import bucket
from lake_resources.storage.bucket import Bucket
from lake_resources.storage.file_store import FileStore, open_files
from lake_resources.storage.parquet import StagedFile, stage
from lake_tests.support.minute_hours import at, frame
from lake_tests.support.scripted_s3 import ScriptedS3, scripted_s3


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedS3]:
    monkeypatch.setitem(bucket._RETRIES, "max_retries", 1)
    with scripted_s3() as found:
        for name, value in found.variables.items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture
def files(service: ScriptedS3, tmp_path: Path) -> FileStore:
    return open_files(tmp_path, "s3://lake/some/prefix")


@pytest.fixture
def staged(tmp_path: Path) -> StagedFile:
    return stage(frame(at(0)), tmp_path / ".tmp", {})


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (403, "AccessDenied", StorageError, "refuses access (403 AccessDenied). Give these credentials the right"),
        (403, "SignatureDoesNotMatch", StorageError, "does not take these credentials"),
        (403, "InvalidAccessKeyId", StorageError, "AWS_ACCESS_KEY_ID"),
        (401, "Unauthorized", StorageError, "does not take these credentials"),
        (400, "ExpiredToken", StorageError, "AWS_SESSION_TOKEN"),
        (404, "NoSuchBucket", StorageError, "no such bucket"),
        (503, "SlowDown", StoreUnreachable, "asks to slow down (503 SlowDown). Run fewer workers"),
        (500, "InternalError", StoreUnreachable, "does not answer (500 InternalError)"),
        (507, "InsufficientStorage", DiskFull, "no room"),
        (301, "PermanentRedirect", StorageError, "AWS_REGION"),
        (400, "InvalidRequest", StorageError, "refuses the request (400 InvalidRequest)"),
    ],
)
def test_what_a_service_answers_is_one_sentence_with_a_remedy_and_no_secret(
    service: ScriptedS3, files: FileStore, staged: StagedFile, status: int, code: str, kind: type, words: str
) -> None:
    service.refusing = status, code
    with pytest.raises(kind) as told:
        files.publish([(staged, "t/part.parquet")])
    assert words in str(told.value)
    assert "s3://lake/some/prefix/t/part.parquet" in str(told.value)
    assert told.value.retryable is (kind in {StoreUnreachable, DiskFull})
    _secret_free(told.value)
    with pytest.raises(kind) as listed:
        list(files.listed("t"))
    assert str(listed.value).partition(": ")[2] == str(told.value).partition(": ")[2]
    service.refusing = None
    assert list(files.listed("t")) == []
    assert files.publish([(staged, "t/part.parquet")]) == [], "the same call again, once it answers"


def test_a_bucket_that_is_not_there_is_no_missing_object(service: ScriptedS3) -> None:
    asked = Bucket("s3://lake/some")
    assert asked.get("x") is None
    assert asked.head("x") is None
    service.refusing = 404, "NoSuchBucket"
    for ask in (asked.get, asked.head):
        with pytest.raises(StorageError, match="there is no such bucket"):
            ask("x")


def test_a_machine_without_credentials_is_told_so(service: ScriptedS3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", service.url)
    service.refusing = 403, "Forbidden"
    with pytest.raises(StorageError, match=r"no whole credentials for the object store.*Set AWS_ACCESS_KEY_ID") as told:
        Bucket("s3://lake/some").get("x")
    assert not told.value.retryable
    _secret_free(told.value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    with pytest.raises(StorageError, match="no whole credentials"):
        Bucket("s3://lake/some")


def test_a_service_that_is_gone_is_told_and_the_call_can_be_repeated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(bucket._RETRIES, "max_retries", 1)
    with scripted_s3() as service:
        for name, value in service.variables.items():
            monkeypatch.setenv(name, value)
        gone = Bucket("s3://lake/gone")
    with pytest.raises(StoreUnreachable, match="no connection, or a time-out") as told:
        gone.get("x")
    assert told.value.retryable
    _secret_free(told.value)


def test_a_put_whose_answer_got_lost_is_found_with_the_same_bytes(
    service: ScriptedS3, files: FileStore, staged: StagedFile
) -> None:
    service.losing_answers = 1
    for _ in range(2):  # the client tries again by itself, or the caller does
        try:
            taken = files.publish([(staged, "t/part.parquet")])
            break
        except StoreUnreachable:
            continue
    else:
        pytest.fail("it was put, and is not found")
    assert [path for _, path in taken] == ["t/part.parquet"]
    assert service.objects["/lake/some/prefix/t/part.parquet"] == staged.temp_path.read_bytes()


def test_a_server_that_ignores_conditions_is_refused(service: ScriptedS3, files: FileStore) -> None:
    assert files.create("LEDGER", b"mark")
    files.require_conditions("LEDGER", b"mark")
    service.ignores_conditions = True
    with pytest.raises(SettingsError, match=r"LAKE_STORE_URL.*ignores conditions.*If-None-Match"):
        files.require_conditions("LEDGER", b"mark")
    assert service.objects["/lake/some/prefix/LEDGER"] == b"mark"


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///x", "s3://lake/../x", "s3://lake//x", "s3://lake/x?y=1", "gs://lake", "file:///elsewhere"]
)
def test_what_names_no_place_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="LAKE_STORE_URL"):
        LakeSettings(store_url=url, ledger_url="postgresql://me@host/lake")


def test_a_bucket_needs_a_ledger_that_hosts_share_and_keys_are_not_shown(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="LAKE_STORE_URL is set, but the ledger is a file of this host"):
        LakeSettings(store_url="s3://lake/x")
    with pytest.raises(SettingsError, match="LAKE_STORE_URL") as told:
        LakeSettings(store_url="s3://someone:very-secret/with@lake/x", ledger_url="postgresql://me@host/lake")
    _secret_free(told.value)
    with pytest.raises(SettingsError, match="LAKE_STORE_URL") as told:
        LakeSettings(store_url="s3://lake/x?key=very-secret", ledger_url="postgresql://me@host/lake")
    _secret_free(told.value)
    found = LakeSettings(root=tmp_path, store_url="s3://lake/x/", ledger_url="postgresql://me@host/lake")
    assert found.store_url == "s3://lake/x"
    assert LakeSettings(root=tmp_path, store_url="file://").store_url == ""
    assert LakeSettings(root=tmp_path, store_url=tmp_path.as_uri()).store_url == ""


def _secret_free(error: LakeError) -> None:
    """Neither the text nor what a traceback would show beneath it."""
    below: BaseException | None = error
    while below is not None:
        assert "secret" not in str(below)
        below = below.__cause__ or (None if below.__suppress_context__ else below.__context__)
