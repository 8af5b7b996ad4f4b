"""What becomes of an answer: its file, then its row in the ledger.

Belongs here: what is kept of an earlier answer, the row after a request, the order of file and row. Does not belong
here: asking (`asking`), the worth of an answer (`judgement`).
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from lake_assets.slices.answers import AnswerMeta, as_file
from lake_assets.slices.asking import AskedSlice
from lake_assets.slices.data_root import Slices
from lake_assets.slices.endpoint import SliceEndpoint
from lake_assets.slices.judgement import Judgement, SliceReason, Status
from lake_assets.slices.keys import SliceKey
from lake_assets.slices.manifest import directory
from lake_resources.errors import Banned, ExchangeError, MalformedAnswer, RateLimited, TransportError
from lake_resources.storage.ledger.slice_rows import SliceRow, SliceSet
from lake_resources.storage.raw_store import Kept

_WRITERS = 4
"""Files that wait for the disk at once: the system joins their flushes."""
_BATCH = 16
_BATCH_BYTES = 16 << 20
"""Rows of a transaction. What a kill takes of them is asked for again: their files are there, and are replaced."""


class Persisting:
    """Keeps answers: each file is on the disk before its row says so.

    Args:
        slices: the data root.
        endpoint: which endpoint.
        of: its name, symbol and interval.
        frontier: how far the line reaches: epoch ms of the exchange's clock, or the newest id.
    """

    def __init__(self, slices: Slices, endpoint: SliceEndpoint, of: SliceSet, frontier: int) -> None:
        self._slices = slices
        self._endpoint = endpoint
        self._of = of
        self._frontier = frontier
        self._pool = ThreadPoolExecutor(_WRITERS, thread_name_prefix="slices-write")
        self._waiting: list[tuple[SliceRow, Future[Kept] | None]] = []
        self._waiting_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.flush()
        finally:
            self._pool.shutdown()

    def keep(self, held: SliceRow, asked: AskedSlice) -> SliceRow:
        """Keep an answer, or what came instead of one; the row is in the ledger after the next `flush`.

        An answer that holds less than the one that is kept does not replace it.

        Args:
            held: the slice as the ledger has it, or as never asked for.
            asked: the answer.

        Returns:
            The slice as it stands now, but for where its file lies.

        Raises:
            DiskFull, StorageError: an answer kept before, or its row, cannot be written.
        """
        held = replace(held, fetches=held.fetches + 1, requested_at_utc=asked.at, completed_at_utc=asked.answered)
        row, writes = self._row(held, asked)
        file = self._pool.submit(self._write, asked) if writes else None
        self._waiting.append((row, file))
        self._waiting_bytes += len(asked.content)
        if len(self._waiting) >= _BATCH or self._waiting_bytes > _BATCH_BYTES:
            self.flush()
        return row

    def flush(self) -> None:
        """Wait for the files, then note where their slices stand.

        Raises:
            DiskFull, StorageError: a file cannot be written: its row stays as it was, the others are noted.
        """
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        rows: list[SliceRow] = []
        lost: Exception | None = None
        for row, file in waiting:
            error = None if file is None else file.exception()
            if isinstance(error, Exception):
                lost = lost or error
            elif file is None:
                rows.append(row)
            else:
                kept = file.result()
                rows.append(replace(row, path=kept.path, sha256=kept.sha256, size_bytes=kept.size_bytes))
        self._slices.rows.put_slices(self._of, rows)
        if lost is not None:
            raise lost

    def _row(self, held: SliceRow, asked: AskedSlice) -> tuple[SliceRow, bool]:
        """The row after a request, and whether the answer is written."""
        if asked.error is not None:
            return _failed(held, asked.error), False
        found = asked.found
        held = replace(held, http_status=asked.status, requested_url=asked.url)
        said_before = _said_before(held, asked.answered, self._slices.pause)
        verdict = self._endpoint.judge(asked.key, found, self._frontier, said_before)
        if held.sha256 is not None and len(found) < held.n_items:
            worse = f"the answer has {len(found)} records, the one that is kept has {held.n_items}"
            return replace(held, status=Status.PARTIAL, reason=SliceReason.UNEXPECTED_RECORDS, error=worse), False
        if held.sha256 is not None and verdict.status is Status.NEEDS_REFRESH:
            row = replace(held, status=Status.PARTIAL, reason=SliceReason.UNEXPECTED_RECORDS, error=verdict.detail)
            return row, False
        row = replace(
            held,
            status=verdict.status,
            reason=verdict.reason,
            n_items=len(found),
            first_ts=found[0] if found else None,
            last_ts=found[-1] if found else None,
            error=verdict.detail or None,
            missing=_text(verdict),
            lacking_since_utc=_lacking_since(held, verdict, asked.answered),
        )
        return row, True

    def _write(self, asked: AskedSlice) -> Kept:
        key = asked.key
        meta = AnswerMeta(
            url=asked.url,
            slice=key.composite,
            slice_actual=key.actual(self._endpoint.end(key)),
            slice_id=key.slice_id,
            http_status=asked.status,
            n_items=len(asked.found),
            requested_at=asked.at,
            fetched_at=asked.answered,
        )
        return self._slices.store.put(f"{directory(self._of)}/responses", key.slice_id, as_file(meta, asked.content))


def pending(key: SliceKey) -> SliceRow:
    """A slice that was never asked for."""
    return SliceRow(key.start, key.limit, Status.PENDING, SliceReason.NOT_ASKED)


def _said_before(held: SliceRow, now: datetime, pause: timedelta) -> tuple[int, ...] | None:
    """What an earlier answer lacked, if that is long enough ago to say something."""
    if held.lacking_since_utc is None or now - held.lacking_since_utc < pause:
        return None
    return tuple(int(each) for each in held.missing.split(",") if each)


def _lacking_since(held: SliceRow, verdict: Judgement, at: datetime) -> datetime | None:
    if verdict.reason not in (SliceReason.GAP_SEEN_ONCE, SliceReason.NO_DATA, SliceReason.EXCHANGE_HAS_NONE):
        return None
    same = held.lacking_since_utc is not None and held.missing == _text(verdict)
    return held.lacking_since_utc if same else at


def _text(verdict: Judgement) -> str:
    return ",".join(str(each) for each in verdict.missing)


def _failed(held: SliceRow, error: ExchangeError) -> SliceRow:
    """The slice after a request that gave nothing; what was kept of it stays."""
    reason = SliceReason.HTTP_ERROR
    for kind, its in (
        (Banned, SliceReason.BANNED),
        (RateLimited, SliceReason.RATE_LIMITED),
        (TransportError, SliceReason.NETWORK),
        (MalformedAnswer, SliceReason.MALFORMED),
    ):
        if isinstance(error, kind):
            reason = its
    return replace(held, status=Status.FAILED, reason=reason, http_status=error.status, error=str(error))
