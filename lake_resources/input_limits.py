"""What a stranger can make this machine hold or wait for: one object with every limit.

Belongs here: the limits, their units, and defaults far above anything that was ever published or answered.
Does not belong here: keeping to them (`http`, `binance.archives`, `binance.rest.answers`, the collector's sockets).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class InputLimits(BaseModel):
    """Limits on what comes from outside; whatever passes one ends in an error of the tree. Instances are frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    download_bytes: int = Field(
        4 * GIB, gt=0, description="Bytes of one archive of single events (largest real day: about 1 GB)."
    )
    grid_download_bytes: int = Field(
        256 * MIB, gt=0, description="Bytes of one archive of a grid, such as klines (real: below 10 MB)."
    )
    download_s: float = Field(6 * 3600.0, gt=0, description="Seconds that one download may take as a whole.")
    inflated_bytes: int = Field(64 * GIB, gt=0, description="Bytes that one zip may inflate to.")
    inflated_times: int = Field(
        100, gt=0, description="How many times its own size a zip may inflate to, above 64 MiB (real: below 15)."
    )
    members: int = Field(1000, gt=0, description="Entries in a zip's directory; one of them may be a file.")
    rows: int = Field(1_000_000_000, gt=0, description="Rows of one archive of single events.")
    grid_rows: int = Field(10_000_000, gt=0, description="Rows of one archive of a grid (a month of seconds: 2.7 M).")
    unordered_rows: int = Field(
        400_000,
        gt=0,
        description="Rows of an archive out of order that are sorted in memory; more go over the disk.",
    )
    line_bytes: int = Field(64 * KIB, gt=0, description="Bytes of one line of a CSV (real: below 300).")
    metrics_bytes: int = Field(
        4 * MIB, gt=0, description="Bytes of the CSV of one `metrics` archive, read at once (real: 35 kB)."
    )
    answer_bytes: int = Field(
        16 * MIB, gt=0, description="Bytes of one REST answer, packed and unpacked (largest real one: 1.7 MB)."
    )
    answer_values: int = Field(
        300_000, gt=0, description="Commas and brackets of one REST answer (real: below 60,000)."
    )
    answer_s: float = Field(120.0, gt=0, description="Seconds that one REST answer or CHECKSUM may take as a whole.")
    frame_bytes: int = Field(1 * MIB, gt=0, description="Bytes of one WebSocket frame (real: below 300 kB).")
    slow_s: float = Field(
        60.0, gt=0, description="A transfer that takes longer must have brought `slowest_bytes_per_s` on average."
    )
    slowest_bytes_per_s: int = Field(4 * KIB, gt=0, description="Bytes per second; slower transfers are given up.")


DEFAULT_LIMITS = InputLimits()
CHECKSUM_BYTES = 4 * KIB
"""A CHECKSUM has about 100 bytes."""
INFLATION_FREE_BYTES = 64 * MIB
"""So much a zip may always inflate to: short files of equal lines pack far better than real ones."""
HEADER_BYTES = 100 * 64 * KIB
"""Headers of one answer: the standard library reads 100 lines of 64 KiB and no more."""
