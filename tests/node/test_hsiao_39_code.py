"""Proofs on the (39,32) code: known answers, every single, double and triple error, the bit that nobody needs."""

from itertools import combinations
from math import comb

import galois
import numpy as np
import pytest

from node.ecc import CODES, DecodeReport
from node.kernels.codes.matrices import PUBLISHED_39_32

CODE = CODES["hsiao_39_32"]
KNOWN_ANSWERS = {0xDEADBEEF: 0x0F, 0x12345678: 0x6D, 0: 0}
PUBLISHED_WITH_CHECK_BITS = (
    0x012606BD25, 0x02DEBA8050, 0x04413D89AA, 0x0831234ED1, 0x10C2C1323B, 0x202DCC624C, 0x4098505586,
)  # fmt: skip


def struck(weight, word):
    """Give one struck codeword for each pattern of ``weight`` errors among its 39 bits; a word of zeros beside each."""
    patterns = np.array(list(combinations(range(39), weight)))
    data = np.zeros((len(patterns), 2), np.uint32)
    data[:, 0] = word
    check = np.zeros((len(patterns), 2), np.uint8)
    check[:, 0] = CODE.encode(np.array([word, 0], np.uint32))[0]
    for column in patterns.T:
        inside = column < 32
        data[inside, 0] ^= np.uint32(1) << column[inside].astype(np.uint32)
        check[~inside, 0] ^= np.uint8(1) << (column[~inside] - 32).astype(np.uint8)
    return data.reshape(-1), check.reshape(-1)


@pytest.mark.parametrize(("word", "answer"), KNOWN_ANSWERS.items(), ids=hex)
def test_known_answers(word, answer):
    assert CODE.encode(np.array([word], "<u4")).tolist() == [answer, 0]


def test_the_encoder_spans_the_null_space_of_the_published_matrix():
    units = np.uint32(1) << np.arange(32, dtype=np.uint32)
    checks = np.unpackbits(CODE.encode(units)[:, None], axis=1, bitorder="little")
    assert not checks[:, 7].any()
    generator = galois.GF2(np.hstack([np.eye(32, dtype=np.uint8), checks[:, :7]]))
    matrix = galois.GF2([[mask >> k & 1 for k in range(39)] for mask in PUBLISHED_WITH_CHECK_BITS])
    assert not (generator @ matrix.T).any()
    assert tuple(mask & 0xFFFFFFFF for mask in PUBLISHED_WITH_CHECK_BITS) == PUBLISHED_39_32


@pytest.mark.parametrize("word", KNOWN_ANSWERS, ids=hex)
def test_all_39_single_errors_are_corrected_and_all_741_double_errors_detected(word):
    data, check = struck(1, word)
    assert CODE.correct(data, check) == DecodeReport(words=78, corrected=39)
    assert (data[::2] == word).all()
    assert (check[::2] == KNOWN_ANSWERS[word]).all()
    data, check = struck(2, word)
    before = data.copy(), check.copy()
    assert CODE.correct(data, check) == DecodeReport(words=2 * 741, detected=741)
    assert (data == before[0]).all()
    assert (check == before[1]).all()


def test_triples_and_silent_quadruples_are_as_many_as_the_matrix_says():
    data, check = struck(3, 0xDEADBEEF)
    assert CODE.correct(data, check) == DecodeReport(words=2 * 9139, corrected=5464, detected=9139 - 5464)
    data, check = struck(4, 0x12345678)
    assert comb(39, 4) - CODE.check(data, check).detected == 1366 == 5464 // 4


def test_the_spare_bit_never_spoils_a_codeword():
    for pattern in [(), *combinations(range(39), 1)]:
        data, check = np.array([0xDEADBEEF, 7], np.uint32), CODE.encode(np.array([0xDEADBEEF, 7], np.uint32))
        whole = check.copy()
        check[0] ^= 0x80
        for bit in pattern:
            if bit < 32:
                data[0] ^= np.uint32(1 << bit)
            else:
                check[0] ^= 1 << bit - 32
        assert CODE.correct(data, check) == DecodeReport(words=2, corrected=1)
        assert data.tolist() == [0xDEADBEEF, 7]
        assert (check == whole).all()


def test_codewords_that_point_past_the_end_are_each_detected():
    """Of a word with three bytes, the second codeword does not exist at all."""
    triple = next(p for p in combinations(range(7), 3) if CODE.correct(np.zeros(2, np.uint32), _pair(p)).corrected)
    data, check = np.zeros(3, np.uint8), _pair(triple)
    report = CODE.correct(data, check)
    assert report == DecodeReport(words=2, detected=1)
    assert not data.any()


def _pair(pattern):
    return np.array([0, sum(1 << bit for bit in pattern)], np.uint8)
