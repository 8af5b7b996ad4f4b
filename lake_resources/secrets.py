"""Secrets in text that people read: passwords of URLs are never shown.

Belongs here: masking. Does not belong here: which settings hold secrets (`settings`).
"""

from __future__ import annotations

import re

_USER_INFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^\s'\"<>]*@")
"""Up to the last @: passwords may hold any sign that somebody forgot to encode, an @ in a path hides too much then."""
_PASSWORD = re.compile(r"(?i)\b(password|passwd|token|secret|api_?key|sslpassword)=[^&\s'\"]+")
_CREDENTIALS = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{6,}")


def masked(text: str) -> str:
    """The text with user and password of every URL, passwords in queries and credentials of headers as `***`."""
    text = _PASSWORD.sub(r"\1=***", _USER_INFO.sub(r"\g<scheme>***@", text))
    return _CREDENTIALS.sub(r"\1 ***", text)
