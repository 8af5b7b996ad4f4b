"""Raw kline slices from the simulated exchange: complete, verbatim, never worse, and told as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import orjson
import polars as pl
import pytest
from typer.testing import CliRunner

from lake_assets.cli.main import app
from lake_assets.slices import keeping
from lake_assets.slices.answers import read_file
from lake_assets.slices.data_root import Slices
from lake_assets.slices.endpoints import ENDPOINTS
from lake_assets.slices.frames import read_slices, synthetic_fills
from lake_assets.slices.integrity import check, mend, rebuild
from lake_assets.slices.judgement import SliceReason, Status
from lake_assets.slices.keys import SliceKey
from lake_assets.slices.loop import Round
from lake_assets.slices.manifest import directory, read_manifest
from lake_assets.slices.server import open_slices, run_once
from lake_resources.errors import PartitionBusy, SettingsError, StorageError
from lake_resources.settings import LakeSettings
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.ledger.slice_rows import SliceRow
from lake_resources.storage.locks import writer_lock
from lake_tests.support.sliced import FIRST, MINUTE_MS, OF, SPAN, ms

KLINES = ENDPOINTS["klines"]


@dataclass
class Bench:
    """A data root on the simulated exchange, with one clock for both. The lattice starts on a day of the tests."""

    sim: SimulatorServer
    slices: Slices

    def at(self, now: datetime) -> Bench:
        self.sim.clock.freeze(now)
        return self

    def run(self, **given: int) -> Round:
        return run_once(self.slices, OF, **given)

    def row(self, index: int) -> SliceRow:
        start = ms(FIRST + index * SPAN)
        (found,) = self.slices.rows.slice_rows(OF, (start, start + 1))
        return found

    def manifest(self) -> dict:
        return read_manifest(self.slices.store.blobs, OF)

    def defects(self) -> list[str]:
        return [each.code for each in check(self.slices, KLINES, OF)]


@pytest.fixture
def bench(sim: SimulatorServer, tmp_path: Path) -> Iterator[Bench]:
    sim.faults.clear()
    sim.clear_requests()
    sim.exchange.limits.reset()
    sim.clock.freeze(FIRST + 3 * SPAN + timedelta(minutes=30, seconds=5))
    settings = LakeSettings(
        root=tmp_path / "lake", rest_url=sim.base_url, spot_rest_url=sim.base_url, symbols=("BTCUSDT",)
    )
    with open_slices(settings, clock=sim.clock.now, sleep=lambda _: None) as slices:
        slices.rows.keep_origin(OF, ms(FIRST), FIRST)
        yield Bench(sim, slices)


def test_a_round_asks_for_all_slices_the_newest_first_and_the_growing_one_stays_partial(bench: Bench) -> None:
    done = bench.run()
    assert (done.expected, done.asked, dict(done.standing)) == (4, 4, {"ok": 3, "partial": 1})
    assert done.complete
    asked = [query for _, path, query in bench.sim.requests if path == "/api/v3/klines"]
    starts = [int(dict(part.split("=") for part in query.split("&"))["startTime"]) for query in asked]
    assert starts == sorted(starts, reverse=True)
    tip = bench.row(3)
    assert (tip.status, tip.reason, tip.n_items) == (Status.PARTIAL, SliceReason.STILL_FORMING, 31)
    assert bench.defects() == []


def test_the_answer_is_the_exchanges_bytes_and_the_next_round_asks_for_the_tip_alone(bench: Bench) -> None:
    bench.run()
    row = bench.row(1)
    content = bench.slices.store.get(row.path)
    assert content.endswith(b',"data":' + httpx.get(row.requested_url, trust_env=False).content + b"}\n")
    meta, data = read_file(content)
    key = SliceKey("BTCUSDT", "1m", ms(FIRST + SPAN))
    assert (meta["slice"], meta["slice_id"], meta["n_items"]) == (key.composite, key.slice_id, 1000)
    assert [each[0] for each in data] == [key.start + index * MINUTE_MS for index in range(1000)]
    bench.sim.clear_requests()
    assert bench.run().asked == 1
    bench.at(FIRST + 4 * SPAN + timedelta(seconds=1))
    done = bench.run()
    assert (done.asked, dict(done.standing)) == (2, {"ok": 4, "partial": 1})


def test_a_thousand_candles_of_which_the_last_is_open_are_asked_for_again(bench: Bench) -> None:
    bench.at(FIRST + SPAN - timedelta(seconds=30)).run()
    row = bench.row(0)
    assert (row.n_items, row.status, row.reason) == (1000, Status.PARTIAL, SliceReason.STILL_FORMING)
    before = read_file(bench.slices.store.get(row.path))[1][-1]
    bench.at(FIRST + SPAN + timedelta(seconds=1)).run()
    assert bench.row(0).status == Status.OK
    assert read_file(bench.slices.store.get(bench.row(0).path))[1][-1] != before


def test_a_gap_is_asked_again_after_a_pause_and_then_named(bench: Bench) -> None:
    hole = FIRST + timedelta(minutes=500)
    bench.sim.faults.add(Fault("missing_minutes", "/api/v3/klines", start=hole, end=hole + timedelta(minutes=3)))
    bench.run()
    row = bench.row(0)
    assert (row.status, row.reason, row.n_items) == (Status.PARTIAL, SliceReason.GAP_SEEN_ONCE, 997)
    assert bench.run().asked == 1, "the gap was asked for again without a pause"
    bench.at(bench.slices.clock() + bench.slices.pause).run()
    row = bench.row(0)
    assert (row.status, row.reason) == (Status.OK, SliceReason.EXCHANGE_HAS_NONE)
    assert row.missing == ",".join(str(ms(hole) + index * MINUTE_MS) for index in range(3))
    assert bench.defects() == []
    key = SliceKey("BTCUSDT", "1m", ms(FIRST)).composite
    assert len(bench.manifest()["slices"][key]["missing"]) == 3


def test_a_ban_ends_the_round_with_the_exchanges_words_and_nobody_calls_until_it_ends(bench: Bench) -> None:
    bench.sim.faults.add(Fault("418", "/api/v3/klines", times=1, skip=1, retry_after_s=300))
    done = bench.run()
    assert (done.asked, done.standing["failed"], done.standing["pending"]) == (2, 1, 2)
    row = bench.row(2)
    assert (row.status, row.reason, row.http_status) == (Status.FAILED, SliceReason.BANNED, 418)
    assert "banned" in row.error
    counts = bench.manifest()["summary"]
    assert counts["total_slices"] == sum(counts[f"{status}_slices"] for status in Status)
    bench.at(bench.slices.clock() + timedelta(seconds=700))
    assert bench.run().complete


@pytest.mark.parametrize(("kind", "reason"), [("5xx", SliceReason.HTTP_ERROR), ("garbage", SliceReason.MALFORMED)])
def test_one_slice_that_fails_does_not_keep_the_others(bench: Bench, kind: str, reason: SliceReason) -> None:
    bench.sim.faults.add(Fault(kind, "/api/v3/klines", times=1, skip=2))
    done = bench.run()
    assert (done.asked, done.standing["ok"], done.standing["failed"]) == (4, 2, 1)
    assert bench.row(1).reason == reason
    assert bench.run().standing["failed"] == 1, "a failure is left alone for the pause"
    assert bench.at(bench.slices.clock() + bench.slices.pause).run().standing["ok"] == 3


def test_an_answer_that_holds_less_does_not_replace_the_one_that_is_kept(bench: Bench) -> None:
    bench.run()
    kept = bench.row(3)
    start = FIRST + 3 * SPAN
    bench.sim.faults.add(Fault("missing_minutes", "/api/v3/klines", start=start, end=start + timedelta(minutes=10)))
    bench.run()
    row = bench.row(3)
    assert (row.sha256, row.n_items) == (kept.sha256, kept.n_items)
    assert "the one that is kept has" in row.error


def test_damage_is_found_named_and_healed_by_the_loop(bench: Bench) -> None:
    bench.run()
    store = bench.slices.store
    torn, gone = bench.row(0), bench.row(1)
    (bench.slices.root / torn.path).write_bytes(store.get(torn.path)[:-100])
    store.remove([gone.path])
    (bench.slices.root / torn.path).with_name("0000.json").write_bytes(b"{}")
    found = list(check(bench.slices, KLINES, OF))
    assert sorted(each.code for each in found) == ["missing_response_file", "orphan_response_file", "sha256_mismatch"]
    assert mend(bench.slices, OF, found) == 2
    assert bench.run().complete
    assert bench.defects() == ["orphan_response_file"]


def test_a_manifest_that_is_torn_or_lost_is_told_and_written_anew(bench: Bench) -> None:
    bench.run()
    path = bench.slices.root / directory(OF) / "manifest.json"
    path.write_bytes(path.read_bytes()[:200])
    assert bench.defects() == ["manifest_unreadable"]
    bench.run()
    document = json.loads(path.read_text())
    document["slices"][SliceKey("BTCUSDT", "1m", ms(FIRST)).composite]["status"] = "failed"
    path.write_bytes(orjson.dumps(document))
    assert bench.defects() == ["count_mismatch", "manifest_differs"]
    assert keeping.do(bench.slices, OF, "verify", mend=True).counts["sent back"] == 0
    assert bench.defects() == [], "the manifest is written anew from the ledger"


def test_statuses_are_made_anew_from_the_answers_alone(bench: Bench) -> None:
    bench.run()
    before = bench.slices.rows.slice_rows(OF)
    bench.slices.rows.forget_slices(OF, [row.start for row in before])
    count, refused = rebuild(bench.slices, KLINES, OF, frontier=ms(bench.slices.clock()))
    assert (count, refused) == (4, [])
    after = bench.slices.rows.slice_rows(OF)
    assert [(row.start, row.status, row.reason, row.sha256) for row in after] == [
        (row.start, row.status, row.reason, row.sha256) for row in before
    ]


def test_two_at_once_do_not_work_on_the_same_slices(bench: Bench) -> None:
    lock = bench.slices.root / ".locks" / "slices-klines-BTCUSDT-1m.lock"
    with writer_lock(lock, timeout_s=0), pytest.raises(PartitionBusy):
        bench.run()
    assert bench.run().complete


def test_rows_are_read_from_the_answers_with_what_is_missing_and_why(bench: Bench) -> None:
    hole = FIRST + timedelta(minutes=500)
    bench.sim.faults.add(Fault("missing_minutes", "/api/v3/klines", start=hole, end=hole + timedelta(minutes=3)))
    bench.run()
    start, end = FIRST + timedelta(minutes=490), FIRST + timedelta(minutes=510)
    frame, coverage = read_slices(bench.slices, "BTCUSDT", "1m", start, end)
    lost = tuple(hole + index * timedelta(minutes=1) for index in range(3))
    assert (frame.height, coverage.expected, coverage.unexplained, coverage.explained) == (17, 20, lost, ())
    assert frame["open"].dtype == pl.Float64
    assert not coverage.clean
    bench.at(bench.slices.clock() + bench.slices.pause).run()
    frame, coverage = read_slices(bench.slices, "BTCUSDT", "1m", start, end)
    assert (frame.height, coverage.explained, coverage.clean) == (17, lost, True)
    tip = read_slices(bench.slices, "BTCUSDT", "1m", FIRST + 3 * SPAN, FIRST + 3 * SPAN + timedelta(hours=1))[1]
    assert (tip.provisional, tip.present) == (1, 40)


def test_fills_are_a_frame_of_their_own_and_never_cross_what_is_not_known(bench: Bench) -> None:
    hole = FIRST + timedelta(minutes=500)
    bench.sim.faults.add(Fault("missing_minutes", "/api/v3/klines", start=hole, end=hole + timedelta(minutes=3)))
    bench.run()
    start, end = FIRST + timedelta(minutes=490), FIRST + timedelta(minutes=510)
    frame, coverage = read_slices(bench.slices, "BTCUSDT", "1m", start, end)
    assert synthetic_fills(frame, "1m", "constant", longest=10, unknown=coverage.unexplained).is_empty()
    for policy in ("constant", "linear"):
        fills = synthetic_fills(frame, "1m", policy, longest=3)
        assert fills["open_time"].to_list() == list(coverage.unexplained)
        assert fills["is_synthetic"].all()
        assert (fills["high"] >= fills["low"]).all()
        assert synthetic_fills(frame, "1m", policy, longest=2).is_empty()
    before = frame.filter(pl.col("open_time") < hole)["close"][-1]
    assert synthetic_fills(frame, "1m", "constant", longest=3)["close"].to_list() == [before] * 3
    lacking = list(coverage.unexplained)
    elsewhere = frame.head(3).with_columns(open_time=pl.Series(lacking, dtype=frame.schema["open_time"]))
    other = synthetic_fills(frame, "1m", "other", longest=3, other=pl.concat([frame, elsewhere[:2]]))
    assert other["open_time"].to_list() == lacking[:2], "what the other source lacks stays open"
    assert other["close"].to_list() == frame["close"][:2].to_list()
    assert (other.columns[-1], other["is_synthetic"].all()) == ("is_synthetic", True)
    unknown = coverage.unexplained
    assert synthetic_fills(frame, "1m", "other", longest=3, unknown=unknown, other=elsewhere).is_empty()
    with pytest.raises(SettingsError, match="belong together"):
        synthetic_fills(frame, "1m", "other", longest=3)
    with pytest.raises(SettingsError, match="belong together"):
        synthetic_fills(frame, "1m", "linear", longest=3, other=elsewhere)


def test_sealed_slices_are_packed_with_their_bytes_and_read_as_before(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "PER_PACK", 3)
    bench.run()
    before = {index: bench.slices.store.get(bench.row(index).path or "") for index in range(4)}
    assert keeping.pack_sealed(bench.slices, KLINES, OF) == 3
    assert {index: bench.slices.store.get(bench.row(index).path or "") for index in range(4)} == before
    assert "#" in (bench.row(0).path or "")
    assert len(bench.slices.store.files(f"{directory(OF)}/responses")) == 2
    assert bench.defects() == []
    assert bench.run().complete
    before_rows = bench.slices.rows.slice_rows(OF)
    bench.slices.rows.forget_slices(OF, [row.start for row in before_rows])
    assert not keeping.do(bench.slices, OF, "rebuild").wrong
    assert [row.sha256 for row in bench.slices.rows.slice_rows(OF)] == [row.sha256 for row in before_rows]


def test_an_older_slice_that_fails_is_not_hidden_by_newer_ones(bench: Bench) -> None:
    bench.sim.faults.add(Fault("5xx", "/api/v3/klines", query=f"startTime={ms(FIRST)}"))
    done = bench.run()
    assert dict(done.standing) == {"ok": 2, "partial": 1, "failed": 1}
    assert not done.complete


def test_an_answer_that_was_changed_on_the_disk_is_not_read(bench: Bench) -> None:
    bench.run()
    path = bench.slices.root / (bench.row(0).path or "")
    path.write_bytes(path.read_bytes().replace(b'"data":[[', b'"data": [[', 1))
    with pytest.raises(StorageError, match="other bytes"):
        read_slices(bench.slices, "BTCUSDT", "1m", FIRST, FIRST + SPAN)


def foreign_tree(bench: Bench, tree: Path, indices: range) -> list[Path]:
    """Answers as the other program keeps them: with its key, and with the window's end in its `slice`."""
    responses = tree / directory(OF) / "limit=1000" / "responses"
    responses.mkdir(parents=True)
    paths = []
    for index in indices:
        meta, data = read_file(bench.slices.store.get(bench.row(index).path or ""))
        key, end = meta.pop("slice"), bench.row(index).start + 1000 * MINUTE_MS - 1
        named = {"slice_comp_key": key} if index % 2 else {"slice": key.replace(":1000", f"-{end}:1000")}
        paths.append(responses / f"{meta['slice_id']}.json")
        paths[-1].write_bytes(orjson.dumps({"meta": meta | named, "data": data}))
    return paths


def forget(bench: Bench) -> None:
    """As if nothing had ever been kept."""
    rows = bench.slices.rows.slice_rows(OF)
    bench.slices.rows.forget_slices(OF, [row.start for row in rows])
    bench.slices.store.remove([row.path or "" for row in rows])


def test_a_tree_of_another_program_is_judged_by_what_it_holds(bench: Bench, tmp_path: Path) -> None:
    bench.run()
    torn, *_ = foreign_tree(bench, tmp_path / "old", range(4))
    torn.write_bytes(torn.read_bytes()[:-40])
    forget(bench)
    told = keeping.do(bench.slices, OF, "import", tree=tmp_path / "old")
    assert (told.counts["taken"], told.counts["not complete"]) == (3, 1)
    assert [each.code for each in told.defects] == ["torn_response", SliceReason.STILL_FORMING]
    assert told.wrong
    done = bench.run()
    assert (done.asked, done.complete) == (2, True)
    assert bench.defects() == []


def test_the_command_takes_over_all_that_a_tree_has(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run()
    paths = foreign_tree(bench, tmp_path / "old", range(3))
    forget(bench)
    values = {"ROOT": bench.slices.root.parent, "SYMBOLS": "ETHUSDT"}
    for name, value in values.items() | {(f"{m}REST_URL", bench.sim.base_url) for m in ("", "SPOT_")}:
        monkeypatch.setenv(f"LAKE_{name}", str(value))
    monkeypatch.delenv("QLIR_DATA_ROOT", raising=False)
    done = CliRunner().invoke(app, ["slices", "import", str(tmp_path / "old"), "--json"])
    assert done.exit_code == 0, done.output
    (told,) = json.loads(done.stdout)
    assert told["set"] == {"endpoint": "klines", "symbol": "BTCUSDT", "interval": "1m"}
    assert told["counts"]["taken"] == len(paths) == 3
    refused = CliRunner().invoke(app, ["slices", "import", str(tmp_path / "nothing")])
    assert isinstance(refused.exception, SettingsError), refused.output
    assert "no answers of klines" in str(refused.exception)
    other = CliRunner().invoke(app, ["slices", "show", str(tmp_path)])
    assert other.exit_code == 2, "a directory is no symbol"


def test_what_is_kept_and_whole_is_not_replaced_by_another_programs_answer(bench: Bench, tmp_path: Path) -> None:
    hole = FIRST + timedelta(minutes=500)
    bench.sim.faults.add(Fault("missing_minutes", "/api/v3/klines", start=hole, end=hole + timedelta(minutes=3)))
    bench.run()
    bench.at(bench.slices.clock() + bench.slices.pause).run()
    before = [bench.row(index) for index in range(3)]
    foreign_tree(bench, tmp_path / "old", range(3))
    assert keeping.do(bench.slices, OF, "import", tree=tmp_path / "old").counts["taken"] == 1
    assert [bench.row(index) for index in range(3)] == before
    assert bench.defects() == []
