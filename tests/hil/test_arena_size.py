"""How much memory a model takes: its weights, what lives at once, and hardly more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hil.compiler import compile_model
from hil.workloads import BUILTIN
from node.layout import layout_of
from node.model.image import Image
from node.protection import Protection
from tests.hil.test_public_models import EXACT, FLOAT, SPREAD, folder

LIMIT = 1.1


def compiled(name: str) -> Image:
    if name in BUILTIN:
        return compile_model(BUILTIN[name].model_path)
    with np.load(folder(name) / "golden.npz") as golden:
        shapes = {key[3:]: golden[key].shape for key in golden if key.startswith("in/")}
    return compile_model(Path(folder(name)) / "model.onnx", shapes)


def needed_bytes(image: Image) -> int:
    """Weights, state, and the most that lives at once, by asking at every step."""
    moments = range(-1, len(image.steps) + 1)
    alive = (sum(s.size_bytes for s in image.activations if s.step <= k <= s.last_step) for k in moments)
    return len(image.weights) + image.state_bytes + max(alive)


@pytest.mark.parametrize("name", [*BUILTIN, *FLOAT, *EXACT, *SPREAD])
def test_the_arena_is_hardly_larger_than_what_it_has_to_hold(name: str) -> None:
    image = compiled(name)
    arena, needed = layout_of(image, Protection()).arena_bytes, needed_bytes(image)
    assert arena <= LIMIT * needed, f"{arena} bytes for {needed}"
