"""Which modules hold kernels, and in which order they are compiled ahead; nothing here loads numba."""

from __future__ import annotations

from pathlib import Path

KERNELS = Path(__file__).resolve().parent / "kernels"
"""The folder of all compiled code."""

INFERENCE = "node.kernels.inference"

USUAL_MODULES = (
    f"{INFERENCE}.windows",
    f"{INFERENCE}.dispatch",
    f"{INFERENCE}.conv_f32",
    f"{INFERENCE}.conv_int8",
    f"{INFERENCE}.pool_f32",
    f"{INFERENCE}.pool_int8",
    f"{INFERENCE}.depthwise_f32",
    f"{INFERENCE}.depthwise_int8",
    f"{INFERENCE}.checked.sums_f32",
    "node.kernels.codes.hsiao",
    f"{INFERENCE}.transpose",
    "node.kernels.codes.vote",
    "node.kernels.codes.parity",
    f"{INFERENCE}.gather",
    "node.kernels.codes.crc",
    f"{INFERENCE}.fused",
    f"{INFERENCE}.ring",
)
"""What most models and protections need, what takes longest first. The others compile when a model or a protection that
needs them is loaded."""


def warm_up_modules() -> tuple[str, ...]:
    """Give every module with kernels of its own to compile, the usual ones first."""
    files = sorted(KERNELS.rglob("[!_]*.py"))
    names = [".".join(path.relative_to(KERNELS.parents[1]).with_suffix("").parts) for path in files if _can_warm(path)]
    return (*USUAL_MODULES, *(name for name in names if name not in USUAL_MODULES))


def _can_warm(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    return "\ndef warm(" in text or "\n@part(" in text
