"""Unit files of systemd for a lake: the platform and its resident builder as services, and a nightly backup.

Belongs here: their text. Does not belong here: installing them, starting anything.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import BaseModel

from lake_assets.local_stack.places import BUILDER_ENVIRONMENT
from lake_resources.settings import LakeSettings
from lake_resources.settings_values import SECRETS

_HEADING = "# /etc/systemd/system/{name}"
_FIRST = """\
# Unit files of `lake up --systemd`. Cut at the lines that begin with `# /etc/`, put each part under that name, then
#   systemctl daemon-reload && systemctl enable --now {services} minute-lake-backup.timer
# Secrets are not in here: leave them in {directory}/.env (mode 600), which the service reads.
"""
_SERVICE = """\
[Unit]
Description=minute-lake: Dagster, collector and watchdog
After=network-online.target
Wants=network-online.target

[Service]
Type=simple
WorkingDirectory={directory}
{environment}ExecStart={command} {up}
Restart=on-failure
RestartSec=30
KillSignal=SIGINT
KillMode=mixed
TimeoutStopSec=90
UMask=0027

[Install]
WantedBy=multi-user.target
"""
_BUILDER = """\
[Unit]
Description=minute-lake: the resident builder of the hot band
After=minute-lake.service
BindsTo=minute-lake.service

[Service]
Type=simple
WorkingDirectory={directory}
{environment}{own}ExecStart={command} keep-hot
WatchdogSec={hung_s}
NotifyAccess=main
Restart=always
RestartSec=2
UMask=0027

[Install]
WantedBy=minute-lake.service
"""
_BACKUP = """\
[Unit]
Description=minute-lake: a consistent copy of the lake

[Service]
Type=oneshot
WorkingDirectory={directory}
{environment}ExecStart=/bin/sh -c 'exec "$$0" backup "/var/backups/lake-$$(date -u +%%Y-%%m-%%d)"' {command}
UMask=0027
"""
_TIMER = """\
[Unit]
Description=minute-lake: a backup every night

[Timer]
OnCalendar=*-*-* 03:30:00 UTC
Persistent=true

[Install]
WantedBy=timers.target
"""


def unit_files(settings: LakeSettings, directory: Path) -> str:
    """The unit files, each after a line with its path.

    Args:
        settings: in force; those that were given become the service's environment, secrets left out.
        directory: in which `lake up` was started; its `.env` is read by the service too.
    """
    given = {name: getattr(settings, name) for name in sorted(settings.model_fields_set - SECRETS)}
    given |= {"root": settings.lake_root, "exchange": settings.exchange}
    lines = "".join(f"Environment={_quoted(f'LAKE_{name.upper()}={_text(value)}')}\n" for name, value in given.items())
    words = {
        "directory": _escaped(str(directory)),
        "environment": lines,
        "own": "".join(f"Environment={_quoted(f'{name}={value}')}\n" for name, value in BUILDER_ENVIRONMENT.items()),
        "command": _quoted(str(Path(sys.executable).with_name("lake"))),
        "hung_s": str(int(2 * settings.hot_builder_silent_s)),
        "up": "up --without-builder" if settings.hot_builder else "up",
    }
    units = {
        "minute-lake.service": _SERVICE.format(**words),
        **({"minute-lake-builder.service": _BUILDER.format(**words)} if settings.hot_builder else {}),
        "minute-lake-backup.service": _BACKUP.format(**words),
        "minute-lake-backup.timer": _TIMER,
    }
    services = " ".join(name for name in units if name.endswith(".service") and "backup" not in name)
    parts = [_HEADING.format(name=name) + "\n" + text for name, text in units.items()]
    return "\n".join([_FIRST.format(directory=directory, services=services), *parts])


def _text(value: object) -> str:
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    if isinstance(value, tuple | list):
        return ",".join(str(each) for each in value)
    return str(value)


def _escaped(text: str) -> str:
    """Text without systemd's own specifiers."""
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    return '"' + _escaped(text).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$") + '"'
