"""The rulepack's result as Markdown: the page that readers of the first system know.

Belongs here: headings, tables, texts. Does not belong here: judging.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import polars as pl

from lake_assets.validation.rulepack import RULES, VERDICTS, RulepackResult, RuleResult, Verdict, judge

_ASSESSMENT: dict[Verdict, str] = {
    "PASS": "✅ **PASS** - All validation rules passed successfully.",
    "INVESTIGATE": "⚠️ **INVESTIGATE** - Minor issues detected.",
    "FAIL": "🚫 **FAIL** - Significant data quality issues detected.",
}


def overall(results: Sequence[RulepackResult]) -> Verdict:
    """The worst verdict; without any result it is FAIL."""
    return max((result.verdict for result in results), key=VERDICTS.index, default="FAIL")


def render(results: Sequence[RulepackResult], *, timeframe: str, source: str, generated: datetime) -> str:
    """The report of one or several symbols over the same window.

    Args:
        results: one per symbol.
        timeframe: e.g. `1m`.
        source: what was validated.
        generated: when, UTC.
    """
    rows = sum(result.rows for result in results)
    window = f"{results[0].start:%Y-%m-%d %H:%M} to {results[0].end:%Y-%m-%d %H:%M} UTC" if results else "-"
    if results and results[0].start == results[0].end:
        window = "-"
    lines = [
        "# Data Quality Validation Report",
        "",
        f"**Generated**: {generated:%Y-%m-%d %H:%M:%S} UTC",
        "",
        "## Run Metadata",
        "",
        f"- **Symbols**: {', '.join(result.symbol for result in results)}",
        f"- **Time Range**: {window} (end not included)",
        f"- **Timeframe**: {timeframe}",
        f"- **Source**: {source}",
        f"- **Total Rows Checked**: {rows:,}",
        "",
    ]
    for result in results:
        mark = f" - {result.symbol}" if len(results) > 1 else ""
        lines += [f"## Validation Summary{mark}", "", *_summary(result), ""]
        lines += [f"## Detailed Violations{mark}", ""]
        for rule in result.rules:
            lines += [*_details(rule), ""]
    lines += ["## Overall Assessment", ""]
    if len(results) > 1:
        lines += [*(f"- {result.symbol}: {result.verdict}" for result in results), ""]
    if not rows:
        lines += ["No rows were found in the window.", ""]
    lines += [line for result in results if result.cause for line in (f"{result.symbol}: {result.cause}.", "")]
    for result in results:
        lines += [f"- {result.symbol}: {each.text}" for each in result.dead]
        lines += [f"- {result.symbol}: {text}" for text in result.doubts]
        if result.dead or result.doubts:
            lines.append("")
        parity = next((rule for rule in result.rules if rule.rule == "R7"), None)
        if parity is not None and parity.stats.get("only_bars"):
            alone = f"{parity.stats['only_bars']:,} of {result.rows:,} bars of {result.symbol}"
            lines += [f"R7: {alone} have no klines to compare with, so nothing is said of them.", ""]
    return "\n".join([*lines, _ASSESSMENT[overall(results)], ""])


def _summary(result: RulepackResult) -> Iterator[str]:
    yield "| Rule | Description | Total Checked | Violations | % Violated |"
    yield "| --- | --- | --- | --- | --- |"
    for rule in result.rules:
        yield (
            f"| {rule.rule} | {RULES[rule.rule]} | {rule.checked:,} | {rule.violations:,} | {rule.violations_pct:.2f} |"
        )


def _details(rule: RuleResult) -> Iterator[str]:
    yield f"### {rule.rule}: {RULES[rule.rule]}"
    yield ""
    if rule.violations:
        yield f"❌ **{rule.violations:,} violations detected**"
    elif not rule.checked:
        yield "⚠️ **NOT CHECKED**"
    else:
        yield "✅ **PASS**" if judge(rule) == "PASS" else "⚠️ **INVESTIGATE**"
    if rule.stats:
        yield ""
        for name, value in rule.stats.items():
            yield f"- {name}: {value if isinstance(value, str) else f'{value:,}'}"
    if rule.offenders.height:
        yield ""
        yield "```text"
        with pl.Config(
            tbl_rows=-1, tbl_cols=-1, tbl_width_chars=140, tbl_hide_column_data_types=True, fmt_float="full"
        ):
            yield str(rule.offenders)
        yield "```"
