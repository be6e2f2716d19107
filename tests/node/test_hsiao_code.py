"""Proofs on the compiled Hsiao decoder: every single, double, triple and quadruple error in one codeword."""

from itertools import combinations
from math import comb

import galois
import numpy as np
import pytest

from node.ecc import CODES, DecodeReport
from node.kernels.codes.matrices import FIG6_ROWS

CODE = CODES["hsiao_72_64"]

# Check bytes by two further programs: matrix algebra over GF(2) and a table of column syndromes.
KNOWN_ANSWERS = {
    0x0123456789ABCDEF: 0x0A,
    0xDEADBEEFCAFEBABE: 0xA3,
    0x0000000000000001: 0x0B,
    0x8000000000000000: 0xD0,
    0x0000000000000000: 0x00,
}


def codewords_with_errors(weight, word):
    """Give one struck copy of a codeword for each pattern of ``weight`` errors among its 72 bits."""
    patterns = np.fromiter(
        (bit for pattern in combinations(range(72), weight) for bit in pattern), np.uint8, weight * comb(72, weight)
    ).reshape(-1, weight)
    data = np.full(len(patterns), word, np.uint64)
    check = np.full(len(patterns), CODE.encode(np.array([word], np.uint64))[0], np.uint8)
    for column in patterns.T:
        in_data = column < 64
        data[in_data] ^= np.uint64(1) << column[in_data].astype(np.uint64)
        check[~in_data] ^= np.uint8(1) << (column[~in_data] - 64)
    return data, check


@pytest.mark.parametrize(("word", "check_byte"), KNOWN_ANSWERS.items(), ids=hex)
def test_known_answers(word, check_byte):
    assert CODE.encode(np.array([word], "<u8")).tolist() == [check_byte]


def test_the_matrix_is_a_minimum_odd_weight_column_code():
    matrix = np.array([[int(cell) for cell in row] for row in FIG6_ROWS])
    weights = matrix.sum(axis=0)
    assert sorted(set(weights.tolist())) == [3, 5]
    assert (weights == 3).sum() == 56
    assert matrix.sum(axis=1).tolist() == [26, 26, 26, 26, 26, 26, 26, 26]
    assert len({tuple(column) for column in matrix.T}) == 64


def test_every_row_of_the_generator_lies_in_the_null_space():
    """The compiled encoder against galois: G from unit vectors, H from the figure, G H^T = 0 and full rank."""
    units = np.uint64(1) << np.arange(64, dtype=np.uint64)
    checks = np.unpackbits(CODE.encode(units)[:, None], axis=1, bitorder="little")
    generator = galois.GF2(np.hstack([np.eye(64, dtype=np.uint8), checks]))
    figure = np.array([[int(cell) for cell in row] for row in FIG6_ROWS], np.uint8)
    parity_check = galois.GF2(np.hstack([figure, np.eye(8, dtype=np.uint8)]))
    assert not (generator @ parity_check.T).any()
    assert np.linalg.matrix_rank(generator) == 64


@pytest.mark.parametrize("word", KNOWN_ANSWERS, ids=hex)
def test_all_72_single_errors_are_corrected(word):
    data, check = codewords_with_errors(1, word)
    assert CODE.check(data, check) == DecodeReport(words=72, detected=72)
    assert CODE.correct(data, check) == DecodeReport(words=72, corrected=72)
    assert (data == np.uint64(word)).all()
    assert (check == KNOWN_ANSWERS[word]).all()


@pytest.mark.parametrize("word", KNOWN_ANSWERS, ids=hex)
def test_all_2556_double_errors_are_detected_and_left(word):
    data, check = codewords_with_errors(2, word)
    struck = data.copy(), check.copy()
    assert CODE.correct(data, check) == DecodeReport(words=2556, detected=2556)
    assert (data == struck[0]).all()
    assert (check == struck[1]).all()


def test_triple_errors_are_miscorrected_as_often_as_the_matrix_says():
    data, check = codewords_with_errors(3, 0xDEADBEEFCAFEBABE)
    report = CODE.correct(data, check)
    assert report == DecodeReport(words=59640, corrected=33632, detected=59640 - 33632)
    repaired = CODE.check(data, check)
    assert repaired.detected == 59640 - 33632
    restored = (data == np.uint64(0xDEADBEEFCAFEBABE)) & (check == 0xA3)
    assert not restored.any()


def test_the_number_of_silent_quadruples_is_a_quarter_of_the_miscorrected_triples():
    """A_4: a miscorrected triple is a codeword of weight four less one of its four bits."""
    data, check = codewords_with_errors(4, 0x0123456789ABCDEF)
    report = CODE.check(data, check)
    assert report.words == comb(72, 4)
    assert report.words - report.detected == 8408 == 33632 // 4


def test_a_repair_that_points_past_the_end_of_the_data_is_detected_instead():
    """With a last word of one byte, 56 of its 64 bits do not exist: a syndrome naming one is a multiple error."""
    seen = 0
    for pattern in combinations(range(16), 3):
        data = np.array([0x5A], np.uint8)
        check = CODE.encode(data)
        for bit in pattern:
            (data if bit < 8 else check)[0] ^= 1 << bit % 8
        struck = int(data[0]), int(check[0])
        whole = np.array([struck[0]], np.uint64)
        whole_check = np.array([struck[1]], np.uint8)
        padded = CODE.correct(whole, whole_check)
        report = CODE.correct(data, check)
        if padded.corrected and whole[0] > 255:
            seen += 1
            assert report == DecodeReport(words=1, detected=1)
            assert (int(data[0]), int(check[0])) == struck
        else:
            assert report == padded
            assert (int(data[0]), int(check[0])) == (int(whole[0]), int(whole_check[0]))
    assert seen > 0
