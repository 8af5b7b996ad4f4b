"""What is known of the platform at an instant: the facts that a verdict on its health is made of.

Belongs here: their form. Does not belong here: finding them (`watchdog.look`), the verdict (`health`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

DAGSTER, LEDGER, LIVE = "Dagster's storage", "the ledger", "the live rows"
"""What is looked at. One that cannot be read hides nothing of the others."""


@dataclass(frozen=True)
class SensorFacts:
    """A sensor as Dagster's storage knows it.

    Attributes:
        running: it is switched on.
        interval_s: seconds between two ticks.
        last_tick: start of the newest tick, UTC, or None.
        error: of the newest tick, if that failed.
        since: when the daemon took it up, or it was switched on; None: never.
    """

    name: str
    running: bool
    interval_s: float
    last_tick: datetime | None
    error: str | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class ScheduleFacts:
    """A schedule as Dagster's storage knows it.

    Attributes:
        running: it is switched on.
        due: the newest instant at which it has to tick by its cron line.
        last_tick: the instant that its newest tick was due at, or None.
        error: of the newest tick, if that failed.
        since: when the daemon took it up, or it was switched on; None: never.
    """

    name: str
    running: bool
    due: datetime
    last_tick: datetime | None
    error: str | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class RunFacts:
    """The newest run of a kind (hot band, macro minutes); all None when there was none."""

    start: datetime | None = None
    end: datetime | None = None
    error: str | None = None


@dataclass(frozen=True)
class BuilderFacts:
    """The resident builder of the hot band.

    Attributes:
        beat: its last sign of life, UTC; None where there never was one, or none is wanted.
        patience: a builder that is silent for so long is stood in for by Dagster's runs.
        turn: start and end of its last turn, UTC.
        failed: assets that its last turn could not build, with the reason.
    """

    beat: datetime | None = None
    patience: timedelta = timedelta(seconds=90)
    turn: tuple[datetime, datetime] | None = None
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MacroFacts:
    """Macro minutes.

    Attributes:
        run: the newest run that asked for them.
        rows_written: rows of the days that this run committed; None where it committed none, or none ended yet.
        rows_today: rows of today, of all tickers.
    """

    run: RunFacts = field(default_factory=RunFacts)
    rows_written: int | None = None
    rows_today: int = 0


@dataclass(frozen=True)
class SpotFacts:
    """The collector of spot.

    Attributes:
        last_seen: end of the newest minute of which it told how long frames took, UTC; None where none is recent.
        p50_ms, p95_ms, max_ms: how long trades took from the exchange's stamp to the receipt, in that minute.
    """

    last_seen: datetime | None = None
    p50_ms: int | None = None
    p95_ms: int | None = None
    max_ms: int | None = None


@dataclass(frozen=True)
class CollectorFacts:
    """The live collector.

    Attributes:
        wanted: the platform starts one, or one was ever started in this lake.
        heard: end of the newest minute in which a frame came, by symbol and route (`market`, `public`); None where
            none came lately.
        spot: the same of spot; None where it is switched off.
    """

    wanted: bool = False
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_max_ms: float | None = None
    spot: SpotFacts | None = None
    heard: Mapping[str, Mapping[str, datetime | None]] = field(default_factory=dict)

    @property
    def last_seen(self) -> datetime | None:
        """The newest of all that was heard."""
        return max((at for routes in self.heard.values() for at in routes.values() if at is not None), default=None)


@dataclass(frozen=True)
class HoleFacts:
    """Hours of one symbol, older than the hot band, that are not in the lake as they should be.

    Attributes:
        missing: hours that are not committed, or not whole, and not explained.
        oldest_missing: the first of them.
        quarantined: hours that the gate refused, and that are not explained.
        oldest_quarantined: the first of them.
        explained: hours that the exchange itself does not have, by a declared hole.
        watermark: last minute up to which nothing is missing.
        watermark_explained: it stands before a declared hole.
        doubted: whole hours whose verdict in the ledger is `partial`, `unproven` or `contradicted`.
        contradicted: the last of these: two sources say what cannot both be true.
        oldest_contradicted: the first of them.
    """

    missing: int = 0
    oldest_missing: datetime | None = None
    quarantined: int = 0
    oldest_quarantined: datetime | None = None
    explained: int = 0
    watermark: datetime | None = None
    watermark_explained: bool = False
    doubted: int = 0
    contradicted: int = 0
    oldest_contradicted: datetime | None = None


@dataclass(frozen=True)
class TableFacts:
    """A table that the settings ask for.

    Attributes:
        span: what a partition is, `hour` or `day`.
        grain: length of a row.
        newest: end of the newest row of the last two days, by symbol.
        holes: what of each symbol is not as it should be; what is said of hours there is said of its partitions.
    """

    span: str
    grain: timedelta
    newest: Mapping[str, datetime | None]
    holes: Mapping[str, HoleFacts]


@dataclass(frozen=True)
class Facts:
    """Everything the verdict is made of.

    Attributes:
        started: when the platform was started, or None when that is not known.
        stopping: the platform is being stopped.
        automation: sensors are meant to run.
        daemon_beat: newest sign of life of the daemon.
        sensors: all sensors of the code location that are meant to run.
        schedules: the same of schedules.
        minutes: end of the newest minute, by hot symbol.
        holes: what of each hot symbol is not as it should be.
        tables: the same of each further table, by its name.
        second_rows_today: rows of spot's bars of a second; None where spot is switched off.
        macro: macro minutes; None where they are switched off.
        late_archives: archives that are an alarm.
        testing: the platform runs in testing mode.
        unseen: what could not be looked at, and why.
        watchdog_beat: when the watchdog wrote last, for one who looks in its place.
        beat_every: how often it is meant to write.
    """

    started: datetime | None = None
    stopping: bool = False
    automation: bool = True
    daemon_beat: datetime | None = None
    sensors: Sequence[SensorFacts] = ()
    schedules: Sequence[ScheduleFacts] = ()
    hot_run: RunFacts = field(default_factory=RunFacts)
    builder: BuilderFacts = field(default_factory=BuilderFacts)
    collector: CollectorFacts = field(default_factory=CollectorFacts)
    minutes: Mapping[str, datetime | None] = field(default_factory=dict)
    holes: Mapping[str, HoleFacts] = field(default_factory=dict)
    tables: Mapping[str, TableFacts] = field(default_factory=dict)
    raw_count_today: int = 0
    minute_rows_today: int = 0
    second_rows_today: int | None = None
    macro: MacroFacts | None = None
    testing: bool = False
    late_archives: Sequence[str] = ()
    unseen: Mapping[str, str] = field(default_factory=dict)
    watchdog_beat: datetime | None = None
    beat_every: timedelta = timedelta(seconds=60)
