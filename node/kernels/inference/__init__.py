"""Kernels of the inference engine: two interpreters over a table of steps, and a kernel for each operator."""

from __future__ import annotations


def warm() -> None:
    """Compile or load the interpreters and every kernel that they call."""
    from node.kernels.inference.dispatch import warm as warm_plain
    from node.kernels.inference.general.interpreter import warm as warm_general

    warm_plain()
    warm_general()
