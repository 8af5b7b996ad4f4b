"""Shards: which of the symbols one code location has, so that hundreds of them are several code locations.

Belongs here: reading a shard, taking its part. Does not belong here: the setting (`settings`), Dagster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lake_resources.errors import SettingsError

_MOST = 1_000


SHARDED = ("symbols", "spot_symbols", "slice_symbols", "macro_tickers")
"""Settings of which each shard has a part."""


@dataclass(frozen=True)
class Shard:
    """One of several equal parts.

    Attributes:
        number: which; the first is 1.
        of: how many there are.
    """

    number: int
    of: int

    def part_of(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Its names: every `of`-th, so that one that is appended to the list moves no other to another shard."""
        return names[self.number - 1 :: self.of]

    def parts_of(self, whole: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        """Its part of each sharded setting; of macro tickers, which are few, the first shard has all.

        Raises:
            SettingsError: there are fewer symbols than shards.
        """
        parts = {name: self.part_of(names) for name, names in whole.items()}
        parts["macro_tickers"] = whole["macro_tickers"] if self.number == 1 else ()
        if not parts["symbols"]:
            raise SettingsError(
                f"LAKE_SHARD {self.number}/{self.of} has none of {len(whole['symbols'])} symbols",
                remedy="Make fewer shards",
            )
        return parts


def parse_shard(text: str) -> Shard:
    """A shard as people write it, `3/12`; empty is the only one.

    Raises:
        SettingsError: it is none.
    """
    number, slash, count = (text.strip() or "1/1").partition("/")
    if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count) <= _MOST:
        return Shard(int(number), int(count))
    raise SettingsError(f"LAKE_SHARD {text[:20]!r} is no shard", remedy="Give for example 3/12, the third of twelve")
