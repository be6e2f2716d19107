"""The models a fresh user has, as files of the package; the scripts ``train_...`` made them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from firmware_bridge.errors import ConfigError

_HERE = Path(__file__).parent


class WorkloadFiles(NamedTuple):
    """Where a workload lies: an ONNX model, and a .npz with one array per model input.

    With ``labelled`` that file also holds ``labels``, the right class of each sample.
    """

    model_path: Path
    inputs_path: Path
    labelled: bool = True


def _files(name: str, kind: str, *, labelled: bool = True) -> WorkloadFiles:
    return WorkloadFiles(_HERE / f"{name}_{kind}.onnx", _HERE / f"{name}_test.npz", labelled)


BUILTIN = {
    "builtin:digits_int8": _files("digits", "int8"),
    "builtin:digits_f32": _files("digits", "f32"),
    "builtin:cloud_mask_int8": _files("cloud_mask", "int8", labelled=False),
    "builtin:cloud_mask_f32": _files("cloud_mask", "f32", labelled=False),
    "builtin:story_f32": _files("story", "f32"),
}
"""Every model that comes with the package, by the name that a campaign file gives it."""


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
    return _of_kind("digits", kind)


def cloud_mask(kind: str = "int8") -> WorkloadFiles:
    """Give the files of the cloud mask, a U-Net on generated scenes (see :mod:`hil.workloads.cloud_scenes`).

    Parameters
    ----------
    kind : {"int8", "f32"}
        Both take ``picture`` float32 [1, 3, 32, 32], red, green and blue 0 to 1, and give ``cloud`` float32
        [1, 1, 32, 32], 0 to 1. The test set holds 24 pictures and their ``mask``.

    Examples
    --------
    >>> cloud_mask().model_path.name
    'cloud_mask_int8.onnx'
    """
    return _of_kind("cloud_mask", kind)


def story() -> WorkloadFiles:
    """Give the files of the character model.

    It takes ``token`` int64 [1], a character by its number, and gives ``logits`` float32 [1, 63] of the next one; the
    keys and values of 128 characters are state. The test set holds 2,048 characters in a row, the ``labels`` that
    follow each, and ``characters``, the ASCII code of each number.

    Examples
    --------
    >>> story().model_path.name
    'story_f32.onnx'
    """
    return BUILTIN["builtin:story_f32"]


def _of_kind(name: str, kind: str) -> WorkloadFiles:
    kinds = {key.removeprefix(f"builtin:{name}_"): files for key, files in BUILTIN.items() if f":{name}_" in key}
    if kind not in kinds:
        raise ConfigError(f"workload {name}: no kind {kind!r}: choose from {', '.join(sorted(kinds))}")
    return kinds[kind]
