"""Nothing wrong gets through: damaged frames against the decoder itself, and proof that the test could see one.

Damage as below looks random to a checksum of w bits: it is missed with a probability of 2**-w. The same decoder
with an 8-bit and a 16-bit checksum in place of CRC-32 must therefore let through what that predicts.
"""

from collections.abc import Callable
from math import sqrt
from random import Random

import crcmod.predefined
import numpy as np
import pytest
from numpy.typing import NDArray

from firmware_bridge import framing
from tests.proof import count

WHOLE = 100_000_000
"""Damaged frames for each checksum in `make prove`; with CRC-32 this lets 0.02 through on average."""
ROWS = 20_000
POOL = 500
BURST_BYTES = 6
"""Longer than any of the checksums."""

Rows = NDArray[np.uint8]


def frames(bodies: list[bytes]) -> Rows:
    """Whole frames of one length, one a row."""
    coded = b"".join(framing.encode_frame(body) for body in bodies)
    return np.frombuffer(coded, np.uint8).reshape(len(bodies), -1)


def overwritten(clean: Rows, rng: np.random.Generator) -> Rows:
    """Some bytes in a row are replaced by others."""
    out = clean.copy()
    starts = rng.integers(0, clean.shape[1] - BURST_BYTES, len(clean))
    columns = starts[:, None] + np.arange(BURST_BYTES)
    masks = rng.integers(0, 256, columns.shape, dtype=np.uint8)
    masks[:, [0, -1]] |= 1  # the burst is as long as it says
    out[np.arange(len(clean))[:, None], columns] ^= masks
    return out


def shortened(clean: Rows, rng: np.random.Generator) -> Rows:
    """Eight bytes in a row are lost, as when a FIFO overruns."""
    start = int(rng.integers(0, clean.shape[1] - 9))
    return np.delete(clean, np.s_[start : start + 8], axis=1)


def spliced(clean: Rows, rng: np.random.Generator) -> Rows:
    """The head of one frame with the tail of another. Where the heads are equal, that is the other frame unharmed."""
    out = clean.copy()
    cut = int(rng.integers(1 + BURST_BYTES, clean.shape[1] - BURST_BYTES - 1))
    out[:, cut:] = np.roll(clean, 1, axis=0)[:, cut:]
    return out


DAMAGES: tuple[Callable[[Rows, np.random.Generator], Rows], ...] = (overwritten, shortened, spliced)


def run(total: int, seed: int) -> tuple[int, int]:
    """How many damaged frames got as far as the checksum, and how many wrong bodies it let through."""
    random, rng = Random(seed), np.random.default_rng(seed)
    decoder = framing.FrameDecoder()
    wrong = unharmed = done = 0
    while done < total:
        body_bytes = random.randint(12, 64)
        bodies = [random.randbytes(body_bytes) for _ in range(POOL)]
        sent, pool = set(bodies), frames(bodies)
        damage = DAMAGES[done // ROWS % len(DAMAGES)]
        for _ in range(ROWS // POOL):
            accepted = decoder.feed(damage(pool, rng).tobytes())
            untrue = sum(body not in sent for body in accepted)
            wrong += untrue
            unharmed += len(accepted) - untrue
        done += ROWS
    assert unharmed < total / 1000
    return decoder.bad_crc + wrong, wrong


@pytest.mark.proof
@pytest.mark.parametrize(("name", "bits", "share"), [("crc-8", 8, 200_000), ("xmodem", 16, 600_000)])
def test_a_shorter_checksum_lets_through_what_is_predicted(monkeypatch, name, bits, share):
    monkeypatch.setattr(framing, "frame_crc32", crcmod.predefined.mkCrcFun(name))
    monkeypatch.setattr(framing, "CRC_BYTES", bits // 8)
    checked, wrong = run(count(share, WHOLE), seed=bits)
    expected = checked / 2**bits
    assert wrong == pytest.approx(expected, abs=5 * sqrt(expected))
    assert wrong > 0


@pytest.mark.proof
def test_crc_32_lets_nothing_through():
    total = count(400_000, WHOLE)
    checked, wrong = run(total, seed=32)
    assert checked > total // 2
    assert wrong == 0, f"{checked / 2**32:.4f} were expected"
