"""Uploads: resumable at every byte, verified, and never in the way of what is held already."""

import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.errors import DataError
from firmware_bridge.loading import BlobKind, LoadBegin, LoadChunk
from node.blob_store import BlobStore, blob_path

DATA = bytes(range(256)) * 5 + b"the end"


def announce(data: bytes = DATA, kind: BlobKind = BlobKind.IMAGE) -> LoadBegin:
    return LoadBegin(kind=kind, size=len(data), crc32=zlib.crc32(data))


def chunk(offset: int, data: bytes, kind: BlobKind = BlobKind.IMAGE) -> LoadChunk:
    return LoadChunk(kind=kind, offset=offset, data=data)


def upload(store: BlobStore, data: bytes, kind: BlobKind = BlobKind.IMAGE, step: int = 100) -> Path:
    begin = announce(data, kind)
    store.begin(begin)
    for offset in range(0, len(data), step):
        holding = store.add(chunk(offset, data[offset : offset + step], kind))
    assert holding.whole
    return store.path(begin)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_chunks_in_order_make_the_blob(tmp_path: Path) -> None:
    path = upload(BlobStore(tmp_path), DATA)
    assert path.read_bytes() == DATA
    assert files(tmp_path) == {path.name}, "the partial file was renamed, not copied"


def test_received_counts_what_is_held(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    assert store.begin(announce()).received == 0
    holding = store.add(chunk(0, DATA[:77]))
    assert (holding.received, holding.whole) == (77, False)
    assert store.begin(announce()).received == 77


def test_nothing_counts_as_whole_before_the_last_byte(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    store.begin(announce())
    assert not store.add(chunk(0, DATA[:-1])).whole
    assert not blob_path(tmp_path, announce()).exists()
    assert store.add(chunk(len(DATA) - 1, DATA[-1:])).whole


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(0, len(DATA) - 1), step=st.integers(1, 700))
def test_a_new_process_goes_on_at_any_cut(tmp_path_factory: pytest.TempPathFactory, cut: int, step: int) -> None:
    folder = tmp_path_factory.mktemp("store")
    before = BlobStore(folder)
    before.begin(announce())
    if cut:
        before.add(chunk(0, DATA[:cut]))
    after = BlobStore(folder)
    received = after.begin(announce()).received
    assert received == cut
    while received < len(DATA):
        holding = after.add(chunk(received, DATA[received : received + step]))
        received = holding.received
    assert holding.whole
    assert after.path(announce()).read_bytes() == DATA


@given(
    pieces=st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, 500)), max_size=30),
)
@settings(max_examples=30, deadline=None)
def test_any_order_and_overlap_never_makes_a_wrong_blob(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, int]]
) -> None:
    store = BlobStore(tmp_path_factory.mktemp("store"))
    store.begin(announce())
    received = 0
    for offset, size in pieces:
        holding = store.add(chunk(offset, DATA[offset : offset + size]))
        expected = max(received, min(offset + size, len(DATA))) if offset <= received else received
        assert holding.received == expected, "only bytes that continue the held ones count"
        received = expected
    assert holding.whole if pieces and received == len(DATA) else not store.path(announce()).exists()


def test_a_gap_is_answered_with_where_to_go_on(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    store.begin(announce())
    store.add(chunk(0, DATA[:10]))
    assert store.add(chunk(20, DATA[20:30])).received == 10


def test_a_held_blob_need_not_be_sent_again(tmp_path: Path) -> None:
    upload(BlobStore(tmp_path), DATA)
    holding = BlobStore(tmp_path).begin(announce())
    assert (holding.received, holding.whole) == (len(DATA), True)


def test_a_chunk_of_a_held_blob_changes_nothing(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    path = upload(store, DATA)
    assert store.add(chunk(3, b"xyz")).whole
    assert path.read_bytes() == DATA


def test_a_held_file_that_rotted_is_sent_again(tmp_path: Path) -> None:
    path = upload(BlobStore(tmp_path), DATA)
    path.write_bytes(DATA[:-1] + b"?")
    assert BlobStore(tmp_path).begin(announce()).received == 0


def test_a_partial_file_that_rotted_is_dropped_at_the_end(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    store.begin(announce())
    store.add(chunk(0, b"\xff" + DATA[1:50]))
    with pytest.raises(DataError, match=r"another CRC.*send it again"):
        store.add(chunk(50, DATA[50:]))
    assert files(tmp_path) == set()
    assert upload(store, DATA).read_bytes() == DATA


def test_a_complete_partial_file_is_finished_at_begin(tmp_path: Path) -> None:
    """A kill between the last write and the rename."""
    blob_path(tmp_path, announce()).with_suffix(".part").write_bytes(DATA)
    assert BlobStore(tmp_path).begin(announce()).whole
    assert files(tmp_path) == {blob_path(tmp_path, announce()).name}


def test_an_empty_blob_is_whole_at_once(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    assert store.begin(announce(b"")).whole
    assert store.path(announce(b"")).read_bytes() == b""


def test_another_blob_replaces_the_partial_but_not_the_held_one(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    held = upload(store, DATA)
    store.begin(announce(b"abandoned"))
    store.add(chunk(0, b"aband"))
    store.begin(announce(b"new one"))
    store.add(chunk(0, b"new"))
    assert files(tmp_path) == {held.name, blob_path(tmp_path, announce(b"new one")).with_suffix(".part").name}


def test_keep_only_removes_older_blobs_of_its_kind(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    upload(store, DATA)
    inputs = upload(store, DATA, BlobKind.INPUTS)
    newer = upload(store, b"newer image")
    store.keep_only(announce(b"newer image"))
    assert files(tmp_path) == {inputs.name, newer.name}


def test_kinds_do_not_mix(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    assert upload(store, DATA) != upload(store, DATA, BlobKind.INPUTS)
    assert len(files(tmp_path)) == 2


def test_a_chunk_without_announcement_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="LoadBegin first"):
        BlobStore(tmp_path).add(chunk(0, b"x"))


def test_a_chunk_beyond_the_end_is_refused(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    store.begin(announce(b"12345"))
    with pytest.raises(DataError, match="ends at byte 6, announced were 5"):
        store.add(chunk(0, b"123456"))
    assert files(tmp_path) == set()


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="--storage"):
        BlobStore(tmp_path / "file" / "below")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_says_so(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    store.begin(announce())
    blob_path(tmp_path, announce()).with_suffix(".part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"No space left.*free space"):
        store.add(chunk(0, DATA[:100]))
