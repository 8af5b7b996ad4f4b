"""Dagster's web UI behind the guard of local web pages: `python -m lake_assets.local_stack.webserver`.

Belongs here: this one process: where it listens and whom it answers. Does not belong here: the rules
(`lake_resources.local_web`), the UI itself, starting and watching the process (`stack`).

`dagster-webserver` answers any host name and any origin, GETs that are mutations included: a web page that the user
looks at could wipe an asset's history. Started by hand it still does.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn

from lake_resources.dagster_instance import open_instance
from lake_resources.dagster_private import keep_engines, open_web_ui
from lake_resources.local_web import Guard, Rules, is_loopback, require_token
from lake_resources.settings import LakeSettings


def rules_of(settings: LakeSettings) -> Rules:
    """Whom the web UI answers; the address it listens on is one of its names, if it is one machine's."""
    own = {settings.webserver_host} - {"0.0.0.0", "::"}  # noqa: S104 - compared, not listened on
    return Rules(
        frozenset(settings.web_hosts) | {host for host in own if not is_loopback(host)},
        settings.web_token,
        no_forms=True,
    )


def main() -> None:
    """Serve until interrupted; refuses to listen beyond loopback without a token."""
    options = argparse.ArgumentParser(description="Dagster's web UI, for this machine alone.")
    options.add_argument("--workspace", type=Path, required=True, help="workspace.yaml of the code location")
    workspace: Path = options.parse_args().workspace
    settings = LakeSettings()
    require_token(settings.webserver_host, settings.web_token)
    with open_instance() as instance, open_web_ui(instance, workspace) as app:
        keep_engines(instance)
        uvicorn.run(
            Guard(app, rules_of(settings)),
            host=settings.webserver_host,
            port=settings.webserver_port,
            log_level="warning",
        )


if __name__ == "__main__":
    main()
