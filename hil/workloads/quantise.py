"""The int8 twin of a float model, for the scripts that make the workloads (extra ``train``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
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


def quantise(source: Path, destination: Path, samples: Mapping[str, Floats]) -> None:
    """Write the int8 twin of a float model: QDQ, int8 throughout, weights with one scale per channel.

    Parameters
    ----------
    source, destination : Path
        ONNX files.
    samples : mapping of str to ndarray
        One array an input, first axis = sample.
    """
    quantization.quantize_static(
        source,
        destination,
        Calibration(samples),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QInt8,
        weight_type=quantization.QuantType.QInt8,
    )
