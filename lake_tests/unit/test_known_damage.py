"""The list of known damage: what comes with the project, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lake_assets.schema.known_damage import FIELDS, damage_of, known_damage, parse_damage
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.errors import SettingsError

HEADER = ",".join(FIELDS)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_the_list_of_the_project_reads_and_names_streams_that_exist() -> None:
    assert {each.stream for each in known_damage()} <= set(UM_STREAMS)
    premium = damage_of(known_damage(), "BTCUSDT", at("2021-02-01"), at("2021-02-02"))
    assert [(each.stream, each.reference) for each in premium] == [
        ("premium_index_klines_1m", "binance-public-data#335")
    ]


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [("2024-02-16", "2024-02-16T00:01", 1), ("2024-02-16T23:59", "2024-02-17", 1), ("2024-02-17", "2024-02-18", 0),
     ("2024-02-15", "2024-02-16", 0)],
)  # fmt: skip
def test_days_are_whole_and_inclusive(start: str, end: str, found: int) -> None:
    assert len(damage_of(known_damage(), "BTCUSDT", at(start), at(end))) == found
    assert damage_of(known_damage(), "ETHUSDT", at(start), at(end)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stream,symbol", "header"),
        (f"{HEADER}\nmetrics,*,2024-02-16,,lost,#1", "empty field"),
        (f"{HEADER}\nmetrics,*,2024-02-16,16.2.,lost,#1", "line 2"),
        (f"{HEADER}\nmetrics,*,2024-02-16,2024-02-15,lost,#1", "before"),
    ],
)
def test_what_is_no_damage_is_refused(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse_damage(text)
