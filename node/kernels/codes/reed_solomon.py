"""Reed-Solomon (255,223) of CCSDS 131.0-B over codewords that lie as rows of a table, in the conventional basis.

The field is GF(256) modulo x^8 + x^7 + x^2 + x + 1, the roots of the generator are b^112 to b^143 with b = a^11. Byte
0 of a codeword is the coefficient of x^254, its 32 check bytes are the last coefficients. A clean codeword is found by
encoding again: eight bytes at a time by tables, or 64 codewords at a time where the processor multiplies bytes by
matrices. Only the others are decoded, from the difference of the check bytes: Berlekamp-Massey, Chien, Forney.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import allocating_kernel, kernel
from node.kernels.codes import batches
from node.kernels.codes.blocks import load_word, store_word

MESSAGE = 223
CHECKS = 32
LENGTH = 255
FIELD = 0x187
FIRST_ROOT = 112
ROOT_STEP = 11

_Table = np.ndarray[Any, np.dtype[Any]]


def _powers() -> tuple[_Table, _Table]:
    """Give the powers of b, twice over, and the exponents that give each element."""
    powers, exponents = np.zeros(2 * LENGTH, np.int64), np.zeros(256, np.int64)
    of_a = [1]
    for _ in range(LENGTH - 1):
        of_a.append(of_a[-1] << 1 ^ (FIELD if of_a[-1] & 0x80 else 0))
    for exponent in range(2 * LENGTH):
        powers[exponent] = of_a[exponent * ROOT_STEP % LENGTH]
        exponents[powers[exponent]] = exponent % LENGTH
    return powers, exponents


POWERS, EXPONENTS = _powers()


def product(a: int, b: int) -> int:
    """Give the product of two elements."""
    return int(POWERS[EXPONENTS[a] + EXPONENTS[b]]) if a and b else 0


def _generator() -> list[int]:
    """Give the generator's coefficients from x^31 to x^0; that of x^32 is 1."""
    found = [1]
    for root in range(FIRST_ROOT, FIRST_ROOT + CHECKS):
        shifted = [*found, 0]
        for i, coefficient in enumerate(found):
            shifted[i + 1] ^= product(coefficient, int(POWERS[root % LENGTH]))
        found = shifted
    return found[1:]


GENERATOR = _generator()


def _remainders() -> _Table:
    """Give for byte i of eight and each value what it adds to the remainder once all eight have gone by."""
    table = np.zeros((8, 256, CHECKS), np.uint8)
    for value in range(256):
        table[7, value] = [product(value, coefficient) for coefficient in GENERATOR]
    for i in range(6, -1, -1):
        earlier = table[i + 1]
        table[i, :, :-1] = earlier[:, 1:]
        table[i] ^= table[7][earlier[:, 0]]
    return table.reshape(8 * 256, CHECKS).view(np.uint64)


REMAINDERS = _remainders()
MATRICES = np.array([batches.matrix([product(c, 1 << bit) for bit in range(8)]) for c in GENERATOR], np.uint64)
_EIGHT, _BYTE = np.uint64(8), np.uint64(0xFF)


@kernel
def remainder(messages: Any, row: int, found: Any) -> None:
    """Write the check bytes of one message as four little-endian words."""
    a = b = c = d = np.uint64(0)
    for i in range(MESSAGE % 8):
        at = 7 * 256 + np.int64((a ^ np.uint64(messages[row, i])) & _BYTE)
        a = (a >> _EIGHT | b << np.uint64(56)) ^ REMAINDERS[at, 0]
        b = (b >> _EIGHT | c << np.uint64(56)) ^ REMAINDERS[at, 1]
        c = (c >> _EIGHT | d << np.uint64(56)) ^ REMAINDERS[at, 2]
        d = (d >> _EIGHT) ^ REMAINDERS[at, 3]
    for i in range(MESSAGE % 8, MESSAGE, 8):
        word = a
        for k in range(8):
            word ^= np.uint64(messages[row, i + k]) << np.uint64(8 * k)
        a, b, c, d = b, c, d, np.uint64(0)
        for k in range(8):
            at = 256 * k + np.int64(word >> np.uint64(8 * k) & _BYTE)
            a ^= REMAINDERS[at, 0]
            b ^= REMAINDERS[at, 1]
            c ^= REMAINDERS[at, 2]
            d ^= REMAINDERS[at, 3]
    found[0], found[1], found[2], found[3] = a, b, c, d


@kernel
def turned(source: Any, offset: int, stride: int, target: Any, target_offset: int) -> None:
    """Write the transpose of 64 x 64 bytes, in rows of 64."""
    batches.turn(source, offset, stride, target, target_offset, 64)


@kernel
def encode_batch(messages: Any, first: int, checks: Any, scratch: Any) -> None:
    """Write the check bytes of 64 messages."""
    flat = messages.reshape(-1)
    for i in range(0, MESSAGE, 64):
        start = min(i, MESSAGE - 64)
        turned(flat, first * MESSAGE + start, MESSAGE, scratch, start * 64)
    batches.divide(scratch, MATRICES, batches.REMAINDER)
    turned(scratch, batches.REMAINDER, 64, scratch, 0)
    kept = checks.reshape(-1)
    for i in range(batches.CODEWORDS):
        for k in range(0, CHECKS, 8):
            store_word(kept, (first + i) * CHECKS + k, load_word(scratch, 64 * i + k))


@allocating_kernel
def encode(messages: Any, checks: Any) -> None:
    """Write the check bytes, [count, 32], of messages, [count, 223]."""
    row = 0
    if batches.FAST:
        scratch = np.zeros(batches.SCRATCH_BYTES, np.uint8)
        while row + batches.CODEWORDS <= len(messages):
            encode_batch(messages, row, checks, scratch)
            row += batches.CODEWORDS
    made = np.empty(CHECKS // 8, np.uint64)
    while row < len(messages):
        remainder(messages, row, made)
        checks[row] = made.view(np.uint8)
        row += 1


@kernel
def times(a: int, b: int) -> int:
    """Give the product of two elements."""
    return POWERS[EXPONENTS[a] + EXPONENTS[b]] if a != 0 and b != 0 else 0


@kernel
def syndromes(difference: Any, found: Any) -> None:
    """Write the values of the remainder at the 32 roots."""
    for j in range(CHECKS):
        root = POWERS[(FIRST_ROOT + j) % LENGTH]
        value = 0
        for i in range(CHECKS):
            value = times(value, root) ^ difference[i]
        found[j] = value


@allocating_kernel
def locator(found: Any, place: Any) -> int:
    """Write the error locator's coefficients from x^0 on (Berlekamp-Massey), and give its degree."""
    before, kept = np.zeros(CHECKS + 1, np.int64), np.zeros(CHECKS + 1, np.int64)
    place[:] = 0
    place[0] = before[0] = 1
    degree, shift, last = 0, 1, 1
    for n in range(CHECKS):
        gap = found[n]
        for i in range(1, degree + 1):
            gap ^= times(place[i], found[n - i])
        if gap == 0:
            shift += 1
            continue
        scale = POWERS[(EXPONENTS[gap] - EXPONENTS[last]) % LENGTH]
        kept[:] = place
        for i in range(CHECKS + 1 - shift):
            place[i + shift] ^= times(scale, before[i])
        if 2 * degree <= n:
            before[:] = kept
            degree, last, shift = n + 1 - degree, gap, 1
        else:
            shift += 1
    return degree


@kernel
def value_at(coefficients: Any, count: int, exponent: int) -> int:
    """Give a polynomial's value at a power of b."""
    total = 0
    for i in range(count):
        if coefficients[i] != 0:
            total ^= POWERS[(EXPONENTS[coefficients[i]] + i * exponent) % LENGTH]
    return total


@allocating_kernel
def decode(message: Any, checks: Any, difference: Any) -> bool:
    """Correct up to 16 bytes of a codeword in place; give False and write nothing where that is not enough."""
    found, place = np.empty(CHECKS, np.int64), np.empty(CHECKS + 1, np.int64)
    syndromes(difference, found)
    degree = locator(found, place)
    if degree > CHECKS // 2:
        return False
    values = np.zeros(CHECKS, np.int64)
    for i in range(degree):
        for j in range(i + 1):
            values[i] ^= times(found[i - j], place[j])
    slopes = np.zeros(CHECKS + 1, np.int64)
    for i in range(1, degree + 1, 2):
        slopes[i - 1] = place[i]
    where, what, count = np.empty(CHECKS, np.int64), np.empty(CHECKS, np.int64), 0
    terms = EXPONENTS[place[: degree + 1]]
    for position in range(LENGTH):
        # An error at x^p is a root of the locator at b^-p; the terms of the next value come from those of the last.
        total = 0
        for i in range(degree + 1):
            if place[i] != 0:
                total ^= POWERS[terms[i]]
            terms[i] += LENGTH - i if terms[i] < i else -i
        if total == 0:
            inverse = (LENGTH - position) % LENGTH
            slope = value_at(slopes, degree, inverse)
            value = value_at(values, degree, inverse)
            if slope == 0 or value == 0 or count == degree:
                return False
            scale = (1 - FIRST_ROOT) * position
            what[count] = POWERS[(EXPONENTS[value] - EXPONENTS[slope] + scale) % LENGTH]
            where[count] = LENGTH - 1 - position
            count += 1
    if count != degree:
        return False
    for i in range(count):
        if where[i] < MESSAGE:
            message[where[i]] ^= np.uint8(what[i])
        else:
            checks[where[i] - MESSAGE] ^= np.uint8(what[i])
    return True


@allocating_kernel
def correct(messages: Any, checks: Any, made: Any, done: Any) -> None:
    """Correct rows in place whose check bytes should be ``made``, and tell for each whether that could be done."""
    for row in range(len(messages)):
        done[row] = decode(messages[row], checks[row], made[row] ^ checks[row])


def warm() -> None:
    """Compile or load the kernels for the types that :mod:`node.ecc` passes."""
    messages, checks = np.zeros((1, MESSAGE), np.uint8), np.zeros((1, CHECKS), np.uint8)
    encode(messages, checks)
    correct(messages, checks, checks.copy(), np.zeros(1, np.bool_))
