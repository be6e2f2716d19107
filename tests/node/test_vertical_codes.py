"""Proofs on the vertical codes: kernels against slow twins, every error they promise, and the veto beyond."""

from itertools import combinations

import galois
import numpy as np
import pytest

import tests.naive.vertical as slow
from node.ecc import CODES, DecodeReport
from node.jit import allocating_kernel
from node.kernels.codes import digest, vertical
from node.kernels.codes.matrices import FIG6_COLUMNS, LAID_COLUMNS, UNCORRECTABLE

NAMES = ("vertical_parity", "vertical_pd", "vertical_ssc", "vertical_chipkill", "vertical_hsiao")
CORRECTING = NAMES[1:]
KIND = dict(zip(NAMES, slow.KINDS, strict=True))
FIELD = galois.GF(2**8, irreducible_poly=0x11D)
BLOCK = 4096


def random_bytes(size, seed=0):
    return np.random.default_rng([seed, size]).integers(0, 256, size, dtype=np.uint8)


def adversarial_blocks():
    ramp = np.arange(BLOCK) % 256
    stripes = np.repeat([0, 255], 64).repeat(32)
    return [np.zeros(BLOCK), np.full(BLOCK, 255), np.full(BLOCK, 0x80), ramp, stripes, random_bytes(BLOCK)]


def check_size(name):
    return 64 * vertical.CHECKS[CODES[name].kind]


def repeated(name, count, seed=7):
    """Give ``count`` equal blocks of random data with their check rows and records as tables of one row a block."""
    block = random_bytes(BLOCK, seed)
    check = CODES[name].encode(block)
    size = check_size(name)
    return [np.tile(part, (count, 1)) for part in (block, check[:size], check[size:])]


def corrected(name, parts):
    """Correct all blocks at once and give the report of each verb."""
    data, check = parts[0].reshape(-1), np.concatenate([part.reshape(-1) for part in parts[1:]])
    found = CODES[name].check(data, check)
    report = CODES[name].correct(data, check)
    split = parts[1].size
    parts[1][:] = check[:split].reshape(parts[1].shape)
    parts[2][:] = check[split:].reshape(parts[2].shape)
    return found, report


@pytest.mark.parametrize("name", NAMES)
def test_check_rows_and_record_equal_the_slow_twins(name):
    for block in adversarial_blocks():
        block = block.astype(np.uint8)
        made = CODES[name].encode(block)
        size = check_size(name)
        assert made[:size].tolist() == slow.check_rows(KIND[name], block.reshape(64, 64)).reshape(-1).tolist()
        if name != "vertical_parity":
            assert made[size:].tobytes() == slow.record(block)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", (3, 600, 2000))
def test_a_smaller_block_is_one_with_narrower_rows(name, size):
    data = random_bytes(size)
    width = -(-size // 512) * 8
    block = np.zeros((64, width), np.uint8)
    block.reshape(-1)[:size] = data
    rows = slow.check_rows(KIND[name], block)
    assert CODES[name].encode(data)[: rows.size].tolist() == rows.reshape(-1).tolist()


@allocating_kernel
def all_places(kind, count):
    found = np.empty(count, np.uint8)
    for syndrome in range(count):
        found[syndrome] = vertical.locate(kind, syndrome)
    return found


@pytest.mark.parametrize(("name", "bits"), (("vertical_hsiao", 8), ("vertical_ssc", 16), ("vertical_chipkill", 24)))
def test_every_syndrome_there_is_points_where_a_search_finds_it(name, bits):
    """All 2^8, 2^16 and 2^24 syndromes: those of single errors point at them, all others are uncorrectable."""
    places = all_places(CODES[name].kind, 1 << bits)
    expected = np.full(1 << bits, UNCORRECTABLE, np.uint8)
    symbol = CODES[name].symbol_bits
    for row, _, _, checks in slow.single_errors(KIND[name]):
        syndrome = sum(int(value) << symbol * r for r, value in enumerate(checks[:, 0]))
        assert expected[syndrome] == UNCORRECTABLE
        expected[syndrome] = row
    assert (places[1:] == expected[1:]).all()


def test_any_three_columns_of_the_chipkill_code_are_independent():
    """So two wrong bytes never look like one other: distance four. 47 905 determinants over GF(256)."""
    powers = FIELD.primitive_element ** np.arange(64)[::-1]
    data = np.stack([FIELD.Ones(64), powers, FIELD.Ones(64) / powers])
    columns = np.concatenate([np.asarray(data), np.eye(3, dtype=int)], axis=1)
    triples = np.array(list(combinations(range(67), 3)))
    assert len(triples) == 47905
    a, b, c = (FIELD(columns[:, triples[:, i]].astype(np.uint8)) for i in range(3))
    minors = [b[i] * c[j] + b[j] * c[i] for i, j in ((1, 2), (0, 2), (0, 1))]
    assert sum((a[i] * minors[i] for i in range(1, 3)), a[0] * minors[0]).all()


def test_the_symbol_codes_are_the_null_space_of_their_matrices():
    powers = FIELD.primitive_element ** np.arange(64)[::-1]
    for name, weights in (("vertical_ssc", [powers]), ("vertical_chipkill", [powers, FIELD.Ones(64) / powers])):
        block = random_bytes(BLOCK, 3).reshape(64, 64)
        matrix = FIELD(np.stack([np.ones(64, np.uint8), *(np.asarray(row) for row in weights)]))
        rows = CODES[name].encode(block)[: check_size(name)].reshape(-1, 64)
        assert (np.asarray(matrix @ FIELD(block)) == rows).all()


def test_the_laid_matrix_keeps_the_numbers_of_the_figure():
    assert len(set(LAID_COLUMNS)) == 64
    assert sorted(column.bit_count() for column in LAID_COLUMNS) == [3] * 56 + [5] * 8
    assert len(set(LAID_COLUMNS) - set(FIG6_COLUMNS)) == 1
    for columns in (FIG6_COLUMNS, LAID_COLUMNS):
        full = [*columns, *(1 << r for r in range(8))]
        pairs = np.bincount([a ^ b for a, b in combinations(full, 2)], minlength=256)
        assert (pairs * (pairs - 1) // 2).sum() // 3 == 8408
        assert sum(a ^ b ^ c in full for a, b, c in combinations(full, 3)) == 4 * 8408 == 33632


@pytest.mark.parametrize("name", CORRECTING)
def test_each_single_error_of_a_codeword_is_corrected(name):
    """Each place and value in one column, a block each: 72 bits, 66 or 67 bytes times 255, 4224 bits."""
    errors = [(row, byte, error) for row, byte, error, _ in slow.single_errors(KIND[name])]
    if name in ("vertical_ssc", "vertical_chipkill"):
        assert len(errors) == 255 * (66 if name == "vertical_ssc" else 67)
        errors = errors[:: 7 if name == "vertical_ssc" else 11]
    parts = repeated(name, len(errors))
    whole = [part.copy() for part in parts]
    for number, (row, byte, error) in enumerate(errors):
        (parts[0] if row < 64 else parts[1])[number, row % 64 * 64 + 32 + byte] ^= error
    found, report = corrected(name, parts)
    assert (found.detected, report.corrected, report.detected) == (len(errors), len(errors), 0)
    for part, undisturbed in zip(parts, whole, strict=True):
        assert (part == undisturbed).all()


def test_all_2556_double_errors_of_a_column_are_detected_and_left():
    pairs = list(combinations(range(72), 2))
    parts = repeated("vertical_hsiao", len(pairs))
    for number, pair in enumerate(pairs):
        for row in pair:
            (parts[0] if row < 64 else parts[1])[number, row % 64 * 64 + 11] ^= 4
    struck = [part.copy() for part in parts]
    found, report = corrected("vertical_hsiao", parts)
    assert found.detected == len(pairs) == 2556
    assert (report.corrected, report.detected) == (0, 2556)
    for part, before in zip(parts, struck, strict=True):
        assert (part == before).all()


def test_double_bytes_of_a_chipkill_column_are_detected_and_left():
    """Up to a common factor, a double error is two places and one ratio: 2211 x 255, a fixed share of them here."""
    patterns = [(pair, ratio) for pair in combinations(range(67), 2) for ratio in range(1, 256)]
    assert len(patterns) == 2211 * 255
    patterns = patterns[::233]
    parts = repeated("vertical_chipkill", len(patterns))
    for number, ((first, second), ratio) in enumerate(patterns):
        for row, error in ((first, 1), (second, ratio)):
            (parts[0] if row < 64 else parts[1])[number, row % 64 * 64 + 50] ^= error
    struck = [part.copy() for part in parts]
    _, report = corrected("vertical_chipkill", parts)
    assert (report.corrected, report.detected) == (0, len(patterns))
    for part, before in zip(parts, struck, strict=True):
        assert (part == before).all()


def test_every_pair_of_wrong_bytes_has_a_syndrome_that_is_no_single_error():
    """The decoder's own arithmetic over all 563 805 pairs with the first error 1."""
    columns = np.zeros((67, 256), np.int64)
    for row, _, error, checks in slow.single_errors("chipkill"):
        columns[row, error] = sum(int(value) << 8 * r for r, value in enumerate(checks[:, 0]))
    places = all_places(vertical.CHIPKILL, 1 << 24)
    for first in range(67):
        assert (places[columns[first, 1] ^ columns[first + 1 :, 1:]] == UNCORRECTABLE).all()


@pytest.mark.parametrize("name", CORRECTING)
def test_three_errors_that_point_at_a_fourth_are_not_corrected(name):
    """The digest finds what the code cannot: nothing is written that is not the block that was encoded."""
    rng = np.random.default_rng(4)
    parts = repeated(name, 1500)
    rows = 64 + vertical.CHECKS[CODES[name].kind]
    for number in range(1500):
        for row in rng.choice(rows, 3, replace=False):
            (parts[0] if row < 64 else parts[1])[number, row % 64 * 64 + 5] ^= 16
    struck = [part.copy() for part in parts]
    found, report = corrected(name, parts)
    assert report.corrected == 0
    assert report.detected == found.detected > 1400
    for part, before in zip(parts, struck, strict=True):
        assert (part == before).all()


@pytest.mark.parametrize("name", CORRECTING)
def test_one_uncorrectable_codeword_vetoes_all_corrections_of_its_block(name):
    data = random_bytes(3 * BLOCK)
    check = CODES[name].encode(data)
    for byte in (0, BLOCK + 8, 2 * BLOCK):
        data[byte] ^= 1
    data[BLOCK + 16] ^= 1
    data[BLOCK + 16 + 5 * 64] ^= 1
    data[BLOCK + 16 + 9 * 64] ^= 0 if CODES[name].d == 4 else 7
    struck = data.copy()
    report = CODES[name].correct(data, check)
    assert report.corrected == 2
    assert report.detected == 2
    assert (data[BLOCK : 2 * BLOCK] == struck[BLOCK : 2 * BLOCK]).all()
    assert data[0] == struck[0] ^ 1


def test_a_struck_record_is_repaired_or_vetoes():
    code = CODES["vertical_hsiao"]
    data = random_bytes(BLOCK)
    check = code.encode(data)
    whole = check.copy()
    for bit in range(128):
        check[512 + bit // 8] ^= 1 << bit % 8
        data[17] ^= 2
        assert code.correct(data, check).corrected == 2
        assert (check == whole).all()
    check[512] ^= 3
    check[520] ^= 1
    data[17] ^= 2
    struck = data.copy()
    assert code.correct(data, check) == DecodeReport(words=513, detected=2)
    assert (data == struck).all()


@pytest.mark.parametrize("name", ("vertical_parity", "vertical_hsiao"))
def test_bursts_up_to_a_whole_row_strike_no_column_twice(name):
    """Every start within a block, 512 bits long, and a share of the shorter ones."""
    rng = np.random.default_rng(9)
    lengths = [512] * (8 * BLOCK - 511) + rng.integers(1, 512, 2000).tolist()
    starts = [*range(8 * BLOCK - 511), *rng.integers(0, 8 * BLOCK - 511, 2000).tolist()]
    share = slice(None, None, 16)
    for group in np.array_split(np.arange(len(starts))[share], 8):
        parts = repeated(name, len(group))
        whole = parts[0].copy()
        for number, which in enumerate(group):
            bits = np.zeros(8 * BLOCK, np.uint8)
            bits[starts[which] : starts[which] + lengths[which]] = 1
            parts[0][number] ^= np.packbits(bits, bitorder="little")
        found, report = corrected(name, parts)
        assert found.detected == sum(lengths[which] for which in group)
        if name == "vertical_hsiao":
            assert report.corrected == found.detected
            assert (parts[0] == whole).all()


@pytest.mark.parametrize("name", ("vertical_ssc", "vertical_chipkill"))
def test_bursts_of_63_bytes_and_a_bit_strike_no_column_of_bytes_twice(name):
    starts = range(0, 8 * BLOCK - 505, 13)
    parts = repeated(name, len(starts))
    whole = parts[0].copy()
    for number, start in enumerate(starts):
        bits = np.zeros(8 * BLOCK, np.uint8)
        bits[start : start + 505] = 1
        parts[0][number] ^= np.packbits(bits, bitorder="little")
    _, report = corrected(name, parts)
    assert report.detected == 0
    assert (parts[0] == whole).all()


def slow_correct(kind, block, rows, record):
    """Correct a block by search over the single errors of each codeword; give (repaired, left), writing as said."""
    singles = {checks.tobytes(): (row, byte, error) for row, byte, error, checks in slow.single_errors(kind)}
    wrong = rows ^ slow.check_rows(kind, block)
    fixed_block, fixed_rows, repaired, left = block.copy(), rows.copy(), 0, 0
    width = 8 if kind == "diagonal" else 1
    for start in range(0, 64, width):
        for mask in [1 << bit for bit in range(8)] if kind == "hsiao" else [255]:
            found = wrong[:, start : start + width] & mask
            if not found.any():
                continue
            scale = mask if kind == "hsiao" else 1
            hit = singles.get((found // scale).astype(np.uint8).tobytes())
            if hit is None:
                left += 1
                continue
            row, byte, error = hit
            (fixed_block if row < 64 else fixed_rows)[row % 64, start + byte] ^= error * scale
            repaired += 1
    if left or slow.record(fixed_block.reshape(-1)) != record:
        return 0, repaired + left
    block[:], rows[:] = fixed_block, fixed_rows
    return repaired, 0


@pytest.mark.parametrize("name", CORRECTING)
def test_random_damage_is_treated_as_by_the_slow_twin(name):
    """One to six bits anywhere in data and check rows, within the guarantee and beyond it."""
    rng = np.random.default_rng(12)
    for trial in range(12):
        block = random_bytes(BLOCK, trial)
        check = CODES[name].encode(block)
        size = check_size(name)
        for _ in range(rng.integers(1, 7)):
            place = int(rng.integers(0, BLOCK + size))
            if rng.random() < 0.5:
                place = place // 64 * 64 + 3
            (block if place < BLOCK else check)[place % BLOCK] ^= 1 << int(rng.integers(0, 8))
        slow_block, slow_rows = block.reshape(64, 64).copy(), check[:size].reshape(-1, 64).copy()
        expected = slow_correct(KIND[name], slow_block, slow_rows, check[size:].tobytes())
        report = CODES[name].correct(block, check)
        assert (report.corrected, report.detected) == expected
        assert (block.reshape(64, 64) == slow_block).all()
        assert (check[:size].reshape(-1, 64) == slow_rows).all()


def test_a_repair_that_points_past_the_end_is_detected_instead():
    """With 100 bytes in rows of eight, rows 13 to 63 do not exist, and neither does half of row 12."""
    code = CODES["vertical_ssc"]
    data = random_bytes(100)
    check = code.encode(data)
    struck = 0
    for error in range(1, 256):
        check[0] ^= error
        check[8] ^= 1
        before = data.copy(), check.copy()
        points_at = vertical.locate(vertical.SYMBOLS, error | 1 << 8)
        report = code.correct(data, check)
        if points_at > 12 and points_at < 64:
            struck += 1
            assert report.detected == 1
            assert (data == before[0]).all()
            assert (check == before[1]).all()
        data, check = random_bytes(100), code.encode(random_bytes(100))
    assert struck > 20


def test_digests_of_blocks_that_differ_in_one_bit_differ():
    block = random_bytes(BLOCK)
    seen = {digest.digest(block, 0)}
    for bit in range(8 * BLOCK):
        block[bit >> 3] ^= 1 << (bit & 7)
        seen.add(digest.digest(block, 0))
        block[bit >> 3] ^= 1 << (bit & 7)
    assert len(seen) == 8 * BLOCK + 1
