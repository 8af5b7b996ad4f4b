"""The checks of an hour that compare sources, the revisions they leave, and the verdict that all checks come to.

Belongs here: reading what REST and the collector said earlier beside the archive, recording differences in the ledger.
Does not belong here: the rules themselves (`validation.parity`, `validation.hour_verdict`), the gate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl
import polars.selectors as cs

from lake_assets.inputs.disputes import compare_answers
from lake_assets.inputs.stream_sources import StreamSources, read_raw
from lake_assets.lake import Lake
from lake_assets.live.row_files import LiveHours
from lake_assets.schema.known_damage import damage_of, known_damage
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.transforms.trade_columns import TRADE_FEATURES
from lake_assets.validation.gate import PartitionWindow
from lake_assets.validation.hour_verdict import Reason, Verdict, hour_verdict, source_coverage, verdict_detail
from lake_assets.validation.outcome import CheckOutcome
from lake_assets.validation.parity import StreamParity, archive_parity, compare_stream, trades_vs_klines
from lake_assets.windows import hours_between
from lake_resources.binance.um_streams import AGG_TRADES
from lake_resources.clock import HOUR
from lake_resources.known_hole import KnownHole
from lake_resources.layout import TableLayout
from lake_resources.spans import rows_within
from lake_resources.storage.ledger.ledger import Revision
from lake_resources.storage.provenance import SourceKind, SourceRef

_FEATURES = replace(AGG_TRADES, columns=TRADE_FEATURES, key=("timestamp",), time_column="timestamp")
"""The features of aggTrades as a stream of minutes, to compare those that were heard with those of the archive."""


@dataclass(frozen=True)
class Compared:
    """Built partitions, as the comparisons of their sources see them.

    Attributes:
        windows: the partitions in order.
        frame: their rows.
        holes: known holes of the symbol.
        now: when differences are noticed.
    """

    windows: Sequence[PartitionWindow]
    frame: pl.DataFrame
    holes: Sequence[KnownHole]
    now: datetime


def reconcile(
    lake: Lake,
    symbol: str,
    sources: Mapping[str, StreamSources],
    compared: Compared,
    trades: pl.DataFrame,
    klines: pl.DataFrame,
    live: LiveHours,
) -> dict[datetime, list[CheckOutcome]]:
    """Coverage, archive parity and aggTrades against klines, for each hour.

    Args:
        compared: the hours, with their assembled rows.
        trades: `trade_features` of the hours that have aggTrades.
        klines: wire frame of `klines_1m`.
        live: what the collector has for these hours.
    """
    hours, frame, now = [window.start for window in compared.windows], compared.frame, compared.now
    parities = _parities(lake, symbol, sources, hours, now)
    filed = [hour for hour in hours if sources[AGG_TRADES.name].ref(hour).kind.startswith("archive")]
    for hour, parity in heard_parity(live, trades, filed).items():
        parities[hour].append(parity)
        lake.ledger.record_revisions(_revisions(symbol, parity, now, old_source="ws"))
    covered = [hour for hour in hours if sources[AGG_TRADES.name].covered(hour)]
    # aggTrades of the open hour may reach further than its expected minutes.
    # Of an hour that the collector has, its last minutes may not be known yet. What an archive lacks is a difference.
    archived = [hour for hour in hours if sources[AGG_TRADES.name].ref(hour).kind == "archive"]
    whole = pl.col("timestamp").dt.truncate("1h").is_in(archived)
    known = frame.filter(pl.col("count_buy_trades").is_not_null() | whole).select("timestamp")
    built = trades.join(known, on="timestamp", how="semi")
    minutes = klines.join(known, left_on="open_time", right_on="timestamp", how="semi")
    against_klines = trades_vs_klines(minutes, built, hours, covered)
    return {
        hour: [
            minute_coverage(symbol, sources, hour, rows_within(frame, "timestamp", hour, hour + HOUR), compared.holes),
            archive_parity(parities[hour]),
            against_klines[hour],
        ]
        for hour in hours
    }


def minute_coverage(
    symbol: str,
    sources: Mapping[str, StreamSources],
    hour: datetime,
    rows: pl.DataFrame,
    holes: Sequence[KnownHole] = (),
) -> CheckOutcome:
    """The check `source_coverage` of one hour of the minute table.

    Args:
        symbol: whose hour.
        sources: by stream, for the hour.
        hour: its start, UTC.
        rows: its rows.
        holes: known holes of the symbol.
    """
    return source_coverage(
        UM_MINUTE,
        hour,
        {name: found.ref(hour).kind for name, found in sources.items()},
        rows if rows.height else None,
        holes=holes,
        damage=damage_of(known_damage(), symbol, hour, hour + HOUR),
        never=[name for name, found in sources.items() if not found.use.stream.exists_for(symbol)],
    )


def compare_sources(
    lake: Lake, symbol: str, sources: Mapping[str, StreamSources], compared: Compared
) -> dict[datetime, list[CheckOutcome]]:
    """Coverage and archive parity of each partition of a table.

    Args:
        lake: on the table.
        symbol: whose partitions.
        sources: by stream, for all hours of the partitions.
        compared: the partitions.
    """
    table, layout, time = lake.table, lake.store.layout, lake.store.layout.time_column
    parts = compared.frame.with_columns(_part=pl.col(time).dt.truncate(layout.every)).partition_by(
        "_part", as_dict=True
    )
    rows = {key[0]: part for key, part in parts.items()}
    # Hours of an open day that have not begun have no source, and need none.
    hours = {
        window.start: hours_between(
            window.start, min(max(window.expected_end, window.start + HOUR), window.start + layout.step)
        )
        for window in compared.windows
    }
    parities = _parities(lake, symbol, sources, [hour for part in hours.values() for hour in part], compared.now)
    damage, never = known_damage(), [n for n, found in sources.items() if not found.use.stream.exists_for(symbol)]
    return {
        start: [
            source_coverage(
                table,
                start,
                {name: source_of(found, part).kind for name, found in sources.items()},
                rows.get(start),
                holes=compared.holes,
                damage=damage_of(damage, symbol, start, start + layout.step),
                never=never,
            ),
            archive_parity([each for hour in part for each in parities[hour]]),
        ]
        for start, part in hours.items()
    }


def source_of(found: StreamSources, hours: Sequence[datetime]) -> SourceRef:
    """Where a partition has a stream from, in one reference: the source of its hour, or what its hours' add up to.

    The kind of several hours is theirs where they have one, `none` where an hour has none, and else `archive+rest`
    where archives and answers were put together.
    """
    refs = [found.ref_with_look_back(hour) for hour in hours]
    if all((ref.kind, ref.reference) == (refs[0].kind, refs[0].reference) for ref in refs):
        return refs[0]
    kinds = {ref.kind for ref in refs}
    kind: SourceKind = "none" if "none" in kinds else refs[0].kind if len(kinds) == 1 else "archive+rest"
    lines = "\n".join(f"{ref.kind} {ref.reference} {ref.detail}" for ref in refs)
    return SourceRef(found.use.name, kind, hashlib.sha256(lines.encode()).hexdigest())


def heard_parity(live: LiveHours, trades: pl.DataFrame, hours: Sequence[datetime]) -> dict[datetime, StreamParity]:
    """Trade features that the collector proved whole, against those from the archive of the same minutes.

    Args:
        live: what the collector has.
        trades: `trade_features` of the archive.
        hours: hours whose aggTrades come from the archive.

    Returns:
        Per hour of which the collector has minutes, the differences by column of `trade_features`. Sums of doubles are
        compared in 12 digits.
    """
    if live.live is None:
        return {}
    proven = live.live.filter("has_agg_trades").select("timestamp")
    filed, said = (
        rows.join(proven, on="timestamp", how="semi").with_columns(cs.float().round_sig_figs(12))
        for rows in (trades, live.trades)
    )
    heard = {hour for (hour,) in proven.select(pl.col("timestamp").dt.truncate("1h")).unique().iter_rows()}
    return {hour: compare_stream(_FEATURES, filed, said, hour, hour + HOUR) for hour in hours if hour in heard}


def _parities(
    lake: Lake, symbol: str, sources: Mapping[str, StreamSources], hours: Sequence[datetime], now: datetime
) -> dict[datetime, list[StreamParity]]:
    found: dict[datetime, list[StreamParity]] = {hour: [] for hour in hours}
    revisions: list[Revision] = []
    for stream_sources in sources.values():
        parities = stream_sources.parities or _of_trades(lake, symbol, stream_sources, hours)
        for hour in hours:
            if hour in parities:
                found[hour].append(parities[hour])
                revisions += _revisions(symbol, parities[hour], now, old_source="rest")
    lake.ledger.record_revisions(revisions)
    return found


def _of_trades(
    lake: Lake, symbol: str, sources: StreamSources, hours: Sequence[datetime]
) -> dict[datetime, StreamParity]:
    """AggTrades of archives against what REST said; other streams were compared when their source was chosen."""
    if sources.use.name != AGG_TRADES.name:
        return {}
    archived = [hour for hour in hours if sources.ref(hour).kind.startswith("archive")]
    found: dict[datetime, StreamParity] = {}
    for capture in (
        lake.ledger.captures_between(symbol, AGG_TRADES.name, hours[0], hours[-1] + HOUR) if archived else []
    ):
        path = lake.files.here(capture.path)
        if capture.hour in archived and path.is_file():
            filed = read_raw(sources.by_hour[capture.hour].paths[0], AGG_TRADES, capture.hour, capture.hour + HOUR)
            found |= compare_answers(AGG_TRADES, sources.use.settle, filed, [(capture, path)])
    return found


def _revisions(symbol: str, parity: StreamParity, now: datetime, *, old_source: str) -> list[Revision]:
    return [
        Revision(
            symbol=symbol,
            stream=parity.stream,
            timestamp=cell["timestamp"],
            column=cell["column"],
            old_source=old_source,
            new_source="archive",
            old_value=cell["old"],
            new_value=cell["new"],
            noticed_at=now,
        )
        for cell in parity.differences.iter_rows(named=True)
    ]


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
