"""What the store does in good times and on a failing medium."""

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from firmware_bridge.errors import ConfigError, DataError, Interrupted
from node.checkpoint import CheckpointStore, StorageFailed
from tests.naive.disk import Disk

CAPACITY = 64


@pytest.fixture
def store(tmp_path):
    with CheckpointStore(tmp_path / "checkpoints", CAPACITY) as opened:
        yield opened


def opened(disk):
    return CheckpointStore(Path(), CAPACITY, files=disk)


def files_of(store_directory):
    return {path.name: path.read_bytes() for path in sorted(store_directory.iterdir())}


def test_a_new_store_holds_nothing(store):
    assert store.restore() is None
    assert len(store.rejected) == 2


def test_the_newest_save_comes_back(store):
    for number in range(1, 6):
        report = store.save(bytes([number]) * number, frame=10 * number)
        assert (report.sequence, report.size_bytes) == (number, number)
        assert report.elapsed_us > 0
        found = store.restore()
        assert (found.sequence, found.frame, found.payload) == (number, 10 * number, bytes([number]) * number)


def test_a_store_opened_again_goes_on_counting(tmp_path):
    for number in range(1, 4):
        with CheckpointStore(tmp_path, CAPACITY) as store:
            assert store.save(b"x", frame=number).sequence == number
    with CheckpointStore(tmp_path, CAPACITY) as store:
        assert store.restore().frame == 3


def test_payloads_from_empty_to_the_capacity(store):
    for payload in (b"", b"1", bytes(CAPACITY)):
        store.save(payload, frame=0)
        assert store.restore().payload == payload
    with pytest.raises(DataError, match="does not fit"):
        store.save(bytes(CAPACITY + 1), frame=0)
    assert store.restore().payload == bytes(CAPACITY)


def test_files_do_not_grow_with_saves(tmp_path):
    with CheckpointStore(tmp_path, 10_000) as store:
        sizes = [path.stat().st_size for path in tmp_path.iterdir()]
        for number in range(5):
            store.save(bytes(10_000), frame=number)
        assert [path.stat().st_size for path in tmp_path.iterdir()] == sizes == [4096 + 12288] * 2


@pytest.mark.parametrize("capacity", (0, -1))
def test_no_room_for_a_payload_is_refused(tmp_path, capacity):
    with pytest.raises(ConfigError, match="1 byte or more"):
        CheckpointStore(tmp_path, capacity)


def test_a_directory_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="give another one"):
        CheckpointStore(tmp_path / "file" / "checkpoints", CAPACITY)


# ---- damage that is known ------------------------------------------------------------------------------------


def test_a_struck_newer_slot_gives_the_older_one_and_is_written_next(store):
    store.save(b"one", frame=1)
    store.save(b"two", frame=2)
    store.flip(0)
    found = store.restore()
    assert (found.frame, found.payload) == (1, b"one")
    assert "payload damaged" in found.rejected[0]
    assert found.rejected == store.rejected
    assert store.save(b"three", frame=3).sequence == 3
    store.flip(0)
    assert store.restore().payload == b"one", "the sound slot was kept while its successor was written"


def test_flip_addresses_the_newer_slot_first(store):
    store.save(b"\x00" * CAPACITY, frame=1)
    store.save(b"\xff" * CAPACITY, frame=2)
    assert store.flip(3) == (0xFF, 0xF7)
    assert store.flip(3) == (0xF7, 0xFF)
    assert store.flip(8 * CAPACITY + 8 * 5 + 7) == (0x00, 0x80)
    assert store.restore().payload == b"\xff" * CAPACITY
    store.flip(8 * CAPACITY - 1)
    assert store.restore() is None
    store.flip(8 * CAPACITY - 1)
    store.flip(8 * CAPACITY + 8 * 5 + 7)
    assert store.restore().frame == 2


@pytest.mark.parametrize("bit", (-1, 16 * CAPACITY))
def test_flip_outside_the_slots_is_refused(store, bit):
    with pytest.raises(DataError, match="outside"):
        store.flip(bit)


# ---- baseline ------------------------------------------------------------------------------------------------


def disturbances():
    def saved(store):
        for number in range(3):
            store.save(b"other", frame=number)

    def struck(store):
        store.flip(5)
        store.restore()

    def both_struck(store):
        store.flip(5)
        store.flip(8 * CAPACITY)
        assert store.restore() is None

    def other_baseline(store):
        store.baseline(b"somebody else's")

    return (lambda store: None, saved, struck, both_struck, other_baseline)


@pytest.mark.parametrize("disturb", disturbances())
def test_after_a_baseline_history_does_not_matter(tmp_path, disturb):
    golden = bytes(range(CAPACITY))
    with CheckpointStore(tmp_path / "fresh", CAPACITY) as fresh, CheckpointStore(tmp_path / "used", CAPACITY) as used:
        fresh.baseline(golden)
        used.baseline(golden)
        disturb(used)
        used.baseline(golden, durable=False)
        seen = []
        for store in (fresh, used):
            found = [store.restore(), store.flip(9), store.restore(), store.save(b"next", 4).sequence, store.restore()]
            found += [store.flip(8 * CAPACITY + 2), store.flip(0), store.restore(), store.rejected]
            seen.append(found)
        assert seen[0] == seen[1]


def test_a_baseline_that_is_there_already_writes_nothing():
    disk = Disk()
    store = opened(disk)
    store.baseline(b"golden")
    disk.log.clear()
    store.baseline(b"golden")
    assert disk.log == []
    store.flip(8 * CAPACITY)
    disk.log.clear()
    store.baseline(b"golden")
    assert {name for _, name in disk.log} == {"checkpoint-a.slot"}


def test_a_baseline_gives_both_slots():
    store = opened(Disk())
    store.baseline(b"golden")
    assert (store.restore().sequence, store.restore().frame) == (2, 0)
    store.flip(0)
    assert (store.restore().sequence, store.restore().payload) == (1, b"golden")


# ---- a failing medium ----------------------------------------------------------------------------------------


def saved_twice(**kwargs):
    disk = Disk(**kwargs)
    store = opened(disk)
    store.save(b"one", frame=1)
    store.save(b"two", frame=2)
    return disk, store


@pytest.mark.parametrize("operation", range(3), ids=("payload", "header", "sync"))
def test_a_failed_write_or_sync_retires_its_slot_until_the_next_start(operation):
    disk, store = saved_twice()
    disk.fail_at = {len(disk.log) + operation: errno.EIO}
    with pytest.raises(StorageFailed, match=r"checkpoint-a\.slot failed"):
        store.save(b"three", frame=3)
    assert store.restore().payload == b"two"
    tried = len(disk.log)
    for _ in range(2):
        with pytest.raises(StorageFailed, match=r"checkpoint 2 is kept in checkpoint-b\.slot"):
            store.save(b"four", frame=4)
    assert len(disk.log) == tried, "a failed sync must not be tried again"
    store.baseline(b"two")
    assert {name for _, name in disk.log[tried:]} <= {"checkpoint-b.slot"}
    again = opened(Disk({name: bytes(content) for name, content in disk.files.items()}))
    assert again.save(b"five", frame=5).sequence >= 3
    assert again.restore().payload == b"five"


@pytest.mark.parametrize("code", (errno.ENOSPC, errno.EDQUOT))
def test_a_full_disk_during_a_save_keeps_what_was_saved(code):
    disk, store = saved_twice()
    disk.fail_at = {len(disk.log): code}
    with pytest.raises(Interrupted, match="disk full"):
        store.save(b"three", frame=3)
    assert store.restore().payload == b"two"


def test_a_full_disk_at_the_start_says_how_much_was_asked_for():
    with pytest.raises(Interrupted, match="no room for two checkpoints of 64 bytes"):
        opened(Disk(fail_at={0: errno.ENOSPC}))


def test_a_failed_sync_at_the_start_is_refused():
    with pytest.raises(ConfigError, match="cannot be kept"):
        opened(Disk(fail_at={1: errno.EIO}))


def test_a_file_that_takes_no_more_bytes_is_a_failure():
    disk, store = saved_twice()
    disk.most_bytes = 0
    with pytest.raises(StorageFailed):
        store.save(b"three", frame=3)
    disk.most_bytes = None
    assert store.restore().payload == b"two"


def test_both_slots_failed_is_said():
    disk = Disk(fail_at={5: errno.EIO, 6: errno.EIO})
    store = opened(disk)
    for number in range(2):
        with pytest.raises(StorageFailed, match="untouched"):
            store.save(b"x", frame=number)
    with pytest.raises(StorageFailed, match="not used again; check the medium"):
        store.save(b"x", frame=3)
    assert store.restore() is None


def test_a_slot_that_cannot_be_read_is_passed_over(monkeypatch):
    _, store = saved_twice()
    real = Disk.read

    def failing(self, fd, size, offset):
        if self.names[fd] == "checkpoint-b.slot":
            raise OSError(errno.EIO, "Input/output error")
        return real(self, fd, size, offset)

    monkeypatch.setattr(Disk, "read", failing)
    found = store.restore()
    assert found.payload == b"one"
    assert "Input/output error" in found.rejected[0]
    with pytest.raises(StorageFailed, match="cannot be struck"):
        store.flip(8 * CAPACITY)


# ---- a killed process ----------------------------------------------------------------------------------------

SAVER = """
import sys
from pathlib import Path
from node.checkpoint import CheckpointStore
with CheckpointStore(Path(sys.argv[1]), 20000) as store:
    found = store.restore()
    number = found.frame if found else 0
    while True:
        number += 1
        store.save(number.to_bytes(4, "little") * 5000, frame=number)
        print(number, flush=True)
"""


def test_a_process_killed_again_and_again_never_loses_an_acknowledged_checkpoint(tmp_path):
    acknowledged = 0
    for round_number in range(6):
        process = subprocess.Popen([sys.executable, "-c", SAVER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(5 + 7 * round_number):
            acknowledged = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        process.wait()
        process.stdout.close()
        acknowledged = int(rest[-1]) if rest else acknowledged
        with CheckpointStore(tmp_path, 20000) as store:
            found = store.restore()
        assert found.frame in (acknowledged, acknowledged + 1)
        assert found.payload == found.frame.to_bytes(4, "little") * 5000
        acknowledged = found.frame
