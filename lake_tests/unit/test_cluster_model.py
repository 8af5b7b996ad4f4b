"""The simulation of a cluster: it reproduces what was measured, and its predictions follow from what is scarce."""

from dataclasses import replace

import pytest

from lake_tests.bench.cluster_model import Cluster, Work, points, predict, simulate

ALONE = Cluster(workers=1, slots=1, cores=1, dequeue_s=0.25)


def test_what_was_measured_is_reproduced():
    found = points()
    assert len(found) == 5
    assert [point for point in found if not point.reproduced] == []


def test_work_takes_what_it_needs_of_the_scarce_resource():
    assert simulate(ALONE, [Work(1, 3)] * 5).seconds == pytest.approx(20, rel=0.1)
    two = replace(ALONE, workers=2)
    assert simulate(two, [Work(1, 3)] * 6).seconds == pytest.approx(12, rel=0.1)
    narrow = simulate(replace(two, line_mb_s=10.0), [Work(0, 0.25, megabytes=100)] * 4)
    assert narrow.seconds == pytest.approx(40, rel=0.1)
    assert narrow.limit == "line"
    assert simulate(replace(two, database_cores=1.0), [Work(0, 0.25, database_s=10)] * 4).limit == "database"


def test_a_dead_workers_runs_are_begun_again_and_all_end():
    runs = [Work(2, 10)] * 4
    box = replace(ALONE, slots=4, cores=4)
    told = simulate(box, runs, kills=(5.0,))
    assert told.retried == 4
    assert 5 + 11 + 12 <= told.seconds <= 5 + 25 + 14
    assert simulate(replace(box, start_timeout_s=180.0), runs, kills=(1.0,)).seconds > 181
    assert told == simulate(box, runs, kills=(5.0,)), "the same numbers each time"


def test_fifty_workers_are_limited_by_what_they_share():
    assert predict(50).limit == "line"
