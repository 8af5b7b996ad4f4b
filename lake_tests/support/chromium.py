"""Chromium as tests start it: quiet, and asking nobody but the page that it shows.

Belongs here: its arguments. Does not belong here: any page.
"""

from __future__ import annotations

QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
