"""Mutated zips, CSVs, REST answers, CHECKSUMs and frames: none may escape the error tree, hang or fill memory.

Belongs here: reading each mutant as the lake reads it, judging what came of it. Does not belong here: samples
(`fuzz_samples`), the changes (`mutations`). `python -m lake_tests.bench.fuzz --n 20000`; exit code 1 when any escapes.
A case is named by its kind and number and is the same for the same seed: `--kind zip --only 4711` repeats one.
Each kind is read in a process of its own, which holds the readers alone: no simulator, and what a kind does not need is
not imported. Its peak of memory is therefore that of a process of the lake.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import pickle
import random
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from lake_assets.inputs.archives import type_archive
from lake_assets.live.folding import LiveRecorder
from lake_assets.live.row_files import LiveRows
from lake_resources.binance.archives.vision_client import VisionClient
from lake_resources.binance.rest.rest_client import BinanceRest, Patience
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.binance.ws.stream_session import SessionLimits, StreamSession
from lake_resources.clock import HOUR
from lake_resources.collector.intake import Intake
from lake_resources.collector.segments import SegmentWriter
from lake_resources.errors import LakeError
from lake_resources.governor import WeightGovernor
from lake_resources.input_limits import InputLimits
from lake_tests.bench import fuzz_files, fuzz_samples
from lake_tests.bench.fuzz_samples import DAY, Samples
from lake_tests.bench.mutations import mutated, near_the_directory, zipped
from lake_tests.support.live_frames import START_MS, SYMBOL
from lake_tests.support.stores import store_at

SLOWEST_S = 5.0
"""Of the CPU; a case takes milliseconds, the first of a kind its imports."""
STRICT = InputLimits(answer_s=1.0, download_s=1.0, slow_s=1.0)
MOST_MIB = 300
"""Of a process that reads one kind, whatever is served to it."""
KINDS = (
    "zip", "csv", "answer", "checksum", "frame", "yahoo", "lines", "segment", "slice", "manifest", "tree", "config",
    "beat",
)  # fmt: skip
Case = Callable[[random.Random], str]
"""Mutates and reads; returns a word of what came of it, or raises an error of the tree."""


@dataclass
class Found:
    """What came of the cases of one kind."""

    outcomes: Counter[str] = field(default_factory=Counter)
    escaped: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    @property
    def sound(self) -> bool:
        """Whether every case ended in its time, with rows or with an error of the tree."""
        return not self.escaped and not self.slow


class _Host:
    """Answers every request with the bytes of the moment, then closes."""

    def __init__(self) -> None:
        self.answer = b""
        host = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.settimeout(5)
                with suppress(OSError):
                    self.request.recv(65_536)
                    self.request.sendall(host.answer)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _archives(samples: Samples, root: Path) -> Iterator[tuple[str, Case]]:
    path, temp = root / "x.zip", root / "typed"

    def read(name: str, body: bytes) -> str:
        path.write_bytes(body)
        typed = type_archive(path, fuzz_samples.stream_of(name), temp, {}, STRICT)
        typed.file.discard()
        return "rows" if typed.file.row_count else "no rows"

    def of_zip(rng: random.Random) -> str:
        name, body = rng.choice(samples.zips)
        change = near_the_directory if rng.random() < 0.3 else lambda r, b: mutated(r, b, [z for _, z in samples.zips])
        return read(name, change(rng, body))

    def of_csv(rng: random.Random) -> str:
        name, csv = rng.choice(samples.csvs)
        return read(name, zipped("x.csv", mutated(rng, csv, [other for _, other in samples.csvs])))

    yield "zip", of_zip
    yield "csv", of_csv


def _answers(samples: Samples, root: Path, host: _Host) -> Iterator[tuple[str, Case]]:
    now = DAY + timedelta(days=1, hours=9)
    start, end = now - 2 * HOUR, now - HOUR

    def of_answer(rng: random.Random) -> str:
        call, answer = rng.choice(samples.answers)
        head, _, body = answer.partition(b"\r\n\r\n")
        if rng.random() < 0.7:  # the length agrees, so that the body is read
            body = mutated(rng, body, ())
            lines = [
                line for line in head.split(b"\r\n") if not line.lower().startswith((b"content-length", b"transfer"))
            ]
            host.answer = b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"Connection: close", b"", body])
        else:
            host.answer = mutated(rng, head, ()) + b"\r\n\r\n" + body
        # What one answer says of bans and limits must not stop the next.
        for old in root.glob("governor.sqlite*"):
            old.unlink()
        governor = WeightGovernor(root / "governor.sqlite", lambda: now, share=1.0, sleep=lambda _: None)
        rest = BinanceRest(
            host.url, governor=governor, clock=lambda: now, sleep=lambda _: None, patience=Patience(1, 2, STRICT)
        )
        try:
            return _asked(rest, call, (start, end))
        finally:
            rest.close()
            governor.close()

    def of_checksum(rng: random.Random) -> str:
        host.answer = mutated(rng, rng.choice(samples.checksums), ())
        vision = VisionClient(host.url, timeout_s=1, attempts=2, sleep=lambda _: None, limits=STRICT)
        try:
            return "hash" if vision.checksum(UM_STREAMS["klines_1m"], SYMBOL, "2026-11-18") else "nothing"
        finally:
            vision.close()

    yield "answer", of_answer
    yield "checksum", of_checksum


def _asked(rest: BinanceRest, call: str, window: tuple[object, object]) -> str:
    if call in UM_STREAMS and call != "depth":
        start, end = window
        return "rows" if rest.fetch(call, SYMBOL, start, end).height else "no rows"  # type: ignore[arg-type]
    if call == "time":
        return "answer" if rest.server_time() else "nothing"
    if call == "depth":
        return "answer" if rest.depth(SYMBOL) else "nothing"
    return "answer" if rest.exchange_info() else "nothing"


def _frames(samples: Samples, root: Path, at_end: ExitStack) -> Iterator[tuple[str, Case]]:
    clock_ms = START_MS
    catalog = store_at(root / "lake").catalog

    def clock_ns() -> int:
        return clock_ms * 1_000_000

    recorder = LiveRecorder([SYMBOL], catalog.live_records_dir, LiveRows(catalog), clock_ns)
    intake = Intake([SYMBOL], SegmentWriter(catalog.live_records_dir), recorder, clock_ns, 1)
    at_end.callback(intake.writer.close_before, None)
    session = StreamSession("public", (SYMBOL,), SessionLimits())
    count = 0

    def of_frame(rng: random.Random) -> str:
        nonlocal count, clock_ms
        count += 1
        clock_ms += 7
        before = intake.counts.malformed
        intake.frame(1 + count // 50, session, mutated(rng, rng.choice(samples.frames), samples.frames), count / 100)
        if intake.snapshots_due:
            book = {"lastUpdateId": count, "E": clock_ms, "bids": [["99.9", "1"]], "asks": [["100.1", "2"]]}
            intake.snapshot(intake.snapshots_due.popleft(), book)
        if count % 50 == 0:  # as the collector does it, after a silence in which all minutes are closed
            intake.connection("closed", count // 50, route="public")
            session.verdict(count / 100)
            session.due(count / 100)
            seq = intake.next_seq
            intake.writer.write(intake.writer.take()[0], seq)
            clock_ms += 300_000
            if (write := recorder.work()) is not None:
                write()
        return "refused" if intake.counts.malformed > before else "taken"

    yield "frame", of_frame


@contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    """Ends the process with all its stacks where a case hangs for good."""
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def run(count: int, seed: int = 7, *, kind: str = "", only: int | None = None, samples: Samples) -> dict[str, Found]:
    """Read `count` mutants of each kind, the kinds in turn.

    Args:
        count: of each kind.
        seed: same seed, same mutants.
        kind: this kind alone.
        only: this case of each kind alone (a frame then meets a collector that heard nothing before).
        samples: what is mutated.
    """
    results: dict[str, Found] = {}
    host = _Host()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as at_end:
        at_end.callback(host.close)
        root = Path(folder)
        cases = [*_archives(samples, root), *_answers(samples, root, host)]
        if kind in ("", "frame"):
            cases += _frames(samples, root, at_end)
        cases += fuzz_files.cases(fuzz_files.Around(samples, root, host, STRICT, at_end), kind)
        for name, case in cases:
            if kind in ("", name):
                results[name] = Found()
                for number in [only] if only is not None else range(count):
                    _one(results[name], f"{name} {number}", case, random.Random(f"{seed}/{name}/{number}"))
    return results


def _one(found: Found, label: str, case: Case, rng: random.Random) -> None:
    began = time.process_time()  # of the CPU: how busy the machine is says nothing of a mutant
    try:
        with _no_longer_than(300):
            found.outcomes[case(rng)] += 1
    except LakeError as error:
        unforeseen = " (unforeseen)" if "it cannot be read (" in str(error) else ""
        found.outcomes[type(error).__name__ + unforeseen] += 1
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        found.escaped.append(f"{label}: {type(error).__name__}: {str(error)[:160]} ({where.filename}:{where.lineno})")
    took_s = time.process_time() - began
    found.slowest_s = max(found.slowest_s, took_s)
    if took_s > SLOWEST_S:
        found.slow.append(f"{label}: {took_s:.1f} s")


def memory_mib(name: str) -> int:
    """Memory of this process, MiB: `VmRSS` now, `VmHWM` the most it had."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) // 1024


def main() -> None:
    """Run and print a line per kind; exit code 1 when anything escaped, hung or filled memory."""
    parser = argparse.ArgumentParser(prog="python -m lake_tests.bench.fuzz", description=__doc__)
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--kind", default="", choices=("", *KINDS))
    parser.add_argument("--only", type=int)
    parser.add_argument("--samples", type=Path, help="read one kind here and now")
    given = parser.parse_args()
    if given.samples is None:
        raise SystemExit(_in_processes(given))
    logging.disable(logging.WARNING if given.only is None else logging.NOTSET)
    samples: Samples = pickle.loads(given.samples.read_bytes())
    found = run(given.n, given.seed, kind=given.kind, only=given.only, samples=samples)[given.kind]
    counts = ", ".join(f"{what} {count:,}" for what, count in found.outcomes.most_common())
    total, peak_mib = found.outcomes.total() + len(found.escaped), memory_mib("VmHWM")
    sys.stdout.write(
        f"{given.kind:<9} {total:>7,} read, {len(found.escaped)} escaped, {len(found.slow)} over {SLOWEST_S:g} s, "
        f"slowest {found.slowest_s:.2f} s, at most {peak_mib} MiB: {counts}\n"
    )
    for line in [*found.escaped[:20], *found.slow[:20]]:
        sys.stdout.write(f"  {line}\n")
    raise SystemExit(0 if found.sound and peak_mib < MOST_MIB else 1)


def _in_processes(given: argparse.Namespace) -> int:
    """Make the samples in one process, and read each kind in another; the exit code."""
    began, wrong = time.monotonic(), 0
    kinds = (given.kind,) if given.kind else KINDS
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "samples"
        subprocess.run([sys.executable, "-m", "lake_tests.bench.fuzz_samples", str(samples)], check=True)
        for kind in kinds:
            command = [sys.executable, "-m", "lake_tests.bench.fuzz", "--samples", str(samples), "--kind", kind]
            command += ["--n", str(given.n // len(kinds)), "--seed", str(given.seed)]
            if given.only is not None:
                command += ["--only", str(given.only)]
            wrong |= subprocess.run(command, check=False).returncode
    sys.stdout.write(f"{time.monotonic() - began:.0f} s\n")
    return wrong


if __name__ == "__main__":
    main()
