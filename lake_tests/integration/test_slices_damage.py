"""Answers and rows that say other than each other: each damage has a code, and the loop or `verify --mend` mends it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from lake_assets.slices import keeping
from lake_assets.slices.answers import instant_of, is_newer, read_file
from lake_assets.slices.data_root import Slices
from lake_assets.slices.defects import CODES
from lake_assets.slices.endpoints import ENDPOINTS
from lake_assets.slices.integrity import check
from lake_assets.slices.server import open_slices, run_once
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.ledger.slice_rows import SliceRow
from lake_tests.integration.test_slices_manifest import EDITS
from lake_tests.support.simulated_lake import exchange
from lake_tests.support.sliced import FIRST, OF, SPAN, ms

WHOLE, TIP = 0, 3
"""A slice that is `ok`, and the one that grows."""


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with exchange() as server:
        server.clock.freeze(FIRST + 3 * SPAN + timedelta(minutes=30, seconds=5, microseconds=123_456))
        yield server


@pytest.fixture(scope="module")
def slices(sim: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slices]:
    root = tmp_path_factory.mktemp("slices") / "lake"
    settings = LakeSettings(root=root, rest_url=sim.base_url, spot_rest_url=sim.base_url)
    with open_slices(settings, clock=sim.clock.now, sleep=lambda _: None) as found:
        assert run_once(found, OF, first=ms(FIRST)).complete
        yield found


def row(slices: Slices, index: int) -> SliceRow:
    start = ms(FIRST + index * SPAN)
    (found,) = slices.rows.slice_rows(OF, (start, start + 1))
    return found


def changed(slices: Slices, index: int, old: bytes, new: bytes, *, known: bool = True) -> None:
    """Another answer on the disk; the ledger has its hash where it is to be `known`."""
    held = row(slices, index)
    path = slices.root / (held.path or "")
    content = path.read_bytes().replace(old, new, 1)
    assert content != path.read_bytes()
    path.write_bytes(content)
    if known:
        slices.rows.put_slices(OF, [replace(held, sha256=hashlib.sha256(content).hexdigest())])


def later(slices: Slices) -> None:
    """The answer of a run that ended before its row: five milliseconds younger than the one that the row knows."""
    changed(slices, TIP, b'.123Z"}', b'.128Z"}', known=False)


def astray(slices: Slices) -> None:
    held = row(slices, WHOLE)
    slices.rows.put_slices(OF, [replace(held, start=held.start + 60_000, path=None, sha256=None, status="failed")])


def second_file(slices: Slices) -> None:
    path = slices.root / (row(slices, WHOLE).path or "")
    path.with_name(f"{'0' * 32}.json").write_bytes(path.read_bytes())


DAMAGES: dict[str, Callable[[Slices], object]] = {
    "missing_response_file": lambda slices: slices.store.remove([row(slices, WHOLE).path or ""]),
    "sha256_mismatch": lambda slices: changed(slices, TIP, b'"data":[[', b'"data": [[', known=False),
    "row_before_answer": later,
    "torn_response": lambda slices: changed(slices, WHOLE, b"}\n", b""),
    "slice_key_mismatch": lambda slices: changed(slices, WHOLE, b'"slice":"BTC', b'"slice":"ETH'),
    "status_contradicts_answer": lambda slices: slices.rows.put_slices(OF, [replace(row(slices, TIP), status="ok")]),
    "invalid_ledger_status": lambda slices: slices.rows.put_slices(OF, [replace(row(slices, 1), status="complete")]),
    "off_lattice": astray,
    "orphan_response_file": second_file,
}


@pytest.mark.parametrize("code", DAMAGES)
def test_each_damage_is_named_and_mended(slices: Slices, code: str) -> None:
    klines = ENDPOINTS["klines"]
    before = [(held.start, held.status, held.n_items) for held in slices.rows.slice_rows(OF)]
    DAMAGES[code](slices)
    found = list(check(slices, klines, OF))
    assert code in {each.code for each in found}
    assert {each.code for each in found} <= {code, "manifest_differs", "count_mismatch"}
    assert keeping.do(slices, OF, "verify", mend=True).wrong
    assert run_once(slices, OF).complete
    left = [each.code for each in check(slices, klines, OF)]
    if code == "orphan_response_file":
        assert left == [code], "nobody removes what might be somebody's"
        (slices.root / (row(slices, WHOLE).path or "")).with_name(f"{'0' * 32}.json").unlink()
    else:
        assert left == []
    assert [(held.start, held.status, held.n_items) for held in slices.rows.slice_rows(OF)] == before


def test_every_code_has_a_test() -> None:
    assert set(DAMAGES) | set(EDITS) == set(CODES)
    assert not set(DAMAGES) & set(EDITS)


def test_an_answer_of_whole_seconds_is_told_from_one_of_another_second(slices: Slices) -> None:
    held = row(slices, TIP)
    content = slices.store.get(held.path or "")
    at = instant_of(read_file(content)[0], "fetched_at")
    assert held.completed_at_utc is not None
    assert at == held.completed_at_utc.replace(microsecond=123_000)
    assert not is_newer(held, content)
    foreign = content.replace(b".123Z", b"Z")
    assert is_newer(held, foreign), "other programs write whole seconds, so it may be a later one"
    assert not is_newer(replace(held, completed_at_utc=held.completed_at_utc + timedelta(seconds=1)), foreign)
    assert not is_newer(replace(held, status="ok"), foreign)
