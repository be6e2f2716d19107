"""The same job done by other libraries: a codeword or a block is encoded, or its errors are corrected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks.contest import Contest, OpenContest
from node.ecc import CODES

RATE_BYTES = 223 * 4096
DIRTY_CODEWORDS = 200
DIRTY_WORDS = 4096
FRAGMENTS, FRAGMENT_BYTES = 28, 1 << 16
"""Data fragments of pyeclib's ISA-L, which takes 31 with the check fragments."""


def encode_against_peer(name: str, peer: Callable[[bytes], object], size: int) -> Contest:
    """Give a contest of encoding against another library, per byte."""
    code = CODES[name]
    data = np.random.default_rng(1).integers(0, 256, RATE_BYTES, dtype=np.uint8)
    message = data[:size].tobytes()
    return Contest(ours=lambda: code.encode(data), reference=lambda: peer(message), work=RATE_BYTES / size)


def decode_with_errors(
    errors: int, reference: Callable[[], object] | float, codewords: int = DIRTY_CODEWORDS
) -> Contest:
    """Give a contest of the correction of so many wrong bytes in each codeword, the striking included.

    The reference is a rate in bytes a second, or a call that corrects so many codewords.
    """
    code = CODES["rs_255_223"]
    rng = np.random.default_rng(1)
    data = rng.integers(0, 256, 223 * DIRTY_CODEWORDS, dtype=np.uint8)
    check = code.encode(data)
    places = np.concatenate([223 * row + rng.choice(223, errors, replace=False) for row in range(DIRTY_CODEWORDS)])

    def strike_and_correct() -> None:
        data[places] ^= 0x5A
        if code.correct(data, check).corrected != DIRTY_CODEWORDS:
            raise AssertionError(f"rs_255_223 did not repair {errors} wrong bytes of a codeword")

    if isinstance(reference, float):
        return Contest(ours=strike_and_correct, reference=data.size / reference)
    return Contest(ours=strike_and_correct, reference=reference, work=DIRTY_CODEWORDS / codewords)


def _reedsolo() -> Any:
    from reedsolo import RSCodec

    # b = a^11 is 0xAD in the field of the code.
    return RSCodec(32, nsize=255, fcr=112, prim=0x187, generator=0xAD, c_exp=8)


def _galois() -> tuple[Any, Any]:
    import galois

    field = galois.GF(2**8, irreducible_poly=0x187)
    return field, galois.ReedSolomon(255, 223, field=field, alpha=field(2) ** 11, c=112)


@contextmanager
def reedsolo_encode() -> Iterator[Contest]:
    yield encode_against_peer("rs_255_223", _reedsolo().encode, 223)


@contextmanager
def reedsolo_decode() -> Iterator[Contest]:
    codec = _reedsolo()
    struck = codec.encode(bytes(range(223)))
    for place in range(0, 160, 20):
        struck[place] ^= 0x5A
    yield decode_with_errors(8, lambda: codec.decode(struck), codewords=1)


@contextmanager
def galois_encode() -> Iterator[Contest]:
    field, codec = _galois()

    def encode(message: bytes) -> object:
        return codec.encode(field(np.frombuffer(message, np.uint8).reshape(-1, 223)))

    yield encode_against_peer("rs_255_223", encode, 223 * 100)


@contextmanager
def galois_decode() -> Iterator[Contest]:
    field, codec = _galois()
    struck = codec.encode(field(np.random.default_rng(2).integers(0, 256, (100, 223), dtype=np.uint8)))
    struck[:, 0:160:20] += field(0x5A)
    yield decode_with_errors(8, lambda: codec.decode(struck), codewords=100)


@contextmanager
def bchlib_encode() -> Iterator[Contest]:
    import bchlib

    yield encode_against_peer("bch_79_64", bchlib.BCH(2, m=7).encode, 8)


@contextmanager
def bchlib_decode() -> Iterator[Contest]:
    """Two struck bits in each word on both sides."""
    import bchlib

    codec, message = bchlib.BCH(2, m=7), b"12345678"
    kept, struck = bytes(codec.encode(message)), bytes(byte ^ (i in (0, 5)) for i, byte in enumerate(message))

    def peer() -> None:
        data, check = bytearray(struck), bytearray(kept)
        codec.decode(data=data, recv_ecc=check)
        codec.correct(data, check)

    code = CODES["bch_79_64"]
    words = np.random.default_rng(1).integers(0, 2**64, DIRTY_WORDS, dtype=np.uint64)
    check = code.encode(words)

    def ours() -> None:
        np.bitwise_xor(words, np.uint64(1 << 40 | 1), out=words)
        if code.correct(words, check).corrected != DIRTY_WORDS:
            raise AssertionError("bch_79_64 did not repair two struck bits in each word")

    yield Contest(ours=ours, reference=peer, work=float(DIRTY_WORDS))


@contextmanager
def pyeclib_encode() -> Iterator[Contest]:
    """Three check fragments for 28 of data against three check rows for 64: both per byte of data."""
    from pyeclib.ec_iface import ECDriver

    data = np.random.default_rng(1).integers(0, 256, FRAGMENTS * FRAGMENT_BYTES, dtype=np.uint8)
    driver, message = ECDriver(k=FRAGMENTS, m=3, ec_type="isa_l_rs_vand"), data.tobytes()
    code = CODES["vertical_chipkill"]
    yield Contest(ours=lambda: code.encode(data), reference=lambda: driver.encode(message))


PEERS: dict[str, OpenContest] = {
    "rs-255-223-reedsolo": reedsolo_encode,
    "rs-255-223-reedsolo-decode": reedsolo_decode,
    "rs-255-223-galois": galois_encode,
    "rs-255-223-galois-decode": galois_decode,
    "bch-79-64-bchlib": bchlib_encode,
    "bch-79-64-bchlib-decode": bchlib_decode,
    "vertical-chipkill-pyeclib": pyeclib_encode,
}
