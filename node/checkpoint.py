"""Checkpoints in two slots: the newer one is never touched until its successor is on the medium.

A save writes the payload, then the header, into the OLDER slot and syncs once. Whatever a crash leaves there (old,
new or torn sectors in any mixture) either verifies as the new checkpoint or does not verify at all; the newer slot
still holds its predecessor.
"""

from __future__ import annotations

import errno
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from firmware_bridge.errors import ConfigError, DataError, FlightNodeError, Interrupted
from node.file_layer import FileLayer
from node.slot_format import HEADER_BYTES, PAYLOAD_OFFSET, BadSlot, Header

SLOT_NAMES = ("checkpoint-a.slot", "checkpoint-b.slot")
PAGE_BYTES = 4096


class StorageFailed(FlightNodeError):
    """The medium under the checkpoints failed; what was saved before is still there."""


@dataclass(frozen=True, kw_only=True)
class SaveReport:
    """A checkpoint that is on the medium.

    Parameters
    ----------
    sequence : int
        Its number; each save has the next one.
    size_bytes : int
        Bytes of payload.
    elapsed_us : int
        Time from the call to the end of the sync.
    """

    sequence: int
    size_bytes: int
    elapsed_us: int


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint that verifies.

    Parameters
    ----------
    sequence, frame : int
        Its number, and the inference that comes next.
    payload : bytes
        What was saved.
    rejected : tuple of str
        What was wrong with newer slots that were passed over.
    """

    sequence: int
    frame: int
    payload: bytes
    rejected: tuple[str, ...] = ()


@dataclass
class _Slot:
    """What is known of one slot: ``sequence`` as its header says (0: none), ``sound`` until found otherwise."""

    name: str
    fd: int
    sequence: int = 0
    sound: bool = False
    dead: bool = False

    @property
    def rank(self) -> int:
        return self.sequence if self.sound and not self.dead else 0


class CheckpointStore:
    """Two preallocated slot files in a directory.

    Parameters
    ----------
    directory : Path
        Made where it is missing; one store at a time.
    capacity_bytes : int
        Largest payload.
    files : FileLayer, optional
        The file operations; tests give a failing one.

    Raises
    ------
    ConfigError
        The directory or the files cannot be used.
    Interrupted
        There is no room for the slots.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, CheckpointStore(Path(folder), 16) as store:
    ...     report = store.save(b"state", frame=7)
    ...     found = store.restore()
    >>> report.sequence, found.frame, found.payload
    (1, 7, b'state')
    """

    def __init__(self, directory: Path, capacity_bytes: int, files: FileLayer | None = None) -> None:
        if capacity_bytes < 1:
            raise ConfigError(f"checkpoints of {capacity_bytes} bytes: give room for 1 byte or more")
        self.capacity_bytes = capacity_bytes
        self.rejected: tuple[str, ...] = ()
        self._files = files or FileLayer()
        self._slots: list[_Slot] = []
        self._baseline: tuple[bytes, list[Header]] | None = None
        try:
            self._open(Path(directory))
        except OSError as error:
            self.close()
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Interrupted(
                    f"no room for two checkpoints of {capacity_bytes} bytes in {directory}: free some, then try again"
                ) from error
            raise ConfigError(
                f"checkpoints cannot be kept in {directory}: {error.strerror}; give another one"
            ) from error

    def _open(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        size = PAYLOAD_OFFSET + -(-self.capacity_bytes // PAGE_BYTES) * PAGE_BYTES
        for name in SLOT_NAMES:
            slot = _Slot(name, self._files.open(directory / name))
            self._slots.append(slot)
            if self._files.size(slot.fd) < size:
                self._files.allocate(slot.fd, size)
                self._files.sync(slot.fd)
        self._files.sync_directory(directory)
        for slot in self._slots:
            self._load(slot)

    # ---- save ------------------------------------------------------------------------------------------------

    def save(self, payload: bytes, frame: int) -> SaveReport:
        """Store a payload in the older slot; it is on the medium when this returns.

        The caller has verified the state before: a checkpoint that preserves corruption is worse than none.

        Parameters
        ----------
        payload : bytes
            At most ``capacity_bytes``.
        frame : int
            The inference that comes next, for :attr:`Checkpoint.frame`.

        Raises
        ------
        Interrupted
            The disk is full.
        StorageFailed
            Writing failed. The slot is not used again before the store is opened anew: after a failed sync the
            system may report success for data that never arrived.
        """
        started_ns = time.perf_counter_ns()
        self._require_fit(payload)
        slot = self._slot_to_overwrite()
        header = Header.of(payload, max(other.sequence for other in self._slots) + 1, frame)
        self._store(slot, header, payload, durable=True)
        return SaveReport(
            sequence=header.sequence,
            size_bytes=len(payload),
            elapsed_us=(time.perf_counter_ns() - started_ns) // 1000,
        )

    def _require_fit(self, payload: bytes) -> None:
        if len(payload) > self.capacity_bytes:
            raise DataError(f"a checkpoint of {len(payload)} bytes does not fit into {self.capacity_bytes}")

    def _slot_to_overwrite(self) -> _Slot:
        older, newer = sorted(self._slots, key=lambda slot: slot.rank)
        if not older.dead:
            return older
        if newer.dead or newer.rank:
            kept = f"; checkpoint {newer.sequence} is kept in {newer.name}" if newer.rank else ""
            raise StorageFailed(f"{older.name} failed since the start and is not used again{kept}; check the medium")
        return newer

    def _store(self, slot: _Slot, header: Header, payload: bytes, *, durable: bool) -> None:
        slot.sound = False
        try:
            self._write(slot.fd, payload, PAYLOAD_OFFSET)
            self._write(slot.fd, header.pack(), 0)
            if durable:
                self._files.sync(slot.fd)
        except OSError as error:
            slot.dead = True
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Interrupted(f"disk full while writing {slot.name}: free some, then start again") from error
            raise StorageFailed(
                f"writing {slot.name} failed ({error.strerror}); the other slot is untouched"
            ) from error
        slot.sequence, slot.sound = header.sequence, True

    def _write(self, fd: int, data: bytes, offset: int) -> None:
        done = 0
        while done < len(data):
            taken = self._files.write(fd, data[done:], offset + done)
            if taken <= 0:
                raise OSError(errno.EIO, "the file takes no more bytes")
            done += taken

    # ---- restore ---------------------------------------------------------------------------------------------

    def restore(self) -> Checkpoint | None:
        """Give the newest checkpoint that verifies, read from the files, or None where none does.

        What was wrong with each slot that was passed over stands in ``rejected``, of the checkpoint and of the
        store.
        """
        rejected: list[str] = []
        found = None
        headers = [(self._header(slot, rejected), slot) for slot in self._slots if not slot.dead]
        usable = [(header, slot) for header, slot in headers if header is not None]
        for header, slot in sorted(usable, key=lambda pair: -pair[0].sequence):
            payload = self._payload(slot, header, rejected)
            if payload is not None:
                found = Checkpoint(
                    sequence=header.sequence, frame=header.frame, payload=payload, rejected=tuple(rejected)
                )
                break
        self.rejected = tuple(rejected)
        return found

    def _load(self, slot: _Slot) -> None:
        header = self._header(slot, [])
        if header is not None:
            self._payload(slot, header, [])

    def _header(self, slot: _Slot, rejected: list[str]) -> Header | None:
        try:
            header = Header.unpack(self._files.read(slot.fd, HEADER_BYTES, 0))
        except (BadSlot, OSError) as error:
            slot.sequence, slot.sound = 0, False
            rejected.append(f"{slot.name}: {error}")
            return None
        slot.sequence = header.sequence
        return header

    def _payload(self, slot: _Slot, header: Header, rejected: list[str]) -> bytes | None:
        slot.sound = False
        try:
            stored = min(header.length, self._files.size(slot.fd))
            payload = self._files.read(slot.fd, stored, PAYLOAD_OFFSET)
            header.verify(payload)
        except (BadSlot, OSError) as error:
            rejected.append(f"{slot.name}: checkpoint {header.sequence}: {error}")
            return None
        slot.sound = True
        return payload

    # ---- experiments -----------------------------------------------------------------------------------------

    def baseline(self, payload: bytes, *, durable: bool = True) -> None:
        """Make both slots hold this payload, as checkpoints 1 and 2 of frame 0, whatever they held before.

        Slots that hold it already are read and compared, not written.

        Parameters
        ----------
        payload : bytes
            At most ``capacity_bytes``.
        durable : bool
            False leaves out the sync: enough to separate trials, not to survive a power cut.
        """
        self._require_fit(payload)
        if self._baseline is None or self._baseline[0] != payload:
            self._baseline = payload, [Header.of(payload, sequence, 0) for sequence in (1, 2)]
        for slot, header in zip(self._slots, self._baseline[1], strict=True):
            if slot.dead:
                continue
            if self._holds(slot, header, payload):
                slot.sequence, slot.sound = header.sequence, True
            else:
                self._store(slot, header, payload, durable=durable)

    def _holds(self, slot: _Slot, header: Header, payload: bytes) -> bool:
        try:
            return (
                self._files.read(slot.fd, HEADER_BYTES, 0) == header.pack()
                and self._files.read(slot.fd, len(payload), PAYLOAD_OFFSET) == payload
            )
        except OSError:  # what cannot be read is written anew, and that says what is wrong with the medium
            return False

    def flip(self, bit: int) -> tuple[int, int]:
        """Invert one stored payload bit and give its byte before and after, read from the file.

        Parameters
        ----------
        bit : int
            0 is the first bit of the newer slot's payload; the second half of ``16 * capacity_bytes`` bits is the
            older slot's.
        """
        half = 8 * self.capacity_bytes
        if not 0 <= bit < 2 * half:
            raise DataError(f"bit {bit} lies outside the {2 * half} bits of two checkpoints")
        newer_first = sorted(self._slots, key=lambda slot: -slot.sequence)
        slot = newer_first[bit // half]
        offset = PAYLOAD_OFFSET + bit % half // 8
        try:
            before = int.from_bytes(self._files.read(slot.fd, 1, offset))
            self._write(slot.fd, bytes([before ^ 1 << bit % 8]), offset)
            return before, int.from_bytes(self._files.read(slot.fd, 1, offset))
        except OSError as error:
            raise StorageFailed(f"{slot.name} cannot be struck: {error.strerror}") from error

    # ---- life ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give the files back; they stay on the medium."""
        while self._slots:
            self._files.close(self._slots.pop().fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
