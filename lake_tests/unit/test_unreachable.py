"""A step whose ledger or store does not answer is begun again by Dagster; one that failed otherwise is not."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from lake_assets.assets.unreachable import TRIES, begun_again, done_again
from lake_resources.errors import LakeError, LedgerError, LedgerUnreachable, PartitionBusy, StoreUnreachable

CLUSTER = Path(__file__).resolve().parents[2] / "dagster_home" / "cluster.yaml"
AT_ONCE = partial(begun_again, wait_s=0)


def tries(error: LakeError, *, before_it_answers: int) -> tuple[bool, int]:
    """Whether a run succeeded whose first steps raise an error, and how many steps there were."""
    begun: list[int] = []

    @dg.multi_asset(specs=[dg.AssetSpec("hours", skippable=True)])
    @AT_ONCE
    def hours(context: dg.AssetExecutionContext) -> Iterator[Any]:
        begun.append(context.retry_number)
        if len(begun) <= before_it_answers:
            raise error
        yield dg.MaterializeResult(asset_key="hours")

    done = dg.materialize([hours], raise_on_error=False)
    assert begun == list(range(len(begun)))
    return done.success, len(begun)


@pytest.mark.parametrize("kind", [LedgerUnreachable, StoreUnreachable, PartitionBusy])
def test_a_server_that_comes_back_costs_a_run_nothing(kind: type[LakeError]) -> None:
    assert tries(kind("gone", remedy="wait"), before_it_answers=2) == (True, 3)


def test_patience_ends() -> None:
    gone = LedgerUnreachable("gone", remedy="wait")
    assert tries(gone, before_it_answers=99) == (False, TRIES + 1)


def test_another_error_fails_the_run_at_once() -> None:
    assert tries(LedgerError("wrong", remedy="look"), before_it_answers=1) == (False, 1)


def test_a_step_that_returns_what_it_made_is_begun_again_as_well() -> None:
    begun: list[int] = []

    @dg.asset
    @partial(done_again, wait_s=0)
    def card(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        begun.append(context.retry_number)
        if len(begun) == 1:
            raise LedgerUnreachable("gone", remedy="wait")
        return dg.MaterializeResult(metadata={"tries": len(begun)})

    done = dg.materialize([card], raise_on_error=False)
    assert done.success
    assert begun == [0, 1]
    (made,) = done.get_asset_materialization_events()
    assert made.materialization.metadata["tries"].value == 2


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (LedgerError("wrong", remedy="look"), "false"),
        (dg.Failure("an hour was quarantined"), "false"),
        # As when Dagster's own storage is cut off while it is told something.
        (ConnectionResetError("server closed the connection"), "true"),
    ],
)
def test_runs_of_a_cluster_are_tried_again_but_for_those_that_the_lake_refused(
    tmp_path: Path, error: Exception, again: str
) -> None:
    retries = yaml.safe_load(CLUSTER.read_text())["run_retries"]

    @dg.asset
    @done_again
    def refused(context: dg.AssetExecutionContext) -> None:
        raise error

    with dg.DagsterInstance.local_temp(str(tmp_path), overrides={"run_retries": retries}) as instance:
        dg.materialize([refused], instance=instance, raise_on_error=False)
        (run,) = instance.get_runs()
        assert run.tags["dagster/will_retry"] == again
