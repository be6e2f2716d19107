"""Compiler: an ONNX model becomes an image for the node; needs the onnx package, which the board never does."""

from __future__ import annotations

from hil.compiler.compile import compile_model

__all__ = ["compile_model"]
