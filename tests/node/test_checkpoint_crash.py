"""Every state a power cut can leave during a save: the last acknowledged checkpoint is never lost.

The harness runs the real store on a simulated disk, stops it before each operation, and restores from each mixture
of old, new, torn and noisy sectors. Broken variants of the protocol are run through it too and must be caught.
"""

from pathlib import Path

import pytest

from node.checkpoint import CheckpointStore
from node.slot_format import Header
from tests.naive.disk import Disk, PowerCut

CAPACITY = 1100
"""Bytes: three sectors of payload, so that a save leaves four sectors in doubt, in 256 mixtures."""

FOLDER = Path()


def payload(number):
    return bytes((number * 31 + i * 7) % 256 for i in range(CAPACITY))


def run(store_class, disk, saves):
    """Save until the power goes; give the number of the last save that was acknowledged."""
    acknowledged = 0
    try:
        store = store_class(FOLDER, CAPACITY, files=disk)
        for number in range(1, saves + 1):
            store.save(payload(number), frame=number)
            acknowledged = number
    except PowerCut:
        return acknowledged, True
    return acknowledged, False


def outcomes(store_class, saves=3, most_bytes=None):
    """Yield, for each state a cut may leave, whether the newest acknowledged checkpoint (or the next) came back."""
    stop, stopped = 0, True
    while stopped:
        disk = Disk(stop_before=stop, most_bytes=most_bytes)
        acknowledged, stopped = run(store_class, disk, saves)
        allowed = (acknowledged, acknowledged + 1) if stopped else (acknowledged,)
        for left in disk.after_power_cut():
            found = store_class(FOLDER, CAPACITY, files=Disk(left)).restore()
            number = 0 if found is None else found.frame
            yield number in allowed and (found is None or found.payload == payload(number))
        stop += 1


class OverwritesTheNewer(CheckpointStore):
    def _slot_to_overwrite(self):
        return max(self._slots, key=lambda slot: slot.sequence)


class AcknowledgesBeforeTheSync(CheckpointStore):
    def _store(self, slot, header, payload, *, durable):
        super()._store(slot, header, payload, durable=False)


class SyncsTheOtherSlot(CheckpointStore):
    def _store(self, slot, header, payload, *, durable):
        super()._store(slot, header, payload, durable=False)
        other = next(one for one in self._slots if one is not slot)
        self._files.sync(other.fd)


class BelievesTheHeader(CheckpointStore):
    """Restores without a look at the payload."""

    def _payload(self, slot, header, rejected):
        slot.sound = True
        return self._files.read(slot.fd, header.length, 4096)


def test_no_state_after_a_power_cut_loses_the_acknowledged_checkpoint():
    kept = list(outcomes(CheckpointStore))
    assert len(kept) > 900
    assert all(kept)


@pytest.mark.parametrize("most_bytes", (16, 300, 700))
def test_nor_when_the_file_takes_writes_in_pieces(most_bytes):
    assert all(outcomes(CheckpointStore, saves=2, most_bytes=most_bytes))


@pytest.mark.parametrize(
    "mutant", (OverwritesTheNewer, AcknowledgesBeforeTheSync, SyncsTheOtherSlot, BelievesTheHeader)
)
def test_the_harness_catches_a_broken_protocol(mutant):
    assert not all(outcomes(mutant))


def test_a_second_power_cut_during_the_first_save_after_recovery_loses_nothing():
    """From every state the first cut leaves, save again and cut again."""
    first = Disk(stop_before=None)
    run(CheckpointStore, first, 2)
    disk = Disk(first.medium, stop_before=2)
    store = CheckpointStore(FOLDER, CAPACITY, files=disk)
    with pytest.raises(PowerCut):
        store.save(payload(3), frame=3)
        store.save(payload(4), frame=4)
    tried = 0
    for left in {tuple(sorted(medium.items())) for medium in disk.after_power_cut()}:
        for stop in range(1, 4):
            again = Disk(dict(left), stop_before=stop)
            store = CheckpointStore(FOLDER, CAPACITY, files=again)
            known = store.restore()
            assert known is not None
            with pytest.raises(PowerCut):
                store.save(payload(9), frame=9)
            for medium in again.after_power_cut():
                found = CheckpointStore(FOLDER, CAPACITY, files=Disk(medium)).restore()
                assert found is not None
                assert found.frame in (known.frame, 9)
                assert found.payload == payload(found.frame)
                tried += 1
    assert tried > 1000


def test_a_save_is_one_sync_and_writes_the_older_slot_alone():
    disk = Disk()
    store = CheckpointStore(FOLDER, CAPACITY, files=disk)
    slots = []
    for number in range(4):
        disk.log.clear()
        store.save(payload(number), frame=number)
        operations = [what for what, _ in disk.log]
        assert operations == ["write", "write", "sync"]
        assert len({name for _, name in disk.log}) == 1
        slots.append(disk.log[0][1])
    assert slots == ["checkpoint-a.slot", "checkpoint-b.slot"] * 2


def test_a_header_never_verifies_with_another_payload():
    header = Header.of(payload(1), 1, 1)
    header.verify(payload(1))
    with pytest.raises(Exception, match="CRC is wrong"):
        header.verify(payload(2))
