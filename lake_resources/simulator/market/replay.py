"""A market made from real klines.

Belongs here: the fills of planned minutes, their times and ids, as a `Market`. The bars of the file are served as
they are; trades are derived so that they add up to them. Outside the file's range, and in minutes that it lacks,
the symbol does not trade at all. Does not belong here: reading files, planning minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lake_resources.simulator.market.bars import Bars
from lake_resources.simulator.market.replay_file import KlineFile, read_klines
from lake_resources.simulator.market.replay_minutes import fill_unknown, minutes_of_hours
from lake_resources.simulator.market.replay_plan import CLOSE, OPEN, RUN, Plan, plan_minutes
from lake_resources.simulator.market.rng import Floats, Ints, Rng
from lake_resources.simulator.market.specs import spec_of
from lake_resources.simulator.market.trades import MERGE_WINDOW_MS, MINUTE_MS, Trades


def load(
    paths: Sequence[Path], symbol: str, *, interval: str | None = None, seed: int = 7, rate_per_min: float = 15.0
) -> ReplayMarket:
    """The market of kline files.

    Args:
        paths: CSV files, see `read_klines`.
        symbol: the symbol they become.
        interval: `1m` or `1h`, None to find out.
        seed: seed of what the bars leave open.
        rate_per_min: mean aggregates per minute where the file counts no trades.

    Raises:
        ValueError: a file that cannot be read as klines.
    """
    return ReplayMarket(symbol, read_klines(paths, interval), seed, rate_per_min=rate_per_min)


class ReplayMarket:
    """Bars of a file, with trades that add up to them.

    Args:
        symbol: name of the symbol.
        file: its bars.
        seed: seed of what the bars leave open.
        rate_per_min: mean aggregates per minute where the file counts no trades.
    """

    def __init__(self, symbol: str, file: KlineFile, seed: int, *, rate_per_min: float = 15.0) -> None:
        level = float(np.median(file.bars.close)) / 10**file.price_digits
        self.spec = replace(
            spec_of(symbol),
            base_price=level,
            price_digits=file.price_digits,
            tick=1,
            quantity_digits=file.quantity_digits,
        )
        self._rng = Rng(seed, f"{symbol}/replay")
        self.hours: Bars | None = None
        minutes = file.bars
        if file.interval == "1h":
            hours = file.bars if file.full else fill_unknown(file.bars, self._rng, 2 * rate_per_min)
            minutes = minutes_of_hours(hours, self._rng)
            self._plan = plan_minutes(minutes, self._rng)
            minutes = _with_quotes(minutes, self._plan)
            self.hours = hours if file.full else _with_hour_quotes(hours, minutes)
        else:
            self._plan = plan_minutes(minutes, self._rng)
        self._minutes = minutes
        self._minute = minutes.open_ms // MINUTE_MS
        self.first_minute = int(self._minute[0])
        self.end_minute: int | None = int(self._minute[-1]) + 1
        joined = np.concatenate([[0], self._plan.straddles[:-1]]).astype(np.int64)
        self._aggs_before = np.concatenate([[0], np.cumsum(self._plan.runs - joined)])
        self._fills_before = np.concatenate([[0], np.cumsum(self._plan.count.sum(axis=1))])

    @property
    def exact_quotes(self) -> float:
        """Share of the minutes whose fills give the quote volume to the last digit."""
        told = (self._plan.volume * self._plan.price).sum(axis=1)
        return float((told == self._minutes.quote).mean())

    def agg_count(self, minute: int) -> int:
        """How many aggregates came before a minute."""
        return int(self._aggs_before[int(np.searchsorted(self._minute, minute))])

    def minute_of_agg(self, agg_id: int) -> int:
        """Minute of the aggregate with this id; the last minute for ids that do not exist yet."""
        row = int(np.searchsorted(self._aggs_before, agg_id, side="left")) - 1
        return int(self._minute[min(max(row, 0), len(self._minute) - 1)])

    def bars(self, start_minute: int, end_minute: int) -> Bars:
        """Minute bars of [start, end), the file's own."""
        return self._minutes.between(start_minute * MINUTE_MS, end_minute * MINUTE_MS)

    def mid(self, time_ms: Ints) -> Floats:
        """A straight line from open to close of each minute; flat where the file has no bar."""
        row = np.clip(np.searchsorted(self._minutes.open_ms, time_ms, side="right") - 1, 0, len(self._minute) - 1)
        share = np.clip((time_ms - self._minutes.open_ms[row]) / MINUTE_MS, 0.0, 1.0)
        price = self._minutes.open[row] * (1 - share) + self._minutes.close[row] * share
        return np.asarray(price / 10**self.spec.price_digits)

    def trades(self, start_minute: int, end_minute: int) -> Trades:
        """All aggregates whose time lies in the minutes [start, end), with all their fills."""
        first, end = (int(at) for at in np.searchsorted(self._minute, [start_minute, max(start_minute, end_minute)]))
        # The minute before may hold the beginning of the first order, the one after the end of the last.
        low, high = max(first - 1, 0), min(end + 1, len(self._minute))
        built = self._build(low, high)
        wanted = (built.agg_id > self._aggs_before[first]) & (built.agg_id <= self._aggs_before[end])
        return built.aggregates(wanted)

    def _build(self, low: int, high: int) -> Trades:
        plan = self._plan
        count = plan.count[low:high].ravel()
        group = np.repeat(np.arange(len(count)), count)
        in_group = np.arange(len(group)) - np.repeat(np.cumsum(count) - count, count)
        row, kind = group // 8, group % 8
        minute = self._minute[low:high][row]
        key = self._rng.uniform("order", (minute * 8 + kind) * 100_000 + in_group // RUN)
        key = np.where(kind == OPEN, -1.0, np.where(kind == CLOSE, 2.0, key))
        quantity = self._quantities(group, count, minute, kind, in_group, plan.volume[low:high].ravel())
        order = np.lexsort((in_group, kind, key, row))
        group, row, kind, in_group, minute = (each[order] for each in (group, row, kind, in_group, minute))
        quantity = quantity[order]

        starts = in_group % RUN == 0
        run = np.cumsum(starts) - 1
        runs = plan.runs[low:high]
        in_minute = run - np.repeat(np.cumsum(runs) - runs, plan.count[low:high].sum(axis=1))
        noise = self._rng.uniform("time", minute * 100_000 + in_minute)
        offset = MERGE_WINDOW_MS + np.floor((in_minute + noise) / runs[row] * (MINUTE_MS - 3 * MERGE_WINDOW_MS))
        before = np.concatenate([plan.straddles[low - 1 : low] if low else [False], plan.straddles[low : high - 1]])
        joined = (kind == OPEN) & before[row]
        leaves = (kind == CLOSE) & plan.straddles[low:high][row]
        late, early = self._rng.below("late", minute, 38), 1 + self._rng.below("early", minute, 60)
        offset = np.where(joined, late, np.where(leaves, MINUTE_MS - early, offset)).astype(np.int64)
        time = minute * MINUTE_MS + offset
        # An open that goes on with the order of the minute before opens no aggregate of its own.
        begins = starts & ~joined
        begins[:1] = True
        agg = np.cumsum(begins) - 1
        head = np.flatnonzero(begins)
        # The very first fill may belong to an order before `low`; its aggregate then has the id before.
        joined_first = int(bool(len(joined)) and bool(joined[0]))
        agg_id = int(self._aggs_before[low]) + 1 - joined_first + np.arange(len(head))
        fill_id = int(self._fills_before[low]) + 1 + np.arange(len(group))
        size = np.diff(np.append(head, len(group)))
        flat = plan.price[low:high].ravel()[group]
        maker = plan.buyer_maker[low:high].ravel()[group]
        total = np.add.reduceat(quantity, head) if len(head) else quantity
        return Trades(
            agg_id, time[head], flat[head], total, fill_id[head], fill_id[head] + size - 1, maker[head],
            fill_id, time, quantity, agg,
        )  # fmt: skip

    def _quantities(self, group: Ints, count: Ints, minute: Ints, kind: Ints, in_group: Ints, volume: Ints) -> Ints:
        """Split each group's volume among its fills, each at least one unit."""
        if not len(group):
            return group
        weight = 1 + (self._rng.uniform("size", (minute * 8 + kind) * 100_000 + in_group) ** 6 * 1000).astype(np.int64)
        cumulated = np.cumsum(weight)
        first = np.cumsum(count) - count
        base = np.concatenate([[0], cumulated])[first[group]]
        total = np.add.reduceat(weight, first[count > 0])
        totals = np.zeros(len(count), np.int64)
        totals[count > 0] = total
        spare = (volume - count)[group]
        upto = spare * (cumulated - base) // totals[group]
        below = spare * (cumulated - weight - base) // totals[group]
        return np.asarray(1 + upto - below)


def _with_quotes(minutes: Bars, plan: Plan) -> Bars:
    """Minute bars with the quote volumes that their planned fills give."""
    value = plan.volume * plan.price
    return replace(minutes, quote=value.sum(axis=1), taker_quote=(value * ~plan.buyer_maker).sum(axis=1))


def _with_hour_quotes(hours: Bars, minutes: Bars) -> Bars:
    return replace(
        hours,
        quote=minutes.quote.reshape(-1, 60).sum(axis=1),
        taker_quote=minutes.taker_quote.reshape(-1, 60).sum(axis=1),
    )
