"""What the checks on the computation cost: a step with its check against the same step without, as the node runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np

from benchmarks.contest import Contest
from node.computer import Computer
from node.protection import Protection
from tests.product_images import dense_f32, dense_int8

BLOCK = {"in_h": 14, "in_w": 14, "out_h": 14, "out_w": 14, "kernel_h": 3, "kernel_w": 3, "pad_top": 1, "pad_left": 1}
"""A convolution in the middle of a residual network; its channels come on top."""


def conv(channels: int) -> dict[str, int]:
    """Give the rows, products, channels and shape of such a convolution."""
    return {"rows": 1, "depth": 9 * channels, "channels": channels, "in_c": channels, "out_c": channels, **BLOCK}


@contextmanager
def abft(kind: str, **shape: int) -> Iterator[Contest]:
    """Time a product with ABFT against the product alone."""
    rng = np.random.default_rng(1)
    image = (dense_int8 if kind == "int8" else dense_f32)(rng, **shape)
    inputs = {"x": (20 * rng.normal(size=image.inputs[0].shape)).astype(image.inputs[0].dtype)}
    with ExitStack() as stack:
        plain = stack.enter_context(Computer(image))
        checked = stack.enter_context(Computer(image, protection=Protection(abft=True)))
        for computer in (plain, checked):
            computer.write_inputs(inputs)
        yield Contest(ours=lambda: checked.engine.run_step(0), reference=lambda: plain.engine.run_step(0))
        assert checked.checks.abft is not None
        assert not checked.checks.abft.alarm
        assert checked.engine.output_bytes() == plain.engine.output_bytes()


@contextmanager
def verified(against_scrub: bool) -> Iterator[Contest]:
    """Time verification on use of a mebibyte of weights: against a scrub, or with its step against the step alone."""
    image = dense_int8(np.random.default_rng(1), rows=1, depth=1024, channels=1024)
    with Computer(image, protection=Protection(code="vertical_hsiao", verify_on_use=True)) as computer:
        step, checks = computer.engine.run_step, computer.checks
        if against_scrub:
            yield Contest(ours=lambda: checks.before(0), reference=computer.scrub)
        else:
            yield Contest(ours=lambda: (checks.before(0), step(0)), reference=lambda: step(0))


CONTESTS = {
    "abft-int8-batch-1": partial(abft, "int8", rows=1, depth=512, channels=512),
    "abft-int8-16-rows": partial(abft, "int8", rows=16, depth=512, channels=512),
    "abft-int8-narrow": partial(abft, "int8", rows=3136, depth=147, channels=64),
    "abft-int8-conv": partial(abft, "int8", **conv(64)),
    "abft-f32-batch-1": partial(abft, "f32", rows=1, depth=512, channels=512),
    "abft-f32-16-rows": partial(abft, "f32", rows=16, depth=512, channels=512),
    "abft-f32-conv": partial(abft, "f32", **conv(128)),
    "verify-against-scrub": partial(verified, True),
    "verify-batch-1": partial(verified, False),
}


def test_checks(benchmark, side):
    benchmark(side)
