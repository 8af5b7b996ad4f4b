"""Mutated files that others leave, and answers of Yahoo: none may escape the error tree, hang or fill memory.

Belongs here: reading each mutant as the lake reads it, of every reader but those of the exchange's archives, answers
and frames (`fuzz`). Does not belong here: the changes (`mutations`).
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from lake_assets.dashboard.liveness import age_text, last_beat, late_archives, latencies
from lake_assets.live.raw_import import import_raw
from lake_assets.resident.builder_beat import builder_path
from lake_assets.resident.builder_beat import last_beat as last_turn
from lake_assets.slices.data_root import Slices
from lake_assets.slices.endpoints import endpoint_of
from lake_assets.slices.integrity import check, rebuild
from lake_assets.slices.keeping import do
from lake_assets.slices.manifest import NAME, directory
from lake_assets.slices.server import open_slices
from lake_assets.watchdog.last_words import heartbeat_path, last_heartbeat
from lake_resources.binance.ws.frames import EVERY_SYMBOL
from lake_resources.collector.segments import newest_minute, read_columns, read_records, recover
from lake_resources.input_limits import InputLimits
from lake_resources.settings import LakeSettings
from lake_resources.yahoo.yahoo_minutes import YahooMinutes
from lake_tests.bench.fuzz_samples import DAY, SLICED_AT, YAHOO_AT, Samples
from lake_tests.bench.mutations import mutated
from lake_tests.support.sliced import OF, ms
from lake_tests.support.spot_frames import START_MS, SYMBOL, Hearing, quote, trade, wrapped

Case = Callable[[random.Random], str]
NOW = YAHOO_AT
_BEAT = {
    "ts_utc": "2026-11-18T09:00:00+00:00", "mode": "PRODUCTION", "status": "HEALTHY", "problems": ["late: x.zip"],
    "collector": {"status": "running", "last_seen_ts": None, "spot": {"status": "running"}, "symbols": {}},
    "macro_minute": {"status": "idle"}, "transformer": {"status": "idle"}, "markets": {"um": {"status": "running"}},
}  # fmt: skip
_TURN = {
    "at": "2026-11-18T09:00:00+00:00", "pid": 7, "started": "2026-11-18T08:00:00+00:00", "turns": 3,
    "turned": "2026-11-18T08:59:00+00:00", "turn_ms": 40, "failed": {"BTCUSDT": "x"},
}  # fmt: skip
_CONFIGS = (
    b"root: data/x\nsymbols: [BTCUSDT, ETHUSDT]\nstart: 2021-01-01\nlimits:\n  rows: 100\ntesting: {enabled: true}\n",
    b"general: {base_path: data}\nexchanges:\n  - name: binance\n    symbols: [SOLUSDT]\n    rest_url: https://a\n",
    b"collector:\n  write_interval_sec: 5\nmacro_minute:\n  tickers: [SPY, ES=F]\n  startup_backfill_days: 7\n",
)
_DOTENV = b"LAKE_SYMBOLS=BTCUSDT,ETHUSDT\nLAKE_LEDGER_URL=sqlite:///x.sqlite\nLAKE_LIMITS__ROWS=5\nLAKE_WEB_HOSTS=a,b\n"


class Host(Protocol):
    """Answers every request with the bytes of the moment."""

    answer: bytes
    url: str


@dataclass(frozen=True)
class Around:
    """What cases share.

    Attributes:
        samples: what is mutated.
        root: an empty directory.
        host: what Yahoo is asked at.
        limits: of its answers.
        at_end: closes what was opened.
    """

    samples: Samples
    root: Path
    host: Host
    limits: InputLimits
    at_end: ExitStack


def cases(around: Around, kind: str = "") -> Iterator[tuple[str, Case]]:
    """A name and a case of each kind, or of one; what reads the others is not even opened."""
    made: dict[str, Callable[[], Case]] = {
        "yahoo": lambda: _yahoo(around),
        "lines": lambda: _lines(around.root / "lines"),
        "segment": lambda: _segments(around.root / "segments"),
        "config": lambda: _config(around.root / "config"),
        "beat": lambda: _beats(around.root / "beats"),
    }
    for name, make in made.items():
        if kind in ("", name):
            yield name, make()
    if kind in ("", "slice", "manifest", "tree"):
        yield from _slices(around)


def _yahoo(around: Around) -> Case:
    head, _, body = around.samples.yahoo.partition(b"\r\n\r\n")
    yahoo = YahooMinutes(around.host.url, around.root / "yahoo", timeout_s=2, limits=around.limits)

    def case(rng: random.Random) -> str:
        changed = mutated(rng, body, ())
        lines = [each for each in head.split(b"\r\n") if not each.lower().startswith((b"content-length", b"transfer"))]
        if rng.random() < 0.1:
            lines = mutated(rng, b"\r\n".join(lines), ()).split(b"\r\n")
        lines += [b"Content-Length: %d" % len(changed), b"Connection: close", b"", changed]
        around.host.answer = b"\r\n".join(lines)
        found = yahoo.minutes("SPY", NOW - timedelta(hours=3), NOW, now=NOW)
        return "rows" if found.frame.height else "no rows"

    return case


def _lines(root: Path) -> Case:
    fields = {"symbol": SYMBOL, "ts_event": START_MS, "ts_recv": START_MS + 3, "price": 1.5, "qty": 2.0, "side": "buy"}
    seen = fields | {"price": None, "qty": None, "side": None, "bid": 1.0, "ask": 2.0, "stream": "bookTicker"}
    told = [fields | {"bid": None, "ask": None, "stream": "trade", "trade_id": 7}, seen, fields | {"last_trade_id": 9}]
    body = b"\n".join(json.dumps(each).encode() for each in told * 3) + b"\n"

    def case(rng: random.Random) -> str:
        shutil.rmtree(root, ignore_errors=True)
        (root / "tree").mkdir(parents=True)
        (root / "tree" / "part_000.jsonl").write_bytes(mutated(rng, body, ()))
        done = import_raw(root / "lake", root / "tree", lambda: START_MS * 1_000_000)
        return "lines" if done.lines else "no lines"

    return case


def _segments(root: Path) -> Case:
    hearing = Hearing(root / "sound")
    for number in range(20):
        at = START_MS + 1000 * number
        hearing.hear(wrapped(trade(number, at, 100, 1.5, sell=False)), at * 1_000_000)
        hearing.hear(wrapped(quote(number, 99)), at * 1_000_000)
    hearing.close()
    files = sorted((root / "sound").rglob("*.seg"))
    first, last = START_MS // 60_000 - 1, START_MS // 60_000 + 2

    def case(rng: random.Random) -> str:
        torn = root / "torn"
        shutil.rmtree(torn, ignore_errors=True)
        shutil.copytree(root / "sound", torn)
        path = torn / rng.choice(files).relative_to(root / "sound")
        body = mutated(rng, path.read_bytes(), ())
        path.unlink()
        path.with_name(path.name + rng.choice(("", ".open"))).write_bytes(body)
        recover(torn)
        newest_minute(torn)
        found = sum(1 for symbol in (SYMBOL, EVERY_SYMBOL) for _ in read_records(torn, symbol, first, last))
        read_columns(torn, SYMBOL, first, last, kinds=frozenset((1, 2)))
        return "records" if found else "no records"

    return case


def _slices(around: Around) -> Iterator[tuple[str, Case]]:
    root, now = around.root / "sliced", SLICED_AT
    for name, content in around.samples.sliced.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    settings = LakeSettings(root=root, spot_rest_url=around.host.url, rest_url=around.host.url, _env_file=None)
    slices = around.at_end.enter_context(open_slices(settings, clock=lambda: now, sleep=lambda _: None))
    endpoint = endpoint_of(OF.endpoint, OF.interval)
    below = root / "slices" / directory(OF)
    answer, manifest = min((below / "responses").glob("*.json")), below / NAME
    sound_answer, sound_manifest = answer.read_bytes(), manifest.read_bytes()

    def checked() -> str:
        return "found wrong" if list(check(slices, endpoint, OF)) else "sound"

    def of_answer(rng: random.Random) -> str:
        # The head is small beside the records, and is what says where they belong.
        cut = rng.choice((len(sound_answer), 700))
        answer.write_bytes(mutated(rng, sound_answer[:cut], ()) + sound_answer[cut:])
        try:
            said = checked()
            rebuild(slices, endpoint, OF, frontier=ms(now))
            return said
        finally:
            answer.write_bytes(sound_answer)
            rebuild(slices, endpoint, OF, frontier=ms(now))

    def of_manifest(rng: random.Random) -> str:
        manifest.write_bytes(mutated(rng, sound_manifest, ()))
        try:
            return checked()
        finally:
            manifest.write_bytes(sound_manifest)

    def of_tree(rng: random.Random) -> str:
        tree = around.root / "tree" / directory(OF) / "responses"
        tree.mkdir(parents=True, exist_ok=True)
        (tree / "a.json").write_bytes(mutated(rng, sound_answer[:700], ()) + sound_answer[700:])
        return "refused" if _imported(slices, around.root / "tree") else "taken"

    yield "slice", of_answer
    yield "manifest", of_manifest
    yield "tree", of_tree


def _imported(slices: Slices, tree: Path) -> bool:
    slices.rest["spot"].server_time = lambda: NOW  # type: ignore[method-assign]
    return do(slices, OF, "import", tree=tree).wrong


def _config(root: Path) -> Case:
    root.mkdir()
    path, beside = root / "lake.yml", root / ".env"

    def case(rng: random.Random) -> str:
        path.write_bytes(mutated(rng, rng.choice(_CONFIGS), _CONFIGS))
        beside.write_bytes(mutated(rng, _DOTENV, ()) if rng.random() < 0.3 else b"")
        os.environ["LAKE_CONFIG"] = str(path)
        try:
            return "read" if LakeSettings(_env_file=beside).symbols else "no symbols"
        finally:
            del os.environ["LAKE_CONFIG"]

    return case


def _beats(root: Path) -> Case:
    # Imported here: Dagster comes with it, which no reader of the exchange's bytes has.
    from lake_assets.local_stack.compressed_run import problems_told

    settings = LakeSettings(root=root, _env_file=None)
    sound = {heartbeat_path(settings): json.dumps(_BEAT).encode(), builder_path(settings): json.dumps(_TURN).encode()}
    for path in sound:
        path.parent.mkdir(parents=True, exist_ok=True)

    def case(rng: random.Random) -> str:
        for path, body in sound.items():
            path.write_bytes(mutated(rng, body, ()))
        beat, turn = last_beat(settings), last_turn(settings)
        if beat is not None:
            age_text(beat, NOW), latencies(beat), late_archives(beat)
        problems_told(heartbeat_path(settings))
        last_heartbeat(settings, started=DAY, now=NOW)
        return f"beat {beat is not None}, turn {turn is not None}"

    return case
