"""What was found to lack nothing is known again by its files, hours and listing, and by nothing less."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lake_assets.inputs.sound_before import JudgedBy, SoundBefore, judged_by
from lake_assets.inputs.stream_sources import StreamSources
from lake_assets.source import HourSource
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import HOUR, MINUTE
from lake_resources.storage.provenance import SourceRef

HOURS = [datetime(2026, 11, 18, hour, tzinfo=UTC) for hour in (8, 9)]
WINDOW = HOURS[0], HOURS[-1] + HOUR
NOW = HOURS[-1] + 30 * MINUTE
METRICS = UM_MINUTE.uses["metrics"]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{hour:%H}.parquet" for hour in HOURS]
    for path in paths:
        path.write_bytes(b"rows")
    return paths


def asked(files: list[Path], now: datetime = NOW, first: datetime | None = None) -> JudgedBy | None:
    ref = SourceRef(METRICS.name, "rest", "answer")
    sources = {hour: HourSource(ref, (path,)) for hour, path in zip(HOURS, files, strict=True)}
    return judged_by(METRICS, StreamSources(METRICS, sources, {}).paths(*WINDOW), WINDOW, HOURS, now, first)


def known(sound: SoundBefore, question: JudgedBy | None) -> bool:
    assert question is not None
    return sound.has(question)


def test_the_same_is_known_and_what_is_due_since_is_not(files: list[Path]) -> None:
    sound, first = SoundBefore(8), asked(files)
    assert not known(sound, first)
    assert first is not None
    sound.note(first)
    assert known(sound, asked(files))
    assert known(sound, asked(files, NOW + MINUTE)), "nothing has become due"
    assert not known(sound, asked(files, HOURS[-1] + HOUR + METRICS.settle)), "another hour has settled"
    assert not known(sound, asked(files, first=HOURS[0])), "the listing says when trading began"


def test_a_file_that_was_written_since_is_another_and_one_that_is_gone_is_none(files: list[Path]) -> None:
    sound, first = SoundBefore(8), asked(files)
    assert first is not None
    sound.note(first)
    files[1].write_bytes(b"other rows")
    assert not known(sound, asked(files))
    files[1].unlink()
    assert asked(files) is None


def test_so_many_are_remembered(files: list[Path]) -> None:
    sound = SoundBefore(2)
    questions = [asked(files, first=HOURS[0] + n * MINUTE) for n in range(3)]
    for question in questions[:2]:
        assert question is not None
        sound.note(question)
    assert known(sound, questions[0]), "asked last"
    assert questions[2] is not None
    sound.note(questions[2])
    assert [known(sound, question) for question in questions] == [True, False, True]
