"""The hash by which a file's content is known in ledger, certificates and audits.

Belongs here: hashing a file's bytes. Does not belong here: writing or reading any format (`parquet`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
