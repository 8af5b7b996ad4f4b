"""Secrets in text that people read: passwords of URLs are never shown.

Belongs here: masking. Does not belong here: which settings hold secrets (`settings`).
"""

from __future__ import annotations

import re

_USER_INFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s]*@")
_PASSWORD = re.compile(r"(?i)\b(password|passwd|token|secret|api_?key|sslpassword)=[^&\s'\"]+")


def masked(text: str) -> str:
    """The text with user and password of every URL in it, and with passwords in queries, as `***`."""
    return _PASSWORD.sub(r"\1=***", _USER_INFO.sub(r"\g<scheme>***@", text))
