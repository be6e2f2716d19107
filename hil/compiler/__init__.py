"""Compiler: an ONNX model becomes an image for the node; needs the onnx package, which the board never does."""

from __future__ import annotations

from hil.compiler.compile import compile_model
from hil.compiler.load import open_inputs

__all__ = ["compile_model", "open_inputs"]
