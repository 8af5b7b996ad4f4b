"""The verdict on a built partition, from its checks and from what is known of its sources.

Belongs here: gathering the evidence of a partition. Does not belong here: finding it (`inputs`), the verdict itself
(`validation.hour_verdict`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from lake_assets.inputs.sources import StreamSources
from lake_assets.validation.gate import PartitionWindow
from lake_assets.validation.hour_verdict import Reason, Verdict, hour_verdict, verdict_detail
from lake_assets.validation.outcome import CheckOutcome
from lake_assets.windows import hours_between
from lake_resources.layout import TableLayout


def judged(
    layout: TableLayout,
    outcomes: Sequence[CheckOutcome],
    sources: Mapping[str, StreamSources],
    window: PartitionWindow,
) -> tuple[Verdict, str]:
    """The one verdict on a partition, and its detail as JSON.

    Args:
        layout: how its table is cut.
        outcomes: what all its checks said.
        sources: by stream, for its hours.
        window: the partition.
    """
    evidence = evidence_of(layout, sources, window.start)
    closed = window.expected_end == window.start + layout.step
    verdict = hour_verdict(outcomes, evidence, closed=closed)
    return verdict, verdict_detail(verdict, evidence)


def evidence_of(layout: TableLayout, sources: Mapping[str, StreamSources], start: datetime) -> list[Reason]:
    """What speaks against the sources of a partition, also against those that others replace."""
    return [
        Reason(doubt.kind, doubt.text)
        for found in sources.values()
        for hour in hours_between(start, start + layout.step)
        for doubt in found.doubts.get(hour, ())
    ]
