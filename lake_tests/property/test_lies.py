"""Sources that lie with a sound checksum or with status 200: a part of `python -m lake_tests.bench.lies`."""

from __future__ import annotations

import pytest

from lake_tests.bench.lies import run


@pytest.mark.slow
def test_no_lie_ends_as_clean_and_the_truth_ends_every_one() -> None:
    score = run(12, seed=11)
    assert score.told == 12
    assert score.found > 3
    assert score.clean_but_wrong == []
    assert score.not_converged == []
    assert score.no_second_source == []
    assert score.false_alarms == []
    assert score.better_replaced == []
