"""Bytes below a directory and below a bucket of an S3 server: one form, whole or not there, created once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from lake_assets.slices import keeping
from lake_assets.slices.endpoints import ENDPOINTS
from lake_assets.slices.frames import read_slices
from lake_assets.slices.integrity import check
from lake_assets.slices.manifest import read_manifest
from lake_assets.slices.server import open_slices, run_once
from lake_resources.data_root import data_root_of
from lake_resources.errors import SettingsError, StorageError
from lake_resources.settings import LakeSettings
from lake_resources.storage.blobs import Blobs, open_blobs
from lake_tests.support.s3_server import BUCKET, s3_server
from lake_tests.support.simulated_lake import exchange
from lake_tests.support.sliced import FIRST, OF, SPAN, ms

KLINES = ENDPOINTS["klines"]


@pytest.fixture(scope="module")
def service() -> Iterator[dict[str, str]]:
    with s3_server() as variables:
        yield variables


@pytest.fixture
def bucket(service: dict[str, str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A prefix of this test's own in the bucket."""
    for name, value in service.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{request.node.name}".replace("[", "-").replace("]", "")


@pytest.fixture(params=["directory", "bucket"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "directory":
        return open_blobs(tmp_path / "root")
    return open_blobs(request.getfixturevalue("bucket"))


def test_bytes_are_read_back_replaced_listed_and_removed(blobs: Blobs) -> None:
    assert blobs.names("a/b") == []
    blobs.write("a/b/x.json", b"one")
    blobs.write("a/b/deeper/z", b"three")
    blobs.write("a/b/x.json", b"two")
    blobs.write("a/b/币安.json", b"four")
    assert blobs.read("a/b/x.json") == b"two"
    assert [name for name in blobs.names("a/b") if "deeper" not in name] == ["a/b/x.json", "a/b/币安.json"]
    assert blobs.read("a/b/币安.json") == b"four"
    blobs.remove("a/b/x.json")
    blobs.remove("a/b/x.json")
    with pytest.raises(StorageError, match=r"x\.json"):
        blobs.read("a/b/x.json")


def test_of_many_that_create_the_same_one_wins_and_its_bytes_stay(blobs: Blobs) -> None:
    def create(content: bytes) -> bool:
        try:
            blobs.write("packs/p", content, create=True)
        except StorageError:
            return False
        return True

    contents = [bytes([65 + index]) * 1000 for index in range(6)]
    with ThreadPoolExecutor(6) as pool:
        won = [content for content, here in zip(contents, pool.map(create, contents), strict=True) if here]
    assert [blobs.read("packs/p")] == won
    assert create(won[0]), "the same bytes again are no error"
    assert blobs.names("packs") == ["packs/p"]


def test_a_bucket_that_is_not_there_is_an_error_with_a_remedy(bucket: str) -> None:
    nowhere = open_blobs("s3://not-there/x")
    with pytest.raises(StorageError, match="not-there") as told:
        nowhere.write("a", b"1")
    assert "AWS_ENDPOINT_URL" in told.value.remedy


@pytest.mark.parametrize("text", ["s3://", "s3:///x", "s3://lake/../x", "s3://lake//x", "s3://lake/x?y=1"])
def test_what_names_no_bucket_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="s3://"):
        data_root_of(text)


def test_slices_are_kept_in_a_bucket_by_one_setting(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "PER_PACK", 2)
    monkeypatch.setenv("QLIR_DATA_ROOT", bucket)
    with exchange() as sim:
        sim.clock.freeze(FIRST + 3 * SPAN + timedelta(minutes=30, seconds=5))
        settings = LakeSettings(root=tmp_path / "lake", rest_url=sim.base_url, spot_rest_url=sim.base_url)
        with open_slices(settings, clock=sim.clock.now, sleep=lambda _: None) as slices:
            assert slices.store.blobs.where("x") == f"{bucket}/x"
            slices.rows.keep_origin(OF, ms(FIRST), FIRST)
            assert run_once(slices, OF).complete
            assert list(check(slices, KLINES, OF)) == []
            assert read_manifest(slices.store.blobs, OF)["summary"]["ok_slices"] == 3
            candles, coverage = read_slices(slices, "BTCUSDT", "1m", FIRST, FIRST + 3 * SPAN)
            assert (candles.height, coverage.clean) == (3000, True)
            assert keeping.pack_sealed(slices, KLINES, OF) == 2
            assert list(check(slices, KLINES, OF)) == []
            assert read_slices(slices, "BTCUSDT", "1m", FIRST, FIRST + 3 * SPAN)[0].equals(candles)
            before = slices.rows.slice_rows(OF)
            slices.rows.forget_slices(OF, [row.start for row in before])
            assert not keeping.do(slices, OF, "rebuild").wrong
            assert [(row.start, row.path, row.sha256) for row in slices.rows.slice_rows(OF)] == [
                (row.start, row.path, row.sha256) for row in before
            ]
            slices.store.remove([before[2].path or ""])
            assert [each.code for each in check(slices, KLINES, OF)] == ["missing_response_file"]
            assert keeping.do(slices, OF, "verify", mend=True).counts["sent back"] == 1
            assert run_once(slices, OF).complete
        local = [path.name for path in (tmp_path / "lake").rglob("*.json*")]
        assert local == [], "an answer or a manifest lies on the local disk, too"
        with (
            pytest.raises(SettingsError, match="simulator"),
            open_slices(settings.model_copy(update={"exchange": "binance", "root": tmp_path / "other"})),
        ):
            pass
