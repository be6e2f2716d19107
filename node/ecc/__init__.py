"""Protects stored bits: codes behind one interface, protected regions and the scrubber that walks over them."""

from __future__ import annotations

from types import MappingProxyType

from node.ecc.bch import Bch
from node.ecc.code import Code, DecodeReport
from node.ecc.controls import Oracle, Unprotected
from node.ecc.hsiao import Hsiao, Hsiao39
from node.ecc.in_place import InPlace
from node.ecc.parity import Parity
from node.ecc.reed_solomon import ReedSolomon
from node.ecc.region import ProtectedRegion
from node.ecc.scrubber import Scrubber
from node.ecc.tmr import Tmr
from node.ecc.vertical import VerticalChipkill, VerticalDiagonal, VerticalHsiao, VerticalParity, VerticalSymbols

CODES = MappingProxyType(
    {
        code.name: code
        for code in (
            Unprotected(),
            Parity(),
            VerticalParity(),
            VerticalDiagonal(),
            VerticalSymbols(),
            VerticalChipkill(),
            Hsiao(),
            Hsiao39(),
            VerticalHsiao(),
            InPlace(),
            Bch(),
            ReedSolomon(),
            Tmr(),
            Oracle(),
        )
    }
)
"""Every code by its name."""

__all__ = ["CODES", "Code", "DecodeReport", "ProtectedRegion", "Scrubber"]
