"""Closes as a line that is broken where a row lacks: nothing is drawn across a hole.

Belongs here: that one drawing. Does not belong here: rows, candles (`component`).
"""

from __future__ import annotations

from datetime import timedelta

import altair as alt
import polars as pl

_LINE, _OPEN = "#2962ff", "#9e9e9e"
_MOST = 6_000
"""Points that a line is drawn of, about: of a longer one every so-many-th, and the ends of its pieces."""


def closes_line(rows: pl.DataFrame, time: str, step: timedelta) -> alt.LayerChart | alt.FacetChart:
    """The line; rows whose `is_final` is false are grey points.

    Args:
        rows: `time` (UTC), `close` and, where they may still change, `is_final`, in order; a NULL close is no point.
        time: name of the column of time.
        step: distance of two rows without a hole between them.
    """
    known = rows.filter(pl.col("close").is_not_null())
    final = pl.col("is_final") if "is_final" in known.columns else pl.lit(value=True)
    broken = pl.col(time).diff() > step
    plain = known.select(
        time=pl.col(time).dt.epoch("ms"), close="close", piece=broken.fill_null(value=False).cum_sum(), final=final
    )
    if plain.height > _MOST:
        # The end of each span, and both ends of every piece: no hole is too short to be seen.
        ends = (pl.col("piece") != pl.col("piece").shift(-1)) | (pl.col("piece") != pl.col("piece").shift(1))
        nth = pl.int_range(pl.len()) % -(-plain.height // _MOST) == 0
        plain = plain.filter(nth | ends.fill_null(value=True) | ~pl.col("final"))
    axes = {
        "x": alt.X("time:T", title="UTC", scale=alt.Scale(type="utc")),
        "y": alt.Y("close:Q", title=None, scale=alt.Scale(zero=False)),
    }
    told = [
        alt.Tooltip("time:T", title="UTC", timeUnit="utcyearmonthdatehoursminutes"),
        alt.Tooltip("close:Q"),
        alt.Tooltip("final:N"),
    ]
    values = plain.to_dicts()
    line = alt.Chart(alt.InlineData(values=values)).mark_line(color=_LINE, strokeWidth=1.5, point=plain.height < 100)
    open_ = alt.Chart(alt.InlineData(values=[each for each in values if not each["final"]]))
    return alt.layer(
        line.encode(**axes, detail="piece:N", tooltip=told),
        open_.mark_point(color=_OPEN, filled=True, size=40).encode(**axes, tooltip=told),
    )
