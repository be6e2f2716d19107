"""Which modules hold kernels, and in which order they are compiled ahead; nothing here loads numba."""

from __future__ import annotations

from pathlib import Path

KERNELS = Path(__file__).resolve().parent / "kernels"
"""The folder of all compiled code."""

PARTS = ("node.kernels.inference.parts_f32", "node.kernels.inference.parts_int8")
"""Kernels that the interpreter and others hold: two processes compile a half each, and what follows loads them."""

INTERPRETER = ("node.kernels.inference.dispatch", "node.kernels.inference.fused")
"""What runs the steps of a model."""

USUAL_MODULES = (
    *INTERPRETER,
    "node.kernels.codes.crc",
    "node.kernels.codes.hsiao",
    "node.kernels.codes.parity",
    "node.kernels.codes.vote",
)
"""What most models and protections need. The others compile when a model or a protection that needs them is loaded."""


def warm_up_modules() -> tuple[str, ...]:
    """Give every module with kernels of its own to compile, the usual ones first."""
    files = sorted(KERNELS.rglob("[!_]*.py"))
    names = [".".join(path.relative_to(KERNELS.parents[1]).with_suffix("").parts) for path in files if _can_warm(path)]
    return (*USUAL_MODULES, *(name for name in names if name not in USUAL_MODULES))


def _can_warm(path: Path) -> bool:
    return "\ndef warm(" in path.read_text(encoding="utf-8")
