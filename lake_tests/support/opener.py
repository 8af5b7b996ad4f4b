"""Dagster's resources `lake` and `feed` in tests: what is opened is the test's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Opener:
    """Opens what `opening` gives: the lake or feed that the test holds, or one that is opened each time."""

    opening: Callable[[], Any]

    def open(self) -> Any:
        """The lake, or the feed."""
        return self.opening()
