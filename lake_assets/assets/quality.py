"""Reports on a symbol's table: `quality/<symbol>/audit`, `…/rules`, `…/parity_at_rest`, with their checks.

Belongs here: the assets, their run config and what the UI shows of a report. Does not belong here: auditing (`audit`),
rules (`validation`), when they run (`automation.timetable`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from lake_assets.assets.following import Condition, follows
from lake_assets.assets.unreachable import begun_again
from lake_assets.audit.cache import AuditCache
from lake_assets.audit.parity_at_rest import AtRest, check_at_rest, sample_hours, sealed_hours
from lake_assets.audit.rulepack_bars import check_bars
from lake_assets.audit.scan import audit_partitions
from lake_assets.audit.second_look import SecondLook, days_due, look_again
from lake_assets.audit.verdict import CODES, AuditReport
from lake_assets.audit.weight_budget import parity_budget
from lake_assets.build.judge_anew import judge_unjudged
from lake_assets.checks import close_checks
from lake_assets.dagster_names import PARITY_JOB, RULES_JOB, symbol_name, table_names
from lake_assets.inputs.trading_time import refresh_listing
from lake_assets.materialized import materialized_partitions
from lake_assets.metadata import symbol_tags, table_key
from lake_assets.resources import LakeOpener
from lake_assets.schema.table import Table
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.transforms.rollup import own_timeframe
from lake_assets.validation.completeness import completeness_pct
from lake_assets.validation.hour_verdict import Verdict as HourVerdict
from lake_assets.validation.rule_report import render
from lake_assets.validation.rulepack import RULES, Verdict, judge
from lake_assets.windows import floor_minute
from lake_resources.clock import HOUR, MINUTE
from lake_resources.errors import SettingsError
from lake_resources.instants import parse_end, parse_minute
from lake_resources.layout import FIRST_TABLE, TableLayout
from lake_resources.settings import LakeSettings

GROUP = "quality"
_SHOWN = 200
_RULE_DAYS, _RULE_DAYS_OF_SECONDS = 31, 3
Labelled = Callable[[str], str]
"""What is made of a page before it is shown."""
_SAMPLED_HOURS = 24
_JUDGED_HOURS = 31 * 24
"""Hours of a lake of before that one audit judges, the newest first."""


class AuditWindow(dg.Config):
    """Which hours are audited; empty means from the first committed hour to now."""

    start: str = ""
    end: str = ""
    full: bool = False


class RulesWindow(dg.Config):
    """Which minutes are checked; empty means the last 31 days."""

    start: str = ""
    end: str = ""


class Sample(dg.Config):
    """How many sealed hours are compared with the exchange."""

    hours: int = _SAMPLED_HOURS


def report_key(symbol: str, report: str, layout: TableLayout = UM_MINUTE.layout) -> dg.AssetKey:
    """Key of a report (`audit`, `rules`, `parity_at_rest`), of spot `quality/spot/<symbol>/bars_1s_audit`."""
    if layout.name == FIRST_TABLE:
        return dg.AssetKey([GROUP, symbol_name(symbol), report])
    return dg.AssetKey([GROUP, *table_names(layout, symbol)[:-1], f"{layout.directory}_{report}"])


@dataclass(frozen=True)
class _Subject:
    """What a report is about: a symbol's table."""

    symbol: str
    table: Table

    @property
    def title(self) -> str:
        """The symbol, and the table where it is not the first one."""
        layout = self.table.layout
        return self.symbol if layout.name == FIRST_TABLE else f"{self.symbol} in the {layout.title}"

    def key(self, report: str) -> dg.AssetKey:
        """Key of a report."""
        return report_key(self.symbol, report, self.table.layout)


def build_quality_assets(
    symbol: str, settings: LakeSettings, labelled: Labelled = str, table: Table = UM_MINUTE
) -> list[dg.AssetsDefinition]:
    """The three reports of a symbol's table; `labelled` says of a page whose it is."""
    about = _Subject(symbol, table)
    return [_audit(about), _rules(about, settings, labelled), _parity(about, settings)]


def _report(
    about: _Subject,
    report: str,
    text: str,
    checks: Mapping[str, str],
    condition: Condition | None = None,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """The decorator of a report; `checks` are the texts of its checks by name, `condition` is when it follows."""
    key, layout = about.key(report), about.table.layout
    return dg.asset(
        key=key,
        description=text,
        group_name=GROUP,
        kinds={"polars"},
        tags=symbol_tags(about.symbol, layout.market),
        deps=[dg.AssetDep(table_key(layout, about.symbol), partition_mapping=dg.AllPartitionMapping())],
        check_specs=[dg.AssetCheckSpec(name, asset=key, description=asserts) for name, asserts in checks.items()],
        automation_condition=condition,
    )


def _audit(about: _Subject) -> dg.AssetsDefinition:
    symbol, table = about.symbol, about.table
    layout = table.layout
    text = (
        f"Every {layout.span} of {about.title} on the disk against the ledger and against Dagster: is the file there, "
        f"whole, with exactly the declared columns and expected {table.row_word}s, and the bytes that were committed? "
        "Reads only. Of the files that did not change since the last audit a seventh is read again each day, so that "
        "damage to the disk is found within a week; `full` reads all. `lake audit` is the same on a terminal; the job "
        "`repair` mends what is wrong."
    )

    @_report(about, "audit", text, {"consistent": f"No {layout.span} has a reason code"})
    @begun_again
    def audit(
        context: dg.AssetExecutionContext, config: AuditWindow, lake: dg.ResourceParam[LakeOpener]
    ) -> Iterator[dg.MaterializeResult[None]]:
        opened = lake.open().of(table)
        now = opened.clock()
        refresh_listing(opened, symbol)
        end = end_instant(config.end) or floor_minute(now)
        start = instant(config.start) or opened.ledger.first_partition(symbol)
        judged: dict[datetime, HourVerdict] = {}
        if start is None:
            report = AuditReport(symbol, end, end, ())
        else:
            judged = judge_unjudged(opened, symbol, start, end, report=context.log.info, most=_JUDGED_HOURS)
            report = audit_partitions(
                opened.store,
                symbol,
                start,
                max(end, start + layout.step) if not config.end else end,
                now=now,
                lag_minutes=opened.safety_lag_minutes,
                materialized=materialized_partitions(context.instance, layout, symbol),
                cache=AuditCache(opened.catalog.root / "audit.sqlite"),
                full=config.full,
                reread_on=now.date(),
            )
        numbers: dict[str, Any] = {
            f"{layout.span}s": len(report.hours),
            f"wrong_{layout.span}s": len(report.wrong),
            f"expected_{table.row_word}s": report.expected_rows,
            f"present_{table.row_word}s": report.present_rows,
            "files_not_read": report.from_cache,
            "completeness_pct": completeness_pct(report.present_rows, report.expected_rows),
            f"judged_{layout.span}s": len(judged),
        }
        metadata = numbers | {"reasons": _reasons(report), "wrong": _wrong_hours(report)}
        passed = bool(report.hours) and not report.wrong
        yield _result(about, "audit", metadata, "consistent", passed, numbers | dict(report.counts))

    return audit


def _rules(about: _Subject, settings: LakeSettings, labelled: Labelled) -> dg.AssetsDefinition:
    symbol, table = about.symbol, about.table
    text = (
        f"The rulepack R1 to R7 over the {table.row_word}s of {about.title}, as the page of `lake validate-rules "
        "--report`: summary, top offenders, and PASS, INVESTIGATE or FAIL. Without run config the last "
        f"{_rule_days(table)} days."
    )

    asserts = {"verdict": "The verdict is PASS (INVESTIGATE warns)"} | RULES

    @_report(about, "rules", text, asserts, follows(RULES_JOB, settings))
    @begun_again
    def rules(
        context: dg.AssetExecutionContext,  # noqa: ARG001 - of the guard around it
        config: RulesWindow,
        lake: dg.ResourceParam[LakeOpener],
    ) -> Iterator[Any]:
        opened = lake.open().of(table)
        now = opened.clock()
        lag = timedelta(minutes=opened.safety_lag_minutes)
        end = end_instant(config.end) or floor_minute(now - lag)
        first = opened.ledger.first_partition(symbol) or end - table.layout.step
        start = instant(config.start) or max(end - timedelta(days=_rule_days(table)), first)
        if start >= end:
            raise SettingsError(f"the window {start} to {end} is empty", remedy="Give another start or end")
        found = check_bars(opened, symbol, start, end)
        page = labelled(render([found], timeframe=own_timeframe(table), source="bars", generated=now))
        counts = {rule.rule: rule.violations for rule in found.rules}
        metadata = {"report": dg.MetadataValue.md(page), "verdict": found.verdict, "rows": found.rows} | counts
        numbers = {"verdict": found.verdict, "rows": found.rows} | counts
        said = [*(each.text for each in found.dead), *found.doubts]
        told: dict[str, Any] = {"dead_bars": len(found.suspicious), "doubted_partitions": len(found.doubts)}
        if said:
            told["to_look_at"] = dg.MetadataValue.md("\n".join(f"- {text}" for text in said[:_SHOWN]))
        checks = [_judged(about, "verdict", found.verdict, numbers | told)]
        silent: list[str] = []
        for rule in found.rules:
            if not rule.checked and judge(rule) == "PASS":
                silent.append(rule.rule)
                continue
            shown = {"checked": rule.checked, "violations": rule.violations, "violations_pct": rule.violations_pct}
            checks.append(_judged(about, rule.rule, judge(rule), shown | dict(rule.stats)))
        key = about.key("rules")
        yield dg.MaterializeResult(asset_key=key, metadata=metadata, check_results=checks)
        # A rule that had nothing to look at, such as R3 where there are no quotes, has no row: it has not passed.
        yield from close_checks(key, silent)

    return rules


def _parity(about: _Subject, settings: LakeSettings) -> dg.AssetsDefinition:
    symbol, table = about.symbol, about.table
    layout = table.layout
    rolled = f", and the {table.row_word}s of an hour rolled up against its 1h bar" if layout.step == HOUR else ""
    text = (
        f"Sampled sealed {layout.span}s of {about.title} against the klines that the exchange's API gives today, value "
        f"by value{rolled}. The exchange restates history without telling; each restatement "
        "becomes a row of `revisions` with both values. Another sample every day. Without a sealed partition there is "
        "nothing to compare: the check then warns, it does not pass. Mark, index and premium prices, metrics and "
        "settlements of which one source alone has spoken are asked for once more: those of the newest two days, and "
        "of a thirtieth of the older ones."
    )

    asserts = {"equal": "The API says today what the lake holds"}

    @_report(about, "parity_at_rest", text, asserts, follows(PARITY_JOB, settings))
    @begun_again
    def parity_at_rest(
        context: dg.AssetExecutionContext,  # noqa: ARG001 - of the guard around it
        config: Sample,
        lake: dg.ResourceParam[LakeOpener],
    ) -> Iterator[dg.MaterializeResult[None]]:
        opened = lake.open().of(table)
        now = opened.clock()
        sample = sample_hours(sealed_hours(opened, symbol, now), symbol, now.date(), config.hours)
        found = check_at_rest(opened, symbol, sample, now)
        budget = parity_budget(settings, clock=opened.clock)
        look = look_again(opened, symbol, days_due(opened, symbol, now), now, budget)
        numbers: dict[str, Any] = {
            f"{layout.span}s": len(found.hours),
            f"{table.row_word}s": found.minutes,
            "hour_bars": found.hour_bars,
            "only_lake": found.only_lake,
            "only_exchange": found.only_exchange,
            "revisions": len(found.revisions),
            "other_rows": look.compared,
            "other_hours_differing": len(look.unlike),
        }
        numbers["verdict"] = "differs" if look.unlike else found.verdict
        metadata = numbers | {"restated": _restated(found), "other_streams": _unlike(look)}
        nothing = found.verdict == "nothing to compare" and not look.unlike
        passed = found.passed and not look.unlike
        yield _result(about, "parity_at_rest", metadata, "equal", passed, numbers, warn=nothing)

    return parity_at_rest


def _result(
    about: _Subject,
    report: str,
    metadata: Mapping[str, Any],
    check: str,
    passed: bool,
    numbers: Mapping[str, Any],
    *,
    warn: bool = False,
) -> dg.MaterializeResult[None]:
    key = about.key(report)
    severity = dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR
    verdict = dg.AssetCheckResult(
        asset_key=key, check_name=check, passed=passed, severity=severity, metadata=dict(numbers)
    )
    return dg.MaterializeResult(asset_key=key, metadata=dict(metadata), check_results=[verdict])


def _judged(about: _Subject, check: str, verdict: Verdict, numbers: Mapping[str, Any]) -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity.WARN if verdict == "INVESTIGATE" else dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckResult(
        asset_key=about.key("rules"),
        check_name=check,
        passed=verdict == "PASS",
        severity=severity,
        metadata=dict(numbers),
    )


def _rule_days(table: Table) -> int:
    """How many days a check of the rules goes back; a month of seconds would take hundreds of megabytes."""
    return _RULE_DAYS_OF_SECONDS if table.layout.grain < MINUTE else _RULE_DAYS


def _reasons(report: AuditReport) -> dg.MarkdownMetadataValue:
    lines = ["| code | hours | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{code}` | {count:,} | {CODES[code]} |" for code, count in report.counts.items()]
    return dg.MetadataValue.md("\n".join(lines) if report.wrong else "nothing is wrong")


def _wrong_hours(report: AuditReport) -> dg.MarkdownMetadataValue:
    lines = [f"- {found.hour:%Y-%m-%d %H:%M}: {', '.join(found.codes)}" for found in report.wrong[:_SHOWN]]
    more = len(report.wrong) - len(lines)
    return dg.MetadataValue.md("\n".join([*lines, *([f"… and {more:,} more"] if more > 0 else [])]) or "none")


def _restated(found: AtRest) -> dg.MarkdownMetadataValue:
    lines = ["| minute | stream | column | lake | exchange now |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {row.timestamp:%Y-%m-%d %H:%M} | {row.stream} | {row.column} | {row.old_value} | {row.new_value} |"
        for row in found.revisions[:_SHOWN]
    ]
    return dg.MetadataValue.md("\n".join(lines) if found.revisions else "nothing")


def _unlike(look: SecondLook) -> dg.MarkdownMetadataValue:
    lines = [f"- {each.text}" for each in look.unlike[:_SHOWN]]
    return dg.MetadataValue.md("\n".join(lines) or "nothing")


def instant(text: str) -> datetime | None:
    """The minute of a time from run config in any ISO 8601 form, UTC unless it says otherwise; None where it is empty.

    Raises:
        SettingsError: it is no ISO 8601 time.
    """
    return parse_minute(text) if text else None


def end_instant(text: str) -> datetime | None:
    """As `instant`, but a time with seconds is the minute after it: a half-open range that ends there loses nothing.

    Raises:
        SettingsError: it is no ISO 8601 time.
    """
    return parse_end(text) if text else None
