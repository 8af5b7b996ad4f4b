"""A copy of a lake that is consistent although the lake goes on, and a lake made of such a copy.

Belongs here: which files a ledger names, copying them with proof, the copy's own description. Does not belong here: the
1H table (`bars_duckdb` copies it under its lock), Dagster's history, commands.

The ledger is copied first, in one moment, by SQLite itself. Then each file that the copy names is copied and hashed. A
file that was committed anew meanwhile has another hash: then a newer copy of the ledger is taken and what changed since
is copied, until all fits, at last with the writers waiting. Other files are written once, or replaced in one step, and
are copied as they are when the rest is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import stat
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from lake_resources.clock import DAY, HOUR
from lake_resources.errors import LedgerError, SettingsError, StorageError
from lake_resources.sqlite_file import connect_to_read
from lake_resources.storage.catalog import LakePaths
from lake_resources.storage.disk import disk_errors, fsync_dirs, fsync_file
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger import versions
from lake_resources.storage.ledger.identity import EXCHANGE_FILE
from lake_resources.storage.ledger.tables import (
    ARCHIVES,
    CAPTURES,
    COMPACTED_FILES,
    INTENTS,
    PARTITIONS,
    QUARANTINE,
    instant_of,
    utc_text,
)
from lake_resources.storage.locks import writer_lock
from lake_resources.storage.root import exchange_held

LEDGER, DESCRIPTION = "ledger.sqlite", "backup.json"
_HASHED = (PARTITIONS, COMPACTED_FILES, ARCHIVES, CAPTURES)
_ROUNDS = 4
_DIGEST = 64
_CHUNK = 1 << 20
_LEFT_BEHIND = {"dagster_home", "logs", "feed", "research", LEDGER, DESCRIPTION}
"""Below a root, what is copied in another way or belongs to the running platform alone."""


@dataclass(frozen=True)
class Copied:
    """What a backup holds.

    Attributes:
        made_at: when it was begun, ISO 8601 UTC.
        exchange: whose data it holds.
        ledger_version: of its ledger.
        files, size_bytes: what lies in it, without the 1H table and Dagster's history.
        named: files that the ledger names, each with the bytes that it tells.
        rounds: how often the ledger was copied until all fitted.
        with_feed, with_dagster: whether the 1H table and Dagster's history are in it.
    """

    made_at: str
    exchange: str
    ledger_version: int
    files: int
    size_bytes: int
    named: int
    rounds: int
    with_feed: bool = False
    with_dagster: bool = False


def copy_database(source: Path, target: Path) -> None:
    """A SQLite database as it was committed in one moment, while others write it.

    Raises:
        DiskFull, StorageError: the copy cannot be written, or the source is no database.
    """
    with disk_errors(f"copy {source}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            with closing(connect_to_read(source)) as held, closing(sqlite3.connect(target)) as copy:
                held.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.OperationalError as error:
            raise OSError(str(error)) from error
        except sqlite3.DatabaseError as error:
            raise StorageError(f"copy {source}: {error}", remedy="Repair it first: see the runbook") from error
        fsync_file(target)


@dataclass(frozen=True)
class Named:
    """Files that a copied ledger names, relative to the root.

    Attributes:
        hashes: the bytes that each may have; none where the ledger tells none. A partition that is published and not
            noted yet has those of its intent.
        spare: partitions that are read from compacted files, whose own files may be gone.
        staged: the hash that a file gets when what a writer was about to publish is published.
    """

    hashes: dict[str, set[str]]
    spare: set[str]
    staged: dict[str, str]

    def is_between(self, found: Mapping[str, str]) -> bool:
        """Whether some files are as before what a writer was about to publish, and others as after it.

        Args:
            found: hash of each file as it was copied.
        """
        return len({found.get(path) == digest for path, digest in self.staged.items()}) > 1


def named_files(ledger: Path) -> Named:
    """What a copied ledger names."""
    hashes: dict[str, set[str]] = {}
    with closing(connect_to_read(ledger)) as connection:
        for table in _HASHED:
            for path, digest in connection.execute(f'SELECT path, content_hash FROM "{table.name}"'):  # noqa: S608 - a name
                hashes[path] = {digest} if len(digest) == _DIGEST else set()
        staged = dict(connection.execute(f'SELECT path, content_hash FROM "{INTENTS.name}"').fetchall())  # noqa: S608
        for path, digest in staged.items():
            if hashes.get(path):
                hashes[path].add(digest)
        for (path,) in connection.execute(f'SELECT path FROM "{QUARANTINE.name}" WHERE path IS NOT NULL'):  # noqa: S608
            hashes.setdefault(path, set())
        return Named(hashes, set(_spare(connection)), staged)


def _spare(connection: sqlite3.Connection) -> Iterator[str]:
    served: set[tuple[str, str, str]] = set()
    files = connection.execute(
        f"SELECT table_name, symbol, path, start_utc, serves FROM {COMPACTED_FILES.name} "  # noqa: S608 - a name
        "WHERE superseded_at_utc IS NULL AND cleared_at_utc IS NOT NULL"
    ).fetchall()
    rows = connection.execute(f"SELECT table_name, symbol, start_utc, path FROM {PARTITIONS.name}")  # noqa: S608
    if not files:
        return
    by_key = {(table, symbol, start): path for table, symbol, start, path in rows}
    for table, symbol, _, start, serves in files:
        first, bits = instant_of(start), int(serves, 16)
        hourly = any(key[:2] == (table, symbol) and "/hour=" in path for key, path in by_key.items())
        step = HOUR if hourly else DAY
        served |= {
            (table, symbol, utc_text(first + index * step)) for index in range(bits.bit_length()) if bits >> index & 1
        }
    yield from (by_key[key] for key in served if key in by_key)


def copy_lake(root: Path, ledger: Path, target: Path, *, locks: Sequence[Path], at: datetime) -> Copied:
    """Copy the files of a lake and its ledger.

    Args:
        root: directory of the lake.
        ledger: file of its ledger.
        target: directory that is made; the caller removes it where this raises.
        locks: of the writers of all symbols; held at the end where the lake changes faster than it can be copied.
        at: now, UTC.

    Raises:
        LedgerError: a file that the ledger names is lost or damaged in the lake itself.
        DiskFull, StorageError: the copy cannot be written.
    """
    with disk_errors(f"make {target}"):
        target.mkdir(parents=True)
    paths, done, lost = LakePaths(root), dict[str, str](), list[str]()
    with ExitStack() as held:
        for rounds in range(1, _ROUNDS + 1):
            if rounds == _ROUNDS:
                for lock in locks:
                    held.enter_context(writer_lock(lock))
            copy_database(ledger, target / LEDGER)
            named = named_files(target / LEDGER)
            wrong = [path for path, hashes in named.hashes.items() if not _fits(paths, target, path, hashes, done)]
            lost = [path for path in wrong if path not in named.spare or paths.absolute(path).exists()]
            # Under the locks nobody is at work: what lies between is then a dead writer's, in the lake as in its copy.
            if not lost and (rounds == _ROUNDS or not named.is_between(done)):
                break
    if lost:
        raise LedgerError(
            f"{lost[0]} and {len(lost) - 1} more files are lost, or not what the ledger says",
            remedy="Run `lake audit --full` and repair, then back up again",
        )
    for path in done.keys() - named.hashes.keys():
        (target / path).unlink(missing_ok=True)
    _copy_others(root, target, named.hashes)
    files = [path for path in target.rglob("*") if path.is_file()]
    fsync_dirs(path for path in target.rglob("*") if path.is_dir())
    return Copied(
        made_at=at.isoformat(timespec="seconds"),
        exchange=exchange_held(root, target / LEDGER) or "",
        ledger_version=versions.version_of(target / LEDGER) or 0,
        files=len(files),
        size_bytes=sum(path.stat().st_size for path in files),
        named=len(named.hashes) - len(wrong),
        rounds=rounds,
    )


def describe(target: Path, copied: Copied) -> None:
    """Write what a backup holds into it; a directory with this file is a whole backup."""
    path = target / DESCRIPTION
    with disk_errors(f"write {path}"):
        path.write_text(json.dumps(asdict(copied), indent=2) + "\n", encoding="utf-8")
        fsync_file(path)
        fsync_dirs([target])


def description_of(backup: Path) -> Copied:
    """What a backup holds.

    Raises:
        SettingsError: the directory is no whole backup.
    """
    try:
        return Copied(**json.loads((backup / DESCRIPTION).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(
            f"{backup} is no whole backup of a lake", remedy="Name a directory that `lake backup` made"
        ) from error


def check_backup(backup: Path) -> list[str]:
    """Files of a backup that are lost or have other bytes than its ledger tells."""
    paths, named = LakePaths(backup), named_files(backup / LEDGER)
    wrong = []
    for path, hashes in named.hashes.items():
        file = paths.absolute(path)
        if not file.is_file():
            if path not in named.spare:
                wrong.append(path)
        elif hashes and file_hash(file) not in hashes:
            wrong.append(path)
    return wrong


def _fits(paths: LakePaths, target: Path, path: str, hashes: set[str], done: dict[str, str]) -> bool:
    """Whether a named file is in the copy with the bytes that the ledger tells; copies it where it is not."""
    if path not in done or (hashes and done[path] not in hashes):
        try:
            done[path] = _copy(paths.absolute(path), target / path)
        except FileNotFoundError:
            return False
    return not hashes or done[path] in hashes


def _copy(source: Path, target: Path) -> str:
    """Copy a file with its times, durably; returns the hash of what was copied."""
    digest = hashlib.sha256()
    with source.open("rb") as read, disk_errors(f"copy {source}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as write:
            while chunk := read.read(_CHUNK):
                digest.update(chunk)
                write.write(chunk)
            write.flush()
            os.fsync(write.fileno())
        # Of what was read: the name may be another file's by now, or gone.
        held = os.fstat(read.fileno())
        target.chmod(stat.S_IMODE(held.st_mode))
        os.utime(target, ns=(held.st_atime_ns, held.st_mtime_ns))
    return digest.hexdigest()


def _copy_others(root: Path, target: Path, named: Container[str]) -> None:
    """Copy the files that the ledger does not name.

    Who listens and who asks for slices goes on meanwhile: a file that was listed may have got its final name, or be out
    of date and gone. So the root is listed again until nothing is new, and what is gone by then is not kept.
    """
    seen: set[Path] = set()
    for _ in range(_ROUNDS):
        new = [relative for relative in _others(root, named) if relative not in seen]
        for relative in new:
            with suppress(FileNotFoundError):
                _copy(root / relative, target / relative)
        seen.update(new)
        if not new:
            break
    for relative in seen:
        if not (root / relative).exists():
            (target / relative).unlink(missing_ok=True)


def _others(root: Path, named: Container[str]) -> Iterator[Path]:
    """Files of the root that the ledger does not name: live rows, the collector's records, slices, reports, views."""
    for folder, directories, names in os.walk(root):
        at = Path(folder)
        if at != root and EXCHANGE_FILE in names:  # another lake's root, such as that of testing mode
            directories.clear()
            continue
        if at == root:
            directories[:] = [name for name in directories if name not in _LEFT_BEHIND and not name.startswith(".")]
        for name in names:
            relative = (at / name).relative_to(root)
            top = at == root
            if top and (name in _LEFT_BEHIND or name.startswith((f"{LEDGER}-", f"{LEDGER}.", "governor.sqlite", "."))):
                continue
            if not name.startswith(".") and relative.as_posix() not in named:
                yield relative


def restored_to(root: Path) -> None:
    """Refuse to restore over anything.

    Raises:
        SettingsError: the root is there and holds something.
        StorageError: it cannot be read.
    """
    with disk_errors(f"read {root}"):
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise SettingsError(
                f"{root} is there already", remedy="Set LAKE_ROOT to a directory that is not there, or move that away"
            )
