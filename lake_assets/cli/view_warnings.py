"""What users of the lake's DuckDB files must know after they were written.

Belongs here: printing it. Does not belong here: writing such files (`storage.duckdb_views`).
"""

from __future__ import annotations

from collections.abc import Sequence

from lake_assets.cli.printing import coloured, messages
from lake_resources.storage.duckdb_views import View


def show_views(views: Sequence[View]) -> None:
    """Print the warning of each file that has one, on standard error."""
    for view in views:
        if view.warning:
            messages().print(coloured(str(view.path), "yellow", f": {view.warning}"), soft_wrap=True)
