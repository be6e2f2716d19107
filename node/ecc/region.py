"""A region of memory together with its check bits."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

from firmware_bridge.errors import DataError
from node.ecc.code import Bytes, Code, DecodeReport, Span, as_bytes, word_count


@dataclass(frozen=True, eq=False)
class ProtectedRegion:
    """Views of data and of its check bits, and the code that ties them.

    Parameters
    ----------
    name : str
        The region's name, for messages.
    data, check_bits : ndarray of uint8
        Writable views, normally of an arena; ``check_bits`` has ``code.check_bytes(data.nbytes)`` elements.
    code : Code
        A value of ``CODES``.
    """

    name: str
    data: Bytes
    check_bits: Bytes
    code: Code

    def __post_init__(self) -> None:
        expected = self.code.check_bytes(as_bytes(self.data).size)
        if self.check_bits.size != expected:
            raise DataError(
                f"region {self.name!r}: {self.code.name} needs {expected} check bytes, not {self.check_bits.size}"
            )

    @property
    def words(self) -> int:
        """Number of data words."""
        return word_count(self.data.size)

    def encode(self) -> None:
        """Make the check bits anew from the data, which is taken as right."""
        self.check_bits[:] = self.code.encode(self.data)

    def renew(self) -> None:
        """Make the check bits anew after data were put back that had been encoded: those in the data came with them."""
        if not self.code.in_place:
            self.encode()

    def opened(self) -> AbstractContextManager[None]:
        """Give a context in which the data can be computed with."""
        return self.code.opened(self.data)

    def check(self, span: Span | None = None) -> DecodeReport:
        """Count wrong codewords; change nothing."""
        return self.code.check(self.data, self.check_bits, span)

    def correct(self, span: Span | None = None) -> DecodeReport:
        """Repair what the code can, in place."""
        return self.code.correct(self.data, self.check_bits, span)
