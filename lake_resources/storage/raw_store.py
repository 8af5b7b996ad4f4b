"""Raw answers: one answer per name, whole or not at all, compressed or packed without changing a byte.

Belongs here: their forms, packs and what proves them. Does not belong here: a directory or a bucket (`blobs`), what an
answer means, its status (`slice_rows`), its name's making.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from lake_resources.errors import StorageError
from lake_resources.storage.blobs import Blobs

Form = Literal["json", "json.zst"]
_MOST_BYTES = 1 << 30
"""No pack or answer of ours is near it; what inflates to more is damaged or not ours."""


@dataclass(frozen=True)
class Kept:
    """Where an answer lies.

    Attributes:
        path: relative to the store's root; of a packed answer `pack.tar.zst#name`.
        sha256: of the answer's bytes as they were received and described, before any compression.
        size_bytes: of these bytes.
    """

    path: str
    sha256: str
    size_bytes: int


class RawStore:
    """Answers below a data root.

    Args:
        blobs: the directory or bucket.
        form: `json` keeps answers as they are, `json.zst` compresses each.
    """

    def __init__(self, blobs: Blobs, form: Form = "json") -> None:
        self.blobs = blobs
        self._form = form
        self._pack: tuple[str, dict[str, bytes]] = ("", {})

    def fresh(self) -> None:
        """Forget what was read of a pack, so that the next look is at the disk."""
        self._pack = ("", {})

    def put(self, directory: str, name: str, content: bytes) -> Kept:
        """Keep an answer under a name; an earlier one of the same name is replaced in one step.

        Raises:
            DiskFull, StorageError: it cannot be written; the earlier one stays.
        """
        relative = f"{directory}/{name}.{self._form}"
        data = content if self._form == "json" else _compressed(content)
        self.blobs.write(relative, data)
        return Kept(relative, hashlib.sha256(content).hexdigest(), len(content))

    def get(self, path: str) -> bytes:
        """The bytes of an answer.

        Raises:
            StorageError: it is not there or does not read.
        """
        file, _, member = path.partition("#")
        if member:
            if self._pack[0] != file:  # neighbours lie in the same pack; a pack never changes
                self._pack = (file, dict(self.members(file)))
            if member not in self._pack[1]:
                raise StorageError(f"pack {file} has no {member}", remedy="`lake slices verify --mend`")
            return self._pack[1][member]
        data = self.blobs.read(file)
        return _inflated(path, data) if file.endswith(".zst") else data

    def pack(self, directory: str, name: str, kept: Sequence[Kept]) -> list[Kept]:
        """Put answers into one compressed file and prove that each reads back with its bytes; the single files stay.

        Args:
            directory: where the pack lies.
            name: how its name begins; a digest of its bytes follows.
            kept: the answers, each as it lies now.

        Returns:
            The same answers as they lie in the pack, in order.

        Raises:
            DiskFull, StorageError: an answer does not have the bytes that were kept, or the pack does not read back.
        """
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for each in kept:
                content = self.get(each.path)
                if hashlib.sha256(content).hexdigest() != each.sha256:
                    raise StorageError(
                        f"raw answer {each.path} has other bytes than were kept",
                        remedy="Nothing was packed. `lake slices verify` names all of them; they are fetched again",
                    )
                info = tarfile.TarInfo(_plain_name(each.path))  # no time, no owner: equal answers are equal bytes
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        data = _compressed(buffer.getvalue())
        # Named by its bytes and never replaced: an answer that was fetched anew must not take the place of ninety-nine.
        relative = f"{directory}/{name}-{hashlib.sha256(data).hexdigest()[:16]}.tar.zst"
        self.blobs.write(relative, data, create=True)
        found = {member: hashlib.sha256(data).hexdigest() for member, data in self.members(relative)}
        if [found.get(_plain_name(each.path)) for each in kept] != [each.sha256 for each in kept]:
            raise StorageError(f"pack {relative} does not read back", remedy="Check the disk, then pack again")
        return [Kept(f"{relative}#{_plain_name(each.path)}", each.sha256, each.size_bytes) for each in kept]

    def members(self, path: str) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of each answer in a pack.

        Raises:
            StorageError: it is not there or does not read.
        """
        yield from _members(path, self.blobs.read(path))

    def remove(self, paths: Iterable[str]) -> None:
        """Remove single files; those that are gone already are no error."""
        for path in paths:
            self.blobs.remove(path)

    def files(self, directory: str) -> list[str]:
        """Paths of the files in a directory, in order; none where it is not there."""
        return self.blobs.names(directory)


def _plain_name(path: str) -> str:
    """Name of an answer inside a pack: that of the uncompressed file."""
    return path.rpartition("#")[2].rpartition("/")[2].removesuffix(".zst")


def _compressed(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def _inflated(path: str, data: bytes) -> bytes:
    try:
        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
            content: bytes = stream.read(_MOST_BYTES)
    except (pa.ArrowException, OSError) as error:
        raise StorageError(f"raw answer {path} is damaged: {error}", remedy="It is fetched again") from error
    return content


def _members(path: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    content = _inflated(path, data)
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for info in archive:
                file = archive.extractfile(info)
                if file is not None:
                    yield info.name, file.read()
    except tarfile.TarError as error:
        raise StorageError(f"pack {path} is damaged: {error}", remedy="`lake slices rebuild`") from error
