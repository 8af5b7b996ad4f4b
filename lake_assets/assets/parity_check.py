"""API-to-DB parity in Dagster: the check `api_db_parity` of each hour, in an op of its own that rebuilds nothing.

Belongs here: the two checks, which hours a run takes, what the UI shows. Does not belong here: comparing
(`audit.api_parity`), when it runs (`schedules`).

Dagster's button "Execute" works for checks without partitions alone, so there are two: `api_db_parity` has a row per
hour, and `api_db_parity_coverage`, which can be executed from the UI, compares what is due and names what is left.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import dagster as dg

from lake_assets.assets.unreachable import begun_again
from lake_assets.audit.api_parity import API_PARITY, ParityRun, compare_due, compare_partitions, parity_outcome
from lake_assets.audit.weight_budget import parity_budget
from lake_assets.checks import check_specs, evaluations, run_partitions
from lake_assets.dagster_names import partition_key, partition_start, table_op
from lake_assets.metadata import table_key
from lake_assets.partitions import table_partitions
from lake_assets.resources import LakeOpener
from lake_assets.schema.table import Table
from lake_resources.settings import LakeSettings

COVERAGE_CHECK = "api_db_parity_coverage"
_COVERAGE_TEXT = (
    "Every closed {span} was compared with the exchange's klines since it was committed, and nothing differs. "
    "Executing it compares the next {span}s, the newest days first, within LAKE_PARITY_WEIGHT_SHARE; `not_compared` "
    "counts the rest"
)
_SHOWN = 200


def parity_check_keys(table: Table, symbol: str) -> list[dg.AssetCheckKey]:
    """Keys of both checks of a symbol's table."""
    key = table_key(table.layout, symbol)
    return [dg.AssetCheckKey(key, name) for name in (API_PARITY.name, COVERAGE_CHECK)]


def build_parity_check(table: Table, symbol: str, settings: LakeSettings) -> dg.AssetChecksDefinition:
    """The checks `api_db_parity` and `api_db_parity_coverage` of one symbol's table."""
    layout = table.layout
    key, partitions = table_key(layout, symbol), table_partitions(layout, settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)

        @dg.multi_asset_check(
            name=f"{table_op(layout, symbol)}_api_parity",
            specs=[
                *check_specs(key, partitions, {API_PARITY.name: API_PARITY}),
                dg.AssetCheckSpec(COVERAGE_CHECK, asset=key, description=_COVERAGE_TEXT.format(span=layout.span)),
            ],
            can_subset=True,
        )
        @begun_again
        def api_parity(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[LakeOpener]) -> Iterator[Any]:
            opened = lake.open().of(table)
            now, budget = opened.clock(), parity_budget(settings, clock=opened.clock)
            asked = run_partitions(context)
            if asked is None:
                found = compare_due(opened, symbol, now, budget)
            else:
                starts = [partition_start(layout, partition) for partition in asked]
                found = compare_partitions(opened, symbol, starts, now, budget)
            context.log.info(_line(found))
            judged = [(partition_key(layout, each.start), [parity_outcome(each)]) for each in found.compared]
            yield from evaluations(context, key, judged)
            for name in (API_PARITY.name, COVERAGE_CHECK):
                if dg.AssetCheckKey(key, name) in context.selected_asset_check_keys:
                    if name == COVERAGE_CHECK:
                        yield _coverage(key, table, found)
                    yield dg.Output(None, output_name=f"{'__'.join(key.path)}_{name}")

    return api_parity


def _line(found: ParityRun) -> str:
    return (
        f"{found.symbol}: {len(found.compared)} compared in {found.requests} request(s), "
        f"{len(found.differing)} differ, {len(found.left)} not compared yet"
    )


def _coverage(key: dg.AssetKey, table: Table, found: ParityRun) -> dg.AssetCheckEvaluation:
    """The row of the check without partitions.

    It is no `AssetCheckResult`: for one of these Dagster asks the run for its partitions as soon as the asset has a
    materialization, and a run of checks alone has none.
    """
    layout = table.layout
    lines = [f"- {partition_key(layout, at)}" for at in found.left[:_SHOWN]]
    if len(found.left) > len(lines):
        lines.append(f"… and {len(found.left) - len(lines):,} more")
    differing = [f"- {partition_key(layout, each.start)}: {each.first}" for each in found.differing[:_SHOWN]]
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=COVERAGE_CHECK,
        passed=bool(found.compared) and not found.left and not found.differing,
        severity=dg.AssetCheckSeverity.ERROR if found.differing else dg.AssetCheckSeverity.WARN,
        metadata={
            "verdict": "differs" if found.differing else "equal" if found.compared else "nothing to compare",
            "compared": len(found.compared),
            "differing": len(found.differing),
            "requests": found.requests,
            "not_compared": len(found.left),
            "not_compared_list": dg.MetadataValue.md("\n".join(lines) or "none"),
            "differing_list": dg.MetadataValue.md("\n".join(differing) or "none"),
        },
    )
