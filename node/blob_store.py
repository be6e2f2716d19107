"""Where uploaded images and inputs lie: written in pieces, resumable, verified before they count."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.crc import crc32
from firmware_bridge.errors import DataError
from firmware_bridge.loading import BlobKind, LoadBegin, LoadChunk

READ_BYTES = 1 << 20
SUFFIX = {BlobKind.IMAGE: ".image", BlobKind.INPUTS: ".npz"}


def blob_path(folder: Path, begin: LoadBegin) -> Path:
    """Give where the whole blob of an announcement lies in a storage folder, or will lie."""
    stem = f"{begin.kind.name.lower()}-{begin.size}-{begin.crc32:08x}"
    return folder / (stem + SUFFIX[begin.kind])


@dataclass(frozen=True, kw_only=True)
class Holding:
    """How much of an announced blob lies in the store.

    Parameters
    ----------
    begin : LoadBegin
        The announcement: kind, size and CRC.
    received : int
        Bytes held, from the start of the blob.
    whole : bool
        True when every byte is there and the CRC was verified.
    """

    begin: LoadBegin
    received: int
    whole: bool


class BlobStore:
    """The uploaded blobs of one node: at most one whole and one partial file of each kind.

    A blob is known by its kind, size and CRC, which also name its files; so an upload that was cut off (link,
    node or power) goes on where it stopped, and a blob that is held already need not be sent again.

    Parameters
    ----------
    folder : Path
        Made where it is missing.

    Raises
    ------
    DataError
        When the folder cannot be made or written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> store = BlobStore(Path(tempfile.mkdtemp()))
    >>> begin = LoadBegin(kind=BlobKind.IMAGE, size=4, crc32=crc32(b"bits"))
    >>> store.begin(begin).received
    0
    >>> store.add(LoadChunk(kind=BlobKind.IMAGE, offset=0, data=b"bits")).whole
    True
    >>> store.path(begin).read_bytes()
    b'bits'
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._announced: dict[BlobKind, LoadBegin] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(_cannot_write(folder, error)) from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise DataError(f"storage {folder} cannot be written: give --storage a folder of your own")

    def path(self, begin: LoadBegin) -> Path:
        """Give where the whole blob lies or will lie."""
        return blob_path(self.folder, begin)

    def begin(self, begin: LoadBegin) -> Holding:
        """Take an announcement and give what is held of that blob already.

        Partial files of other blobs of the kind are removed; a whole file is verified again, because it may be
        older than this process.
        """
        self._announced[begin.kind] = begin
        partial = self._partial(begin)
        for stale in self.folder.glob(f"{begin.kind.name.lower()}-*.part"):
            if stale != partial:
                stale.unlink(missing_ok=True)
        whole = self.path(begin)
        if whole.exists():
            if _matches(whole, begin):
                return Holding(begin=begin, received=begin.size, whole=True)
            whole.unlink()
        received = partial.stat().st_size if partial.exists() else 0
        if received < begin.size:
            return Holding(begin=begin, received=received, whole=False)
        return self._finish(begin)

    def add(self, chunk: LoadChunk) -> Holding:
        """Write a chunk and give what is held now.

        A chunk beyond the held bytes (one before it was lost) is not written and one that is held already
        changes nothing: in both cases the answer says where to go on.

        Raises
        ------
        DataError
            For a chunk that was not announced or is too long, for a whole blob with the wrong CRC (it is
            dropped), and when the disk takes no more.
        """
        begin = self._announced.get(chunk.kind)
        name = chunk.kind.name.lower()
        if begin is None:
            raise DataError(f"chunk of an {name} that was not announced: send LoadBegin first")
        end = chunk.offset + len(chunk.data)
        if end > begin.size:
            raise DataError(f"chunk of the {name} ends at byte {end}, announced were {begin.size} bytes")
        if self.path(begin).exists():
            return Holding(begin=begin, received=begin.size, whole=True)
        partial = self._partial(begin)
        received = partial.stat().st_size if partial.exists() else 0
        if chunk.offset <= received < end:
            self._append(partial, chunk.data[received - chunk.offset :])
            received = end
        if received < begin.size:
            return Holding(begin=begin, received=received, whole=False)
        return self._finish(begin)

    def _partial(self, begin: LoadBegin) -> Path:
        return self.path(begin).with_suffix(".part")

    def _append(self, partial: Path, data: bytes) -> None:
        try:
            with partial.open("ab") as file:
                file.write(data)
        except OSError as error:
            raise DataError(_cannot_write(partial, error)) from error

    def _finish(self, begin: LoadBegin) -> Holding:
        """Verify the complete partial file and put it in place of what was held of its kind."""
        partial, whole = self._partial(begin), self.path(begin)
        partial.touch()  # a blob of no bytes has had no chunk
        if not _matches(partial, begin):
            partial.unlink()
            raise DataError(
                f"{begin.kind.name.lower()} of {begin.size} bytes arrived with another CRC than the announced "
                f"{begin.crc32:08x}: send it again"
            )
        try:
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(whole)
        except OSError as error:
            raise DataError(_cannot_write(whole, error)) from error
        return Holding(begin=begin, received=begin.size, whole=True)

    def keep_only(self, begin: LoadBegin) -> None:
        """Remove whole blobs of the same kind other than this one, which is in use now."""
        for other in self.folder.glob(f"{begin.kind.name.lower()}-*{SUFFIX[begin.kind]}"):
            if other != self.path(begin):
                other.unlink(missing_ok=True)


def _matches(path: Path, begin: LoadBegin) -> bool:
    """Tell whether a file has the announced size and CRC."""
    crc, size = 0, 0
    with path.open("rb") as file:
        while data := file.read(READ_BYTES):
            crc, size = crc32(data, crc), size + len(data)
    return (size, crc) == (begin.size, begin.crc32)


def _cannot_write(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"storage {path} cannot be written ({reason}): free space or give --storage another folder"
