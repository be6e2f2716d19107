"""One suite for every code: what the interface promises, whatever the code."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.errors import DataError
from node.ecc import CODES, DecodeReport

# One worker compiles the kernels of the codes.
pytestmark = pytest.mark.xdist_group("codes")

SIZES = (0, 1, 7, 8, 9, 63, 64, 505, 511, 512, 513, 519, 520, 4096, 4097, 8191)
"""Bytes: around one word, one byte of parity bits, one grain of 64 words and one block of 512."""

WATCHING = tuple(name for name in CODES if name != "none")
CORRECTING = tuple(name for name in WATCHING if name not in ("parity", "vertical_parity"))
STORING = tuple(name for name in CORRECTING if name not in ("oracle", "in_place_64_57"))
"""Codes that correct, with check bits that can be struck."""


@pytest.fixture(params=CODES)
def code(request):
    return CODES[request.param]


def random_bytes(size, seed=0):
    return np.random.default_rng([seed, size]).integers(0, 256, size, dtype=np.uint8)


def fitting(code, size, seed=0):
    """Give random data that the code can take; for the one that is particular, that many bytes or a few more."""
    return code.fitted(random_bytes(size, seed))


def flip(array, bit):
    array.reshape(-1).view(np.uint8)[bit >> 3] ^= 1 << (bit & 7)


def test_the_codes_are_there_under_their_names():
    assert list(CODES) == [
        "none",
        "parity",
        "vertical_parity",
        "vertical_pd",
        "vertical_ssc",
        "vertical_chipkill",
        "hsiao_72_64",
        "hsiao_39_32",
        "vertical_hsiao",
        "in_place_64_57",
        "bch_79_64",
        "rs_255_223",
        "tmr",
        "oracle",
    ]
    assert all(code.name == name for name, code in CODES.items())


@pytest.mark.parametrize("size", SIZES)
def test_fresh_check_bits_are_clean(code, size):
    data = fitting(code, size)
    size = data.size
    check = code.encode(data)
    before = data.copy(), check.copy()
    assert check.dtype == np.uint8
    assert check.shape == (code.check_bytes(size),)
    expected = DecodeReport(words=code.codewords(size))
    assert code.check(data, check) == expected
    assert code.correct(data, check) == expected
    assert (data == before[0]).all()
    assert (check == before[1]).all()


def test_parameters_agree_with_the_check_bits(code):
    size = 223 << 12
    assert code.overhead == pytest.approx(code.check_bytes(size) / size)
    assert code.n >= code.k


@pytest.mark.parametrize("name", WATCHING)
@pytest.mark.parametrize("size", (1, 8, 70, 520, 1031))
def test_each_struck_data_bit_is_found_and_check_changes_nothing(name, size):
    code = CODES[name]
    data = fitting(code, size)
    size = data.size
    check = code.encode(data)
    for bit in range(8 * size):
        flip(data, bit)
        struck = data.copy(), check.copy()
        assert code.check(data, check) == DecodeReport(words=code.codewords(size), detected=1)
        assert (data == struck[0]).all()
        assert (check == struck[1]).all()
        flip(data, bit)


@pytest.mark.parametrize("name", CORRECTING)
@pytest.mark.parametrize("size", (1, 8, 70, 520, 1031))
def test_each_struck_data_bit_is_put_back(name, size):
    code = CODES[name]
    data = fitting(code, size)
    size = data.size
    check = code.encode(data)
    whole = data.copy(), check.copy()
    for bit in range(8 * size):
        flip(data, bit)
        assert code.correct(data, check) == DecodeReport(words=code.codewords(size), corrected=1)
        assert (data == whole[0]).all()
        assert (check == whole[1]).all()


@pytest.mark.parametrize("name", STORING)
@pytest.mark.parametrize("size", (1, 8, 70, 520))
def test_each_struck_check_bit_is_put_back(name, size):
    code = CODES[name]
    data = fitting(code, size)
    size = data.size
    check = code.encode(data)
    whole = data.copy(), check.copy()
    for bit in range(8 * check.size):
        flip(check, bit)
        assert code.check(data, check) == DecodeReport(words=code.codewords(size), detected=1)
        assert code.correct(data, check) == DecodeReport(words=code.codewords(size), corrected=1)
        assert (data == whole[0]).all()
        assert (check == whole[1]).all()


def test_parity_never_writes():
    code = CODES["parity"]
    data = random_bytes(4096)
    check = code.encode(data)
    for bit in (0, 77, 4095 * 8):
        flip(data, bit)
    struck = data.copy()
    assert code.correct(data, check) == DecodeReport(words=512, detected=3)
    assert (data == struck).all()


def test_none_looks_at_nothing():
    data = random_bytes(64)
    check = CODES["none"].encode(data)
    flip(data, 3)
    struck = data.copy()
    assert CODES["none"].correct(data, check) == DecodeReport()
    assert (data == struck).all()


@pytest.mark.parametrize("name", WATCHING)
def test_errors_in_many_words_are_counted_by_the_codeword(name):
    """One struck bit in each of three quarters of the grains, and in the shorter end."""
    code = CODES[name]
    size = 8 * code.grain_words * 40 + 24
    data = fitting(code, size)
    check = code.encode(data)
    golden = data.copy()
    struck = [*range(0, 40, 4), *range(1, 40, 4), *range(2, 40, 4), 40]
    for grain in struck:
        flip(data, 64 * grain * code.grain_words + 5 * grain % 192)
    assert code.check(data, check) == DecodeReport(words=code.codewords(size), detected=31)
    report = code.correct(data, check)
    if name in CORRECTING:
        assert report == DecodeReport(words=code.codewords(size), corrected=31)
        assert (data == golden).all()
    else:
        assert report == DecodeReport(words=code.codewords(size), detected=31)


@pytest.mark.parametrize("dtype", ("int8", "uint16", "int32", "float32", "int64", "float64", "complex64"))
def test_any_dtype_and_shape_is_taken_by_its_bytes(code, dtype):
    raw = fitting(code, 3 * 5 * 16)
    typed = raw.copy().view(dtype).reshape(3, -1)
    check = code.encode(typed)
    assert (check == code.encode(raw)).all()
    assert raw.tobytes() == typed.tobytes()
    expected = code.check(raw, check)
    assert code.check(typed, check) == expected
    assert code.correct(typed, check) == expected


@pytest.mark.parametrize("offset", range(1, 8))
def test_memory_that_is_not_aligned_is_treated_alike(code, offset):
    held = np.zeros(1031, np.uint8)
    data = held[offset : offset + 1000]
    data[:] = fitting(code, 1000)
    check_held = np.zeros(code.check_bytes(1000) + offset, np.uint8)
    check = check_held[offset:]
    copy = data.copy()
    check[:] = code.encode(data)
    assert (check == code.encode(copy)).all()
    assert (data == copy).all()
    flip(data, 4000)
    expected = 0 if code.name == "none" else 1
    assert code.check(data, check).detected == expected
    report = code.correct(data, check)
    assert report.corrected + report.detected == expected
    assert not held[:offset].any()
    assert not held[offset + 1000 :].any()


def test_read_only_data_can_be_encoded_and_checked_but_not_corrected(code):
    data = np.frombuffer(bytes(range(200)), np.uint8)
    if code.in_place:
        with pytest.raises(DataError, match="read-only"):
            code.encode(data)
        data = np.zeros(200, np.uint8)
        data.flags.writeable = False
        check = np.zeros(0, np.uint8)
    else:
        check = code.encode(data)
    assert code.check(data, check).clean
    with pytest.raises(DataError, match="read-only"):
        code.correct(data, check)


@pytest.mark.parametrize(
    "wrong",
    (
        lambda check: np.zeros(check.size + 1, np.uint8),
        lambda check: check.astype(np.int8),
        lambda check: np.zeros((check.size, 1), np.uint8),
        bytes,
        lambda check: np.zeros(2 * check.size + 2, np.uint8)[::2],
    ),
    ids=("too long", "dtype", "shape", "bytes", "too long and scattered"),
)
@pytest.mark.parametrize("verb", ("check", "correct"))
def test_check_bits_that_do_not_fit_are_refused_and_nothing_is_written(code, wrong, verb):
    data = fitting(code, 128)
    check = code.encode(data)
    flip(data, 9)
    struck = data.copy()
    with pytest.raises(DataError, match=code.name):
        getattr(code, verb)(data, wrong(check))
    assert (data == struck).all()


@pytest.mark.parametrize("name", ("parity", *STORING))
def test_scattered_check_bits_are_refused(name):
    data = random_bytes(1024)
    check = CODES[name].encode(data)
    scattered = np.repeat(check, 2)[::2]
    with pytest.raises(DataError, match="not contiguous"):
        CODES[name].correct(data, scattered)


@pytest.mark.parametrize(
    "data",
    (
        np.zeros((8, 8))[:, ::2],
        np.zeros((4, 6), order="F"),
        np.array([object()]),
        [1, 2, 3],
        b"bytes",
    ),
    ids=("strided", "fortran", "objects", "list", "bytes"),
)
def test_data_that_cannot_be_protected_in_place_is_refused(code, data):
    with pytest.raises(DataError):
        code.encode(data)


@pytest.mark.parametrize("verb", ("check", "correct"))
@pytest.mark.parametrize("change", (-4096, 4096))
def test_data_of_another_size_than_was_encoded_are_refused_and_nothing_is_written(code, change, verb):
    """The array was cut or enlarged behind the code's back; codes without check bits know only what they kept."""
    data = fitting(code, 8192)
    check = code.encode(data)
    other = np.resize(data, data.size + change)
    if code.check_bytes(other.size) == check.size and code.name != "oracle":
        assert code.name in ("none", "in_place_64_57")
        return
    before = other.copy(), check.copy()
    with pytest.raises(DataError, match=code.name):
        getattr(code, verb)(other, check)
    assert (other == before[0]).all()
    assert (check == before[1]).all()


@pytest.mark.parametrize("name", WATCHING)
def test_a_region_that_was_overwritten_behind_the_codes_back_is_never_clean(name):
    """Where a digest is kept, or the distance is large, the new data also stay as they are."""
    code = CODES[name]
    data = fitting(code, 8192)
    check = code.encode(data)
    data[:] = fitting(code, 8192, seed=1)
    before = data.copy(), check.copy()
    assert code.check(data, check).detected > 0
    assert (data == before[0]).all()
    report = code.correct(data, check)
    assert not report.clean
    if name.startswith("vertical_") or name in ("parity", "rs_255_223"):
        assert report.corrected == 0
        assert (data == before[0]).all()
        assert (check == before[1]).all()


@pytest.mark.parametrize("verb", ("check", "correct"))
@pytest.mark.parametrize("name", ("parity", *STORING))
def test_check_bits_inside_the_data_are_refused(name, verb):
    code = CODES[name]
    memory = random_bytes(1024)
    before = memory.copy()
    with pytest.raises(DataError, match="lie in the data"):
        getattr(code, verb)(memory[:256], memory[200 : 200 + code.check_bytes(256)])
    assert (memory == before).all()


@pytest.mark.parametrize("name", WATCHING)
@pytest.mark.parametrize("missing_bytes", (0, 5))
def test_a_span_looks_at_its_words_alone(name, missing_bytes):
    code = CODES[name]
    grain = code.grain_words
    words = 3 * grain + 8
    data = fitting(code, 8 * words - missing_bytes)
    size = data.size
    check = code.encode(data)
    struck = (3, grain, 2 * grain + 2, words - 1)
    for word in struck:
        flip(data, 64 * word)
    spans = ((0, grain), (grain, 2 * grain), (2 * grain, 3 * grain), (3 * grain, words))
    reports = [code.check(data, check, span) for span in spans]
    assert [report.detected for report in reports] == [1, 1, 1, 1]
    assert sum(reports, DecodeReport()) == code.check(data, check)
    assert sum(report.words for report in reports) == code.codewords(size)
    found = code.correct(data, check, (grain, 3 * grain))
    assert found.corrected + found.detected == 2
    assert code.check(data, check).detected == (2 if name in CORRECTING else 4)


@pytest.mark.parametrize("span", ((1, 1), (0, 0.5), (1, 0), (-1, 1), (0, 5), (2, 3.25)), ids=str)
def test_a_span_off_the_grain_is_refused(code, span):
    data = fitting(code, 25 * code.grain_words)
    spoilt = tuple(int(end * code.grain_words) for end in span)
    if spoilt == (code.grain_words, code.grain_words):
        spoilt = (1, code.grain_words)
    with pytest.raises(DataError, match="span"):
        code.check(data, code.encode(data), spoilt)


def test_reports_add():
    total = DecodeReport(1, 2, 3) + DecodeReport(10, 20, 30)
    assert total == DecodeReport(11, 22, 33)
    assert sum([DecodeReport(1, 0, 0)] * 3, DecodeReport()) == DecodeReport(3, 0, 0)
    assert DecodeReport(5).clean
    assert not DecodeReport(5, 1).clean
    assert not DecodeReport(5, 0, 1).clean


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 700), data=st.data())
def test_any_pattern_the_distance_covers_is_found(size, data):
    """Up to d - 1 struck bits in one word are never silent, up to (d - 1) // 2 are repaired."""
    name = data.draw(st.sampled_from(("parity", "hsiao_72_64", "in_place_64_57", "bch_79_64", "oracle")))
    code = CODES[name]
    payload = fitting(code, size)
    size = payload.size
    check = code.encode(payload)
    golden = payload.copy()
    word = data.draw(st.integers(0, -(-size // 8) - 1))
    room = 8 * min(8, size - 8 * word)
    count = data.draw(st.integers(1, min(code.d - 1, room)))
    for bit in data.draw(st.lists(st.integers(0, room - 1), min_size=count, max_size=count, unique=True)):
        flip(payload, 64 * word + bit)
    assert code.check(payload, check).detected == 1
    if count <= (code.d - 1) // 2:
        assert code.correct(payload, check).corrected == 1
        assert (payload == golden).all()
