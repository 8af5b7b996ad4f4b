"""Rows for the journal wait where the database is locked, the newest of each, and are told once."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lake_resources.collector.journal import ConnectionRow, GapRow, Journal, KnownRow
from lake_resources.collector.notebook import Notebook

AT = datetime(2026, 2, 15, tzinfo=UTC)
OPENED = ConnectionRow(1, "market", AT)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    one = Journal(f"sqlite:///{tmp_path / 'ledger.sqlite'}", "um", busy_ms=1)
    yield one
    one.close()


@pytest.fixture
def other(tmp_path: Path, journal: Journal) -> Iterator[sqlite3.Connection]:
    """Another process' connection to the same database."""
    journal.connections()
    connection = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    yield connection
    connection.close()


async def at_once(call: Callable[[], Any]) -> None:
    call()


def test_the_newest_row_of_each_is_written(journal: Journal) -> None:
    async def run() -> None:
        notebook = Notebook(journal, at_once)
        notebook.note(OPENED)
        notebook.note(GapRow("BTCUSDT", 1, 2, AT, "open"))
        notebook.note(GapRow("BTCUSDT", 5, 6, AT, "open"))
        notebook.note(GapRow("BTCUSDT", 1, 2, AT + timedelta(days=1), "healed", AT))
        notebook.note(KnownRow("BTCUSDT", 7, 9))
        assert await notebook.write()
        notebook.note(replace(OPENED, frames=3, last_frame_at=AT))
        notebook.note(KnownRow("BTCUSDT", 8, 10))
        notebook.note(GapRow("BTCUSDT", 5, 6, AT + timedelta(days=1), "lost", AT, "too old"))
        assert await notebook.write()

    asyncio.run(run())
    assert journal.connections() == [ConnectionRow(1, "market", AT, AT, None, None, 3)]
    became = [(gap.first_id, gap.status, gap.detail) for gap in journal.gaps()]
    assert became == [(1, "healed", ""), (5, "lost", "too old")]
    assert journal.gaps()[1].found_at == AT, "a gap was found once"
    assert journal.known() == {"BTCUSDT": KnownRow("BTCUSDT", 8, 10)}


def test_what_a_locked_database_refuses_is_written_later(
    journal: Journal, other: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def run() -> None:
        notebook = Notebook(journal, at_once)
        notebook.note(OPENED)
        other.execute("BEGIN IMMEDIATE")
        assert not await notebook.write()
        notebook.note(replace(OPENED, frames=5))
        notebook.note(KnownRow("BTCUSDT", 7, 9))
        assert not await notebook.write()
        await notebook.prune(AT)
        assert journal.connections() == []
        other.execute("COMMIT")
        assert await notebook.write()

    asyncio.run(run())
    assert [row.frames for row in journal.connections()] == [5]
    assert list(journal.known()) == ["BTCUSDT"]
    told = [record.getMessage() for record in caplog.records if record.name.endswith("notebook")]
    assert len(told) == 2
    assert told[0].startswith("the journal is not written for now, 1 rows wait: ")
    assert "kept it locked for 0.001 s" in told[0]
    assert told[1] == "the journal is written again"


def test_a_write_that_is_given_up_is_written_by_the_next(journal: Journal) -> None:
    async def never(call: Callable[[], Any]) -> None:
        await asyncio.Event().wait()

    async def run() -> None:
        hanging = [True]

        async def perhaps(call: Callable[[], Any]) -> None:
            await (never(call) if hanging[0] else at_once(call))

        notebook = Notebook(journal, perhaps)
        notebook.note(OPENED)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(notebook.write(), 0.05)
        hanging[0] = False
        assert await notebook.write()

    asyncio.run(run())
    assert journal.connections() == [OPENED]


def test_connections_of_a_range_are_those_that_were_there_in_it(journal: Journal) -> None:
    minute = timedelta(minutes=1)
    spans = [(0, 2), (1, 3), (3, 4), (2, None)]
    journal.write(
        ConnectionRow(n, "market", AT + a * minute, closed_at=None if b is None else AT + b * minute)
        for n, (a, b) in enumerate(spans)
    )

    assert [row.conn for row in journal.connections(AT + 2 * minute, AT + 3 * minute)] == [1, 3]
    assert [row.conn for row in journal.connections()] == [0, 1, 3, 2]
    assert [row.conn for row in journal.left_open()] == [3]


def test_old_connections_are_forgotten_and_gaps_are_not(journal: Journal) -> None:
    journal.write([replace(OPENED, closed_at=AT), GapRow("BTCUSDT", 1, 2, AT, "lost")])
    asyncio.run(Notebook(journal, at_once).prune(AT + timedelta(days=31)))

    assert (journal.connections(), len(journal.gaps())) == ([], 1)
