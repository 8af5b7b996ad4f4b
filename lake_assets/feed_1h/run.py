"""One run of the feed: pull, snapshot, validate, append, publish, inference file.

Belongs here: the order of these steps, and what is still done when one of them fails.
Does not belong here: the rules (`window`, `history`), files (`artifacts`), SQL (`storage`), Dagster, exit codes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import polars as pl

from lake_assets.feed_1h.artifacts import PULL_SUFFIX, Artifacts
from lake_assets.feed_1h.bars import BAR_COLUMNS, BAR_SCHEMA, PULL_SCHEMA, hours_through, naive, target_hour
from lake_assets.feed_1h.feed import Feed
from lake_assets.feed_1h.history import Audit, audit, continuity, inference_bars, inference_problem, running_hashes
from lake_assets.feed_1h.outcomes import TableFindings, dead_hours, hour_outcomes
from lake_assets.feed_1h.pull import Pull, pull_bars
from lake_assets.feed_1h.window import REBUILD, BarsAnswer, WindowVerdict, bars_by_hour, judge_hours
from lake_assets.validation.outcome import CheckOutcome
from lake_resources.clock import HOUR
from lake_resources.errors import LakeError, SettingsError, StorageError
from lake_resources.storage.bars_duckdb import CHAIN_SCHEMA, DIFFERENCE_SCHEMA, ROW_SCHEMA, TableState

Report = Callable[[str], None]


@dataclass(frozen=True)
class HourRun:
    """What became of one hour: the verdict, its checks, and its row where the table has one."""

    verdict: WindowVerdict
    outcomes: tuple[CheckOutcome, ...]

    @property
    def stored(self) -> bool:
        """Whether the table holds the hour now, equal to the exchange."""
        return self.verdict.status in {"append", "present"}


@dataclass(frozen=True)
class FeedRun:
    """What a run did.

    Attributes:
        hours: in order of time.
        artifacts: its files.
        inference_source: `db`, or `api` and why in `fallback`.
        inference_problem: why consumers would reject the inference file; None where they take it.
        inference_rows: rows of the inference file.
        pulled: bars that the exchange gave for the hours and the window before them.
        validated: rows of the table before the newest hour that equal the exchange's.
        coverage: rows, first and newest hour of the table after the run.
        skew_s: this machine's clock minus the exchange's; None where the exchange did not answer.
        error: the exchange or the table failed as a whole; the hours say so too.
        warnings: what a person should know though nothing failed.
        dry_run: nothing was appended.
    """

    hours: tuple[HourRun, ...]
    artifacts: Artifacts
    inference_source: str
    fallback: str | None
    inference_problem: str | None
    inference_rows: int
    pulled: int
    validated: int
    coverage: tuple[int, datetime | None, datetime | None]
    skew_s: float | None
    error: LakeError | None
    warnings: tuple[str, ...]
    dry_run: bool

    @property
    def stats(self) -> str:
        """The line that is logged for every run."""
        verdicts = [hour.verdict for hour in self.hours]
        appended = sum(verdict.status == "append" for verdict in verdicts)
        rows, first, newest = self.coverage
        spread = f" {first:%Y-%m-%d %H:%M}..{newest:%Y-%m-%d %H:%M}" if first and newest else ""
        return (
            f"pulled={self.pulled} validated={self.validated} "
            f"appended={0 if self.dry_run else appended}{f' (dry run, would append {appended})' * self.dry_run} "
            f"target={verdicts[-1].hour:%Y-%m-%d %H:%M} coverage={rows} rows{spread} "
            f"inference={self.inference_rows} rows from {self.inference_source}"
        )


def due_hours(feed: Feed, now: datetime, *, catch_up: bool, seed_from: datetime | None = None) -> list[datetime]:
    """Hours a run should take, UTC-naive: the newest closed one, with `catch_up` all that are missing before it too.

    An empty table is seeded: with `catch_up` from `seed_from`, or as far back as the inference file reaches.

    Raises:
        StorageError: the table cannot be read.
        SettingsError: `seed_from` is later than the target, or the table has rows already.
    """
    target = target_hour(now)
    if not catch_up:
        return [target]
    newest = feed.table.snapshot().rows["timestamp"].max()
    if isinstance(newest, datetime):
        if seed_from is not None:
            raise SettingsError(
                f"the table has rows until {newest:%Y-%m-%d %H:%M}, it cannot begin at {seed_from:%Y-%m-%d %H:%M}",
                remedy=f"Begin a new table: `{REBUILD} --from {seed_from:%Y-%m-%dT%H:%M}`",
            )
        return hours_through(min(newest + HOUR, target), target)
    first = naive(seed_from) if seed_from else target - feed.options.history_hours * HOUR
    if first > target:
        raise SettingsError(
            f"{first:%Y-%m-%d %H:%M} is not closed yet", remedy=f"The newest closed hour is {target:%Y-%m-%d %H:%M}"
        )
    return hours_through(first, target)


def run_feed(feed: Feed, hours: Sequence[datetime], *, dry_run: bool = False, report: Report | None = None) -> FeedRun:
    """Take hours in order of time: validate each against the table, append what is new.

    The snapshot and the inference file are written whatever happens. An error of the exchange or the table is in
    the result, not raised, so that they are; errors of the artifact directory are raised.

    Args:
        feed: the feed.
        hours: starts of closed hours, ascending without a gap; naive means UTC.
        dry_run: write the files, not the table, and leave `latest` alone.
        report: takes progress lines.

    Raises:
        StorageError: the files of the run cannot be written.
    """
    say = report or (lambda _: None)
    targets = [naive(hour) for hour in hours]
    first, target = targets[0] - (feed.options.n_recent - 1) * HOUR, targets[-1]
    pull, error = _pull(feed, first, target)
    run_time = feed.files.begin(
        feed.clock(), (pull.bars if pull else pl.DataFrame(schema=PULL_SCHEMA)).select(BAR_COLUMNS)
    )
    warnings = _skew_warnings(pull, feed.options.warn_skew_s)
    verdicts, before, state, audited, table_error = _append(feed, pull, error, targets, dry_run=dry_run)
    if audited is not None and audited.changed:
        warnings.append(
            f"{len(audited.changed)} earlier rows of the table changed, first {audited.changed[0]:%Y-%m-%d %H:%M}"
        )
    if state is not None:
        warnings += [each.text for each in dead_hours(state.rows, targets, feed.outages)]
    flag = _flag(verdicts, state, audited, table_error, target, feed.options.history_hours)
    bars, source, fallback = _inference(feed, state, target, flag)
    problem = inference_problem(bars, target, feed.options.buffer_hours)
    artifacts = Artifacts(
        run_time,
        feed.files.path(run_time, PULL_SUFFIX),
        feed.files.write_inference(run_time, bars),
        _keep_differences(feed, run_time, verdicts),
    )
    if problem is None and not dry_run:
        feed.files.point(
            run_time,
            target,
            {"dataset": feed.options.dataset, "rows": bars.height, "source": source, "fallback": fallback},
        )
    removed = 0 if dry_run else feed.files.prune(feed.clock(), feed.options.keep_days)
    if removed:
        say(f"{removed} files older than {feed.options.keep_days} days removed")
    rows = None if state is None else state.rows
    found = TableFindings(rows, audited, feed.options.history_hours, str(table_error) if table_error else None)
    inference = {"problem": problem, "rows": bars.height, "source": source, "path": str(artifacts.inference)}
    runs = tuple(
        HourRun(
            verdict,
            hour_outcomes(
                verdict,
                found,
                skew_s=pull.skew_s if pull else None,
                inference=inference if verdict.hour == target else None,
            ),
        )
        for verdict in verdicts
    )
    if problem is not None:
        warnings.append(
            f"the inference file is not complete: {problem}; `lake feed-1h --catch-up` seeds an empty table"
        )
    done = FeedRun(
        runs, artifacts, source, fallback, problem, bars.height, pull.bars.height if pull else 0,
        _validated(pull, before, target), _coverage(rows), pull.skew_s if pull else None,
        error or table_error, tuple(warnings), dry_run,
    )  # fmt: skip
    say(done.stats)
    return done


def _pull(feed: Feed, first: datetime, last: datetime) -> tuple[Pull | None, LakeError | None]:
    try:
        return pull_bars(feed.rest, feed.clock, first, last), None
    except LakeError as error:
        return None, error


def _skew_warnings(pull: Pull | None, limit_s: float) -> list[str]:
    if pull is None or abs(pull.skew_s) <= limit_s:
        return []
    side = "ahead of" if pull.skew_s > 0 else "behind"
    return [f"this machine's clock is {abs(pull.skew_s):.1f} s {side} the exchange's: check its time service"]


def _append(
    feed: Feed, pull: Pull | None, error: LakeError | None, targets: list[datetime], *, dry_run: bool
) -> tuple[list[WindowVerdict], TableState | None, TableState | None, Audit | None, StorageError | None]:
    """Judge and append under the writer's lock; the states before and after it, the audit, the table's error."""
    try:
        if dry_run or pull is None:
            state = feed.table.snapshot()
            verdicts = _verdicts(feed, pull, error, state, targets)
            audited = audit(state.rows, state.chain)
            would = _new_rows(verdicts, pull, feed.clock())
            return verdicts, state, replace(state, rows=pl.concat([state.rows, would])), audited, None
        with feed.table.writer() as writer:
            before = writer.state()
            audited = audit(before.rows, before.chain)
            verdicts = _verdicts(feed, pull, error, before, targets)
            now = feed.clock()
            rows = _new_rows(verdicts, pull, now)
            # A table that another program wrote has no hashes yet: its rows are taken as they are, once.
            unnoted = pl.concat([before.rows, rows]) if audited.unchained else rows
            hashes = running_hashes(unnoted, audited.running_hash)
            chain = pl.DataFrame({"timestamp": unnoted["timestamp"], "running_hash": hashes}, schema=CHAIN_SCHEMA)
            if chain.height or any(verdict.differences for verdict in verdicts):
                writer.append(rows, chain, _differences(verdicts), seen_at=now)
            after = writer.state()
            return verdicts, before, after, audit(after.rows, after.chain), None
    except StorageError as failed:
        return [_failed(hour, failed) for hour in targets], None, None, None, failed


def _verdicts(
    feed: Feed, pull: Pull | None, error: LakeError | None, state: TableState, targets: list[datetime]
) -> list[WindowVerdict]:
    if pull is None:
        failed = error or LakeError("the exchange gave nothing", remedy="Repeat")
        return [_failed(hour, failed) for hour in targets]
    return judge_hours(
        BarsAnswer.of(pull.bars, pull.asked_at), bars_by_hour(state.rows), targets, feed.options.n_recent
    )


def _failed(hour: datetime, error: LakeError) -> WindowVerdict:
    return WindowVerdict(hour, "waiting" if error.retryable else "refused", type(error).__name__, str(error))


def _new_rows(verdicts: list[WindowVerdict], pull: Pull | None, now: datetime) -> pl.DataFrame:
    """Rows of the hours to append (ROW_SCHEMA), ascending."""
    hours = [verdict.hour for verdict in verdicts if verdict.status == "append"]
    if pull is None or not hours:
        return pl.DataFrame(schema=ROW_SCHEMA)
    created = pl.lit(naive(now)).cast(pl.Datetime("us")).alias("created_at")
    wanted = pl.col("timestamp").is_in(hours)
    return pull.bars.filter(wanted).select(*BAR_COLUMNS, created).sort("timestamp")


def _differences(verdicts: list[WindowVerdict]) -> pl.DataFrame:
    """Both versions of what differs (DIFFERENCE_SCHEMA), each once though several windows met it."""
    found = dict.fromkeys(difference for verdict in verdicts for difference in verdict.differences)
    rows = [(each.hour, each.column, each.table_value, each.exchange_value) for each in found]
    return pl.DataFrame(rows, schema=DIFFERENCE_SCHEMA, orient="row")


def _keep_differences(feed: Feed, run_time: str, verdicts: list[WindowVerdict]) -> Path | None:
    found = _differences(verdicts)
    return feed.files.write_differences(run_time, found) if found.height else None


def _flag(
    verdicts: list[WindowVerdict],
    state: TableState | None,
    audited: Audit | None,
    error: LakeError | None,
    target: datetime,
    history_hours: int,
) -> str | None:
    """Why the table is not to be used for inference now, None where it is."""
    if state is None or audited is None:
        return f"the table is unavailable: {error}"
    if any(verdict.differences for verdict in verdicts):
        return "the table differs from the exchange"
    if audited.changed:
        return "earlier rows of the table changed"
    newest = state.rows.filter(pl.col("timestamp") <= target)["timestamp"].max()
    if isinstance(newest, datetime) and not continuity(state.rows, newest, history_hours + 1).sound:
        return "the table is not continuous"
    return None


def _inference(
    feed: Feed, state: TableState | None, target: datetime, flag: str | None
) -> tuple[pl.DataFrame, str, str | None]:
    """Bars of the inference file, where they came from, and why not from the table."""
    buffer_hours = feed.options.buffer_hours
    ours = inference_bars(state.rows, target, buffer_hours) if state else pl.DataFrame(schema=BAR_SCHEMA)
    if feed.options.inference_source == "db" and flag is None:
        return ours, "db", None
    first = target - feed.options.history_hours * HOUR
    try:
        pull = pull_bars(feed.rest, feed.clock, first, target)
    except LakeError as error:
        return ours, "db", f"{flag or 'api was asked for'}, but the exchange failed: {error}"
    bars = pull.bars.filter(pl.col("close_time") < naive(pull.asked_at))
    return inference_bars(bars, target, buffer_hours), "api", flag


def _validated(pull: Pull | None, before: TableState | None, target: datetime) -> int:
    """Hours before the newest one that table and exchange both have, with the same values."""
    if pull is None or before is None:
        return 0
    earlier = before.rows.filter(pl.col("timestamp") < target)
    return earlier.join(pull.bars.unique(BAR_COLUMNS), on=BAR_COLUMNS, how="semi").height


def _coverage(rows: pl.DataFrame | None) -> tuple[int, datetime | None, datetime | None]:
    if rows is None or not rows.height:
        return 0, None, None
    return rows.height, rows["timestamp"][0], rows["timestamp"][-1]
