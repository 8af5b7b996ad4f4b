"""The way of one hour through the code, from the zips of its archives to the rows of its checks.

Belongs here: following a real build, and what counts as a stop. Does not belong here: how short the way must be
(`test_walk`), how long the build takes.

An hour of the minute table, with its seven streams, is built from zips of the simulated exchange. Of each function of
the product that is called while that happens it is noted whether the hour itself passes through it: whether it takes a
zip, or takes or gives rows (a frame, a series, an Arrow table, none of them empty) or outcomes of checks, also deep
inside of a record or collection. A function counts where it is called first: the seven streams go one way, not seven.

- A **file** is crossed where the hour passes through one of its functions.
- A **stop** is a run of such functions in one file; a **return** is a stop in a file that was left before.
- A **zigzag** is a call back into a file that waits for the answer of the one that calls.

Everything else that runs - declarations, names of files, the ledger's rows, hashing, locks, the exchange's client - is
asked on the way and holds nothing of the hour. Its files are counted apart.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import polars as pl
import pyarrow as pa

from lake_assets.validation.outcome import CheckOutcome
from lake_tests.support.simulated_lake import DAY, HOUR, PUBLISHED, Bench, bench_on, exchange

PROJECT = Path(__file__).resolve().parents[2]
PRODUCT = (f"{PROJECT}/lake_assets/", f"{PROJECT}/lake_resources/")
_ROWS = (pl.DataFrame, pl.Series, pa.Table)
_DEEP = 4
"""How far inside of records and collections the hour is looked for."""
_LOOKED_AT = 3
"""Elements of one collection that are looked at."""


@dataclass(frozen=True)
class Door:
    """One function, where the way enters it for the first time.

    Attributes:
        file: below the project.
        name: qualified, of the function.
        passed: the hour passes through it.
        zigzag: the file that calls it waits for an answer of the file that it lies in, and that one for the caller.
    """

    file: str
    name: str
    passed: bool
    zigzag: bool


@dataclass(frozen=True)
class Walk:
    """The way of one hour.

    Attributes:
        doors: all functions that were called, in the order of their first call.
    """

    doors: tuple[Door, ...]

    @property
    def stops(self) -> list[tuple[str, list[str]]]:
        """File and functions of each stop, in order."""
        found: list[tuple[str, list[str]]] = []
        for door in self.doors:
            if door.passed and found and found[-1][0] == door.file:
                found[-1][1].append(door.name)
            elif door.passed:
                found.append((door.file, [door.name]))
        return found

    @property
    def files(self) -> list[str]:
        """Files that the hour crosses, in order."""
        return list(dict.fromkeys(file for file, _ in self.stops))

    @property
    def returns(self) -> int:
        """Stops in a file that was left before."""
        return len(self.stops) - len(self.files)

    @property
    def zigzags(self) -> list[str]:
        """Functions of the way that are called back."""
        return [f"{door.file}: {door.name}" for door in self.doors if door.passed and door.zigzag]

    @property
    def asked(self) -> list[str]:
        """Files that are asked on the way, and hold nothing of the hour."""
        return sorted({door.file for door in self.doors} - set(self.files))


class _Follower:
    """Takes the interpreter's reports of calls and returns."""

    def __init__(self) -> None:
        self.passed: dict[tuple[str, str], bool] = {}
        self.zigzag: set[tuple[str, str]] = set()

    def __call__(self, frame: FrameType, event: str, given: Any) -> None:
        door = _door(frame)
        if door is None or event not in ("call", "return"):
            return
        if event == "call":
            code = frame.f_code
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            taken = [frame.f_locals.get(name) for name in names if name != "self"]
            carries = any(_is_zip(each) or _carries(each, _DEEP) for each in taken)
            callers = [caller[0] for caller in _callers(frame)]
            if callers and callers[0] != door[0] and door[0] in callers:
                self.zigzag.add(door)
        else:
            carries = _carries(given, _DEEP)
        self.passed[door] = self.passed.get(door, False) or carries

    def walk(self) -> Walk:
        """What was seen."""
        return Walk(tuple(Door(*door, passed, door in self.zigzag) for door, passed in self.passed.items()))


def _door(frame: FrameType) -> tuple[str, str] | None:
    path = frame.f_code.co_filename
    if not path.startswith(PRODUCT) or "/simulator/" in path:
        return None
    return path.removeprefix(f"{PROJECT}/"), frame.f_code.co_qualname


def _callers(frame: FrameType) -> Iterator[tuple[str, str]]:
    """Functions of the product that wait for this one, the nearest first."""
    at = frame.f_back
    while at is not None:
        if (door := _door(at)) is not None:
            yield door
        at = at.f_back


def _is_zip(value: Any) -> bool:
    return isinstance(value, Path) and value.suffix == ".zip"


def _carries(value: Any, deep: int) -> bool:
    """Whether something holds rows or outcomes of checks."""
    if isinstance(value, (pl.LazyFrame, CheckOutcome)):
        return True
    if isinstance(value, _ROWS):
        # Of an hour that nobody collected, the frame of what was collected has columns and holds nothing.
        return len(value) > 0
    if not deep:
        return False
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(_carries(each, deep - 1) for each in list(value)[:_LOOKED_AT])
    if isinstance(value, dict):
        return any(_carries(each, deep - 1) for each in list(value.values())[:_LOOKED_AT])
    if is_dataclass(value) and not isinstance(value, type):
        return any(_carries(getattr(value, each.name, None), deep - 1) for each in fields(value))
    return False


@contextmanager
def _following(follower: Callable[[FrameType, str, Any], None]) -> Iterator[None]:
    before = sys.getprofile()
    sys.setprofile(follower)
    try:
        yield
    finally:
        sys.setprofile(before)


def follow(bench: Bench, *, ask_rest: bool) -> Walk:
    """Build one hour of which nothing is in the lake yet, and follow it.

    Args:
        bench: an empty lake on an exchange whose archives are published.
        ask_rest: REST is asked for what no archive has yet; without it zips are all there is.
    """
    bench.lake = replace(bench.lake, ask_rest=ask_rest)
    follower = _Follower()
    with _following(follower):
        (built,) = bench.build([DAY + 5 * HOUR])
    assert built.status == "committed", built
    assert built.outcomes
    return follower.walk()


def main() -> None:
    """Write both ways to standard output."""
    with exchange() as sim:
        for ask_rest in (False, True):
            with tempfile.TemporaryDirectory() as root, bench_on(sim, Path(root)) as bench:
                walk = follow(bench.at(PUBLISHED), ask_rest=ask_rest)
            stops = [f"  {file}: {', '.join(names)}" for file, names in walk.stops]
            counts = f"{len(walk.files)} files, {len(walk.stops)} stops, {walk.returns} returns"
            lines = [
                "archives and REST:" if ask_rest else "archives alone:",
                *stops,
                f"  {counts}, {len(walk.zigzags)} zigzags",
                f"  {len(walk.asked)} further files are asked on the way",
            ]
            sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
