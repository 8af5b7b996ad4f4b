"""What NautilusTrader's own catalog reads of an export: `python -m lake_tests.bench.read_as_nautilus DIRECTORY`.

Belongs here: its unchanged catalog, and a line of JSON. Does not belong here: anything of the lake. Runs in an
environment with nautilus_trader.
"""

from __future__ import annotations

import json
import sys
from decimal import Decimal

from nautilus_trader.persistence.catalog import ParquetDataCatalog


def main() -> None:
    """Read all bars; print their type, how many they are, times and exact sums."""
    bars = ParquetDataCatalog(sys.argv[1]).bars()
    found = {
        "types": sorted({str(bar.bar_type) for bar in bars}),
        "rows": len(bars),
        "first": bars[0].ts_init,
        "last": bars[-1].ts_init,
        "open": str(sum((bar.open.as_decimal() for bar in bars), Decimal())),
        "close": str(sum((bar.close.as_decimal() for bar in bars), Decimal())),
        "volume": str(sum((bar.volume.as_decimal() for bar in bars), Decimal())),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
