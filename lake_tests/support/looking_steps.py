"""Being asked before each step that this process takes on the disk, as a reader would look who came at that moment.

Belongs here: the steps, and calling who looks. Does not belong here: what is looked at (`looking_writer`,
`looking_tables`). The interpreter itself tells of each step (`sys.addaudithook`), so nothing of the project is
replaced, nothing sleeps, and no moment between two files is left to chance.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

NAMES = frozenset({"os.rename", "os.remove", "os.link"})
"""With a name given or taken away something appears or goes; what is written under a passing name nobody reads."""
COPIES = frozenset({"os.utime"})
"""The end of each file that is copied."""
Look = Callable[[], Any]
_looking: Look | None = None
_steps: Collection[str] = ()
_seen: list[Any] = []
_hooked = False


def _step(event: str, _arguments: tuple[object, ...]) -> None:
    global _looking
    if _looking is None or event not in _steps:
        return
    look, _looking = _looking, None
    try:
        _seen.append(look())
    finally:
        _looking = look


@contextmanager
def looking(look: Look, steps: Collection[str] = NAMES) -> Iterator[list[Any]]:
    """Look before each step that is taken inside, and once after the last; a look's own steps are none.

    Yields:
        What the looks found, in order; complete when the block has ended.
    """
    global _looking, _steps, _seen, _hooked
    if not _hooked:
        sys.addaudithook(_step)  # for the life of the process: a hook cannot be taken away
        _hooked = True
    found = _seen = []
    _looking, _steps = look, steps
    try:
        yield found
    finally:
        _looking = None
    found.append(look())
