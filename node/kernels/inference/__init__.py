"""Kernels of the inference engine: one interpreter over a table of steps, and a kernel for each operator."""

from __future__ import annotations


def warm() -> None:
    """Compile or load the interpreter and every kernel that it calls."""
    from node.kernels.inference.dispatch import warm as warm_dispatch

    warm_dispatch()
