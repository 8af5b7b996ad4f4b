"""`lake slices`: raw answers of the exchange in deterministic windows.

Belongs here: the command and what it prints. Does not belong here: rounds, judgement, files (`lake_assets.slices`).
"""

from __future__ import annotations

from contextlib import nullcontext
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from lake_assets.cli.exits import Exit
from lake_assets.cli.options import INSTANT, AsJson, chosen_symbols, refusing, symbol_name
from lake_assets.cli.printing import messages, show_json, terminal
from lake_assets.local_stack.lone_exchange import exchange_there
from lake_assets.slices import keeping
from lake_assets.slices.endpoints import ENDPOINTS
from lake_assets.slices.server import open_slices, run_once, start_data_server, summary
from lake_resources.clock import epoch_ms
from lake_resources.errors import SettingsError
from lake_resources.instants import parse_instant
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.slice_rows import SliceSet

app = typer.Typer()
_USUAL, _BY_ID = "1m", "id"
_DATES = range(10**6, 10**8)
"""Numbers that are a date in the basic form (2024-031 or 2024-01-31 without hyphens); as epoch ms, hours of 1970."""


class SliceAction(StrEnum):
    """What is done with the slices."""

    RUN = "run"
    SHOW = "show"
    VERIFY = "verify"
    REBUILD = "rebuild"
    PACK = "pack"
    IMPORT = "import"


_ASKING = frozenset({SliceAction.RUN, SliceAction.REBUILD, SliceAction.IMPORT})
"""Actions that ask the exchange, if only how far its time is."""


def _symbol_or_directory(text: str) -> str:
    """A symbol as it is written, or the path of a directory, which no symbol looks like or which is there."""
    return text if "/" in text or Path(text).is_dir() else symbol_name(text)


@refusing
def _position(text: str) -> int | datetime:
    """Where slices begin: a number as it is, else an instant.

    Raises:
        SettingsError: it is neither.
    """
    return int(text) if text.isascii() and text.isdigit() else parse_instant(text)


def _counted(first: int | datetime | None, of: SliceSet) -> int | None:
    """The position by which the slices of a set are counted.

    Raises:
        SettingsError: they are counted by ids, and an instant is given; or digits that look like a date are none.
    """
    by_id = of.interval == _BY_ID
    if isinstance(first, int) and not by_id and first in _DATES:
        first = parse_instant(str(first))
    if not isinstance(first, datetime):
        return first
    if by_id:
        raise SettingsError(f"slices of {of.endpoint} are counted by ids, not by time", remedy="Give --first as an id")
    return epoch_ms(first)


Names = Annotated[
    list[str] | None,
    typer.Argument(
        parser=_symbol_or_directory,
        metavar="SYMBOLS",
        help="symbols, default those of LAKE_SYMBOLS; import: the tree's directory, then symbols, default all in it",
        show_default=False,
    ),
]


@app.command()
def slices(
    action: Annotated[SliceAction, typer.Argument(help="run, show, verify, rebuild, pack or import")],
    symbols: Names = None,
    endpoint: Annotated[str, typer.Option(help=" or ".join(ENDPOINTS))] = "klines",
    interval: Annotated[
        str | None,
        typer.Option(
            help="1m or 1s of klines, 1h of fundingRate, id of aggTrades; default 1m, import: all that the tree has",
            show_default=False,
        ),
    ] = None,
    data_root: Annotated[
        str | None,
        typer.Option(help="directory or s3://bucket/prefix; default QLIR_DATA_ROOT, else below the lake's root"),
    ] = None,
    forever: Annotated[bool, typer.Option("--forever/--once", help="run: rounds until Ctrl+C, or one")] = False,
    most: Annotated[int | None, typer.Option(min=1, help="run --once: requests at most")] = None,
    first: Annotated[
        Any,
        typer.Option(
            parser=_position,
            metavar="TIME",
            help=f"run: first of the slices; {INSTANT}; other digits are epoch ms, or an id; else the exchange's first",
            show_default=False,
        ),
    ] = None,
    mend: Annotated[bool, typer.Option("--mend", help="verify: ask for damaged slices again at the next run")] = False,
    tree: Annotated[Path | None, typer.Option(help="import: directory of another program's slices")] = None,
    as_json: AsJson = False,
) -> None:
    """Keep raw answers of the exchange complete; check, pack or import them.

    Exit code 1 where `run` leaves slices that are not complete, or `verify` finds something wrong.

    Examples: lake slices run BTCUSDT --interval 1m --once · lake slices import ~/qlir_data
    """
    settings, console = LakeSettings(), messages()
    names = list(symbols or ())
    if action is SliceAction.IMPORT and tree is None and names:
        tree = Path(names.pop(0)).expanduser()
    names = [symbol_name(name) for name in names]
    if action is SliceAction.IMPORT and tree is not None and not names:
        sets = keeping.sets_in(tree, endpoint, interval)
    else:
        sets = [SliceSet(endpoint, symbol, interval or _USUAL) for symbol in chosen_symbols(names, settings)]
    asking = exchange_there(settings, say=console.print) if action in _ASKING else nullcontext()
    if action is SliceAction.RUN and forever:
        with asking:
            start_data_server(
                [of.symbol for of in sets], [interval or _USUAL], endpoint=endpoint, data_root=data_root,
                settings=settings, say=console.print,
            )  # fmt: skip
        return
    bad = False
    told: list[object] = []
    for of in sets if action is SliceAction.IMPORT else ():
        keeping.answers_in(tree, of)  # refused before anything is begun
    begins = action in (SliceAction.RUN, SliceAction.IMPORT)
    with open_slices(settings, data_root=data_root, begin=begins) as opened, asking:
        for of in sets:
            if action is SliceAction.RUN:
                done = run_once(opened, of, most=most, first=_counted(first, of))
                bad |= not done.complete
                told.append({"set": of._asdict(), "standing": dict(done.standing), "asked": done.asked})
                line = summary(done)
            else:
                found = keeping.do(opened, of, action.value, mend=mend, tree=tree)
                bad |= found.wrong
                told.append(found.as_json())
                line = found.text()
            if not as_json:
                terminal().print(line, soft_wrap=True)
    if as_json:
        show_json(told)
    if bad:
        raise typer.Exit(Exit.REFUSED)
