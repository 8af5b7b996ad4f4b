"""What follows from commits: asked for once its time has come and something is committed, and then not again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from lake_assets.assets.following import Condition
from lake_assets.assets.report_card import report_card_key
from lake_assets.automation.timetable import TIMETABLE, following, timed
from lake_assets.code_location import build_definitions
from lake_assets.dagster_names import COMPACTION_JOB, FOLLOW_SENSOR, RESEARCH_JOB, hour_key
from lake_assets.metadata import minute_key
from lake_resources.clock import DAY, HOUR, MINUTE
from lake_resources.settings import LakeSettings

MORNING = datetime(2026, 11, 18, 9, tzinfo=UTC)
Evaluate = Callable[[datetime], dict[str, set[str | None]]]


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    root: Path = tmp_path_factory.mktemp("followers")
    return build_definitions(
        LakeSettings(
            _env_file=None, root=root, symbols=("BTCUSDT", "ETHUSDT"), spot_symbols=(), macro_tickers=(),
            start=datetime(2026, 9, 1, tzinfo=UTC).date(),
        )
    )  # fmt: skip


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture
def evaluate(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Evaluate:
    """Evaluates all conditions at an instant; gives the partitions that are asked for by asset, None for the whole."""
    cursor = None
    keys = [key for key in definitions.resolve_asset_graph().get_all_asset_keys() if _condition(definitions, key)]

    def at(now: datetime) -> dict[str, set[str | None]]:
        nonlocal cursor
        result = dg.evaluate_automation_conditions(
            definitions, instance, dg.AssetSelection.assets(*keys), cursor=cursor, evaluation_time=now
        )
        cursor = result.cursor
        asked = {each.key: each.true_subset for each in result.results if each.true_subset.size}
        return {
            key.to_user_string(): set(found.expensively_compute_partition_keys()) if found.is_partitioned else {None}
            for key, found in asked.items()
        }

    return at


def _condition(definitions: dg.Definitions, key: dg.AssetKey) -> Condition | None:
    return definitions.resolve_asset_graph().get(key).automation_condition


def commit(instance: dg.DagsterInstance, symbol: str, hour: datetime) -> None:
    event = dg.AssetMaterialization(minute_key(symbol), partition=hour_key(hour))
    instance.report_runless_asset_event(event)


def test_what_follows_waits_for_its_time_and_then_for_a_commit(
    evaluate: Evaluate, instance: dg.DagsterInstance
) -> None:
    evening = MORNING.replace(hour=20)
    card = report_card_key("BTCUSDT").to_user_string()
    cards = {report_card_key(symbol).to_user_string(): {"2026-11-01"} for symbol in ("BTCUSDT", "ETHUSDT")}
    assert evaluate(MORNING) == {}
    commit(instance, "BTCUSDT", MORNING)
    assert evaluate(MORNING + 2 * MINUTE) == {}, "no time has come"
    assert evaluate(evening) == cards, "nothing was committed since; cards tell of silence, too"
    assert evaluate(evening + 2 * MINUTE) == {}
    commit(instance, "BTCUSDT", MORNING + HOUR)
    views: set[str | None] = {None}
    assert evaluate(evening + 4 * MINUTE) == {
        "research/views": views,
        "um/BTCUSDT/compacted": views,
        "quality/BTCUSDT/rules": views,
        "quality/BTCUSDT/parity_at_rest": views,
    }, "and nothing of the other symbol"
    commit(instance, "BTCUSDT", MORNING + HOUR)
    assert evaluate(evening + 6 * MINUTE) == {}, "once a day, and the views once an hour"
    assert card in evaluate(evening + DAY)


def test_on_the_first_of_a_month_the_card_of_the_last_one_is_made_once_more(evaluate: Evaluate) -> None:
    first = datetime(2026, 12, 1, 11, tzinfo=UTC)
    card = report_card_key("ETHUSDT").to_user_string()
    evaluate(first)
    assert evaluate(first + 10 * MINUTE)[card] == {"2026-11-01", "2026-12-01"}
    assert card not in evaluate(first + 12 * MINUTE)
    assert evaluate(first + DAY + 10 * MINUTE)[card] == {"2026-12-01"}


def test_the_code_location_has_conditions_for_all_that_follows_and_reasons_for_what_does_not(
    definitions: dg.Definitions,
) -> None:
    repository = definitions.get_repository_def()
    sensor = repository.get_sensor_def(FOLLOW_SENSOR)
    assert isinstance(sensor, dg.AutomationConditionSensorDefinition)
    graph = definitions.resolve_asset_graph()
    found = {key: _condition(definitions, key) for key in graph.get_all_asset_keys()}
    labels = {condition.get_label() for condition in found.values() if condition is not None}
    assert labels == {line.name for line in TIMETABLE if not line.schedule}
    assert labels == {
        "compact_daily", "report_cards_daily", "research_views_hourly", "rules_daily", "parity_at_rest_daily",
    }  # fmt: skip
    scheduled = {each.name for each in repository.schedule_defs}
    assert not labels & scheduled
    settings = LakeSettings(_env_file=None, symbols=("BTCUSDT",), spot_symbols=(), macro_tickers=())
    assert scheduled == {line.name for line in timed(settings)}
    assert all(line.schedule for line in timed(settings)), "what stays a schedule says why"
    assert following(COMPACTION_JOB).cron == "40 10 * * *"
    assert following(RESEARCH_JOB).cron == "35 * * * *"
    with pytest.raises(KeyError):
        following("audit")
