"""What a check is and what it returns.

Belongs here: all checks of partitions with severity and text, and the outcome record.
Does not belong here: how a check decides (its own module), or what Dagster makes of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lake_assets.schema.check_spec import CheckSpec, Severity

TRADES_VS_KLINES = "trades_vs_klines"
"""Name of the check of aggTrades, which tables that are not made of them do not have."""
Metadata = Mapping[str, int | float | str | None]


CHECKS: dict[str, CheckSpec] = {
    spec.name: spec
    for spec in (
        CheckSpec("schema", "error", gate=True, text="Exactly the declared columns, types and order; values in bounds"),
        CheckSpec(
            "ohlc", "error", gate=True, text="low ≤ open, close ≤ high; prices positive and finite; volumes ≥ 0",
            counts=("rows",),
        ),
        CheckSpec(
            "continuity", "error", gate=True, text="Exactly the expected {row}s of the {span}, each once, in order",
            counts=("expected", "outside"),
        ),
        CheckSpec(
            "required_columns", "error", gate=True, text="No NULL or NaN in the {required} required columns",
            counts=("rows",),
        ),
        CheckSpec("source_coverage", "warn", gate=False, text="Every stream that can have a source has one"),
        CheckSpec(
            "archive_parity", "error", gate=False, text="What REST gave equals what the archive says, exactly",
            counts=("compared", "only_archive", "only_captured"),
        ),
        CheckSpec(
            "trades_vs_klines", "error", gate=False, text="aggTrades add up to the volume of the klines",
            counts=("compared",),
        ),
        CheckSpec("evidence", "error", gate=False, text="Every {row} of every stream is proven whole, or explained"),
    )
}  # fmt: skip
FOLD_PARITY = CheckSpec(
    "fold_parity", "error", gate=False, text="Bars folded from single trades equal the exchange's klines, exactly",
    counts=("compared",),
)  # fmt: skip
"""Of tables whose rows can also be made of single trades."""
ALL_CHECKS = CHECKS | {FOLD_PARITY.name: FOLD_PARITY}
BAR_CHECKS = {name: spec for name, spec in CHECKS.items() if name != TRADES_VS_KLINES}
"""Those of a table whose rows are the exchange's own bars."""
GATE_CHECKS = tuple(spec.name for spec in CHECKS.values() if spec.gate)


@dataclass(frozen=True)
class CheckOutcome:
    """The verdict of one check about one hour.

    Attributes:
        name: of its `CheckSpec`.
        passed: the verdict.
        severity: of a failure.
        metadata: the numbers behind it, with the same keys whatever the verdict, so that the UI plots them.
        empty: it compared nothing, so that it is not told: neither the ledger nor the UI has a row of it.
    """

    name: str
    passed: bool
    severity: Severity
    metadata: Metadata
    empty: bool = False

    def text(self) -> str:
        """One line for logs and quarantine, e.g. `continuity: missing=1, first_missing=2026-02-15 10:17`."""
        found = ", ".join(f"{key}={value}" for key, value in self.metadata.items() if value not in (None, 0, ""))
        return f"{self.name}: {found or ('ok' if self.passed else 'failed')}"


def outcome(name: str, *, passed: bool, metadata: Metadata) -> CheckOutcome:
    """An outcome with the declared severity of the check of that name.

    Raises:
        KeyError: there is no such check.
    """
    return outcome_of(ALL_CHECKS[name], passed=passed, metadata=metadata)


def outcome_of(spec: CheckSpec, *, passed: bool, metadata: Metadata) -> CheckOutcome:
    """An outcome of a declared check; a failure is never empty, nor is one whose numbers were not kept."""
    counted = [metadata[name] for name in spec.counts if name in metadata]
    empty = passed and bool(counted) and len(counted) == len(spec.counts) and not any(counted)
    return CheckOutcome(spec.name, passed, spec.severity, metadata, empty)


def outcomes_to_json(outcomes: Iterable[CheckOutcome]) -> str:
    """Outcomes as compact JSON, for the ledger, without those that compared nothing."""
    rows = [{"name": o.name, "passed": o.passed, "metadata": dict(o.metadata)} for o in outcomes if not o.empty]
    return json.dumps(rows, separators=(",", ":"), allow_nan=False)


def failure_text(name: str) -> str:
    """What the JSON of an hour's outcomes contains where the check of that name failed, and nowhere else."""
    return json.dumps({"name": name, "passed": False}, separators=(",", ":"))[1:-1] + ","


def outcomes_from_json(text: str, checks: Mapping[str, CheckSpec]) -> tuple[CheckOutcome, ...]:
    """The inverse of `outcomes_to_json`; what compared nothing, or is none of the table's `checks`, is left out."""
    rows = (row for row in json.loads(text) if row["name"] in checks)
    found = (outcome_of(checks[row["name"]], passed=row["passed"], metadata=row["metadata"]) for row in rows)
    return tuple(each for each in found if not each.empty)
