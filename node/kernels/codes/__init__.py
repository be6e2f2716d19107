"""Kernels of the codes: word by word (horizontal), and by columns through blocks of memory (vertical)."""

from __future__ import annotations

import importlib

MODULES = ("bch", "hsiao", "hsiao_39", "parity", "reed_solomon", "vote", "vertical")


def warm() -> None:
    """Compile or load the kernels of every code."""
    for name in MODULES:
        importlib.import_module(f"node.kernels.codes.{name}").warm()
