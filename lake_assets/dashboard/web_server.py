"""The server of the dashboard, on loopback behind the guard: `python -m lake_assets.dashboard.web_server`.

Belongs here: this one process. Does not belong here: pages, the rules (`lake_resources.local_web`).
"""

from __future__ import annotations

import gc
from importlib import import_module
from pathlib import Path

import streamlit as st
import uvicorn
from streamlit import config

from lake_resources.local_web import Guard, Rules
from lake_resources.settings import LakeSettings

SCRIPT = Path(__file__).with_name("app.py")
_PAGES = ("chart_page", "feed_page", "macro_page", "parity_page", "quality_page", "slices_page")
_OPTIONS = {
    "browser.gatherUsageStats": False,  # it reports to nobody
    "client.showErrorDetails": "none",  # a fault of ours is a sentence to the reader; the log has it whole
    "client.toolbarMode": "minimal",
    "server.fileWatcherType": "none",
}


def main() -> None:
    """Serve until interrupted. It listens on 127.0.0.1 alone, whatever the settings say of the web UI."""
    settings = LakeSettings()
    for name, value in _OPTIONS.items():
        config.set_option(name, value)
    # The first visitor does not wait for what the pages need, and no later one for the collector of garbage to look
    # through all of it, again and again while a year of partitions is read.
    for name in _PAGES:
        import_module(f"lake_assets.dashboard.{name}")
    gc.collect()
    gc.freeze()
    rules = Rules(frozenset(settings.web_hosts), settings.web_token, no_forms=True)
    uvicorn.run(Guard(st.App(SCRIPT), rules), host="127.0.0.1", port=settings.dashboard_port, log_level="warning")


if __name__ == "__main__":
    main()
