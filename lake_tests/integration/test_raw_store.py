"""Raw answers as files: whole or not at all, and the same bytes however they are kept."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lake_resources.errors import StorageError
from lake_resources.storage.blobs import LocalBlobs
from lake_resources.storage.raw_store import Form, RawStore

CONTENT = b'{"meta":{"n":1},"data":[[1,"2.0"]]}\n'
WHERE = "binance/klines/raw/BTCUSDT/1m/responses"


@pytest.mark.parametrize("form", ["json", "json.zst"])
def test_an_answer_is_read_back_as_it_was_kept(tmp_path: Path, form: Form) -> None:
    store = RawStore(LocalBlobs(tmp_path), form)
    kept = store.put(WHERE, "a", CONTENT)
    assert kept.path == f"{WHERE}/a.{form}"
    assert store.get(kept.path) == CONTENT
    assert store.put(WHERE, "a", CONTENT + b" ").sha256 != kept.sha256
    assert store.files(WHERE) == [kept.path], "a temp file is left, or the earlier one"


@pytest.mark.parametrize("form", ["json", "json.zst"])
def test_packed_answers_have_the_same_bytes_and_the_pack_is_the_same_for_the_same_answers(
    tmp_path: Path, form: Form
) -> None:
    store = RawStore(LocalBlobs(tmp_path), form)
    kept = [store.put(WHERE, f"{index:032x}", CONTENT + bytes([index])) for index in range(20)]
    packed = store.pack(WHERE, "part-000000", kept)
    (path,) = [path for path in store.files(WHERE) if "part-000000" in path]
    first = store.blobs.read(path)
    assert store.pack(WHERE, "part-000000", kept) == packed
    assert store.blobs.read(path) == first
    store.remove(each.path for each in kept)
    assert [store.get(each.path) for each in packed] == [CONTENT + bytes([index]) for index in range(20)]
    assert [each.sha256 for each in packed] == [each.sha256 for each in kept]


def test_a_damaged_answer_is_not_packed(tmp_path: Path) -> None:
    store = RawStore(LocalBlobs(tmp_path))
    kept = [store.put(WHERE, name, CONTENT) for name in "ab"]
    (tmp_path / kept[1].path).write_bytes(CONTENT[:-3])
    with pytest.raises(StorageError, match="other bytes"):
        store.pack(WHERE, "part-000000", kept)
    assert store.files(WHERE) == [each.path for each in kept]


def test_a_pack_never_takes_the_place_of_another(tmp_path: Path) -> None:
    store = RawStore(LocalBlobs(tmp_path))
    kept = [store.put(WHERE, name, CONTENT) for name in "abc"]
    packed = store.pack(WHERE, "part-000000", kept)
    newer = store.put(WHERE, "a", CONTENT + b" ")
    again = store.pack(WHERE, "part-000000", [newer, store.put(WHERE, "d", CONTENT)])
    assert store.get(packed[1].path) == CONTENT
    assert store.get(again[0].path) == CONTENT + b" "


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_a_pack_that_is_cut_is_damaged_wherever_it_is_cut(tmp_path: Path, share: float) -> None:
    store = RawStore(LocalBlobs(tmp_path))
    kept = [store.put(WHERE, f"{index:032x}", random.Random(index).randbytes(900)) for index in range(20)]
    packed = store.pack(WHERE, "part-000000", kept)
    path = packed[0].path.partition("#")[0]
    data = store.blobs.read(path)
    store.blobs.write(path, data[: int(len(data) * share)])
    with pytest.raises(StorageError, match="damaged"):
        store.get(packed[19].path)


def test_damaged_or_lost_files_are_errors_of_the_lake(tmp_path: Path) -> None:
    store = RawStore(LocalBlobs(tmp_path), "json.zst")
    kept = store.put(WHERE, "a", CONTENT)
    (tmp_path / kept.path).write_bytes(b"no zstd at all")
    with pytest.raises(StorageError, match="damaged"):
        store.get(kept.path)
    store.remove([kept.path])
    with pytest.raises(StorageError, match="No such file"):
        store.get(kept.path)
    with pytest.raises(ValueError, match="leaves"):
        store.blobs.read("../a")
