"""What every page asks: which table, which symbol, how often to look again; and how it says what went wrong.

Belongs here: widgets that pages share. Does not belong here: any page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import wraps

import streamlit as st

from lake_assets.at_rest import store_of
from lake_assets.schema.table import Table
from lake_assets.tables.declared import TABLES
from lake_resources.clock import system_clock
from lake_resources.errors import LakeError
from lake_resources.settings import LakeSettings
from lake_resources.storage.root import require_lake

REFRESH: dict[str, int | None] = {"15 s": 15, "30 s": 30, "1 min": 60, "2 min": 120, "5 min": 300, "never": None}


_KEPT = "kept-"
"""Before the key of a choice: what a widget holds is forgotten with the page that shows it."""


def telling(page: Callable[[LakeSettings], None]) -> Callable[[], None]:
    """A page that says in a sentence what it could not show; it is given the settings, which take a while to read."""

    @wraps(page)
    def shown() -> None:
        with _sentences():
            settings = LakeSettings()
            require_lake(settings.lake_root, settings.exchange)
            page(settings)

    return shown


def looking_again(settings: LakeSettings, part: Callable[[], None], every: int | None) -> None:
    """Show a part of a page now, and anew every so many seconds; what it cannot show it says in a sentence."""

    @st.fragment(run_every=every)
    def shown() -> None:
        with _sentences():
            require_lake(settings.lake_root, settings.exchange)
            part()

    shown()


@contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except LakeError as error:
        st.error(" ".join(str(error).split()))


def now() -> datetime:
    """The moment, UTC."""
    return system_clock()


def choose(
    label: str, options: Sequence[str], key: str, *, first: str | None = None, text: Callable[[str], str] = str
) -> str:
    """The option that was chosen in the sidebar, which stays chosen on the other pages that ask the same.

    Args:
        label: beside the box.
        options: what there is.
        key: of the choice, by which pages share it.
        first: chosen to begin with; default the first one.
        text: an option in words.
    """
    kept = st.session_state.get(_KEPT + key, first)
    index = options.index(kept) if kept in options else 0
    chosen = str(st.sidebar.selectbox(label, options, index, key=key, format_func=text))
    st.session_state[_KEPT + key] = chosen
    return chosen


def choose_table() -> Table:
    """The table that was chosen in the sidebar."""
    return TABLES[choose("Table", list(TABLES), "table", text=lambda each: TABLES[each].layout.title)]


def choose_symbol(table: Table, settings: LakeSettings) -> str:
    """The symbol that was chosen in the sidebar, of those that the table has rows of."""
    symbols = symbols_of(table, settings)
    if not symbols:
        st.info(f"The {table.layout.title} has no rows yet: `make demo`, or materialize its partitions in Dagster.")
        st.stop()
    return choose("Symbol", symbols, f"symbol-{table.name}")


def symbols_of(table: Table, settings: LakeSettings) -> list[str]:
    """Symbols of which a table has committed partitions, in order."""
    store = store_of(settings, table)
    try:
        return store.ledger.symbols_with_partitions()
    finally:
        store.close()


def choose_refresh() -> int | None:
    """Seconds between two looks, None for never."""
    return REFRESH[choose("Look again every", list(REFRESH), "refresh", first="1 min")]
