"""The error correction of the memory itself: what of a raw event remains behind it.

The memory's own check cells are no part of the fault space: an event on them alone leaves nothing behind. Each code
is systematic and linear, so what its decoder makes of an error depends on the error alone, never on the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby
from types import MappingProxyType
from typing import NamedTuple

from firmware_bridge.errors import ConfigError


class Residue(NamedTuple):
    """What a decoder leaves of an error: data bits that are wrong behind it, and whether it raised an alarm."""

    bits: tuple[int, ...]
    detected: bool


@dataclass(frozen=True, kw_only=True)
class HardwareEcc:
    """A code that a memory applies to each ``len(columns)`` data bits of its own accord.

    Parameters
    ----------
    name : str
        ``sec_136_128`` or ``secded_72_64``.
    check_bits : int
        Check bits for each codeword.
    columns : tuple of int
        The syndrome that each data bit alone causes; those of the check bits are the powers of two.
    raises_alarm : bool
        True for a memory that reports a syndrome which it cannot correct; False for one that stays silent.
    """

    name: str
    check_bits: int
    columns: tuple[int, ...]
    raises_alarm: bool

    def __post_init__(self) -> None:
        units = {1 << row for row in range(self.check_bits)}
        held = set(self.columns)
        if len(held) != len(self.columns) or held & units or not all(0 < c < 1 << self.check_bits for c in held):
            raise ConfigError(f"hardware ECC {self.name}: its columns must be distinct, no units and not zero")

    @property
    def data_bits(self) -> int:
        """Data bits for each codeword."""
        return len(self.columns)

    @cached_property
    def _positions(self) -> Mapping[int, int]:
        return {column: position for position, column in enumerate(self.columns)}

    def decode(self, wrong: Iterable[int]) -> Residue:
        """Give what remains of one codeword's error; ``wrong`` names its distinct wrong data bits.

        A single wrong bit is corrected. The syndrome of several may be that of an innocent bit, which the decoder
        then makes wrong as well (a miscorrection), that of a check bit (nothing changes), or that of none: an
        alarm, if the memory raises any, else silence.

        Examples
        --------
        >>> HARDWARE_ECC["secded_72_64"].decode([5]), HARDWARE_ECC["secded_72_64"].decode([5, 6])
        (Residue(bits=(), detected=False), Residue(bits=(5, 6), detected=True))
        """
        left = set(wrong)
        syndrome = 0
        for position in left:
            syndrome ^= self.columns[position]
        if syndrome in self._positions:
            left ^= {self._positions[syndrome]}
        known = syndrome in self._positions or syndrome.bit_count() <= 1  # nothing, or a check bit
        return Residue(tuple(sorted(left)), self.raises_alarm and not known)

    def decode_region(self, wrong: Iterable[int], region_bits: int) -> Residue:
        """Give what remains of an error in a region whose codewords start at its bit 0.

        The last codeword may be shorter than the others; a decoder never corrects a bit that it does not have.
        """
        words = groupby(sorted(wrong), key=lambda bit: bit // self.data_bits)
        residues = [(word, self.decode(bit % self.data_bits for bit in bits)) for word, bits in words]
        bits = chain.from_iterable(
            (word * self.data_bits + position for position in residue.bits) for word, residue in residues
        )
        return Residue(
            tuple(bit for bit in bits if bit < region_bits), any(residue.detected for _, residue in residues)
        )


def _sec_columns() -> tuple[int, ...]:
    """Give x**8 to x**135 modulo x**8 + x**4 + x**3 + x**2 + 1: the cyclic (255,247) Hamming code, shortened."""
    columns, power = [], 1
    for exponent in range(1, 136):
        power = power << 1 ^ (0x11D if power & 0x80 else 0)
        if exponent >= 8:  # the lower powers are the check bits
            columns.append(power)
    return tuple(columns)


def _secded_columns() -> tuple[int, ...]:
    """Give the 56 numbers of weight 3 and the 8 rotations of 00011111: Hsiao's rule, odd weights, balanced rows."""
    threes = tuple(number for number in range(256) if number.bit_count() == 3)
    fives = tuple((0b11111 << turn | 0b11111 >> 8 - turn) & 0xFF for turn in range(8))
    return threes + fives


HARDWARE_ECC: Mapping[str, HardwareEcc] = MappingProxyType(
    {
        code.name: code
        for code in (
            HardwareEcc(name="sec_136_128", check_bits=8, columns=_sec_columns(), raises_alarm=False),
            HardwareEcc(name="secded_72_64", check_bits=8, columns=_secded_columns(), raises_alarm=True),
        )
    }
)
"""``sec_136_128``
    On-die correction of DDR5 and LPDDR4/4X: 128 data bits, 8 check bits, corrects one, reports nothing (JEDEC
    JESD79-5 names the lengths). Makers keep their matrices to themselves; this one is the textbook's, the shortened
    cyclic Hamming code. It makes a third bit wrong in about half of all double errors, as a matrix picked blindly
    would; others lie between a few and 84 in a hundred.
``secded_72_64``
    Side-band correction by the memory controller: Hsiao's construction (IBM J. Res. Dev. 14:395, 1970), odd-weight
    columns, all of weight 3 and 8 of weight 5. Corrects one, reports two.
"""
