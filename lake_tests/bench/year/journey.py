"""The journey: back-fill a span with planted defects, audit, take what changed, damage, repair, compact, report.

Belongs here: the steps in their order, and what every tool says after each. Does not belong here: what must be found
(`must`), printing (`__main__`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from lake_assets.build.compaction import run_compaction
from lake_assets.dagster_names import PROMOTE_SENSOR
from lake_assets.jobs.archive_files import vision_job
from lake_assets.jobs.run_tags import partition_range_tags
from lake_assets.lake import open_lake
from lake_assets.metadata import minute_key
from lake_assets.quality.month_card import month_window
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.outcome import CHECKS
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.known_hole import KnownHole
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
from lake_tests.bench.year.dagster_here import DagsterHere, dagster_on
from lake_tests.bench.year.damage import damage, remove_strays
from lake_tests.bench.year.found import (
    LAG_MINUTES,
    audit_findings,
    card_finding,
    card_findings,
    ledger_findings,
    months,
    open_days,
    value_findings,
)
from lake_tests.bench.year.must import CAUSE, Context, Finding, expected, follows
from lake_tests.bench.year.planted import END, HOUR, MINUTE, Plant, Span, Stage, faults, plants
from lake_tests.support.simulated_lake import Bench

Say = Callable[[str], None]
_TICKS = 40
_QUIET_TICKS = 5
_TICK_EVERY = timedelta(minutes=15)
LONG_AFTER = "republished long after"


@dataclass(frozen=True)
class Verdict:
    """Planted against found at one stage.

    Attributes:
        promised: findings by plant.
        others: findings that follow from all plants together: the report cards, and that a plant's day is not whole.
        found: what the tools said.
    """

    stage: Stage
    promised: dict[Plant, set[Finding]]
    others: set[Finding]
    found: set[Finding]

    @property
    def missed(self) -> set[Finding]:
        """Planted and not found."""
        return set().union(self.others, *self.promised.values()) - self.found

    @property
    def invented(self) -> set[Finding]:
        """Found and not planted."""
        return self.found - set().union(self.others, *self.promised.values())


@dataclass
class Journey:
    """One run of it; `verdicts` and `seconds` fill up on the way."""

    span: Span
    bench: Bench
    dagster: DagsterHere
    say: Say
    planted: list[Plant]
    verdicts: list[Verdict] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    hours: int = 0

    def run(self) -> None:
        """All steps."""
        span, bench = self.span, self.bench
        self._plant()
        with self._step("back-fill"):
            bench.at(span.live_at)
            self.dagster.repair(span.last_day, bench.now)
            bench.at(span.backfilled_at)
            self.hours = self.dagster.repair(span.start, END)
        self._judge(Stage.BACKFILLED)
        with self._step("take what changed"):
            bench.at(span.promoted_at)
            self._promote()
            self._take_again()
        self._judge(Stage.PROMOTED)
        damage(bench.lake, self.planted)
        self._judge(Stage.DAMAGED)
        with self._step("repair"):
            self.dagster.repair(span.start, END)
            remove_strays(bench.lake, self.planted)
        self._judge(Stage.REPAIRED)
        with self._step("compact"):
            bench.at(span.compacted_at)
            for symbol in span.symbols:
                for done in run_compaction(UM_MINUTE, bench.lake.store, symbol, now=bench.now, clock=lambda: bench.now):
                    assert done.status == "compacted", done
        self._judge(Stage.COMPACTED)

    def _plant(self) -> None:
        for fault in faults(self.planted, self.span):
            self.bench.sim.faults.add(fault)
        for plant in self.planted:
            if plant.kind == "known hole":
                hole = KnownHole(plant.stream, plant.symbol, plant.start, plant.end, CAUSE, "the plan")
                self.bench.lake.ledger.declare_hole(hole)

    def _promote(self) -> None:
        """The sensor ticks until nothing comes of it any more."""
        quiet = 0
        for _ in range(_TICKS):
            requests = self.dagster.automated.tick(PROMOTE_SENSOR).run_requests or ()
            for request in requests:
                self.dagster.automated.run(request, fails=True)
            quiet = 0 if requests else quiet + 1
            if quiet == _QUIET_TICKS:
                return
            self.bench.at(self.bench.now + _TICK_EVERY)
        raise AssertionError("the promotion of archives does not come to rest")

    def _take_again(self) -> None:
        """What a person does about files that change after ten days: their archives once more, then the hours."""
        for plant in self.planted:
            if plant.kind == LONG_AFTER:
                job = vision_job(UM_STREAMS[plant.stream], self.bench.settings)
                first, last = plant.period, f"{plant.end:%Y-%m-%d}"
                self.dagster.take_archives_again(plant.symbol, plant.stream, job, first, last)
                # Hours of the next day look back to it.
                tags = partition_range_tags("promote", UM_MINUTE.layout, plant.start, plant.end + 23 * HOUR)
                self.dagster.rebuild(minute_key(plant.symbol), tags)

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began
        self.say(f"{name}: {self.seconds[name]:.0f} s")

    def _judge(self, stage: Stage) -> None:
        with self._step(f"look ({stage.name.lower()})"):
            promised = expected(self.planted, Context(stage, self.bench.sim.exchange))
            found = set(self._found(stage))
            others = {finding for finding in found if follows(finding, self.planted)}
            if stage == Stage.COMPACTED:
                promises = set().union(others, *promised.values())
                others |= {each for symbol in self.span.symbols for each in _cards(self.span, symbol, promises)}
            verdict = Verdict(stage, promised, others, found)
        self.verdicts.append(verdict)
        self.say(
            f"{stage.name.lower()}: {len(verdict.found)} findings, {len(verdict.missed)} missed, "
            f"{len(verdict.invented)} invented"
        )

    def _found(self, stage: Stage) -> Iterator[Finding]:
        lake, span, now = self.bench.lake, self.span, self.bench.now
        for symbol in span.symbols:
            yield from audit_findings(lake, span, symbol, self.dagster.materialized(symbol), now)
            if stage != Stage.DAMAGED:
                yield from ledger_findings(lake, span, symbol, now)
                yield from value_findings(lake, span, symbol)
            if stage == Stage.COMPACTED:
                yield from open_days(lake, symbol, now)
                yield from card_findings(lake, span, symbol)


def _cards(span: Span, symbol: str, promises: set[Finding]) -> Iterator[Finding]:
    """What the report cards must say, from all that is planted."""
    own = [finding for finding in promises if finding.symbol == symbol]
    end = span.delivery if symbol == span.second else END
    for month in months(span):
        first, last = month_window(month)
        in_month = [finding for finding in own if first <= _instant(finding, first) < last]
        holes = [finding for finding in in_month if finding.tool == "holes"]
        # Nobody asked for the days of the first month that lie before the span.
        before = max(span.start - first, timedelta()) // MINUTE
        unexplained = before + sum(_length(hole) for hole in holes if hole.what.startswith("unexplained"))
        rejected = sum(finding.tool == "quarantine" for finding in in_month)
        failed = any(finding.tool == "checks" and CHECKS[finding.what].severity == "error" for finding in in_month)
        over = last <= END
        yield card_finding(
            symbol,
            month,
            "LOOK" if unexplained or rejected or failed else "CLEAN" if over else "OPEN",
            expected=max(min(end, last) - first, timedelta()) // MINUTE,
            explained=sum(_length(hole) for hole in holes if hole.what.startswith("explained")),
            unexplained=unexplained,
            revised=sum(finding.tool == "revisions" for finding in in_month),
            rejected=rejected,
        )


def _instant(finding: Finding, month: datetime) -> datetime:
    """When it was, of those findings that a report card counts; another month for all others."""
    if finding.tool not in {"holes", "quarantine", "checks", "revisions"}:
        return month - MINUTE
    words = [word for word in finding.where.split() if word[0].isdigit()]
    return datetime.fromisoformat(" ".join(words)).replace(tzinfo=month.tzinfo)


def _length(hole: Finding) -> int:
    return int(hole.where.rpartition("+")[2])


@contextmanager
def journey(span: Span, root: Path, say: Say, *, rate_per_min: float = 1.0) -> Iterator[Journey]:
    """A simulated exchange, an empty lake and a Dagster instance below `root`."""
    sim = SimulatorServer(
        symbols=span.symbols,
        clock=lambda: span.live_at,
        limit_clock=lambda: sim.clock.now(),
        rate_per_min=rate_per_min,
        limits=False,
        listings=span.listings,
    )
    with sim:
        settings = LakeSettings(
            root=root / "lake",
            exchange="simulator",
            symbols=span.symbols,
            start=span.start.date(),
            rest_url=sim.base_url,
            vision_url=sim.base_url,
            safety_lag_minutes=LAG_MINUTES,
            picture=False,
        )
        lake = open_lake(settings, clock=sim.clock.now, sleep=lambda _: None)
        bench = Bench(sim, lake, settings)
        try:
            with dagster_on(bench, root / "dagster") as dagster:
                yield Journey(span, bench, dagster, say, plants(span))
        finally:
            lake.close()


def findings_by_plant(verdicts: Sequence[Verdict], plant: Plant) -> tuple[int, int]:
    """Over all stages, how many findings a plant promises and how many of these were made."""
    promised = sum(len(verdict.promised[plant]) for verdict in verdicts)
    made = sum(len(verdict.promised[plant] & verdict.found) for verdict in verdicts)
    return promised, made
