"""RS(255,223) of CCSDS: published parity, two other libraries, up to 16 errors repaired and 17 detected."""

import galois
import numpy as np
import pytest
import reedsolo

from firmware_bridge.errors import ConfigError
from node.ecc import CODES, DecodeReport
from node.ecc.reed_solomon import FROM_DUAL, TO_DUAL, ReedSolomon
from node.kernels.codes import batches, reed_solomon

CODE = CODES["rs_255_223"]
RAMP = np.arange(223, dtype=np.uint8)
CONVENTIONAL = "2fbd4fb4748494b9acd554627212eeb3ebed41191de1d36320ea49290b25abcf"
DUAL = "4ffb92dd557ec67f27fb8982cf58f8fd028ad117fcef6b2793d0418826578651"
FIELD = galois.GF(2**8, irreducible_poly=0x187)


def random_bytes(size, seed=0):
    return np.random.default_rng([seed, size]).integers(0, 256, size, dtype=np.uint8)


def test_published_parity_in_both_bases():
    assert CODE.encode(RAMP).tobytes().hex() == CONVENTIONAL
    assert ReedSolomon(dual_basis=True).encode(RAMP).tobytes().hex() == DUAL


def test_the_bases_are_inverse_linear_maps():
    assert (FROM_DUAL[TO_DUAL] == np.arange(256)).all()
    pairs = np.arange(256)[:, None] ^ np.arange(256)
    assert (TO_DUAL[pairs] == TO_DUAL[:, None] ^ TO_DUAL).all()


def test_random_messages_are_encoded_as_by_galois_and_reedsolo():
    data = random_bytes(223 * 70)
    made = CODE.encode(data).reshape(-1, 32)
    oracle = galois.ReedSolomon(255, 223, field=FIELD, alpha=FIELD(2) ** 11, c=112)
    assert (np.asarray(oracle.encode(FIELD(data.reshape(-1, 223))))[:, 223:] == made).all()
    other = reedsolo.RSCodec(32, nsize=255, fcr=112, prim=0x187, generator=int(FIELD(2) ** 11), c_exp=8)
    for row in range(0, 70, 10):
        assert bytes(other.encode(data[223 * row : 223 * (row + 1)].tobytes()))[223:] == made[row].tobytes()


def test_batches_and_tables_make_the_same_check_bytes():
    messages = random_bytes(223 * 130).reshape(-1, 223)
    made = np.zeros((130, 32), np.uint8)
    reed_solomon.encode(messages, made)
    for row in range(130):
        words = np.zeros(4, np.uint64)
        reed_solomon.remainder(messages, row, words)
        assert words.view(np.uint8).tolist() == made[row].tolist()
    assert isinstance(batches.FAST, bool)


@pytest.mark.parametrize("errors", (1, 2, 8, 15, 16))
def test_up_to_16_wrong_bytes_anywhere_are_corrected(errors):
    rng = np.random.default_rng(errors)
    data = random_bytes(223 * 40)
    check = CODE.encode(data)
    whole = data.copy(), check.copy()
    for row in range(40):
        for place in rng.choice(255, errors, replace=False):
            if place < 223:
                data[223 * row + place] ^= rng.integers(1, 256)
            else:
                check[32 * row + place - 223] ^= rng.integers(1, 256)
    assert CODE.check(data, check) == DecodeReport(words=40, detected=40)
    assert CODE.correct(data, check) == DecodeReport(words=40, corrected=40)
    assert (data == whole[0]).all()
    assert (check == whole[1]).all()


@pytest.mark.parametrize("errors", (17, 18, 25, 200))
def test_more_than_16_wrong_bytes_are_detected_and_left(errors):
    rng = np.random.default_rng(errors)
    data = random_bytes(223 * 200)
    check = CODE.encode(data)
    for row in range(200):
        for place in rng.choice(223, errors, replace=False):
            data[223 * row + place] ^= rng.integers(1, 256)
    struck = data.copy()
    assert CODE.correct(data, check) == DecodeReport(words=200, detected=200)
    assert (data == struck).all()


def test_beyond_16_errors_it_decides_as_a_scalar_decoder_does():
    """Codewords of weight 33 make the worst patterns: 17 of their bytes lie nearer to another codeword."""
    other = reedsolo.RSCodec(32, nsize=255, fcr=112, prim=0x187, generator=int(FIELD(2) ** 11), c_exp=8)
    rng = np.random.default_rng(4)
    for kept in (15, 16, 17, 18, 20):
        data = random_bytes(223, kept)
        check = CODE.encode(data)
        lightest = np.zeros(223, np.uint8)
        lightest[rng.integers(223)] = rng.integers(1, 256)
        change = np.concatenate([lightest, CODE.encode(lightest)])
        places = np.flatnonzero(change)
        assert places.size == 33
        change[rng.permutation(places)[: 33 - kept]] = 0
        data, check = data ^ change[:223], check ^ change[223:]
        received = data.tobytes() + check.tobytes()
        report = CODE.correct(data, check)
        try:
            expected = bytes(other.decode(received)[1])
        except reedsolo.ReedSolomonError:
            expected = received
        assert data.tobytes() + check.tobytes() == expected
        assert report == DecodeReport(words=1, corrected=expected != received, detected=expected == received), kept


def test_every_single_byte_error_of_a_codeword_is_corrected():
    places = [(place, error) for place in range(255) for error in range(1, 256)][::13]
    data = np.tile(RAMP, len(places))
    check = np.tile(CODE.encode(RAMP), len(places))
    for row, (place, error) in enumerate(places):
        if place < 223:
            data[223 * row + place] ^= error
        else:
            check[32 * row + place - 223] ^= error
    assert CODE.correct(data, check).corrected == len(places)
    assert (data.reshape(-1, 223) == RAMP).all()
    assert check.tobytes().hex() == CONVENTIONAL * len(places)


@pytest.mark.parametrize("dual_basis", (False, True))
@pytest.mark.parametrize("depth", range(1, 9))
def test_interleaved_codewords_are_every_depth_th_byte_and_bursts_are_spread(depth, dual_basis):
    code = ReedSolomon(depth, dual_basis=dual_basis)
    size = 223 * depth * 2 + 5 * depth + 3
    data = random_bytes(size)
    check = code.encode(data)
    assert code.codewords(size) * 32 == check.size
    plain = ReedSolomon(dual_basis=dual_basis)
    for codeword in range(2 * depth):
        group, turn = divmod(codeword, depth)
        message = data[group * 223 * depth : (group + 1) * 223 * depth][turn::depth].copy()
        assert (plain.encode(message) == check[32 * codeword : 32 * codeword + 32]).all()
    whole = data.copy()
    start = 223 * depth + 11
    data[start : start + 16 * depth] ^= 0xA5
    assert code.correct(data, check).corrected == depth
    assert (data == whole).all()


@pytest.mark.parametrize("size", (1, 5, 100, 222))
def test_a_shortened_codeword_is_one_with_zeros_in_front(size):
    data = random_bytes(size)
    check = CODE.encode(data)
    filled = np.concatenate([np.zeros(223 - size, np.uint8), data])
    assert (CODE.encode(filled) == check).all()
    whole = data.copy()
    data[:16] ^= 0xFF
    assert CODE.correct(data, check).corrected == 1
    assert (data == whole).all()


def test_a_repair_within_the_virtual_fill_is_detected_instead():
    data = np.zeros(10, np.uint8)
    filled = np.zeros(223, np.uint8)
    filled[100] = 77
    check = CODE.encode(filled)
    struck = check.copy()
    assert CODE.correct(data, check) == DecodeReport(words=1, detected=1)
    assert not data.any()
    assert (check == struck).all()


@pytest.mark.parametrize("depth", (0, 9))
def test_other_depths_are_refused(depth):
    with pytest.raises(ConfigError, match="depth"):
        ReedSolomon(depth)
