"""An observer of the collector that makes nothing of what it sees; tests override the part they are about."""

from __future__ import annotations

from collections.abc import Callable

from lake_resources.binance.ws.frames import Frame


class SilentObserver:
    def feed(self, frame: Frame) -> None:
        pass

    def checkpoint(self, symbol: str) -> bytes | None:
        return None

    @property
    def pressing(self) -> bool:
        return False

    def work(self) -> Callable[[], None] | None:
        return None

    def finish(self) -> Callable[[], None] | None:
        return None
