"""How far a backfill is: by the ledger while Dagster still queues its runs, by Dagster where it knows more."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.console import Console

from lake_assets.cli.backfill_progress import Followed, follow_backfills
from lake_assets.local_stack.graphql import AssetProgress, BackfillProgress, RunCounts
from lake_resources.clock import HOUR, SECOND

KEY = ("um", "BTCUSDT", "minute")
BEGUN = datetime(2026, 1, 31, 12, tzinfo=UTC)
WANTED = [datetime(2026, 1, 1, tzinfo=UTC) + number * HOUR for number in range(6)]


class Ledger:
    """What was committed, and when."""

    def __init__(self) -> None:
        self.rows: list[tuple[datetime, datetime]] = []
        self.asked: list[datetime] = []

    def commit(self, start: datetime, at: datetime) -> None:
        self.rows.append((start, at))

    def commits_since(self, symbol: str, since: datetime) -> list[tuple[datetime, datetime]]:
        assert symbol == "BTCUSDT"
        self.asked.append(since)
        return [row for row in self.rows if row[1] >= since]


class Dagster:
    """Tells one state after the other."""

    def __init__(self, states: Sequence[BackfillProgress]) -> None:
        self._states: Iterator[BackfillProgress] = iter(states)

    def backfill(self, backfill_id: str) -> BackfillProgress:
        assert backfill_id == "one"
        return next(self._states)


def state(
    status: str = "REQUESTED",
    *,
    materialized: int = 0,
    failed: int = 0,
    runs: RunCounts | None = None,
    targeted: int = 6,
) -> BackfillProgress:
    counts = AssetProgress(KEY, targeted, 0, materialized, failed)
    return BackfillProgress(status, None, (counts,), runs or RunCounts())


def followed(ledger: Ledger, *, wanted: Sequence[datetime] = WANTED, left_out: int = 0) -> Followed:
    return Followed("BTCUSDT", "one", KEY, ledger, frozenset(wanted), BEGUN, left_out)


def lines(states: Sequence[BackfillProgress], ledger: Ledger, *, step_s: float = 60.0) -> list[str]:
    """What a log shows of a backfill; an hour of those that are wanted is committed at each pause."""
    text, now = io.StringIO(), [0.0]

    def pause(_seconds: float) -> None:
        now[0] += step_s
        ledger.commit(WANTED[len(ledger.rows)], BEGUN + now[0] * SECOND)

    console = Console(file=text, width=140)
    follow_backfills(Dagster(states), [followed(ledger)], console, pause=pause, seconds=lambda: now[0])
    return text.getvalue().splitlines()


def test_hours_count_while_dagster_still_queues_runs_and_tells_of_none() -> None:
    queueing = RunCounts(total=25, waiting=23, working=2)
    told = lines(
        [state(), state(runs=queueing), state(runs=queueing), state("COMPLETED_SUCCESS", materialized=6)], Ledger()
    )
    assert told == [
        "BTCUSDT: 0 of 6, Dagster divides it into runs",
        "BTCUSDT: 1 of 6, runs: 2 working, 23 waiting",
        "BTCUSDT: 2 of 6, runs: 2 working, 23 waiting",
        "BTCUSDT: 6 of 6, completed success",
    ]


def test_a_log_has_the_first_line_at_once_and_then_few_and_the_last() -> None:
    told = lines([state()] * 5 + [state("COMPLETED_SUCCESS", materialized=6)], Ledger(), step_s=2.0)
    assert told == ["BTCUSDT: 0 of 6, Dagster divides it into runs", "BTCUSDT: 6 of 6, completed success"]


def test_commits_of_others_do_not_count_and_none_counts_twice() -> None:
    ledger = Ledger()
    one = followed(ledger)
    ledger.commit(WANTED[0] - HOUR, BEGUN + SECOND)  # the hot band's
    ledger.commit(WANTED[1], BEGUN - SECOND)  # before the launch
    assert one.count(state()) == (0, 6)
    ledger.commit(WANTED[2], BEGUN + 2 * SECOND)
    ledger.commit(WANTED[2], BEGUN + 3 * SECOND)
    assert one.count(state()) == (1, 6)
    assert one.count(state(materialized=1, failed=2)) == (3, 6)
    assert one.count(state(materialized=4, failed=2)) == (6, 6)
    assert ledger.asked[-1] == BEGUN + 3 * SECOND, "what was read is not read again"


def test_what_an_older_backfill_did_before_it_was_followed_counts() -> None:
    one = followed(Ledger(), wanted=WANTED[4:])
    assert one.count(state()) == (4, 6)
    capped = followed(Ledger(), wanted=WANTED[4:], left_out=4)
    assert capped.count(state()) == (0, 6)


def test_an_asset_that_dagster_does_not_tell_of_yet_counts_by_the_ledger() -> None:
    ledger = Ledger()
    ledger.commit(WANTED[0], BEGUN)
    nothing = BackfillProgress("REQUESTED", None, (), RunCounts())
    assert followed(ledger).count(nothing) == (1, 6)


def test_failures_and_the_end_of_the_runs_are_told() -> None:
    one = followed(Ledger())
    assert one.words(state(failed=2, runs=RunCounts(3, 0, 0))) == "2 failed, Dagster counts its runs"
    assert one.words(state("COMPLETED_FAILED", failed=2)) == "2 failed, completed failed"


def test_the_error_of_a_backfill_is_told_at_its_end() -> None:
    text = io.StringIO()
    ended = BackfillProgress("FAILED", "the code location is gone", (), RunCounts())
    follow_backfills(Dagster([ended]), [followed(Ledger())], Console(file=text, width=140))
    assert "BTCUSDT: backfill ended FAILED: the code location is gone" in text.getvalue()


def test_a_terminal_has_a_bar() -> None:
    text, ledger = io.StringIO(), Ledger()
    ledger.commit(WANTED[0], BEGUN)
    queueing = RunCounts(total=25, waiting=23, working=2)
    console = Console(file=text, width=140, force_terminal=True)
    states = [state(runs=queueing), state("COMPLETED_SUCCESS", materialized=6)]
    follow_backfills(Dagster(states), [followed(ledger)], console, pause=lambda _seconds: None)
    assert "6/6" in text.getvalue()
    assert "completed success" in text.getvalue()
