"""The int8 twin of a float model, for the scripts that make the workloads (extra ``train``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime import quantization

Floats = npt.NDArray[np.float32]


class Calibration(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """The samples from which the quantiser learns the range of each activation, one at a time."""

    def __init__(self, samples: Mapping[str, Floats]) -> None:
        count = len(next(iter(samples.values())))
        self._rest: Iterator[dict[str, Floats]] = iter(
            [{name: array[index : index + 1] for name, array in samples.items()} for index in range(count)]
        )

    def get_next(self) -> dict[str, Floats] | None:
        """Give the next sample, or None after the last."""
        return next(self._rest, None)


def quantise(source: Path, destination: Path, samples: Mapping[str, Floats], *, float_head: bool = False) -> None:
    """Write the int8 twin of a float model: QDQ, int8 throughout, weights with one scale per channel.

    Parameters
    ----------
    source, destination : Path
        ONNX files.
    samples : mapping of str to ndarray
        One array an input, first axis = sample; a few that show every range.
    float_head : bool
        Leave the last convolution or product, and what follows it, in float: where its sums are logits of wide range
        whose differences matter (pictures, regression), eight bits of them are most of what int8 costs.
    """
    quantization.quantize_static(
        source,
        destination,
        Calibration(samples),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QInt8,
        weight_type=quantization.QuantType.QInt8,
        nodes_to_exclude=head_of(source) if float_head else [],
    )


def head_of(source: Path) -> list[str]:
    """Give the names of the last convolution or product of a model and of the nodes after it."""
    nodes = onnx.load(str(source)).graph.node
    last = max(i for i, node in enumerate(nodes) if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"))
    return [node.name for node in nodes[last:]]
