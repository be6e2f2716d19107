"""Proofs on the (79,64) code: every single, double and triple error, and galois as a second opinion."""

from itertools import combinations
from math import comb

import galois
import numpy as np
import pytest

from node.ecc import CODES, DecodeReport
from node.kernels.codes.bch import COLUMNS, FACTORS

CODE = CODES["bch_79_64"]
WORDS = (0, 0xDEADBEEFCAFEBABE, 2**64 - 1)


def struck(weight, word):
    """Give a struck codeword for each pattern of ``weight`` errors among its 79 bits."""
    patterns = np.array(list(combinations(range(79), weight)))
    data = np.full(len(patterns), word, np.uint64)
    check = np.tile(CODE.encode(np.array([word], np.uint64)), (len(patterns), 1))
    rows = np.arange(len(patterns))
    for column in patterns.T:
        inside = column < 64
        data[inside] ^= np.uint64(1) << column[inside].astype(np.uint64)
        place = column[~inside] - 64
        check[rows[~inside], place >> 3] ^= (1 << (place & 7)).astype(np.uint8)
    return data, check.reshape(-1)


def test_the_generator_is_the_one_that_galois_makes():
    field = galois.GF(2**7, irreducible_poly=0x89)
    oracle = galois.BCH(127, 113, extension_field=field)
    assert galois.Poly.Int(FACTORS[0]) * galois.Poly.Int(FACTORS[1]) == oracle.generator_poly
    words = np.random.default_rng(1).integers(0, 2**64, 50, dtype=np.uint64)
    bits = np.unpackbits(words.view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")[:, ::-1]
    message = np.hstack([np.zeros((50, 49), np.uint8), bits])
    remainder = np.asarray(oracle.encode(galois.GF2(message), output="parity"))[:, ::-1]
    made = np.unpackbits(CODE.encode(words).reshape(-1, 2), axis=1, bitorder="little")
    assert (made[:, :14] == remainder).all()
    assert (made[:, 14] == (bits.sum(axis=1) + remainder.sum(axis=1)) % 2).all()
    assert not made[:, 15].any()


@pytest.mark.parametrize("word", WORDS, ids=hex)
@pytest.mark.parametrize("weight", (1, 2))
def test_all_79_single_and_all_3081_double_errors_are_corrected(weight, word):
    data, check = struck(weight, word)
    count = comb(79, weight)
    assert CODE.check(data, check) == DecodeReport(words=count, detected=count)
    assert CODE.correct(data, check) == DecodeReport(words=count, corrected=count)
    assert (data == np.uint64(word)).all()
    assert check.tobytes() == CODE.encode(np.array([word], np.uint64)).tobytes() * count


def test_all_79079_triple_errors_are_detected_and_left():
    data, check = struck(3, WORDS[1])
    before = data.copy(), check.copy()
    assert CODE.correct(data, check) == DecodeReport(words=79079, detected=79079)
    assert (data == before[0]).all()
    assert (check == before[1]).all()


def test_beyond_its_promise_it_decides_as_a_search_over_all_singles_and_pairs():
    """Four to seven wrong bits: what looks like one or two of them is repaired so, all else is left."""
    full = [*COLUMNS, *(1 << r for r in range(15))]
    nearest = {a ^ b: (i, j) for (i, a), (j, b) in combinations(enumerate(full), 2)}
    nearest |= {column: (i,) for i, column in enumerate(full)}
    rng, word = np.random.default_rng(6), WORDS[1]
    whole = np.array([word], np.uint64)
    sound = CODE.encode(whole)
    repaired = 0
    for trial in range(2000):
        bits = rng.choice(79, 4 + trial % 4, replace=False)
        syndrome = np.bitwise_xor.reduce([full[bit] for bit in bits])
        found = () if syndrome == 0 else nearest.get(int(syndrome))
        repaired += bool(found)
        left = set(bits.tolist()) ^ set(found or ())
        data, check = whole.copy(), sound.copy()
        flip(data, check, bits)
        report = CODE.correct(data, check)
        flip(data, check, left)
        assert (data == whole).all()
        assert (check == sound).all()
        assert report == DecodeReport(words=1, corrected=bool(found), detected=found is None)
    assert 100 < repaired < 1000


def flip(data, check, bits):
    for bit in bits:
        if bit < 64:
            data[0] ^= np.uint64(1 << int(bit))
        else:
            check[(bit - 64) >> 3] ^= np.uint8(1 << ((bit - 64) & 7))


def test_the_distance_is_six_and_not_seven():
    """A miscorrected quadruple is a codeword of weight six less two of its bits."""
    full = np.array([*COLUMNS, *(1 << r for r in range(15))])
    pairs = np.bincount([a ^ b for a, b in combinations(full.tolist(), 2)], minlength=1 << 15)
    triples = np.bincount([a ^ b ^ c for a, b, c in combinations(full.tolist(), 3)], minlength=1 << 15)
    assert pairs.max() == 1
    assert not (pairs * triples).any()
    assert triples.max() > 1


def test_the_spare_bit_never_spoils_a_codeword():
    data, check = struck(2, WORDS[1])
    check[1::2] ^= 0x80
    assert CODE.correct(data, check).corrected == 3081
    assert (data == np.uint64(WORDS[1])).all()
    assert not (check[1::2] & 0x80).any()


def test_a_pair_that_lies_half_past_the_end_is_detected_and_nothing_is_written():
    """With a word of one byte: quadruples whose syndrome is that of a pair with a bit that does not exist."""
    seen = 0
    for pattern in combinations(range(23), 4):
        data = np.array([0x5A], np.uint8)
        check = CODE.encode(data)
        for bit in pattern:
            if bit < 8:
                data[0] ^= 1 << bit
            else:
                check[bit - 8 >> 3] ^= 1 << (bit - 8 & 7)
        before = data.copy(), check.copy()
        whole = np.array([data[0]], np.uint64)
        CODE.correct(whole, check.copy())
        report = CODE.correct(data, check)
        if whole[0] > 255:
            seen += 1
            assert report == DecodeReport(words=1, detected=1)
            assert (data == before[0]).all()
            assert (check == before[1]).all()
    assert seen > 50
