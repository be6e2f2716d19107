"""The residual network in int8, and the rate of the exact engine on the bits of its weights."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from benchmarks.contest import Contest, Work
from benchmarks.injection.exact import compiled, prove_bytes
from benchmarks.injection.nets import Net, resnet8
from node.model.effects import Faults, WholeRuns
from node.model.image import Image
from node.model.incremental import IncrementalEngine

INPUTS = 10
AT_ONCE = 800
EVALUATIONS_PER_S = 40e3


class _Samples(CalibrationDataReader):
    def __init__(self, net: Net) -> None:
        self._left = iter([{"x": values[None]} for values in net.inputs])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)


def quantised(net: Net) -> onnx.ModelProto:
    """Give a net with int8 weights, a scale for each channel, and uint8 values."""
    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(net.model, str(source))
        # It advises to optimise the model before: there is nothing left to fold in this one.
        logging.disable(logging.WARNING)
        try:
            quantize_static(
                source, target, _Samples(net), quant_format=QuantFormat.QDQ, per_channel=True,
                weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
            )  # fmt: skip
        finally:
            logging.disable(logging.NOTSET)
        return onnx.load(str(target))


def weight_bits(image: Image) -> np.ndarray:
    """Give every bit of the int8 weights that belongs to a channel of the model, not to the padding of a panel."""
    found = []
    for spec in image.tensors:
        if spec.dtype == "int8":
            held = np.frombuffer(image.weights, np.int8, spec.size_bytes, spec.offset).reshape(spec.shape)
            used = np.flatnonzero(np.broadcast_to((held != 0).any(1, keepdims=True), held.shape))
            found.append((8 * (spec.offset + used)[:, None] + np.arange(8)).reshape(-1))
    return np.concatenate(found)


@contextmanager
def int8_rate() -> Iterator[Contest]:
    """Open the contest of the exact engine and the rate asked for, on random bits of the weights."""
    net = resnet8(INPUTS)
    image = compiled(quantised(net))
    samples = [{"x": values[None]} for values in net.inputs]
    engine = IncrementalEngine(image, samples)
    bits = np.random.default_rng(5).choice(weight_bits(image), (20, AT_ONCE))
    parts = [Faults.at_start("weights", part) for part in bits]
    prove_bytes(engine, WholeRuns(image, samples), Faults.at_start("weights", bits[0, :30]))
    turns = cycle(parts)
    yield Contest(
        ours=lambda: engine.effects(next(turns)),
        reference=AT_ONCE * INPUTS / EVALUATIONS_PER_S,
        counted=Work(unit="faults", ours=AT_ONCE, reference=AT_ONCE, times=INPUTS, of_each="evaluations"),
    )
