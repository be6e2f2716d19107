"""The models a fresh user has, as files of the package; ``train_digits`` is the script that made them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from firmware_bridge.errors import ConfigError

_HERE = Path(__file__).parent
_DIGITS = {"f32": "digits_f32.onnx", "int8": "digits_int8.onnx"}


class WorkloadFiles(NamedTuple):
    """Where a workload lies: an ONNX model and a .npz with one array per model input, and ``labels``."""

    model_path: Path
    inputs_path: Path


def digits(kind: str = "int8") -> WorkloadFiles:
    """Give the files of the handwritten digits classifier.

    Parameters
    ----------
    kind : {"int8", "f32"}
        The quantised or the float model. Both take ``image`` float32 [1, 1, 8, 8], grey values 0 to 1, and
        give ``logits`` float32 [1, 10]. The test set holds 450 pictures and their ``labels``.

    Raises
    ------
    ConfigError
        For another kind.

    Examples
    --------
    >>> digits("f32").model_path.name
    'digits_f32.onnx'
    """
    if kind not in _DIGITS:
        raise ConfigError(f"workload digits: no kind {kind!r}: choose from {', '.join(sorted(_DIGITS))}")
    return WorkloadFiles(_HERE / _DIGITS[kind], _HERE / "digits_test.npz")
