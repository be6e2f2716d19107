"""The compiled kernels against their slow twins, on random and on adversarial words."""

import subprocess
import sys

import numpy as np
import pytest

import tests.naive.hsiao
import tests.naive.parity
import tests.naive.vote
from node.kernels.codes import hsiao, parity, vote

WORD_COUNTS = (0, 1, 7, 8, 9, 63, 64, 65, 127, 129)
ADVERSARIAL = (0, 2**64 - 1, 1, 1 << 63, 0x5555555555555555, 0xAAAAAAAAAAAAAAAA, 0x00000000FFFFFFFF, 0x8000000000000001)


def words_like(count, kind):
    if kind == "random":
        return np.random.default_rng(count).integers(0, 2**64, count, dtype=np.uint64)
    return np.resize(np.array(ADVERSARIAL, np.uint64), count)


def strike(rng, *arrays, share=0.3):
    """Invert up to three bits in a share of the elements of each array."""
    for array in arrays:
        width = 8 * array.itemsize
        for i in np.flatnonzero(rng.random(array.size) < share):
            for bit in rng.choice(width, rng.integers(1, 4), replace=False):
                array[i] ^= array.dtype.type(1 << int(bit))


@pytest.fixture(params=[(count, kind) for count in WORD_COUNTS for kind in ("random", "adversarial")])
def words(request):
    return words_like(*request.param)


def test_parity_equals_its_twin(words):
    check = np.full(-(-words.size // 8), 0xEE, np.uint8)
    parity.encode(words, check)
    assert check.tolist() == tests.naive.parity.encode(words.tolist())
    assert parity.wrong_words(words, check) == 0
    strike(np.random.default_rng(words.size), words, check)
    assert parity.wrong_words(words, check) == tests.naive.parity.wrong_words(words.tolist(), check.tolist())


def test_hsiao_equals_its_twin(words):
    check = np.zeros(words.size, np.uint8)
    hsiao.encode(words, check)
    assert check.tolist() == tests.naive.hsiao.encode(words.tolist())
    strike(np.random.default_rng(words.size), words, check)
    slow_words, slow_check = words.tolist(), check.tolist()
    assert hsiao.wrong_words(words, check) == tests.naive.hsiao.wrong_words(slow_words, slow_check)
    counts = np.zeros(2, np.int64)
    hsiao.correct(words, check, counts)
    assert tuple(counts) == tests.naive.hsiao.correct(slow_words, slow_check)
    assert words.tolist() == slow_words
    assert check.tolist() == slow_check


def test_vote_equals_its_twin(words):
    first, second = words.copy(), words.copy()
    strike(np.random.default_rng(words.size), words, first, second)
    slow = [words.tolist(), first.tolist(), second.tolist()]
    assert vote.wrong_words(words, first, second) == tests.naive.vote.wrong_words(*slow)
    assert vote.vote(words, first, second) == tests.naive.vote.vote(*slow)
    assert [words.tolist(), first.tolist(), second.tolist()] == slow


def test_warm_compiles_all_that_the_codes_call_on_aligned_memory():
    """In a process of its own, since here other tests have compiled before."""
    script = """
import numpy as np
from node.ecc import CODES
from node.kernels.codes import bch, hsiao, hsiao_39, in_place, parity, reed_solomon, vertical, vote
modules = (bch, hsiao, hsiao_39, in_place, parity, reed_solomon, vertical, vote)
for module in modules:
    module.warm()
def compiled():
    kernels = [kernel for module in modules for kernel in vars(module).values()]
    return [len(kernel.signatures) for kernel in kernels if hasattr(kernel, "signatures")]
before = compiled()
for code in CODES.values():
    data = np.arange(4096, dtype=np.uint64) << np.uint64(56)
    check = code.encode(data)
    code.check(data, check)
    code.correct(data, check)
assert before == compiled() and sum(before) >= 6, (before, compiled())
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
