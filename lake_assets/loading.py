"""Loading a code location: thousands of objects that stay, made without looking for garbage among them.

Belongs here: how a process loads it. Does not belong here: assembling it (`code_location`).
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collecting(*, for_good: bool = False) -> Iterator[None]:
    """Python's collector rests meanwhile: what modules and definitions make is kept, and a pass looks at all of it.

    Args:
        for_good: it stays as long as the process does, and no later pass looks at it either.
    """
    resting = not gc.isenabled()
    gc.disable()
    try:
        yield
        if for_good:
            gc.freeze()
            atexit.register(gc.unfreeze)
    finally:
        if not resting:
            gc.enable()
