"""Every command with wrong settings, wrong arguments, no lake and damaged state: one sentence, a documented code.

Never a traceback, never a secret, nothing written before all is checked.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from lake_assets.cli.command_table import COMMANDS
from lake_assets.cli.lazy_group import load
from lake_assets.cli.main import main
from lake_resources.known_hole import KnownHole
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, bench_on, hours
from lake_tests.support.stores import store_at

pytestmark = pytest.mark.slow

SECRET = "hunter2"
WINDOW = ("--start", f"{DAY:%Y-%m-%d}", "--end", f"{DAY:%Y-%m-%d}T03:00")
SOUND: dict[str, tuple[str, ...]] = {
    "up": (),
    "demo": (),
    "init-state": (),
    "run-once": (),
    "run-daemon": ("--polls", "1"),
    "keep-hot": ("--once",),
    "show": (SYMBOL,),
    "show-watermark": (),
    "missing": (),
    "backfill-years": ("--years", "1", "--dry-run"),
    "backfill-range": (*WINDOW, "--dry-run"),
    "backfill-klines": ("--symbols", SYMBOL, "--dry-run"),
    "slices": ("show",),
    "audit": (),
    "holes": (),
    "validate-rules": (),
    "validate-final": (),
    "declare-hole": ("klines_1m", SYMBOL, "2026-11-18", "2026-11-19", "--cause", "halt", "--reference", "notice"),
    "rebuild-ledger": ("--no-judge",),
    "report-to-dagster": (),
    "backup": ("copy",),
    "parity": (),
    "judge": (),
    "restore": ("copy",),
    "rebuild-live": (SYMBOL, "2026-11-18", "2026-11-19"),
    "export": (*WINDOW, "--out", "slices"),
    "slice": (*WINDOW, "--out", "slices"),
    "materialize-duckdb": (),
    "catalog": ("export",),
    "research-views": (),
    "feed-1h": (),
    "collect": ("--for", "1"),
    "live": (),
    "raw-export": (SYMBOL, *WINDOW, "--out", "slices"),
    "raw-import": ("lake",),
    "health": (),
    "doctor": (),
    "compact": (),
    "collect-garbage": (),
    "workspace": (),
    "worker": (),
    "config": (),
    "inspect-metrics-columns": ("--trade-date", "2026-11-18"),
}
"""Arguments with which each command is sound."""
PROCESSES = {"up", "demo", "collect", "worker"}
"""Commands that start or become other processes: they run in a process of their own."""
BEGINNERS = {"up", "demo", "collect", "init-state", "run-once", "run-daemon", "keep-hot", "feed-1h"}
"""Commands that begin a lake where none is."""
NEITHER_LAKE_NOR_LEDGER = {"workspace", "config", "restore", "inspect-metrics-columns", *PROCESSES}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def built(sim: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of two hours."""
    with bench_on(sim, tmp_path_factory.mktemp("built")) as bench:
        bench.at(PUBLISHED).build(hours(0, 2))
        return bench.settings.lake_root


@pytest.fixture
def root(built: Path, sim: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the lake, which the environment names; the working directory is beside it."""
    copy = tmp_path / "lake"
    subprocess.run(["cp", "-a", str(built), str(copy)], check=True)
    monkeypatch.chdir(tmp_path)
    values = {"ROOT": copy, "SYMBOLS": SYMBOL, "WEBSERVER_PORT": 1, "REST_ATTEMPTS": 1, "REST_TIMEOUT_S": 20}
    values |= {"REST_URL": sim.base_url, "VISION_URL": sim.base_url, "WS_URL": sim.ws_url}
    for name, value in values.items():
        monkeypatch.setenv(f"LAKE_{name}", str(value))
    return copy


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command as `lake` does, and holds what is true however it ends."""

    def ended(name: str, *arguments: str) -> Ended:
        if name == "backfill-klines":  # the one that needs the market; the others are as quick without it
            monkeypatch.setenv("LAKE_SPOT_SYMBOLS", SYMBOL)
        if name in PROCESSES:
            command = [sys.executable, "-c", "from lake_assets.cli.main import main; main()", name, *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
            found = Ended(done.returncode, done.stdout, done.stderr)
        else:
            capfd.readouterr()
            monkeypatch.setattr("sys.argv", ["lake", name, *arguments])
            with pytest.raises(SystemExit) as end:
                main()
            printed = capfd.readouterr()
            found = Ended(int(end.value.code or 0), printed.out, printed.err)
        for text in (found.out, found.err):
            assert "Traceback" not in text, text
            assert "UnexpectedError" not in text, text
            assert SECRET not in text, text
        return found

    return ended


def files(folder: Path) -> dict[str, int]:
    """Every file below a folder with its size, without SQLite's side files and what only reading leaves."""
    passing = ("-wal", "-shm", "audit.sqlite")
    return {
        f"{place}/{name}": Path(place, name).stat().st_size
        for place, _, names in os.walk(folder)
        for name in names
        if not name.endswith(passing)
    }


def refused(found: Ended, *codes: int) -> None:
    """Holds that nothing was answered, and that the reason is one sentence on standard error."""
    assert found.code in codes, found
    assert found.out == "", found
    assert found.err.strip(), found


def test_each_command_has_sound_arguments() -> None:
    assert set(SOUND) == set(COMMANDS)


NO_JSON = PROCESSES | {"run-daemon"}
"""Commands that print no data: they run until Ctrl+C."""
JSON_ELSEWHERE = {
    "audit", "backfill-klines", "backfill-range", "backfill-years", "backup", "compact", "config", "doctor", "health",
    "judge", "live", "rebuild-ledger", "report-to-dagster", "restore", "validate-final", "validate-rules",
}  # fmt: skip
"""Commands whose own tests read their JSON."""


def test_every_command_that_prints_data_can_print_json() -> None:
    with_json = {
        name
        for name, line in COMMANDS.items()
        if any("--json" in getattr(parameter, "opts", ()) for parameter in load(line).params)
    }
    assert with_json == set(COMMANDS) - NO_JSON


def test_what_is_printed_as_json_is_json_alone(run: Run, root: Path) -> None:
    assert root.is_dir()
    read = 0
    for name in sorted(set(COMMANDS) - NO_JSON - JSON_ELSEWHERE):
        found = run(name, *SOUND[name], "--json")
        if found.out:
            json.loads(found.out)
            read += 1
        else:  # nothing was looked at, and why is told
            assert found.code > 1, found
            assert found.err.strip(), found
    assert read > 10


WRONG_SETTINGS = {
    "LAKE_START": "banana",
    "LAKE_SYMBOLS": "../x",
    "LAKE_SIMULATOR_PORT": "99999",
    "LAKE_LEDGER_URL": f"oracle://me:{SECRET}@host/lake",
    "LAKE_WEBHOOK_URL": f"ftp://host/{SECRET}",
    "LAKE_REST_URL": f"banana://me:{SECRET}@host",
    "LAKE_EXCHANGE": "[/x]",
}


def pairs() -> Iterator[tuple[str, str]]:
    """Every command with every wrong setting; of those that start a process two settings stand for all."""
    for name in COMMANDS:
        for setting in WRONG_SETTINGS:
            if name not in PROCESSES or setting in {"LAKE_START", "LAKE_LEDGER_URL"}:
                yield name, setting


@pytest.mark.parametrize(("name", "setting"), list(pairs()))
def test_a_wrong_setting_is_told_by_its_name_before_anything_is_done(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch, name: str, setting: str
) -> None:
    before = files(root.parent)
    monkeypatch.setenv(setting, WRONG_SETTINGS[setting])
    found = run(name, *SOUND[name])
    refused(found, 2)
    assert setting in found.err
    assert len(found.err.splitlines()) == 1, found.err
    assert files(root.parent) == before


TEXTS = {
    "columns", "out", "file", "report", "db_path", "duckdb", "persist_dir", "dataset", "preset",
    "write_queries", "data_root", "tree",
}  # fmt: skip
"""Parameters that take any text; what is wrong with it is seen later."""


def wrong_values() -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Command, arguments and the wrong one of them: for each parameter of each command what its type refuses."""
    instants = ("banana", "2021-13-01", "[/x]", "1969-01-01")
    symbols = ("[/x]", "../x", "A" * 50, "[bold]")
    for name, line in COMMANDS.items():
        for parameter in load(line).params:
            metavar = str(getattr(parameter, "metavar", None) or "")
            values: tuple[str, ...] = ()
            if metavar in {"TIME", "DAY", "START", "END"}:
                values = instants
            elif metavar.startswith("SYMBOL"):
                values = symbols
            elif metavar == "STREAM":
                values = ("[/x]", "klines")
            elif not metavar and not getattr(parameter, "is_flag", False) and parameter.name not in TEXTS:
                values = ("[/x]",)
            for value in values:
                yield name, _with(name, parameter, value), value


def _with(name: str, parameter: object, value: str) -> tuple[str, ...]:
    """The sound arguments of a command with one of them replaced or added."""
    sound = list(SOUND[name])
    if getattr(parameter, "param_type_name", "") == "option":
        option = next(each for each in getattr(parameter, "opts", ()) if each.startswith("--"))
        if option in sound:
            sound[sound.index(option) + 1] = value
            return tuple(sound)
        return (*sound, option, value)
    places = [p for p in load(COMMANDS[name]).params if p.param_type_name == "argument"]
    place = next(index for index, each in enumerate(places) if each.name == getattr(parameter, "name", ""))
    if getattr(parameter, "nargs", 1) == -1 or place >= len(sound) or sound[0].startswith("--"):
        return (*sound[: len(places) - 1], value, *sound[len(places) - 1 :])
    sound[place] = value
    return tuple(sound)


WRONG_VALUES = list(wrong_values())
WITHOUT_VALUES = {
    "raw-import",
    "demo",
    "init-state",
    "health",
    "doctor",
    "config",
    "rebuild-ledger",
    "report-to-dagster",
    "backup",
    "restore",
    "keep-hot",
    "research-views",
    "validate-final",
}


def test_the_wrong_values_reach_every_command_that_takes_any() -> None:
    assert {name for name, _, _ in WRONG_VALUES} == set(COMMANDS) - WITHOUT_VALUES


@pytest.mark.parametrize(("name", "arguments", "value"), WRONG_VALUES)
def test_a_wrong_argument_is_wrong_usage(
    run: Run, root: Path, name: str, arguments: tuple[str, ...], value: str
) -> None:
    before = files(root.parent)
    found = run(name, *arguments)
    refused(found, 2)
    told = "".join(line.strip("│") for line in found.err.splitlines())
    assert value[:30] in told or "Invalid value for '--" in told, found.err
    assert files(root.parent) == before


@pytest.mark.parametrize("name", ["show", "missing", "show-watermark", "judge", "parity", "audit", "holes", "compact"])
def test_of_a_symbol_that_the_lake_does_not_know_nothing_is_told(run: Run, root: Path, name: str) -> None:
    """An empty list would say that nothing is wrong with what nobody has looked at."""
    before = files(root)
    refused(run(name, "NOSUCHUSDT", "--json"), 3)
    assert files(root) == before


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - BEGINNERS - NEITHER_LAKE_NOR_LEDGER - {"validate-final"}))
def test_a_root_that_is_not_there_is_refused_and_not_created(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for wrong in (root.parent / "absent", root / "EXCHANGE", root.parent / "[/x]"):
        monkeypatch.setenv("LAKE_ROOT", str(wrong))
        before = files(root.parent)
        found = run(name, *SOUND[name])
        refused(found, 2)
        assert any(words in found.err for words in ("lake at", "no lake", "globs", "no slices")), found.err
        assert str(wrong) in found.err
        assert files(root.parent) == before
        assert not (root.parent / "absent").exists()


def test_a_lake_that_is_not_there_has_no_data_and_that_is_fail(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE_ROOT", str(root.parent / "absent"))
    found = run("validate-final")
    assert (found.code, "FINAL VALIDATION: FAIL" in found.out, found.err) == (1, True, "")
    assert not (root.parent / "absent").exists()


@pytest.mark.parametrize(("name", "arguments"), [("feed-1h", ("--dry-run",))])
def test_a_dry_run_begins_no_lake(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch, name: str, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("LAKE_ROOT", str(root.parent / "absent"))
    refused(run(name, *arguments), 2)
    assert not (root.parent / "absent").exists()


@pytest.mark.parametrize(
    "name", sorted(set(COMMANDS) - PROCESSES - {"workspace", "config", "inspect-metrics-columns", "restore"})
)
def test_a_lake_of_another_exchange_is_refused(run: Run, root: Path, name: str) -> None:
    (root / "EXCHANGE").write_bytes(b"\xff[/x]\n")
    before = files(root.parent)
    found = run(name, *SOUND[name])
    refused(found, 2)
    assert "holds data of the exchange" in found.err
    assert files(root.parent) == before


@pytest.mark.parametrize("damaged", ["ledger.sqlite", "governor.sqlite", "audit.sqlite", "feed/ohlcv.duckdb"])
@pytest.mark.parametrize("name", sorted(set(COMMANDS) - PROCESSES - {"restore"}))
def test_files_of_random_bytes_are_told_as_damage(run: Run, root: Path, name: str, damaged: str) -> None:
    path = root / damaged
    path.parent.mkdir(exist_ok=True)
    for side in ("-wal", "-shm"):
        path.with_name(path.name + side).unlink(missing_ok=True)
    garbage = random.Random(7).randbytes(20_000)
    path.write_bytes(garbage)
    found = run(name, *SOUND[name])
    assert found.code in {0, 1, 3, 4}, found
    if found.code == 4:
        assert path.name in found.out + found.err
        assert path.read_bytes() == garbage, "what is damaged is kept for whoever repairs it"
    if damaged == "ledger.sqlite" and name not in {
        "workspace",
        "config",
        "inspect-metrics-columns",
        "feed-1h",
        "health",
        "doctor",
        "rebuild-live",
        "rebuild-ledger",
        "raw-export",
        "raw-import",
    }:
        assert found.code == 4, found


def test_a_ledger_that_cannot_be_opened_is_told_without_its_password(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert root.is_dir()
    for url, code in (
        (f"postgresql+nodriver://me:{SECRET}@127.0.0.1:1/lake", 2),
        (f"postgresql://me:{SECRET}@127.0.0.1:port/lake?password={SECRET}", 2),
        (f"postgresql+psycopg://me:a@{SECRET}@127.0.0.1:1/lake", 2),
        (f"postgresql+psycopg://me:a/{SECRET}@127.0.0.1:1/lake", 2),
        ("sqlite://", 2),
        (f"sqlite+nodriver:///{root}/ledger.sqlite", 2),
        ("sqlite:////proc/nowhere/[x].sqlite", 2),
        ("sqlite:////proc/nowhere/x.sqlite", 4),
    ):
        monkeypatch.setenv("LAKE_LEDGER_URL", url)
        for name in ("missing", "audit", "show-watermark"):
            refused(run(name, *SOUND[name]), code)


def test_a_hole_is_declared_only_once_all_of_it_is_sound(run: Run, root: Path) -> None:
    sound = list(SOUND["declare-hole"])
    for place, wrong in ((1, "[/x]"), (3, "2026-11-17"), (2, "2026-11-18T00:00:30"), (5, "  "), (7, "a\x1b[31mb")):
        arguments = [wrong if at == place else text for at, text in enumerate(sound)]
        refused(run("declare-hole", *arguments), 2)
    assert '"other_streams": []' in run("holes", "--json").out
    assert run("declare-hole", *sound[:4], "--cause", "[/x] [bold]halt", "--reference", "[link]").code == 0
    listed = run("holes")
    assert "[/x] [bold]halt ([link])" in listed.out


WRONG_SLICES = [
    *((action, "--endpoint", "../x") for action in ("run", "show", "verify", "rebuild", "pack", "import")),
    *((action, "--interval", "[/x]") for action in ("run", "show", "verify", "rebuild", "pack")),
    *((action, "--data-root", "absent") for action in ("show", "verify", "rebuild", "pack")),
    *((action, "[/x]y") for action in ("run", "show", "verify", "rebuild", "pack", "import")),
    ("banana",), ("import",), ("import", "absent/"), ("import", "lake"), ("import", "lake", SYMBOL),
    ("run", "--most", "0"), ("run", "--first", "-1"), ("import", "--tree", "lake/EXCHANGE"),
    ("verify", "--data-root", "lake/EXCHANGE"),
]  # fmt: skip
"""Actions on slices with a wrong argument."""


def test_every_action_on_slices_refuses_what_is_wrong(run: Run, root: Path) -> None:
    before = files(root.parent)
    for arguments in WRONG_SLICES:
        refused(run("slices", *arguments), 2)
        assert files(root.parent) == before, arguments
        assert not Path("absent").exists(), arguments


def test_files_of_something_else_are_refused_by_every_command_that_takes_files_in(run: Run, root: Path) -> None:
    other = root.parent / "users.jsonl"
    other.write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root.parent / "tree").mkdir()
    for name, *arguments in (
        ("raw-import", str(other)),
        ("validate-rules", "--file", str(other)),
        ("slices", "import", str(other)),
        ("restore", str(other)),
        ("restore", str(root.parent / "tree")),
    ):
        before = files(root.parent)
        refused(run(name, *arguments), 2)
        assert files(root.parent) == before, name


def test_signs_that_steer_a_terminal_are_written_out(run: Run, root: Path) -> None:
    hostile = root.parent / "hostile.csv"
    hostile.write_bytes(b"\x1b[2J\x07,\x00\n" + b"1,2\n")
    told = run("validate-rules", "--file", str(hostile))
    refused(told, 2)
    assert "\\x1b[2J" in told.err
    assert all(sign.isprintable() or sign == "\n" for sign in told.err), told.err


@pytest.mark.parametrize("name", ["missing", "holes", "audit", "show", "doctor", "judge", "parity", "config"])
def test_text_of_strangers_that_lies_in_the_lake_steers_no_terminal(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Reasons that an exchange gave, causes that somebody wrote, names of files and keys: ANSI, OSC, bidi, BEL, NUL."""
    strange = "\x1b[2J\x1b]0;owned\x07\u202e\x9b31m\x00[bold]"
    monkeypatch.setenv("LAKE_FEED_DATASET", strange.replace("\0", ""))
    with closing(store_at(root)) as store:
        store.ledger.record_missing(SYMBOL, "metrics", f"{DAY:%Y-%m-%dT%H}", "rest", strange, at=PUBLISHED)
        hole = KnownHole("klines_1m", SYMBOL, DAY - timedelta(hours=2), DAY - timedelta(hours=1), strange, strange)
        store.ledger.declare_hole(hole)
        store.ledger.record_quarantine(SYMBOL, DAY + timedelta(hours=2), None, [strange], strange, at=PUBLISHED)
    found = run(name, *SOUND[name])
    assert found.out, found
    for text in (found.out, found.err):
        assert all(sign.isprintable() or sign == "\n" for sign in text), text
    if name in {"missing", "holes"}:
        assert r"\x1b[2J\x1b]0;owned\x07\u202e\x9b31m\x00[bold]" in "".join(
            line.strip("│┃ ") for line in found.out.splitlines()
        )


def test_a_symbol_without_hours_is_not_called_compacted(run: Run, root: Path) -> None:
    found = run("compact", "NOPEUSDT")
    refused(found, 3)
    assert "NOPEUSDT" in found.err
    assert run("compact").code == 0
