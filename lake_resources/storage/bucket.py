"""A bucket of an S3-compatible service, and what its errors mean.

Belongs here: opening it with time-outs and retries, single requests on objects, translating errors by class and code.
Does not belong here: which objects a lake has (`files_in_bucket`, `blobs`). Who may use the bucket and where it is say
the usual `AWS_*` variables, which obstore reads. What a server answers is never shown beyond its code: some put the
request's credentials into it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from lake_resources.errors import DiskFull, SettingsError, StorageError, StoreUnreachable

BUCKET_REMEDY = "Check the bucket, AWS_ENDPOINT_URL and the credentials (AWS_ACCESS_KEY_ID …), then run again"
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_CLIENT: dict[str, Any] = {"connect_timeout": "5s", "timeout": "60s", "allow_http": True}
"""A plain http endpoint is asked for by its URL alone."""
_RETRIES: dict[str, Any] = {
    "max_retries": 5,
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
    "retry_timeout": timedelta(seconds=60),
}
_FULL = {"507"}
_FULL_CODES = {"QuotaExceeded", "XMinioStorageFull", "EntityTooLarge", "InsufficientStorage"}
_NO_CREDENTIALS = re.compile(r"/latest/(api/token|meta-data)|Missing (SecretAccessKey|AccessKeyId)")
"""Where no variable gives them, the machine is asked for its role; one variable without the other is none."""
_NO_BUCKET = "NoSuchBucket"
_CREDENTIALS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}


class Listed(NamedTuple):
    """An object or file of a store.

    Attributes:
        path: relative to the store.
        size_bytes: of it.
        written_s: when it was last written, seconds since 1970 by the store's clock, as exactly as that tells it.
    """

    path: str
    size_bytes: int
    written_s: float


class Bucket:
    """Objects below a prefix of a bucket.

    Args:
        url: `s3://bucket` or `s3://bucket/prefix`.

    Raises:
        SettingsError: the URL names no bucket.
    """

    def __init__(self, url: str) -> None:
        # Only here: a lake on a local disk does not pay for loading it.
        from obstore.store import S3Store

        parts = urlsplit(url)
        if not parts.netloc or parts.query or parts.fragment:
            raise SettingsError(f"{url} names no bucket", remedy="Give s3://bucket or s3://bucket/prefix")
        self.url = url.rstrip("/")
        with self.errors("open"):
            self.store = S3Store(
                parts.netloc,
                prefix=parts.path.strip("/") or None,
                client_options=_CLIENT,  # type: ignore[arg-type]
                retry_config=_RETRIES,  # type: ignore[arg-type]
            )

    def get(self, path: str) -> tuple[bytes, str] | None:
        """Bytes and tag of an object; None where there is none, in a bucket that is there."""
        try:
            with self.errors(path, FileNotFoundError):
                found = self.store.get(path)
                return found.bytes().to_bytes(), str(found.meta["e_tag"] or "")
        except FileNotFoundError:
            return None

    def head(self, path: str) -> Listed | None:
        """Size and time of an object; None where there is none, in a bucket that is there."""
        try:
            with self.errors(path, FileNotFoundError):
                found = self.store.head(path)
                return Listed(path, found["size"], found["last_modified"].timestamp())
        except FileNotFoundError:
            # The answer has no body that would say whether it is the bucket that is missing; that of a list has.
            next(self.listed(path), None)
            return None

    def create(self, path: str, data: bytes) -> bool:
        """Put an object where there is none; whether it was put.

        A put whose answer got lost is tried again, and then finds its own object.
        """
        from obstore.exceptions import AlreadyExistsError

        try:
            with self.errors(path, AlreadyExistsError):
                self.store.put(path, data, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def replace(self, path: str, data: bytes, tag: str) -> bool:
        """Put an object in place of the one that has a tag; whether it was put."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            with self.errors(path, PreconditionError, AlreadyExistsError):
                self.store.put(path, data, mode={"e_tag": tag})
        except (PreconditionError, AlreadyExistsError):
            return False
        return True

    def put(self, path: str, data: bytes | Iterable[bytes]) -> None:
        """Put an object, whatever was there; one of many parts is there once its last part is."""
        with self.errors(path):
            self.store.put(path, data if isinstance(data, bytes) else iter(data))

    def remove(self, path: str) -> None:
        """Remove an object; what is gone already is no error."""
        with self.errors(path):
            self.store.delete(path)

    def listed(self, directory: str) -> Iterator[Listed]:
        """Objects below a directory, however deep."""
        with self.errors(directory):
            for some in self.store.list(f"{directory}/" if directory else None):
                for found in some:
                    yield Listed(found["path"], found["size"], found["last_modified"].timestamp())

    def names(self, directory: str) -> list[str]:
        """Paths of the objects directly in a directory, in order."""
        with self.errors(directory):
            found = self.store.list_with_delimiter(f"{directory}/" if directory else None)
            return sorted(each["path"] for each in found["objects"])

    @contextmanager
    def errors(self, path: str, *but: type[Exception]) -> Iterator[None]:
        """Turn an error of the service inside into one of the lake, but for some classes.

        Raises:
            DiskFull: the service has no room.
            StoreUnreachable: no answer, a 5xx, or a wish to be asked slower, after several tries.
            StorageError: refused, or a bucket or object that is not there.
        """
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError, PermissionError) as error:
            if isinstance(error, but) and _NO_BUCKET not in str(error):
                raise
            raise _as_ours(f"{self.url}/{path}", error) from None


def _as_ours(where: str, error: Exception) -> StorageError:
    """An error of obstore as one of the lake, by status and code of the answer: not every request has its classes."""
    text = str(error)
    status, code = (found.group(1) if (found := each.search(text)) else "" for each in (_STATUS, _CODE))
    told = " ".join(part for part in (status, code) if part)
    if status in _FULL or code in _FULL_CODES:
        return DiskFull(
            f"{where}: the object store has no room ({told}); nothing that was committed is touched",
            remedy="Free space or raise the quota of the bucket, then materialize the partition again",
        )
    if _NO_CREDENTIALS.search(text):
        return StorageError(
            f"{where}: there are no whole credentials for the object store, and no role of this machine",
            remedy="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    if code in _CREDENTIALS or status == "401":
        return StorageError(
            f"{where}: the object store does not take these credentials ({told})",
            remedy="Set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN) to valid ones",
        )
    if status == "403":
        return StorageError(
            f"{where}: the object store refuses access ({told or 'no permission'})",
            remedy="Give these credentials the right to get, put, list and delete below the prefix; " + BUCKET_REMEDY,
        )
    if status == "404" or isinstance(error, FileNotFoundError):
        what = "there is no such bucket" if code == _NO_BUCKET else "there is no such object"
        return StorageError(f"{where}: {what}", remedy=BUCKET_REMEDY)
    if "redirect" in text[:300]:
        return StorageError(f"{where}: the bucket is of another region", remedy="Set AWS_REGION to the bucket's")
    if status in {"429", "503"}:
        return StoreUnreachable(
            f"{where}: the object store asks to slow down ({told})",
            remedy="Run fewer workers at once; the call can be repeated later",
        )
    if status.startswith("5") or not status:
        return StoreUnreachable(
            f"{where}: the object store does not answer ({told or 'no connection, or a time-out'})",
            remedy="Nothing was committed by this call; it can be repeated once AWS_ENDPOINT_URL answers",
        )
    return StorageError(f"{where}: the object store refuses the request ({told})", remedy=BUCKET_REMEDY)
