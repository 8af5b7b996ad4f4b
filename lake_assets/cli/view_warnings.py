"""What users of the lake's DuckDB files must know after they were written.

Belongs here: printing it. Does not belong here: writing such files (`storage.duckdb_views`).
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape

from lake_assets.cli.printing import messages
from lake_resources.storage.duckdb_views import View


def show_views(views: Sequence[View]) -> None:
    """Print the warning of each file that has one, on standard error."""
    for view in views:
        if view.warning:
            messages().print(f"[yellow]{escape(str(view.path))}[/]: {escape(view.warning)}", soft_wrap=True)
