"""The journey of the year in its shortest form: every planted defect is found, none is invented."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake_tests.bench.year.__main__ import report
from lake_tests.bench.year.journey import Verdict, findings_by_plant, journey
from lake_tests.bench.year.must import MUST, Finding
from lake_tests.bench.year.planted import END, SHORTEST_DAYS, Span, Stage, plants


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_three_weeks_with_planted_defects(tmp_path: Path) -> None:
    with journey(Span(SHORTEST_DAYS), tmp_path, print) as made:
        made.run()
    assert [verdict.stage for verdict in made.verdicts] == list(Stage)
    wrong = [verdict for verdict in made.verdicts if verdict.missed or verdict.invented]
    assert not wrong, report(made)
    # What is promised of a plant is something, but for a delisting, of which there must be nothing.
    quiet = {plant.kind for plant in made.planted if findings_by_plant(made.verdicts, plant) == (0, 0)}
    assert quiet == {"delisted"}


def test_what_is_missing_or_too_much_is_told() -> None:
    one, two, three = (Finding("audit", "BTCUSDT", where, "missing_file") for where in ("1", "2", "3"))
    (plant, *_) = plants(Span())
    verdict = Verdict(Stage.REPAIRED, {plant: {one, two}}, {three}, {two})
    assert (verdict.missed, verdict.invented) == ({one, three}, set())
    verdict = Verdict(Stage.REPAIRED, {plant: {one}}, set(), {one, two, three})
    assert (verdict.missed, verdict.invented) == (set(), {two, three})
    assert findings_by_plant([verdict], plant) == (1, 1)


@pytest.mark.parametrize("days", [SHORTEST_DAYS, 30, 365])
def test_every_kind_is_planted_within_the_span_and_no_two_at_one_place(days: int) -> None:
    span = Span(days)
    planted = plants(span)
    assert {plant.kind for plant in planted} == set(MUST)
    assert all(span.start < plant.start < plant.end <= END for plant in planted)
    places = [(plant.symbol, plant.stream, plant.start) for plant in planted]
    assert len(set(places)) == len(places)
    with pytest.raises(ValueError, match="no room"):
        Span(SHORTEST_DAYS - 1)
