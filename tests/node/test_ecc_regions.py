"""Protected regions on a real arena, the oracle's memory, the scrubber's walk."""

import gc

import numpy as np
import pytest

from firmware_bridge.errors import ConfigError, DataError
from node.arena import Arena, Layout, Region
from node.ecc import CODES, DecodeReport, ProtectedRegion, Scrubber
from node.ecc.controls import Oracle


def protected(code, sizes=(1000, 8 * 300), seed=1):
    """Give an arena and its protected regions, encoded."""
    regions = []
    for i, size in enumerate(sizes):
        regions.append(Region(name=f"r{i}", kind="weights", size_bytes=size))
        regions.append(Region(name=f"check.r{i}", kind="check", size_bytes=code.check_bytes(size), own=True))
    arena = Arena(Layout.place(regions))
    rng = np.random.default_rng(seed)
    found = []
    for i, size in enumerate(sizes):
        arena.view(f"r{i}")[:] = rng.integers(0, 256, size)
        region = ProtectedRegion(f"r{i}", arena.view(f"r{i}"), arena.view(f"check.r{i}"), code)
        region.encode()
        found.append(region)
    return arena, found


@pytest.mark.parametrize("name", ("hsiao_72_64", "tmr", "oracle"))
def test_a_struck_region_is_repaired_in_the_arena(name):
    arena, (first, second) = protected(CODES[name])
    golden = arena.u8.copy()
    for bit in (0, 64, 7999):
        arena.flip("r0", bit)
    assert first.check() == DecodeReport(words=125, detected=3)
    assert second.check() == DecodeReport(words=300)
    assert first.correct() == DecodeReport(words=125, corrected=3)
    assert (arena.u8 == golden).all()


@pytest.mark.parametrize("name", ("hsiao_72_64", "tmr"))
def test_a_struck_check_region_is_repaired_in_the_arena(name):
    arena, (first, _) = protected(CODES[name])
    golden = arena.u8.copy()
    arena.flip("check.r0", 5)
    assert first.correct().corrected == 1
    assert (arena.u8 == golden).all()


def test_a_region_with_check_bits_of_another_size_is_refused():
    with pytest.raises(DataError, match="needs 13 check bytes, not 14"):
        ProtectedRegion("weights", np.zeros(100, np.uint8), np.zeros(14, np.uint8), CODES["hsiao_72_64"])


def test_encoding_again_takes_the_data_as_right():
    arena, (first, _) = protected(CODES["oracle"])
    arena.flip("r0", 12)
    first.encode()
    assert first.check().detected == 0
    arena.flip("r0", 12)
    assert first.check().detected == 1


def test_the_oracle_keeps_each_memory_apart():
    oracle = Oracle()
    arrays = [np.full(64, i, np.uint8) for i in range(3)]
    checks = [oracle.encode(array) for array in arrays]
    for array in arrays:
        array[7] ^= 0xFF
    for i, (array, check) in enumerate(zip(arrays, checks, strict=True)):
        assert oracle.correct(array, check) == DecodeReport(words=8, corrected=1)
        assert (array == i).all()


def test_the_oracle_refuses_memory_it_never_saw_and_parts_of_what_it_saw():
    oracle = Oracle()
    array = np.zeros(64, np.uint8)
    with pytest.raises(DataError, match="never encoded"):
        oracle.check(array, np.empty(0, np.uint8))
    check = oracle.encode(array)
    with pytest.raises(DataError, match="never encoded"):
        oracle.correct(array[:32], check)


def test_the_oracle_forgets_memory_that_is_gone():
    """A later array at the same address must not be "repaired" with somebody else's bytes."""
    oracle = Oracle()
    owner = np.arange(1 << 16, dtype=np.uint8)
    oracle.encode(owner[64:128])
    assert len(oracle._copies) == 1
    del owner
    gc.collect()
    assert len(oracle._copies) == 0


def test_the_oracle_repairs_any_number_of_bits_in_a_word():
    data = np.zeros(16, np.uint64)
    check = CODES["oracle"].encode(data)
    data[3:6] = 2**64 - 1
    assert CODES["oracle"].correct(data, check) == DecodeReport(words=16, corrected=3)
    assert not data.any()


@pytest.mark.parametrize(("period", "due"), ((0, []), (1, [0, 1, 2, 3, 4, 5, 6]), (3, [0, 3, 6])))
def test_a_scrub_is_due_every_period(period, due):
    assert [k for k in range(7) if Scrubber((), period).due(k)] == due


def test_a_negative_period_and_a_tiny_slice_are_refused():
    with pytest.raises(ConfigError, match="period"):
        Scrubber((), -1)
    with pytest.raises(ConfigError, match="slice"):
        Scrubber((), 1).scrub_slice(63)


def test_a_scrub_corrects_all_regions_and_counts():
    arena, regions = protected(CODES["hsiao_72_64"])
    golden = arena.u8.copy()
    scrubber = Scrubber(regions, 1)
    arena.flip("r0", 3)
    arena.flip("r1", 3)
    assert scrubber.scrub() == DecodeReport(words=425, corrected=2)
    assert (arena.u8 == golden).all()
    scrubber.scrub()
    assert scrubber.scrubs == 2
    assert scrubber.total == DecodeReport(words=850, corrected=2)


@pytest.mark.parametrize("max_words", (64, 100, 128, 192, 1000))
@pytest.mark.parametrize("name", ("parity", "hsiao_72_64", "tmr", "oracle"))
def test_slices_see_each_word_once_a_pass(name, max_words):
    arena, regions = protected(CODES[name])
    golden = arena.u8.copy()
    rng = np.random.default_rng(0)
    struck = [("r0", int(word)) for word in rng.choice(125, 5, replace=False)]
    struck += [("r1", int(word)) for word in rng.choice(300, 7, replace=False)]
    for region, word in struck:
        arena.flip(region, 64 * word + word % 64)
    scrubber = Scrubber(regions, 1)
    slices = []
    while not scrubber.scrubs:
        slices.append(scrubber.scrub_slice(max_words))
        assert slices[-1].words <= max_words
        assert len(slices) < 20
    assert sum(slices, DecodeReport()) == scrubber.total
    assert scrubber.total.words == 425
    assert scrubber.total.corrected + scrubber.total.detected == 12
    if name != "parity":
        assert (arena.u8 == golden).all()
    first = scrubber.scrub_slice(64)
    assert first.words == 64


def test_slices_over_unprotected_regions_come_to_an_end():
    _, regions = protected(CODES["none"])
    scrubber = Scrubber(regions, 1)
    for _ in range(20):
        scrubber.scrub_slice(64)
    assert scrubber.scrubs >= 2
    assert scrubber.total == DecodeReport()


def test_reset_begins_anew():
    _, regions = protected(CODES["parity"])
    scrubber = Scrubber(regions, 1)
    scrubber.scrub_slice(64)
    scrubber.reset()
    assert scrubber.total == DecodeReport()
    assert scrubber.scrub_slice(1000).words == 425
