"""What the checks on the computation cost: a step with its check against the same step without, as the node runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import hil
from benchmarks.contest import Contest
from node.checks.verify import Parameters
from node.computer import Computer
from node.model.image import Image
from node.model.steps import Opcode
from node.protection import Protection
from tests.onnx_models import Builder
from tests.product_images import dense_f32, dense_int8

BLOCK = {"kernel_h": 3, "kernel_w": 3, "pad_top": 1, "pad_left": 1}
"""A convolution in the middle of a residual network; its channels and size come on top."""


def conv(channels: int, pixels: int = 14) -> dict[str, int]:
    """Give the rows, products, channels and shape of such a convolution, or of one of other width and height."""
    sizes = dict.fromkeys(("in_h", "in_w", "out_h", "out_w"), pixels)
    shape = {"rows": 1, "depth": 9 * channels, "channels": channels, "in_c": channels, "out_c": channels}
    return shape | BLOCK | sizes


@contextmanager
def abft(kind: str, **shape: int) -> Iterator[Contest]:
    """Time a product with ABFT against the product alone."""
    rng = np.random.default_rng(1)
    image = (dense_int8 if kind == "int8" else dense_f32)(rng, **shape)
    inputs = {"x": (20 * rng.normal(size=image.inputs[0].shape)).astype(image.inputs[0].dtype)}
    with abft_of(image, inputs, 0) as contest:
        yield contest


@contextmanager
def abft_of(image: Image, inputs: Mapping[str, np.ndarray], step: int) -> Iterator[Contest]:
    """Time one step of a model with ABFT against the step alone."""
    with ExitStack() as stack:
        plain = stack.enter_context(Computer(image))
        checked = stack.enter_context(Computer(image, protection=Protection(abft=True)))
        for computer in (plain, checked):
            computer.infer(inputs)
        yield Contest(ours=lambda: checked.engine.run_step(step), reference=lambda: plain.engine.run_step(step))
        assert checked.checks.abft is not None
        assert step in checked.checks.abft.steps
        assert not checked.checks.abft.alarm
        assert checked.engine.output_bytes() == plain.engine.output_bytes()


@contextmanager
def abft_general(opcode: Opcode) -> Iterator[Contest]:
    """Time the scores of an attention of 4 heads over 64 tokens, or four moments of a cell of 128, with ABFT."""
    made, rng = Builder(), np.random.default_rng(1)
    if opcode is Opcode.MATMUL_F32:
        shape = (4, 64, 64)
        made.add("MatMul", "x", made.add("Transpose", "x", perm=[0, 2, 1]))
    else:
        shape = (4, 1, 128)
        weights = [made.weights(1, 512, 128) for _ in range(2)]
        made.add("LSTM", "x", *weights, hidden_size=128)
    with TemporaryDirectory() as folder:
        image = hil.compile_model(made.save(Path(folder) / "m.onnx", shape, made.nodes[-1].output[0]))
    step = next(number for number, row in enumerate(image.steps) if row[0] == opcode)
    with abft_of(image, {"x": rng.normal(size=shape).astype(np.float32)}, step) as contest:
        yield contest


@contextmanager
def verified(kind: str, against: str, **shape: int) -> Iterator[Contest]:
    """Time a product that verifies its weights while it uses them.

    It is held against the product alone, after a scrub of its weights, or after a check of them.
    """
    image = (dense_int8 if kind == "int8" else dense_f32)(np.random.default_rng(1), **shape)
    with ExitStack() as stack:
        plain = stack.enter_context(Computer(image))
        computer = stack.enter_context(
            Computer(image, protection=Protection(code="vertical_hsiao", verify_on_use=True))
        )
        parameters, checks = Parameters(image, computer.guarded), computer.checks
        before = {"step": lambda: None, "scrub": computer.scrub, "pass": lambda: parameters.check(0)}[against]

        def ours() -> None:
            checks.before(0)
            computer.engine.run_step(0)
            checks.after(0)

        def reference() -> None:
            before()
            plain.engine.run_step(0)

        yield Contest(ours=ours, reference=reference)
        assert checks.verified.clean
        assert computer.engine.output_bytes() == plain.engine.output_bytes()


MEBIBYTE = {"rows": 1, "depth": 1024, "channels": 1024}

CONTESTS = {
    "abft-int8-batch-1": partial(abft, "int8", rows=1, depth=512, channels=512),
    "abft-int8-16-rows": partial(abft, "int8", rows=16, depth=512, channels=512),
    "abft-int8-narrow": partial(abft, "int8", rows=3136, depth=147, channels=64),
    "abft-int8-conv": partial(abft, "int8", **conv(64)),
    "abft-int8-few-channels": partial(abft, "int8", **conv(16, 32)),
    "abft-f32-batch-1": partial(abft, "f32", rows=1, depth=512, channels=512),
    "abft-f32-16-rows": partial(abft, "f32", rows=16, depth=512, channels=512),
    "abft-f32-conv": partial(abft, "f32", **conv(128)),
    "abft-attention": partial(abft_general, Opcode.MATMUL_F32),
    "abft-lstm": partial(abft_general, Opcode.LSTM),
    "verify-against-scrub": partial(verified, "int8", "scrub", **MEBIBYTE),
    "verify-against-pass": partial(verified, "int8", "pass", **MEBIBYTE),
    "verify-batch-1": partial(verified, "int8", "step", **MEBIBYTE),
    "verify-f32-batch-1": partial(verified, "f32", "step", **MEBIBYTE),
    "verify-16-rows": partial(verified, "int8", "step", **(MEBIBYTE | {"rows": 16})),
    "verify-conv": partial(verified, "int8", "step", **conv(64)),
}


def test_checks(benchmark, side):
    benchmark(side)
