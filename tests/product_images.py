"""Models of one product or convolution with given weights, as small as a test wants them."""

from __future__ import annotations

import numpy as np

from hil.compiler.program import pack
from node.model.image import Image, TensorSpec
from node.model.steps import Opcode, Step, float_bits

UNLIMITED = {"low": float_bits(-np.inf), "high": float_bits(np.inf)}


def image_of(opcode: Opcode, weights: np.ndarray, bias: np.ndarray, scales: np.ndarray | None = None, **shape) -> Image:
    """Give the image of one step.

    ``weights`` is [groups][products][channels] of a product, [taps][channels] of a depthwise convolution; ``bias`` and
    ``scales`` are [groups][channels]. Without a shape it is a product of ``in_w`` rows.
    """
    depthwise = opcode in (Opcode.DEPTHWISE_F32, Opcode.DEPTHWISE_INT8)
    parts = [weights, bias, *([] if scales is None else [scales])]
    if not depthwise:
        parts = [np.stack([pack(matrix) for matrix in weights])]
        parts += [
            np.stack([pack(row[None, :]) for row in part]) for part in (bias, *([] if scales is None else [scales]))
        ]
    blob, places = bytearray(), []
    for part in parts:
        blob += bytes(-len(blob) % 64)
        places.append(len(blob))
        blob += part.tobytes()
    item = weights.dtype.itemsize
    start = -(-len(blob) // 64) * 64
    step = Step(
        opcode=opcode, weights=places[0], bias=places[1], scales=places[2] if scales is not None else 0, **shape
    )
    size_in, size_out = item * step.in_h * step.in_w * step.in_c, item * step.out_h * step.out_w * step.out_c
    depth = step.kernel_h * step.kernel_w * step.in_c
    out, scratch = start + -(-size_in // 64) * 64, start + -(-size_in // 64) * 64 + -(-size_out // 64) * 64
    end = scratch + max(40 * depth, 4 * step.in_c) + 512
    step = step.placed({"in_a": start, "out": out, "scratch": scratch})
    kind = "float32" if item == 4 else "int8"

    def tensor(name: str, offset: int, size: int, steps: tuple[int, int]) -> TensorSpec:
        return TensorSpec(
            name=name, dtype=kind, shape=(size // item,), offset=offset, step=steps[0], last_step=steps[1]
        )

    given, result = tensor("x", start, size_in, (-1, 1)), tensor("y", out, size_out, (0, 1))
    names = ("weights", "bias", "scales")
    return Image(
        name="product",
        inputs=(given,),
        outputs=(result,),
        steps=step.row()[None, :],
        step_names=("product",),
        weights=bytes(blob),
        tensors=tuple(
            TensorSpec(name=name, dtype=str(part.dtype), shape=part.shape, offset=place, step=0)
            for name, part, place in zip(names, parts, places, strict=False)
        ),
        activations=(given, result),
        activation_bytes=-(-(end - start) // 64) * 64,
    )


def dense_int8(rng: np.random.Generator, rows: int, depth: int, channels: int, groups: int = 1, **more) -> Image:
    """Give a product of int8 with random weights whose outputs are seldom at a limit."""
    weights = rng.integers(-128, 128, (groups, depth, channels), dtype=np.int8)
    bias = rng.integers(-5000, 5000, (groups, channels), dtype=np.int32)
    scales = rng.uniform(0.5, 1.5, (groups, channels)).astype(np.float32) / np.float32(2000 * np.sqrt(depth / 33))
    shape = {"in_w": rows, "out_w": rows, "in_c": groups * depth, "out_c": groups * channels, "groups": groups} | more
    shape |= {"low": -128, "high": 127, "signed": 7, "zero_a": 3, "zero_out": -2}
    return image_of(Opcode.CONV_INT8, weights, bias, scales, **shape)


def dense_f32(rng: np.random.Generator, rows: int, depth: int, channels: int, groups: int = 1, **more) -> Image:
    """Give a product of floats with random weights."""
    weights = rng.normal(size=(groups, depth, channels)).astype(np.float32)
    bias = rng.normal(size=(groups, channels)).astype(np.float32)
    shape = {"in_w": rows, "out_w": rows, "in_c": groups * depth, "out_c": groups * channels, "groups": groups} | more
    return image_of(Opcode.CONV_F32, weights, bias, **(UNLIMITED | shape))
