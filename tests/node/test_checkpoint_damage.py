"""A slot cut at any byte or with any bit inverted is refused or still right, never silently wrong."""

import struct
import zlib
from pathlib import Path

import pytest

from node.checkpoint import CheckpointStore
from node.slot_format import HEADER_BYTES, PAYLOAD_OFFSET, BadSlot, Header
from tests.naive.disk import Disk

OLD, NEW = b"the older checkpoint", b"the newer checkpoint!"
CAPACITY = 24
SLOT_A, SLOT_B = "checkpoint-a.slot", "checkpoint-b.slot"


def two_checkpoints():
    disk = Disk()
    store = CheckpointStore(Path(), CAPACITY, files=disk)
    store.save(OLD, frame=3)
    store.save(NEW, frame=5)
    return {name: bytes(content) for name, content in disk.medium.items()}


def restored(medium):
    return CheckpointStore(Path(), CAPACITY, files=Disk(medium)).restore()


def inverted(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_undamaged_the_newer_one_comes_back():
    found = restored(two_checkpoints())
    assert (found.sequence, found.frame, found.payload, found.rejected) == (2, 5, NEW, ())


def test_any_inverted_bit_of_the_newer_slot_falls_back_to_the_older_one():
    medium = two_checkpoints()
    live = [*range(8 * HEADER_BYTES), *range(8 * PAYLOAD_OFFSET, 8 * (PAYLOAD_OFFSET + len(NEW)))]
    for bit in live:
        found = restored(medium | {SLOT_B: inverted(medium[SLOT_B], bit)})
        assert (found.sequence, found.payload) == (1, OLD), bit
        assert len(found.rejected) == 1
        assert SLOT_B in found.rejected[0]


def test_inverted_bits_that_belong_to_nothing_change_nothing():
    medium = two_checkpoints()
    live_end = PAYLOAD_OFFSET + len(NEW)
    for bit in [*range(8 * HEADER_BYTES, 8 * PAYLOAD_OFFSET, 61), *range(8 * live_end, 8 * (live_end + 40))]:
        assert restored(medium | {SLOT_B: inverted(medium[SLOT_B], bit)}).payload == NEW


def test_any_inverted_bit_of_both_slots_gives_nothing():
    medium = two_checkpoints()
    for bit in [*range(8 * HEADER_BYTES), *range(8 * PAYLOAD_OFFSET, 8 * (PAYLOAD_OFFSET + len(OLD)))]:
        both = {name: inverted(content, bit) for name, content in medium.items()}
        assert restored(both) is None


@pytest.mark.parametrize(("cut", "left"), ((SLOT_B, OLD), (SLOT_A, NEW)))
def test_a_slot_cut_at_any_byte_never_gives_anything_but_a_whole_checkpoint(cut, left):
    medium = two_checkpoints()
    whole = {SLOT_A: (1, OLD), SLOT_B: (2, NEW)}
    for length in range(len(medium[cut]) + 1):
        found = restored(medium | {cut: medium[cut][:length]})
        complete = length >= PAYLOAD_OFFSET + len(whole[cut][1])
        expected = (2, NEW) if complete else whole[SLOT_A if cut == SLOT_B else SLOT_B]
        assert (found.sequence, found.payload) == expected, length
        assert found.payload in (left, NEW)


def test_both_slots_cut_at_any_byte_give_nothing_or_a_whole_checkpoint():
    medium = two_checkpoints()
    for length in range(len(medium[SLOT_A]) + 1):
        found = restored({name: content[:length] for name, content in medium.items()})
        if length < PAYLOAD_OFFSET + len(OLD):
            assert found is None
        else:
            assert found.payload == (NEW if length >= PAYLOAD_OFFSET + len(NEW) else OLD)


def test_a_cut_file_on_a_real_disk_is_extended_and_used_again(tmp_path):
    with CheckpointStore(tmp_path, CAPACITY) as store:
        store.save(OLD, frame=3)
        store.save(NEW, frame=5)
    for name, length in ((SLOT_B, PAYLOAD_OFFSET + 3), (SLOT_A, 0)):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:length])
        with CheckpointStore(tmp_path, CAPACITY) as store:
            found = store.restore()
            assert (found is None) if name == SLOT_A else (found.payload == OLD)
    with CheckpointStore(tmp_path, CAPACITY) as store:
        assert store.rejected == ()
        assert store.restore() is None
        assert "empty" in store.rejected[0]
        assert "CRC is wrong" in store.rejected[1]
        store.save(NEW, frame=1)
        assert store.restore().payload == NEW


def test_the_header_is_laid_out_as_described():
    header = Header.of(b"123456789", sequence=7, frame=11)
    stored = header.pack()
    assert len(stored) == HEADER_BYTES == 48
    fields = struct.unpack("<8sIIQQQII", stored)
    assert fields[:-1] == (b"FNCKSLOT", 1, 4096, 7, 11, 9, 0xCBF43926)
    assert Header.unpack(stored) == header


@pytest.mark.parametrize("length", range(HEADER_BYTES))
def test_a_cut_header_is_refused(length):
    with pytest.raises(BadSlot, match="empty" if length == 0 else "cut"):
        Header.unpack(Header.of(b"x", 1, 1).pack()[:length])


def test_a_header_of_another_version_with_a_right_crc_is_refused():
    fields = struct.pack("<8sIIQQQI", b"FNCKSLOT", 2, 4096, 1, 0, 0, 0)
    stored = fields + struct.pack("<I", zlib.crc32(fields))
    with pytest.raises(BadSlot, match="version 2"):
        Header.unpack(stored)
