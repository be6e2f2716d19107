"""Column numbers of a step row; ``node.model.steps.Step`` says what each one means."""

from __future__ import annotations

OPCODE, IN_A, IN_B, OUT, WEIGHTS, BIAS, SCALES, SCRATCH = 0, 1, 2, 3, 4, 5, 6, 7
IN_H, IN_W, IN_C, OUT_H, OUT_W, OUT_C = 8, 9, 10, 11, 12, 13
KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W = 14, 15, 16, 17
PAD_TOP, PAD_LEFT, DILATION_H, DILATION_W, GROUPS = 18, 19, 20, 21, 22
LOW, HIGH, ZERO_A, ZERO_B, ZERO_OUT, SIGNED, COUNT = 23, 24, 25, 26, 27, 28, 29

OK, INVALID = 0, 1
"""What a kernel returns: done, or nothing done because the row points outside the memory or makes no sense."""
