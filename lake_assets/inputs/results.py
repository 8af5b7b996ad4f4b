"""What a build of hours or days tells its caller.

Belongs here: the typed outcome of one hour and of one archive file.
Does not belong here: how they are produced, how they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

import polars as pl

from lake_assets.validation.outcome import CheckOutcome
from lake_resources.storage.provenance import SourceRef

HourStatus = Literal["committed", "unchanged", "kept_better", "quarantined", "source_missing", "not_yet"]


@dataclass(frozen=True)
class HourResult:
    """Outcome of building one hour of the minute table.

    Attributes:
        hour: start of the hour, UTC.
        status: `committed`, `unchanged` (same bytes are there already), `kept_better` (what was committed came from
            better sources and stays), `quarantined` (the gate refused the rows), `source_missing` (a required stream
            has no source), `not_yet` (no minute of the hour is old enough, or the symbol is not
            traded then).
        reason: why, for every status but `committed`.
        path: the committed file, or the quarantined one.
        row_count, expected_rows: minutes in the file, minutes that must exist by now.
        content_hash: sha256 of the file.
        sources: where each stream came from.
        outcomes: check results of the hour.
        frame: the rows, for pictures; None when nothing was built.
    """

    hour: datetime
    status: HourStatus
    reason: str = ""
    path: Path | None = None
    row_count: int = 0
    expected_rows: int = 0
    content_hash: str = ""
    sources: Mapping[str, SourceRef] = field(default_factory=dict)
    outcomes: tuple[CheckOutcome, ...] = ()
    frame: pl.DataFrame | None = None

    @property
    def present(self) -> bool:
        """Whether a committed file of this hour exists after the build."""
        return self.status in {"committed", "unchanged", "kept_better"}

    @property
    def failed(self) -> bool:
        """Whether a person has to look at it."""
        return self.status in {"quarantined", "source_missing"}


ArchiveStatus = Literal["ingested", "unchanged", "republished", "not_published", "failed"]


@dataclass(frozen=True)
class ArchiveResult:
    """Outcome of one archive file.

    Attributes:
        stream, symbol, period: which file.
        status: `ingested`, `unchanged` (checksum as before), `republished` (another checksum: both vintages are kept),
            `not_published` (not there, or not yet: no error of the lake), `failed`.
        message: what was found, for `not_published` and `failed`; else what of the file is damaged and was left out.
        path, row_count, sha256, url: the typed file and what it was made from.
    """

    stream: str
    symbol: str
    period: str
    status: ArchiveStatus
    message: str = ""
    path: Path | None = None
    row_count: int = 0
    sha256: str = ""
    url: str = ""

    @property
    def present(self) -> bool:
        """Whether a typed file of this period exists after the run."""
        return self.status in {"ingested", "unchanged", "republished"}


@dataclass(frozen=True)
class DayResult:
    """Outcome of building hours of one UTC day: the hours, and the archive files that were fetched for them."""

    hours: tuple[HourResult, ...]
    archives: tuple[ArchiveResult, ...]
