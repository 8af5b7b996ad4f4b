"""Raw answers as files: whole or not at all, and the same bytes however they are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake_resources.errors import StorageError
from lake_resources.storage.raw_store import Form, RawStore

CONTENT = b'{"meta":{"n":1},"data":[[1,"2.0"]]}\n'
WHERE = "binance/klines/raw/BTCUSDT/1m/responses"


@pytest.mark.parametrize("form", ["json", "json.zst"])
def test_an_answer_is_read_back_as_it_was_kept(tmp_path: Path, form: Form) -> None:
    store = RawStore(tmp_path, form)
    kept = store.put(WHERE, "a", CONTENT)
    assert kept.path == f"{WHERE}/a.{form}"
    assert store.get(kept.path) == CONTENT
    assert store.put(WHERE, "a", CONTENT + b" ").sha256 != kept.sha256
    assert store.files(WHERE) == [kept.path], "a temp file is left, or the earlier one"


@pytest.mark.parametrize("form", ["json", "json.zst"])
def test_packed_answers_have_the_same_bytes_and_the_pack_is_the_same_for_the_same_answers(
    tmp_path: Path, form: Form
) -> None:
    store = RawStore(tmp_path, form)
    kept = [store.put(WHERE, f"{index:032x}", CONTENT + bytes([index])) for index in range(20)]
    packed = store.pack(WHERE, "part-000000", kept)
    first = store.absolute(f"{WHERE}/part-000000.tar.zst").read_bytes()
    assert store.pack(WHERE, "part-000000", kept) == packed
    assert store.absolute(f"{WHERE}/part-000000.tar.zst").read_bytes() == first
    store.remove(each.path for each in kept)
    assert [store.get(each.path) for each in packed] == [CONTENT + bytes([index]) for index in range(20)]
    assert [each.sha256 for each in packed] == [each.sha256 for each in kept]


def test_a_damaged_answer_is_not_packed(tmp_path: Path) -> None:
    store = RawStore(tmp_path)
    kept = [store.put(WHERE, name, CONTENT) for name in "ab"]
    store.absolute(kept[1].path).write_bytes(CONTENT[:-3])
    with pytest.raises(StorageError, match="other bytes"):
        store.pack(WHERE, "part-000000", kept)
    assert not store.absolute(f"{WHERE}/part-000000.tar.zst").exists()


def test_damaged_or_lost_files_are_errors_of_the_lake(tmp_path: Path) -> None:
    store = RawStore(tmp_path, "json.zst")
    kept = store.put(WHERE, "a", CONTENT)
    store.absolute(kept.path).write_bytes(b"no zstd at all")
    with pytest.raises(StorageError, match="damaged"):
        store.get(kept.path)
    store.remove([kept.path])
    with pytest.raises(StorageError, match="No such file"):
        store.get(kept.path)
    with pytest.raises(ValueError, match="leaves"):
        store.absolute("../a")
