"""Where raw answers may lie: a directory of this machine, or a bucket of an S3 service with a prefix.

Belongs here: the form of such a place. Does not belong here: reading or writing there (`storage.blobs`), its setting.
"""

from __future__ import annotations

from pathlib import Path

from lake_resources.errors import SettingsError

BUCKET = "s3://"
"""How the URL of a bucket begins."""


def data_root_of(value: Path | str) -> Path | str | None:
    """A data root as it is kept: the URL of a bucket without a slash at its end, an absolute path, or None for empty.

    Raises:
        SettingsError: the URL names no bucket, or has parts that are no prefix.
    """
    text = str(value).strip()
    if not text.startswith(BUCKET):
        return Path(text).resolve() if text else None
    bucket, *prefix = text.removeprefix(BUCKET).rstrip("/").split("/")
    if not bucket or {"", ".", ".."}.intersection(prefix) or set("?#%").intersection(text):
        raise SettingsError(f"{text!r} is no place for slices", remedy="Give s3://bucket or s3://bucket/prefix")
    return text.rstrip("/")
