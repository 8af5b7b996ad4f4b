"""The client of the Vision archives: CHECKSUM, verified and atomic downloads, many at once.

Belongs here: URLs to verified zips on disk. Does not belong here: reading a zip (archive_csv.py), where the lake
keeps things, what a missing day means to a partition.
"""

from __future__ import annotations

import errno
import hashlib
import re
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lake_resources.binance.stream import Stream
from lake_resources.clock import system_clock
from lake_resources.errors import (
    ArchiveCorrupt,
    ArchiveNotPublished,
    ChecksumMismatch,
    DiskFull,
    LakeError,
    RateLimited,
    RequestRefused,
    ServerError,
    StorageError,
)
from lake_resources.http import Answer, BodyStream, HttpClient, Sleep, retry_after_s, retrying
from lake_resources.input_limits import CHECKSUM_BYTES, DEFAULT_LIMITS, InputLimits

Request = tuple[Stream, str, str]
"""Stream, symbol, period (`YYYY-MM-DD`, or `YYYY-MM` of a monthly stream)."""

_CHECKSUM_LINE = re.compile(r"([0-9a-fA-F]{64})\s+\*?(\S+)\s*")
_REMEDY = "Check the network and the base URL (`LAKE_VISION_URL`); the download can be repeated"
# Zip and CHECKSUM are two files: while Binance re-publishes a day, one try can meet the old and the new one.
_MISMATCH_TRIES = 2
_LONGEST_WAIT_S = 300.0


@dataclass(frozen=True)
class _File:
    """A zip to fetch: its path below the base URL, the directory it goes to, and how large it may be."""

    path: str
    into: Path
    most_bytes: int


@dataclass(frozen=True)
class VerifiedZip:
    """A zip on disk whose bytes hash to the published CHECKSUM.

    Attributes:
        path: where it lies.
        url: where it came from.
        sha256: lower-case hex.
        size_bytes: of the zip.
    """

    path: Path
    url: str
    sha256: str
    size_bytes: int


class VisionClient:
    """Vision archives over keep-alive connections; safe to share between threads.

    Args:
        base_url: e.g. `https://data.binance.vision`.
        timeout_s: seconds for a connection and for each wait on the socket.
        connections: parallel connections at most.
        attempts: calls of one file at most, for failures that a retry can help.
        sleep: takes seconds.
        limits: how large and how slow a file may be.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float = 60.0,
        connections: int = 64,
        attempts: int = 4,
        sleep: Sleep = time.sleep,
        limits: InputLimits = DEFAULT_LIMITS,
    ) -> None:
        self._http = HttpClient(base_url, timeout_s=timeout_s, connections=connections, remedy=_REMEDY, limits=limits)
        self._limits = limits
        self._connections = connections
        self._attempts = attempts
        self._sleep = sleep
        self._threads: ThreadPoolExecutor | None = None

    def url(self, stream: Stream, symbol: str, period: str) -> str:
        """URL of a zip."""
        return self._http.base_url + stream.url_path(symbol, period)

    def checksum(self, stream: Stream, symbol: str, period: str) -> str:
        """Published sha256 of a zip, lower-case hex.

        Raises:
            ArchiveNotPublished: there is no CHECKSUM (yet).
            ArchiveCorrupt: the CHECKSUM is not one line of hash and file name.
            ExchangeError: the server could not be reached, failed or refused.
        """
        return self._checksum(stream.url_path(symbol, period))

    def download(self, stream: Stream, symbol: str, period: str, into: Path) -> VerifiedZip:
        """Download one zip to `into/<stream>/<file name>`; it appears there only when verified.

        Raises:
            ArchiveNotPublished: zip or CHECKSUM is not there (yet).
            ChecksumMismatch: the bytes do not hash to the CHECKSUM, twice in a row.
            ArchiveCorrupt: the CHECKSUM cannot be read.
            DiskFull: no space; no file was left behind.
            ExchangeError: the server could not be reached, failed or refused.
        """
        return self._download(_File(stream.url_path(symbol, period), into / stream.name, self._most_bytes(stream)))

    def download_many(
        self, requests: Iterable[Request], into: Path, *, ahead: int | None = None
    ) -> Iterator[tuple[Request, VerifiedZip | LakeError]]:
        """Download many zips in parallel, zip and CHECKSUM of a file at the same time.

        Args:
            requests: what to fetch; read lazily.
            into: directory of the zips; each stream gets its own below, for all kline streams share file names.
            ahead: zips under way or not yet taken by the caller; all connections are used by default.

        Yields:
            Each request in the order given, with its zip or the error that `download` would have raised.
        """
        threads = self._executor()
        waiting: deque[tuple[Request, Future[VerifiedZip]]] = deque()
        rest = iter(requests)
        try:
            while True:
                while len(waiting) < (ahead or max(self._connections // 2, 1)):
                    request = next(rest, None)
                    if request is None:
                        break
                    stream = request[0]
                    path = stream.url_path(request[1], request[2])
                    file = _File(path, into / stream.name, self._most_bytes(stream))
                    # First in, first out: when a download runs, its CHECKSUM is already under way.
                    expected = threads.submit(self._checksum, path)
                    waiting.append((request, threads.submit(self._download, file, expected)))
                if not waiting:
                    return
                request, future = waiting.popleft()
                try:
                    yield request, future.result()
                except LakeError as error:
                    yield request, error
        finally:
            for _, future in waiting:
                future.cancel()

    def close(self) -> None:
        """Close connections and threads."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        self._http.close()

    def _executor(self) -> ThreadPoolExecutor:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._connections, thread_name_prefix="vision")
        return self._threads

    def _most_bytes(self, stream: Stream) -> int:
        grid = stream.time_column in stream.key
        return self._limits.grid_download_bytes if grid else self._limits.download_bytes

    def _checksum(self, path: str) -> str:
        name = path.rsplit("/", 1)[-1]
        for attempt in retrying(self._attempts, self._sleep):
            with attempt:
                answer = self._http.get(f"{path}.CHECKSUM", most_bytes=CHECKSUM_BYTES)
                self._refuse_bad_status(answer, f"{path}.CHECKSUM")
                line = _CHECKSUM_LINE.fullmatch(answer.body.decode("utf-8", "replace"))
                if line is None or line[2] != name:
                    found = f"not one line of sha256 and {name}: {answer.body[:120]!r}"
                    raise ArchiveCorrupt(f"{self._http.base_url}{path}.CHECKSUM", found)
                return line[1].lower()
        raise AssertionError("tenacity re-raises the last error")

    def _download(self, file: _File, expected: Future[str] | None = None) -> VerifiedZip:
        tries = 0
        while True:
            tries += 1
            try:
                return self._download_once(file, expected)
            except ChecksumMismatch:
                if tries == _MISMATCH_TRIES:
                    raise
                expected = None

    def _download_once(self, file: _File, expected: Future[str] | None) -> VerifiedZip:
        path, into = file.path, file.into
        final = into / path.rsplit("/", 1)[-1]
        temp = into / f".{final.name}.{uuid.uuid4().hex}.part"
        try:
            sha256, size_bytes = self._verified(file, temp, expected)
            temp.replace(final)
        except BaseException as error:
            temp.unlink(missing_ok=True)
            if isinstance(error, OSError):  # of the disk: those of sockets are errors of the tree already
                raise self._not_written(path, into, error) from error
            raise
        return VerifiedZip(final, self._http.base_url + path, sha256, size_bytes)

    def _not_written(self, path: str, into: Path, error: OSError) -> StorageError:
        file = f"{self._http.base_url}{path}"
        what = f"{file}: no space for it in {into}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return DiskFull(what, remedy="Free some space and repeat; nothing else was touched")
        if error.errno == errno.EFBIG:
            return DiskFull(f"{what} (a larger file than this process may write)", remedy="Free `ulimit -f` and repeat")
        return StorageError(f"{file}: {error}", remedy="Check the disk, the permissions and `ulimit -n`")

    def _verified(self, file: _File, temp: Path, expected: Future[str] | None) -> tuple[str, int]:
        """Download into `temp`; its sha256 (equal to the CHECKSUM) and size."""
        for attempt in retrying(self._attempts, self._sleep):
            with attempt:
                sha256, size_bytes = self._stream_to(file, temp)
        published = expected.result() if expected is not None else self._checksum(file.path)
        if sha256 != published:
            found = f"{size_bytes} bytes hash to {sha256}, CHECKSUM says {published}"
            raise ChecksumMismatch(self._http.base_url + file.path, found)
        return sha256, size_bytes

    def _stream_to(self, file: _File, temp: Path) -> tuple[str, int]:
        digest = hashlib.sha256()
        size_bytes = 0
        with self._http.stream(file.path, most_bytes=file.most_bytes) as body:
            self._refuse_bad_status(body, file.path)
            temp.parent.mkdir(parents=True, exist_ok=True)
            with temp.open("wb") as written:
                for piece in body.pieces:
                    digest.update(piece)
                    size_bytes += len(piece)
                    written.write(piece)
        return digest.hexdigest(), size_bytes

    def _refuse_bad_status(self, answer: Answer | BodyStream, path: str) -> None:
        status = answer.status
        if status == 200:
            return
        url = self._http.base_url + path
        found = f"HTTP status {status}"
        if status == 404:
            raise ArchiveNotPublished(url, found)
        if status == 429:
            wait_s = retry_after_s(answer.headers, system_clock(), 1.0, _LONGEST_WAIT_S)
            raise RateLimited(f"GET {url}", found, retry_after_s=wait_s)
        if status == 408 or status >= 500:
            raise ServerError(f"GET {url}", found, status=status)
        raise RequestRefused(f"GET {url}", found, status=status, code=None, remedy=_REMEDY)
