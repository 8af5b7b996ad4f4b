"""The `lake` command: what people start from a terminal.

Belongs here: the entry point, and how an error ends the process (`cli.exits`).
Does not belong here: any command (`command_table` lists them, each lives in its module).
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from lake_assets.cli.exits import Exit, exit_of
from lake_assets.cli.lazy_group import LazyCommands
from lake_assets.cli.printing import show_error
from lake_resources.errors import LakeError, StorageError, UnexpectedError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
_TRACEBACK = "--traceback"
_PROJECT = Path(__file__).resolve().parents[2]


@app.callback(cls=LazyCommands)
def lake(
    with_traceback: Annotated[
        bool, typer.Option(_TRACEBACK, help="print the traceback of an error too, for a report of a fault")
    ] = False,
) -> None:
    """A trustworthy lake of Binance data: minutes of USD-M futures, seconds and candles of spot, raw slices."""


def main() -> None:
    """Run the command; whatever goes wrong is one sentence on standard error and an exit code, never a traceback."""
    try:
        app()
    except LakeError as error:
        _end(error, error)
    except BrokenPipeError:
        # Whoever read the output has enough. What is left in the buffer has no reader, so nobody may flush it.
        sys.stdout = sys.stderr
        raise SystemExit(Exit.DONE) from None
    except OSError as error:
        from lake_resources.storage.disk import of_disk  # loads polars, which a sound start need not

        _end(of_disk("the command", error), error)
    except MemoryError as error:
        what = "there is not enough memory for it, or this process may take no more"
        _end(StorageError(what, remedy="Give it a shorter range or more memory (`ulimit -v`); nothing was lost"), error)
    except Exception as error:  # noqa: BLE001 - the one boundary of the process: a fault of ours is told as one
        _end(_fault(error), error)


def _end(told: LakeError, raised: Exception) -> None:
    if _TRACEBACK in sys.argv[1:]:
        traceback.print_exception(raised)
    show_error(told)
    raise SystemExit(exit_of(told)) from None


def _fault(error: Exception) -> UnexpectedError:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_PROJECT)] or frames
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "start"
    return UnexpectedError(
        f"{type(error).__name__} at {place}: {error}",
        remedy=f"This is a fault of minute-lake: please report it with what `lake {_TRACEBACK} …` prints",
    )
