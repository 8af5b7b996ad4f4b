"""The one verdict on an hour: what its checks and the evidence on its sources come to.

Belongs here: the verdict as a pure function, its form in the ledger, what of it counts as clean, and the check
`source_coverage`: which streams had a source. Does not belong here: finding the evidence (`inputs`), other checks.
Nobody else judges an hour.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

import polars as pl

from lake_assets.schema.check_spec import CheckSpec
from lake_assets.schema.known_damage import Damage
from lake_assets.schema.table import Table
from lake_assets.validation.outcome import TRADES_VS_KLINES, CheckOutcome, outcome, outcomes_from_json
from lake_assets.validation.rules import all_excused, in_hole
from lake_resources.binance.um_streams import AGG_TRADES
from lake_resources.known_hole import BY_LISTING, KnownHole

VerdictKind = Literal["clean", "explained", "provisional", "unproven", "partial", "contradicted"]
"""From the best to the worst. `clean`: every minute of every stream is proven. `explained`: what is missing is a known
hole. `provisional`: it may still change. `unproven`: there are values that nothing speaks for or against. `partial`: a
stream lacks minutes, which are NULL. `contradicted`: two sources say what cannot both be true."""

CLEAN: frozenset[str] = frozenset({"clean", "explained"})
"""What passes where clean data are asked for."""
EVIDENCE = "evidence"
"""Name of the check that holds the verdict."""
BARS_DIFFER = "prices or taker volumes differ from the trades that they count"
"""What is said of klines against the fold of their trades."""
_MOST_TEXTS = 6


@dataclass(frozen=True)
class Verdict:
    """What an hour is worth, and why: one text per reason, each naming the stream."""

    kind: VerdictKind
    reasons: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Kind and reasons in one line."""
        return f"{self.kind}: {'; '.join(self.reasons)}" if self.reasons else self.kind


@dataclass(frozen=True)
class Reason:
    """One thing that keeps an hour from being clean."""

    kind: VerdictKind
    text: str


def hour_verdict(outcomes: Sequence[CheckOutcome], evidence: Collection[Reason], *, closed: bool) -> Verdict:
    """The verdict on an hour: the worst of its reasons.

    Args:
        outcomes: what the checks said about its rows.
        evidence: what is known of its sources.
        closed: all its minutes must exist by now; an hour that is open is at best provisional.
    """
    found = [*evidence, *(reason for each in outcomes for reason in _of_check(each))]
    if not closed:
        # What REST said of a minute that has just ended is asked for again anyway.
        worst = [each for each in found if each.kind in ("provisional", "explained")]
        return Verdict("provisional", ("the hour is open", *(each.text for each in worst)))
    if not found:
        return Verdict("clean")
    order = get_args(VerdictKind)
    ranked = sorted(found, key=lambda each: -order.index(each.kind))
    texts = list(dict.fromkeys(each.text for each in ranked))
    shown = texts[:_MOST_TEXTS]
    if len(texts) > len(shown):
        shown.append(f"{len(texts) - len(shown)} more")
    return Verdict(ranked[0].kind, tuple(shown))


def verdict_outcome(verdict: Verdict) -> CheckOutcome:
    """The verdict as the check `evidence` of its hour."""
    passed = verdict.kind in CLEAN or verdict.kind == "provisional"
    values: dict[str, int | float | str | None] = {
        "verdict": verdict.kind,
        "reasons": "; ".join(verdict.reasons) or None,
    }
    return outcome(EVIDENCE, passed=passed, metadata=values)


def verdict_detail(verdict: Verdict, evidence: Collection[Reason]) -> str:
    """Reasons and evidence as JSON, as the ledger keeps them beside the verdict."""
    found = {"reasons": list(verdict.reasons), "evidence": evidence_text(evidence)}
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False)


def with_comparison(
    kind: str | None, detail: str | None, stream: str, difference: str | None
) -> tuple[str | None, str | None]:
    """Verdict and detail of the ledger after rows of one stream were compared with what the exchange's API says now.

    A difference contradicts the hour; what was said before is kept, and said again once no stream differs any more.

    Args:
        kind: the verdict in the ledger, None where nobody judged the hour yet.
        detail: its detail.
        stream: which rows were compared.
        difference: how both sides differ, beginning with the stream's name; None where they do not.
    """
    found = json.loads(detail or "{}")
    judged = "before_api" not in found
    before = found.pop("before_api", {"kind": kind, "reasons": found.get("reasons", [])})
    # Ledgers of before have one difference, the first of the reasons.
    told = found.pop("api", {} if judged else _by_stream(found.get("reasons", [])[:1]))
    told.pop(stream, None)
    if difference is not None:
        told[stream] = difference
    if not told:
        if before["kind"] is None:
            return None, None
        found["reasons"] = before["reasons"]
        return before["kind"], json.dumps(found, separators=(",", ":"), ensure_ascii=False)
    found |= {"reasons": [*told.values(), *before["reasons"]], "before_api": before, "api": told}
    return "contradicted", json.dumps(found, separators=(",", ":"), ensure_ascii=False)


def streams_apart(detail: str | None) -> frozenset[str]:
    """Streams of which the exchange's API was found to say otherwise after the hour was committed."""
    return frozenset(json.loads(detail or "{}").get("api", {}))


def _by_stream(reasons: Sequence[str]) -> dict[str, str]:
    return {reason.partition(":")[0]: reason for reason in reasons}


def outcomes_now(
    said: str, kind: str | None, detail: str | None, checks: Mapping[str, CheckSpec]
) -> tuple[CheckOutcome, ...]:
    """What the checks said of a committed partition, with the verdict that the ledger has of it now.

    Args:
        said: their outcomes as the ledger keeps them.
        kind: the verdict, None where nobody judged the partition yet.
        detail: its detail.
        checks: those of the table.
    """
    found = outcomes_from_json(said, checks)
    if kind is None:
        return found
    return (*(each for each in found if each.name != EVIDENCE), verdict_outcome(verdict_of(kind, detail)))


def verdict_of(kind: str, detail: str | None) -> Verdict:
    """The verdict that the ledger keeps with an hour."""
    reasons = json.loads(detail or "{}").get("reasons", ())
    return Verdict(kind, tuple(reasons))  # type: ignore[arg-type]


def evidence_told(detail: str | None) -> str:
    """The evidence that a verdict was made from, as `evidence_text` gives it."""
    return str(json.loads(detail or "{}").get("evidence", ""))


def evidence_text(evidence: Collection[Reason]) -> str:
    """What is known of the sources of an hour: with another text there is another verdict."""
    return "; ".join(f"{each.kind} {each.text}" for each in evidence)


def _of_check(check: CheckOutcome) -> list[Reason]:
    values = check.metadata
    if check.name == "continuity":
        return _of_continuity(check)
    if check.name == "required_columns" and values.get("excused"):
        return [Reason("explained", f"{values['excused']} value(s) are known holes: {values.get('excuse')}")]
    if check.name == "source_coverage":
        return _of_coverage(check)
    if check.name == TRADES_VS_KLINES and not check.passed:
        return _of_trades(values)
    if check.name == "fold_parity" and not check.passed:
        text = f"trades: their fold and the klines differ ({values['columns']}), first {values['first']}"
        return [Reason("contradicted", text)]
    if check.name == "archive_parity" and not check.passed:
        # aggTrades have a witness of their own, which says which of the two is whole; rows that only one side has are
        # no contradiction, the other fills them in.
        streams = {name.partition(".")[0] for name in str(values.get("columns") or "").split(", ")}
        others = sorted(streams - {AGG_TRADES.name, ""})
        text = f"{', '.join(others)}: archive and REST differ ({values['columns']}), first {values['first']}"
        return [Reason("contradicted", text)] if others else []
    return []


def _of_trades(values: Mapping[str, int | float | str | None]) -> list[Reason]:
    found = []
    if values.get("bars_off"):
        text = f"klines_1m: {BARS_DIFFER} in {values['bars_off']} minute(s) ({values['bar_columns']})"
        found.append(Reason("contradicted", f"{text}, first {values['first_bar']}"))
    off = abs(float(values.get("hour_difference") or 0)) > float(values.get("hour_allowance") or 0)
    if not found or values.get("minutes_off") or off:
        text = f"agg_trades: quantity {values['agg_quantity']} beside volume {values['kline_volume']} of klines_1m"
        found.append(Reason("contradicted", f"{text}, {values['minutes_off']} minute(s) off, first {values['first']}"))
    return found


def _of_continuity(check: CheckOutcome) -> list[Reason]:
    values, found = check.metadata, []
    if values.get("excused"):
        found.append(Reason("explained", f"{values['excused']} row(s) are known holes: {values.get('excuse')}"))
    if check.passed and values.get("missing"):
        # Of a table whose unknown rows are no rows: the gate let it pass, and it is not whole.
        text = f"{values['missing']} row(s) are in no source, first {values.get('first_missing')}"
        found.append(Reason("partial", text))
    return found


def _of_coverage(check: CheckOutcome) -> list[Reason]:
    values, found = check.metadata, []
    if values.get("absent_streams"):
        found.append(Reason("partial", f"no source of {values['absent_streams']}"))
    if values.get("lost_trade_minutes"):
        found.append(Reason("partial", f"agg_trades: {values['lost_trade_minutes']} minute(s) are in no source"))
    if values.get("stale_columns"):
        found.append(Reason("partial", f"minutes without a value that is recent enough: {values['stale_columns']}"))
    if values.get("excused_streams"):
        found.append(Reason("explained", f"known holes of {values['excused_streams']}"))
    return found


def source_coverage(
    table: Table,
    start: datetime,
    kinds: Mapping[str, str],
    rows: pl.DataFrame | None = None,
    *,
    holes: Sequence[KnownHole] = (),
    damage: Sequence[Damage] = (),
    never: Collection[str] = (),
) -> CheckOutcome:
    """Warn where a stream that can have a source has none, a slow series ran out, or aggTrades of minutes are nowhere.

    A stream without a source is excused by known holes of it that cover the whole partition, rows without ticks, or
    without a value that is carried, by known holes that name them. Known damage of the day excuses nothing, it is
    named.

    Args:
        table: the table that is built.
        start: start of the partition, UTC.
        kinds: kind of source per stream (`archive`, `archive+rest`, `rest`, `ws`, `none`); not listed is `none`.
        rows: the partition's rows, if the columns that are carried and those of ticks are to be looked at.
        holes: known holes of the symbol.
        damage: known damage of the symbol on that day.
        never: streams that the exchange does not have for the symbol at all.

    Returns:
        An outcome with the number of streams without a source, the rows in which a carried column is NULL, and those
        whose ticks no source has whole.
    """
    end = start + table.layout.step
    expected = [use.name for use in table.streams if use.name not in never and use.could_have_archive(start.date())]
    without = [stream for stream in expected if kinds.get(stream, "none") == "none"]
    # A first value that may come a while after a listing is no excuse for a stream that nobody was able to ask for.
    declared = [hole for hole in holes if hole.reference != BY_LISTING]
    excused = [stream for stream in without if all_excused(declared, stream, start, end)]
    absent = [stream for stream in without if stream not in excused]
    carried = [name for name in table.running_out if table.column(name).stream not in never]
    nulls = {} if rows is None else {name: rows[name].null_count() for name in carried}
    ran_out = {name: count for name, count in nulls.items() if count}
    if rows is not None and ran_out:
        known = {name: _null_in_hole(table, rows, name, holes) for name in ran_out}
        excused += sorted({table.column(name).stream for name, count in known.items() if count} - set(excused))
        ran_out = {name: count - known[name] for name, count in ran_out.items() if count > known[name]}
    ticks = {} if rows is None else _without_ticks(table, rows, kinds, holes)
    lost = sum(ticks.values())
    slow = {table.column(name).stream for name in table.running_out} if ran_out else set()
    concerned = {*without, *slow, *(stream for stream, count in ticks.items() if count)}
    metadata = {
        "streams": len(expected),
        "absent": len(absent),
        f"stale_{table.row_word}s": max(ran_out.values(), default=0),
        f"lost_trade_{table.row_word}s": lost,
        "absent_streams": ", ".join(absent) or None,
        "stale_columns": ", ".join(f"{name}: {count}" for name, count in ran_out.items()) or None,
        "excused_streams": ", ".join(excused) or None,
        "known_damage": "; ".join(each.text for each in damage if each.stream in concerned) or None,
    }
    return outcome("source_coverage", passed=not absent and not ran_out and not lost, metadata=metadata)


def _null_in_hole(table: Table, rows: pl.DataFrame, name: str, holes: Sequence[KnownHole]) -> int:
    """Rows without a value of a column that is carried, at times which known holes of its stream name."""
    inside = in_hole(holes, table.column(name).stream, table.layout.time_column)
    count: int = rows.select((pl.col(name).is_null() & inside).sum()).item()
    return count


def _without_ticks(
    table: Table, rows: pl.DataFrame, kinds: Mapping[str, str], holes: Sequence[KnownHole]
) -> dict[str, int]:
    """By stream of ticks that has a source, the rows that no source holds whole and no known hole names."""
    found = {}
    for use in table.streams:
        counted = table.of_stream(use.name, "zero")
        if use.silence == "lost" and counted and kinds.get(use.name, "none") != "none":
            absent = table.absent(counted[0].name)
            if set(absent.meta.root_names()) <= set(rows.columns):
                absent = absent & ~in_hole(holes, use.name, table.layout.time_column)
                found[use.name] = rows.select(absent.sum()).item()
    return found
