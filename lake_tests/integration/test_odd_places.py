"""Roots whose names others read as patterns or addresses, read-only lakes, files that are another hour's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from lake_assets.cli.main import app
from lake_assets.local_stack.places import child_environment
from lake_assets.local_stack.supervision import Stack
from lake_assets.local_stack.systemd import unit_files
from lake_assets.reading import load, scan_minutes, verify
from lake_resources.dagster_instance import open_instance
from lake_resources.errors import SettingsError, StorageError
from lake_resources.settings import LakeSettings
from lake_resources.storage.root import claim_root
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, bench_on, exchange, hours
from lake_tests.support.sound_hours import FIRST, HOUR, commit_sound, open_files


@pytest.mark.parametrize("mark", [*"*?[]{}#%", "\n"])
def test_a_root_that_globs_or_urls_would_misread_is_refused_at_the_start(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / f"a{mark}b" / "lake"))
    result = CliRunner().invoke(app, ["init-state"])
    assert isinstance(result.exception, SettingsError)
    assert "LAKE_ROOT" in str(result.exception)
    assert "globs and URLs read otherwise" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_working_directory_of_such_a_name_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "a[1]"
    odd.mkdir()
    monkeypatch.delenv("LAKE_ROOT", raising=False)
    monkeypatch.chdir(odd)
    assert isinstance(CliRunner().invoke(app, ["init-state"]).exception, SettingsError)
    assert list(odd.iterdir()) == []


def test_spaces_and_letters_of_any_script_work_and_nothing_lands_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "my läke 湖 & 'co'"
    place.mkdir()
    monkeypatch.chdir(tmp_path)
    with exchange() as sim, bench_on(sim, place) as bench:
        bench.at(PUBLISHED).build(hours(0, 3))
        settings = bench.settings
    monkeypatch.setenv("LAKE_ROOT", str(settings.lake_root))
    monkeypatch.setenv("LAKE_SYMBOLS", SYMBOL)
    assert scan_minutes(SYMBOL, DAY, DAY + 3 * HOUR, settings=settings).collect().height == 180
    for command in (["audit"], ["materialize-duckdb"], ["export", SYMBOL, "--start", "2026-11-18", "--end",
                    "2026-11-18T02:00", "--out", str(place / "out")], ["report-to-dagster"]):  # fmt: skip
        result = CliRunner().invoke(app, command)
        assert result.exit_code in {0, 1}, (command, result.output, result.exception)
    with duckdb.connect(str(settings.lake_root / "minute.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM minute").fetchone() == (180,)
    monkeypatch.setenv("DAGSTER_HOME", child_environment(settings)["DAGSTER_HOME"])
    with open_instance() as instance:
        assert len(instance.get_runs()) == 1
    assert [path.name for path in tmp_path.iterdir()] == [place.name]


def test_an_hour_that_is_another_hours_is_not_certified(tmp_path: Path) -> None:
    claim_root(tmp_path / "lake", "simulator")
    store = open_files(tmp_path / "lake")
    commit_sound(store, FIRST, 3)
    settings = LakeSettings(root=store.root, symbols=(SYMBOL,))
    own, other = (store.catalog.partition_path(SYMBOL, FIRST + n * HOUR) for n in (0, 1))
    window = (FIRST, FIRST + 3 * HOUR)
    frame, certificate = load(SYMBOL, *window, ["close"], settings=settings)
    assert frame.collect().height == 180
    verify(certificate, settings=settings)
    kept = own.read_bytes()
    shutil.copyfile(other, own)
    with pytest.raises(StorageError, match=r"hour=00.*has 60 rows of 2026-01-15 01:00:00 to .* the ledger says"):
        load(SYMBOL, *window, ["close"], settings=settings)
    own.unlink()
    with pytest.raises(StorageError, match=r"hour=00.*is gone"):
        load(SYMBOL, *window, ["close"], settings=settings)
    # A flipped bit with size and time as before: only a hash tells.
    flipped = bytearray(kept)
    flipped[100] ^= 1
    own.write_bytes(flipped)
    _, certificate = load(SYMBOL, *window, ["close"], settings=settings)
    with pytest.raises(StorageError):
        verify(certificate, settings=settings)
    store.close()


def test_a_lake_that_may_only_be_read_is_certified_and_verified(tmp_path: Path) -> None:
    claim_root(tmp_path / "lake", "simulator")
    store = open_files(tmp_path / "lake")
    commit_sound(store, FIRST, 2)
    store.close()
    code = (
        "from lake_assets.reading import load, verify\n"
        "from lake_tests.support.sound_hours import FIRST, HOUR, SYMBOL\n"
        "frame, certificate = load(SYMBOL, FIRST, FIRST + 2 * HOUR, ['close'])\n"
        "verify(certificate)\n"
        "print(frame.collect().height)\n"
    )
    paths = [tmp_path / "lake", *(tmp_path / "lake").rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    # Root may write all the same, unless it gives that up.
    powerless = ["setpriv", "--bounding-set=-all"] if os.getuid() == 0 else []
    try:
        done = subprocess.run(
            [*powerless, sys.executable, "-c", code], cwd=Path(__file__).parents[2],
            env=os.environ | {"LAKE_ROOT": str(tmp_path / "lake")}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert done.stdout == "120\n", done.stderr
    assert sorted((tmp_path / "lake").rglob("*")) == sorted(paths[1:])


def test_logs_are_begun_anew_each_day_and_kept_for_the_days_of_the_setting(tmp_path: Path) -> None:
    days = [date(2026, 11, 1) + timedelta(days=n) for n in range(4)]
    with Stack("http://127.0.0.1:1", tmp_path) as stack:
        stack.start("one", ["timeit", "-n", "1", "-r", "1", "import time; time.sleep(60)"], dict(os.environ))
        log = tmp_path / "one.log"
        assert stack.rotate_logs(days[0], 2) == []
        for number, day in enumerate(days[1:]):
            with log.open("ab") as file:
                file.write(f"day {number}\n".encode())
            assert [path.name for path in stack.rotate_logs(day, 2)] == [f"one.log.{days[number]}"]
            assert log.read_bytes() == b""
            assert stack.rotate_logs(day, 2) == []
        kept = {path.name: path.read_text() for path in tmp_path.glob("one.log.*")}
    assert kept == {f"one.log.{days[1]}": "day 1\n", f"one.log.{days[2]}": "day 2\n"}


def test_the_unit_files_are_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "my lake"
    settings = LakeSettings(root=root, symbols=("BTCUSDT", "币安人生USDT"), web_token="secret", webserver_port=3001)
    text = unit_files(settings, tmp_path)
    assert "secret" not in text
    assert f'Environment="LAKE_ROOT={root}"' in text
    assert 'Environment="LAKE_SYMBOLS=BTCUSDT,币安人生USDT"' in text
    parts = text.split("# /etc/systemd/system/")[1:]
    names = [part.partition("\n")[0] for part in parts]
    services = ["minute-lake.service", "minute-lake-builder.service", "minute-lake-backup.service"]
    assert names == [*services, "minute-lake-backup.timer"]
    assert "up --without-builder" in parts[0], "there is one builder per lake"
    assert "keep-hot" in parts[1]
    without = unit_files(settings.model_copy(update={"hot_builder": False}), tmp_path)
    assert "builder" not in without
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["up", "--systemd"]).stdout.startswith("# Unit files")
    assert not (tmp_path / "data").exists()


def test_systemd_itself_finds_nothing_wrong_in_the_unit_files(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze on this machine")
    settings = LakeSettings(_env_file=None, root=tmp_path / "lake", symbols=("BTCUSDT",))
    parts = unit_files(settings, tmp_path).split("# /etc/systemd/system/")[1:]
    names = [part.partition("\n")[0] for part in parts]
    assert len(names) == 4
    for name, part in zip(names, parts, strict=True):
        (tmp_path / name).write_text(part.partition("\n")[2])
    done = subprocess.run(
        [analyze, "verify", *(str(tmp_path / name) for name in names)], capture_output=True, text=True, check=False
    )
    assert not [line for line in done.stderr.splitlines() if "minute-lake" in line], done.stderr
