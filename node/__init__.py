"""BOARD: the payload computer. It needs numpy, numba, pyserial and crcmod, and nothing else.

Names are loaded when they are first used, so that a supervisor, which computes nothing, stays small.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from node.arena import Arena, Layout, Region
    from node.computer import Computer
    from node.ecc import CODES, DecodeReport
    from node.layout import layout_of
    from node.model.image import Image
    from node.protection import OnAlarm, OnDetected, Protection, Ranges

_HOMES = {
    "Arena": "node.arena",
    "Layout": "node.arena",
    "Region": "node.arena",
    "Computer": "node.computer",
    "CODES": "node.ecc",
    "DecodeReport": "node.ecc",
    "layout_of": "node.layout",
    "Image": "node.model.image",
    "OnAlarm": "node.protection",
    "OnDetected": "node.protection",
    "Protection": "node.protection",
    "Ranges": "node.protection",
}

__all__ = [
    "CODES",
    "Arena",
    "Computer",
    "DecodeReport",
    "Image",
    "Layout",
    "OnAlarm",
    "OnDetected",
    "Protection",
    "Ranges",
    "Region",
    "layout_of",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'node' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
