"""The one error tree of the lake.

Belongs here: every error class that crosses a module boundary, what it tells the reader, whether a retry can help.
Does not belong here: catching, retrying, exit codes.

    LakeError
      SettingsError            a setting is wrong or missing
      ExchangeError            a REST call did not give what was asked
        TransportError           no answer, a cut answer, a time-out          (retryable)
        ServerError              5xx, 408                                     (retryable)
        RateLimited              429                                          (retryable)
        MalformedAnswer          an answer that contradicts the protocol      (retryable)
        OverLimit                more bytes or more time than any sound answer
        Banned                   418, or a ban remembered on disk
        GeoBlocked               451
        RequestRefused           other 4xx: code and message of the exchange
          OutsideRetention         the window is older than the exchange keeps
      ArchiveError             a Vision file could not be used
        ArchiveNotPublished      404: not there, or not yet                   (retryable later)
        ChecksumMismatch         bytes do not hash to their CHECKSUM          (retryable)
        ArchiveCorrupt           torn zip, wrong crc, unreadable rows
      StorageError             a write or read of the lake failed
        DiskFull                 no space; nothing committed was touched      (retryable)
        LedgerError              the ledger contradicts itself or the disk
          LedgerVersion            it has a version that this code cannot use as it is
        LedgerUnreachable        the ledger's server does not answer          (retryable)
        StoreUnreachable         the object store does not answer, or asks to slow down (retryable)
        PartitionBusy            another writer holds the partition           (retryable)
      RowsOutOfOrder           rows of a stream are too disordered to be read chunk by chunk
      NotClean                 a window has holes that nothing explains, and a clean one was asked for
      UnexpectedError          a fault of the project itself, told at the boundary of a process
      NotYet                   nothing of what was asked for exists by now: there is nothing to look at
"""

from __future__ import annotations


class LakeError(Exception):
    """Base of all errors of the lake.

    Args:
        what: what was asked and what was found, naming table, partition or endpoint.
        remedy: what the reader can do about it.
    """

    retryable: bool = False

    def __init__(self, what: str, *, remedy: str) -> None:
        super().__init__(f"{what}. {remedy}")
        self.what = what
        self.remedy = remedy


class SettingsError(LakeError):
    """A setting is wrong or missing."""


class ExchangeError(LakeError):
    """A REST call did not give what was asked.

    Args:
        endpoint: path and query of the call, without secrets.
        found: what came instead.
    """

    default_remedy = "See the runbook, section 'The exchange refuses'"

    def __init__(self, endpoint: str, found: str, *, remedy: str | None = None, status: int | None = None) -> None:
        super().__init__(f"{endpoint}: {found}", remedy=remedy or self.default_remedy)
        self.endpoint = endpoint
        self.status = status


class TransportError(ExchangeError):
    """No answer, a cut answer or a time-out."""

    retryable = True
    default_remedy = "Check the network and the base URL (`LAKE_REST_URL`); the call can be repeated"


class ServerError(ExchangeError):
    """The exchange failed (5xx or 408)."""

    retryable = True
    default_remedy = "The exchange's side failed; the call can be repeated later"


class RateLimited(ExchangeError):
    """HTTP 429: a limit was passed. `retry_after_s` is how long the exchange asks to wait."""

    retryable = True
    default_remedy = "Wait; the weight governor slows all processes of this host"

    def __init__(self, endpoint: str, found: str, *, retry_after_s: float, remedy: str | None = None) -> None:
        super().__init__(endpoint, found, remedy=remedy, status=429)
        self.retry_after_s = retry_after_s


class MalformedAnswer(ExchangeError):
    """An answer that is not JSON, has other fields, or contradicts itself."""

    retryable = True
    default_remedy = "Repeat once; if it stays, compare the answer with docs/architecture.md and report it"


class OverLimit(ExchangeError):
    """An answer or download has more bytes, or takes more time, than the settings allow."""

    default_remedy = (
        "Nothing sound comes near this limit: check who answers there, then `LAKE_LIMITS__…` of the settings"
    )


class Banned(ExchangeError):
    """HTTP 418, or a ban remembered on disk. `until_ms` is epoch milliseconds UTC."""

    default_remedy = "Do not call before the ban ends; every call lengthens it"

    def __init__(self, endpoint: str, found: str, *, until_ms: int, remedy: str | None = None) -> None:
        super().__init__(endpoint, found, remedy=remedy, status=418)
        self.until_ms = until_ms


class GeoBlocked(ExchangeError):
    """HTTP 451: the exchange does not serve this location."""

    default_remedy = "Run from a permitted location; the Vision archives are usually reachable all the same"


class RequestRefused(ExchangeError):
    """Another 4xx. `code` is the exchange's negative error code, or None."""

    default_remedy = "The request itself is wrong; repeating it will not help"

    def __init__(self, endpoint: str, found: str, *, status: int, code: int | None, remedy: str | None = None) -> None:
        super().__init__(endpoint, found, remedy=remedy, status=status)
        self.code = code


class OutsideRetention(RequestRefused):
    """The window is older than the exchange keeps."""

    default_remedy = "REST does not reach back that far; the archive is the only source"


class ArchiveError(LakeError):
    """A Vision file could not be used. `url` is the file asked for."""

    default_remedy = "See the runbook, section 'An archive is missing or wrong'"

    def __init__(self, url: str, found: str, *, remedy: str | None = None) -> None:
        super().__init__(f"{url}: {found}", remedy=remedy or self.default_remedy)
        self.url = url


class ArchiveNotPublished(ArchiveError):
    """404: the file is not there, or not yet."""

    retryable = True
    default_remedy = "A day usually appears at about 08:40 UTC of the next day; materialize it again later"


class ChecksumMismatch(ArchiveError):
    """The bytes do not hash to the published CHECKSUM."""

    retryable = True
    default_remedy = "Materialize it again; if it stays, Binance published a wrong checksum: see the runbook"


class ArchiveCorrupt(ArchiveError):
    """A torn zip, a wrong crc, or rows that cannot be read."""

    default_remedy = "The file was kept in quarantine; materialize it again after Binance re-publishes it"


class StorageError(LakeError):
    """A write or read of the lake failed."""


class DiskFull(StorageError):
    """No space left; nothing committed was touched."""

    retryable = True


class LedgerError(StorageError):
    """The ledger contradicts itself or the disk."""


class LedgerVersion(LedgerError):
    """The ledger has a version that this code cannot use as it is: a newer one, or an old one that may only be read."""


class LedgerUnreachable(StorageError):
    """The server of the ledger does not answer, or the connection was cut; nothing was committed by the call."""

    retryable = True


class StoreUnreachable(StorageError):
    """The object store does not answer, answers 5xx, or asks to slow down; nothing was committed by the call."""

    retryable = True


class PartitionBusy(StorageError):
    """Another writer holds the partition."""

    retryable = True


class RowsOutOfOrder(LakeError):
    """Rows of a stream are too disordered to be read chunk by chunk; read whole and sorted they are fine."""


class NotClean(LakeError):
    """A window has holes that nothing explains, and a clean one was asked for."""


class UnexpectedError(LakeError):
    """A fault of the project itself, as the last boundary of a process tells it."""


class NotYet(LakeError):
    """Nothing of what was asked for exists by now: there is nothing to look at."""
