"""What freqtrade's own loaders read of an export: `… -m lake_tests.bench.read_as_freqtrade DIRECTORY PAIR TIMEFRAME`.

Belongs here: its unchanged data handlers, and a line of JSON. Does not belong here: anything of the lake. Runs in an
environment with freqtrade.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from freqtrade.data.history import get_datahandler
from freqtrade.enums import CandleType, TradingMode


def main() -> None:
    """Read candles, mark and funding in both forms; print rows, times and sums of each."""
    directory, pair, timeframe = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    kinds = {CandleType.FUTURES: timeframe, CandleType.MARK: "1h", CandleType.FUNDING_RATE: "1h"}
    found = {}
    for form in ("feather", "json"):
        handler = get_datahandler(directory, form)
        for kind, step in kinds.items():
            rows = handler.ohlcv_load(pair, step, kind, fill_missing=False, drop_incomplete=False, warn_no_data=False)
            found[f"{form} {kind.value}"] = {
                "rows": len(rows),
                "first": rows["date"].iloc[0].isoformat(),
                "last": rows["date"].iloc[-1].isoformat(),
                # Newer versions keep the rate alone of a settlement.
                **{name: float(rows[name].sum()) for name in ("open", "close", "volume") if name in rows},
            }
        listed = handler.ohlcv_get_available_data(directory, TradingMode.FUTURES)
        found[f"{form} pairs"] = sorted({each[0] for each in listed})
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
