"""Testing mode: which settings it changes, so that the whole platform is seen at work in minutes, away from real data.

Belongs here: its own settings, and what each other setting becomes. Does not belong here: starting anything, the
summary at the end (`lake_assets.local_stack`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from lake_resources.errors import SettingsError

if TYPE_CHECKING:
    from lake_resources.settings import LakeSettings

TEST_LABEL = "MODE: TEST"
"""Stands in every report of a platform in testing mode."""
BELOW = "test"
"""Directory of the testing root below the lake's own."""
_SPEED = 30
"""What happens hourly happens every second minute; other intervals are shortened alike."""
_SHORTEST_S = 10
_PORTS = ("webserver_port", "dashboard_port", "simulator_port")
_PLACES = ("feed_duckdb", "feed_persist_dir", "slices_root", "governor_path")
"""Places that may be set by themselves; in testing mode each is below the testing root."""


_DECIDED = (
    "root", "ledger_url", "store_url", "hot_interval_s", "heal_interval_s", "promote_interval_s", "heal_days",
    "macro_first_days", "macro_look_back_days", "spot_raw_dir",
)  # fmt: skip


class CompressedTimes(BaseModel):
    """The settings of testing mode, by the names of the crypto-lake's section `testing`. Instances are frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(False, description="Testing mode for every command, as `lake up --testing` is it for one.")
    base_path: Path | None = Field(None, description="Root of testing mode; default `test` below the lake's root.")
    transform_interval_min: int = Field(2, ge=1, le=59, description="Minutes between two runs of what is hourly.")
    macro_interval_min: int = Field(1, ge=1, le=59, description="Minutes between two runs of macro minutes.")
    macro_lookback_startup_days: int = Field(1, ge=1, le=29, description="Stands for `LAKE_MACRO_FIRST_DAYS`.")
    macro_runtime_lookback_days: int = Field(1, ge=1, le=29, description="Stands for `LAKE_MACRO_LOOK_BACK_DAYS`.")
    backfill_days: int = Field(
        3, ge=1, le=3650, description="Days of history at most: of `LAKE_HEAL_DAYS`, and of a backfill by `--days`."
    )
    first_build_s: float = Field(120.0, ge=0, description="Seconds after the start at which a build is forced.")
    port_shift: int = Field(100, ge=0, le=10_000, description="Added to the ports of web UI, dashboard and simulator.")
    applied: bool = Field(False, description="Settings are those of testing mode already; `lake up` tells it its own.")

    @property
    def changed(self) -> frozenset[str]:
        """Names of the settings whose value testing mode decides."""
        return frozenset({*_PLACES, *_PORTS, *_DECIDED})

    def labelled(self, page: str) -> str:
        """A page of Markdown with the label of testing mode below its heading; as it is outside of that mode."""
        heading, _, rest = page.partition("\n")
        return f"{heading}\n\n{TEST_LABEL}\n{rest}" if self.enabled else page

    def changes(self, settings: LakeSettings) -> dict[str, Any]:
        """The settings that testing mode has in place of others, by name; none where it is off or was applied before.

        Args:
            settings: as they were given.

        Raises:
            SettingsError: the testing root would hold the lake's own root, or the weight governor, which testing has to
                share because the exchange counts by address, lies among the lake's data.
        """
        if not self.enabled or self.applied:
            return {}
        production = settings.lake_root
        root = (self.base_path or production / BELOW).resolve()
        if production == root or production.is_relative_to(root):
            raise SettingsError(
                f"LAKE_TESTING__BASE_PATH {str(root)!r} holds the lake's own root",
                remedy="Give it a directory of its own",
            )
        governor = settings.governor_path
        shared = governor if settings.exchange == "binance" else None
        if shared is not None and shared.is_relative_to(production):
            raise SettingsError(
                f"LAKE_GOVERNOR_PATH {str(shared)!r} lies in the lake's root, which testing mode never writes to",
                remedy="Move the governor's file elsewhere, or leave the setting empty",
            )
        shortened = {
            name: min(given, max(_SHORTEST_S, given // _SPEED))
            for name in ("heal_interval_s", "promote_interval_s")
            for given in (getattr(settings, name),)
        }
        return {
            **dict.fromkeys(_PLACES),
            **{name: getattr(settings, name) + self.port_shift for name in _PORTS},
            **shortened,
            "root": root,
            "ledger_url": "",
            "store_url": "",
            "spot_raw_dir": settings.spot_raw_dir and root / settings.spot_raw_dir.name,
            "governor_path": shared,
            "hot_interval_s": min(settings.hot_interval_s, self.transform_interval_min * 60),
            "heal_days": min(settings.heal_days, self.backfill_days),
            "macro_first_days": self.macro_lookback_startup_days,
            "macro_look_back_days": self.macro_runtime_lookback_days,
            "testing": self.model_copy(update={"base_path": root, "applied": True}),
        }
