"""The rule book of the append (acceptance case A-23), without any I/O."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lake_assets.feed_1h.bars import Values, bars_from_rows
from lake_assets.feed_1h.window import BarsAnswer, WindowVerdict, judge_hours, unsound_bar
from lake_resources.clock import HOUR
from lake_tests.bench.feed_1h import NOW, at, case_bar

Change = dict[int, Values]


def row(hour: datetime, bar: list[str]) -> list[object]:
    start = int(hour.replace(tzinfo=UTC).timestamp() * 1000)
    return [start, *bar, start + 3_599_999, "0", 1, "0", "0", "0"]


def answer(*hours: int, now: datetime = NOW, **values: list[str]) -> BarsAnswer:
    rows = [row(at(hour), values.get(f"h{hour}", case_bar(hour))) for hour in hours]
    return BarsAnswer.of(bars_from_rows(rows), now)


def table(*hours: int, **values: list[str]) -> dict[datetime, Values]:
    return {at(h): tuple(float(text) for text in values.get(f"h{h}", case_bar(h))) for h in hours}


def judge(said: BarsAnswer, rows: dict[datetime, Values], *hours: int, n_recent: int = 3) -> list[WindowVerdict]:
    return judge_hours(said, rows, [at(hour) for hour in hours], n_recent)


def judge_one(said: BarsAnswer, rows: dict[datetime, Values], hour: int = 10, n_recent: int = 3) -> WindowVerdict:
    return judge(said, rows, hour, n_recent=n_recent)[0]


def test_equal_windows_append_the_newest_bar_and_count_what_was_validated() -> None:
    verdict = judge_one(answer(8, 9, 10), table(8, 9))
    assert (verdict.status, verdict.pulled, verdict.validated, verdict.reason) == ("append", 3, 2, "")
    again = judge_one(answer(8, 9, 10), table(8, 9, 10))
    assert (again.status, again.validated) == ("present", 2)


def test_n_minus_one_bars_are_validated_by_default() -> None:
    verdict = judge_one(answer(*range(8, 14)), table(*range(13)), 13, n_recent=6)
    assert (verdict.status, verdict.validated) == ("append", 5)


def test_an_overlap_that_is_shorter_validates_what_exists() -> None:
    assert judge_one(answer(8, 9, 10), {}).validated == 0
    assert judge_one(answer(8, 9, 10), table(9)).validated == 1
    verdicts = judge(answer(8, 9, 10), {}, 8, 9, 10)
    assert [(verdict.status, verdict.validated) for verdict in verdicts] == [
        ("append", 0),
        ("append", 1),
        ("append", 2),
    ]


def test_a_catch_up_appends_in_order_and_validates_the_last_row() -> None:
    verdicts = judge(answer(8, 9, 10, 11), table(8, 9), 10, 11)
    assert [(verdict.status, verdict.validated) for verdict in verdicts] == [("append", 2), ("append", 2)]
    changed = table(8, 9, h9=[*case_bar(9)[:3], "99999", "10"])
    first, second = judge(answer(8, 9, 10, 11), changed, 10, 11)
    assert first.code == "value_mismatch"
    assert "2024-01-15 09:00 close: table 99999.0, exchange 111.0" in first.reason
    assert second.status == "refused"


def test_the_row_of_the_hour_itself_is_compared_too() -> None:
    changed = table(8, 9, 10, h10=[*case_bar(10)[:4], "10.001"])
    verdict = judge_one(answer(8, 9, 10), changed)
    assert (verdict.status, verdict.code) == ("refused", "value_mismatch")
    assert "2024-01-15 10:00 volume: table 10.001, exchange 10.0" in verdict.reason


@pytest.mark.parametrize("value", ["110.01", "110.00000000000001"])
def test_any_difference_is_a_mismatch_and_names_hour_column_and_both_values(value: str) -> None:
    verdict = judge_one(answer(8, 9, 10, h9=[value, *case_bar(9)[1:]]), table(8, 9))
    assert (verdict.status, verdict.code) == ("refused", "value_mismatch")
    assert f"2024-01-15 09:00 open: table 110.0, exchange {float(value)!r}" in verdict.reason
    assert verdict.validated == 1
    (difference,) = verdict.differences
    assert (difference.hour, difference.column) == (at(9), "open")


def test_other_hours_in_table_and_answer_are_a_timestamp_mismatch() -> None:
    behind = judge_one(answer(8, 9, 10), table(7, 8))
    assert (behind.status, behind.code) == ("refused", "table_hole")
    assert "timestamp mismatch" in behind.reason
    assert "lake feed-1h --catch-up" in behind.reason
    far_behind = judge_one(answer(8, 9, 10), table(1, 2))
    assert far_behind.code == "table_hole"
    torn = judge_one(answer(7, 8, 9, 10), table(7, 9), n_recent=4)
    assert "lacks 2024-01-15 08:00" in torn.reason
    assert "lake feed-1h --rebuild" in torn.reason


def test_a_hole_stops_the_hours_behind_it() -> None:
    verdicts = judge(answer(8, 9, 11, 12), table(8, 9), 10, 11, 12)
    assert [verdict.code for verdict in verdicts] == ["missing_bar", "missing_bar", "table_hole"]


def test_hours_before_the_table_cannot_be_added() -> None:
    verdict = judge_one(answer(4, 5, 6), table(8, 9), 6)
    assert verdict.code == "before_table"
    assert "begins at 2024-01-15 08:00" in verdict.reason


def test_a_lagging_exchange_is_waited_for() -> None:
    verdict = judge_one(answer(8, 9), table(8, 9))
    assert (verdict.status, verdict.code) == ("waiting", "api_lags")
    assert "newest closed bar is 2024-01-15 09:00" in verdict.reason
    assert judge_one(answer(), table(8, 9)).code == "api_lags"


def test_an_open_candle_is_waited_for() -> None:
    early = datetime(2024, 1, 15, 10, 59, 59, 999000, tzinfo=UTC)
    verdict = judge_one(answer(8, 9, 10, now=early), table(8, 9))
    assert (verdict.status, verdict.code) == ("waiting", "not_closed")
    assert "10:59:59" in verdict.reason
    assert judge_one(answer(8, 9, now=early), table(8, 9)).code == "not_closed"


def test_a_missing_bar_is_refused() -> None:
    gap = judge_one(answer(8, 10), table(8, 9))
    assert (gap.status, gap.code) == ("refused", "missing_bar")
    assert "2024-01-15 10:00 follows 2024-01-15 08:00" in gap.reason
    first = judge_one(answer(9, 10), table(8, 9))
    assert "2024-01-15 08:00 is in the table and not in the exchange's answer" in first.reason
    lost = judge_one(answer(8, 9, 11), table(8, 9))
    assert (lost.status, lost.code) == ("refused", "missing_bar")


def test_a_doubled_hour_is_refused() -> None:
    verdict = judge_one(answer(8, 9, 9, 10), table(8, 9))
    assert (verdict.status, verdict.code) == ("refused", "duplicate_hour")
    assert judge_one(answer(8, 9, 10, 10), table(8, 9)).code == "duplicate_hour"


def test_what_is_no_number_is_refused() -> None:
    verdict = judge_one(answer(8, 9, 10, h10=["120", "122", "118", "NaN", "10"]), table(8, 9))
    assert (verdict.status, verdict.code) == ("refused", "nan")
    assert "2024-01-15 10:00 has no number in close" in verdict.reason
    rows = table(8, 9)
    rows[at(9)] = (float("nan"), *rows[at(9)][1:])
    assert judge_one(answer(8, 9, 10), rows).code == "value_mismatch"


@pytest.mark.parametrize(
    "bar",
    [
        ["120", "119", "118", "121", "10"],
        ["120", "122", "120.5", "121", "10"],
        ["120", "122", "118", "121", "-1"],
        ["0", "122", "0", "121", "1"],
        ["120", "inf", "118", "121", "10"],
    ],
)
def test_an_unsound_bar_is_not_appended(bar: list[str]) -> None:
    verdict = judge_one(answer(8, 9, 10, h10=bar), table(8, 9))
    assert (verdict.status, verdict.code) == ("refused", "ohlc")
    assert unsound_bar((1.0, 1.0, 1.0, 1.0, 0.0)) is None


def test_bars_that_lie_off_the_hour_are_refused() -> None:
    rows = [row(at(8), case_bar(8)), row(at(9) + HOUR / 2, case_bar(9)), row(at(10), case_bar(10))]
    verdict = judge_one(BarsAnswer.of(bars_from_rows(rows), NOW), table(8, 9))
    assert (verdict.status, verdict.code) == ("refused", "missing_bar")
