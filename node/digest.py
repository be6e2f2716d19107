"""The digest of memory: a CRC of 32 bits at nearly the speed of reading it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import DataError
from node.ecc.code import as_bytes
from node.kernels.codes import crc

CRC_32, CRC_32C = 0x04C11DB7, 0x1EDC6F41
"""Generators of the CRC of Ethernet and zip files, and of Castagnoli's (iSCSI, ext4); the power 32 is left out."""

_ONES = 0xFFFFFFFF


class Crc:
    """A reflected CRC of 32 bits; register and result are inverted, as zlib does it.

    Parameters
    ----------
    generator : int
        Coefficients of the polynomial below x^32; bit 31 belongs to x^31.

    Examples
    --------
    >>> import numpy as np
    >>> hex(Crc(CRC_32C)(np.frombuffer(b"123456789", np.uint8)))
    '0xe3069283'
    """

    def __init__(self, generator: int = CRC_32) -> None:
        if not 0 < generator <= _ONES:
            raise DataError(f"CRC: generator {generator:#x}: give the 32 bits below x^32, 0x1 to 0xffffffff")
        self.generator = generator
        self._tables = _tables(generator)
        # Multiplied by these, 64 bits that lie at one end of a piece lie where the next piece begins.
        bits = 8 * crc.FOLD_BYTES
        powers = (bits + 32, bits - 32) if bits else (0, 0)
        self._factors = np.array([_reversed(_power(generator, power)) << 1 for power in powers], np.uint64)

    def __call__(self, data: NDArray[Any], value: int = 0) -> int:
        """Give the CRC of an array's bytes, continuing from the CRC ``value`` of what comes before."""
        register, scratch = np.uint64(value ^ _ONES), np.empty(crc.FOLD_BYTES, np.uint8)
        return int(crc.by_multiplication(self._tables, self._factors, as_bytes(data), register, scratch)) ^ _ONES

    def by_tables(self, data: NDArray[Any], value: int = 0) -> int:
        """Give the same in the way that every processor can go."""
        return int(crc.by_tables(self._tables, as_bytes(data), 0, np.uint64(value ^ _ONES))) ^ _ONES


def _reversed(value: int) -> int:
    return int(f"{value:032b}"[::-1], 2)


def _power(generator: int, exponent: int) -> int:
    """Give x to a power modulo the generator."""
    value = 1
    for _ in range(exponent):
        value <<= 1
        if value >> 32:
            value ^= generator | 1 << 32
    return value


def _tables(generator: int) -> NDArray[np.uint64]:
    """Give what a byte leaves that is followed by 0, 1, ... 15 zero bytes."""
    poly = np.uint64(_reversed(generator))
    one, eight = np.uint64(1), np.uint64(8)
    tables = np.zeros((crc.SLICES, 256), np.uint64)
    tables[0] = np.arange(256)
    for _ in range(8):
        tables[0] = np.where(tables[0] & one, tables[0] >> one ^ poly, tables[0] >> one)
    for place in range(1, crc.SLICES):
        before = tables[place - 1]
        tables[place] = before >> eight ^ tables[0][before & np.uint64(255)]
    return tables
