"""The cloud mask: its scenes are generated, and the node finds cloud in them as well as the reference does."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import hil
from hil.workloads import cloud_mask
from hil.workloads.cloud_scenes import another_mask, scenes
from node.computer import Computer
from tests.onnx_models import reference

KINDS = ("f32", "int8")
LIMIT_BYTES = 150_000


@cache
def held() -> tuple[np.ndarray, np.ndarray]:
    with np.load(cloud_mask().inputs_path) as arrays:
        return arrays["picture"], arrays["mask"] > 0


@cache
def found(kind: str) -> np.ndarray:
    """What the node says of the test pictures."""
    with Computer(hil.compile_model(cloud_mask(kind).model_path)) as computer:
        return np.concatenate([computer.infer({"picture": picture})["cloud"] for picture in held()[0]])


def overlap(cloud: np.ndarray, mask: np.ndarray) -> float:
    return float((cloud & mask).sum() / (cloud | mask).sum())


@pytest.mark.parametrize("kind", KINDS)
def test_it_beats_a_threshold_of_brightness_by_far(kind: str) -> None:
    pictures, mask = held()
    brightness = pictures.mean(1, keepdims=True)
    best = max(overlap(brightness > level, mask) for level in np.linspace(0.4, 0.8, 9))
    assert overlap(found(kind) > 0.5, mask) > max(best + 0.04, 0.82)


@pytest.mark.parametrize("kind", KINDS)
def test_the_node_agrees_with_the_reference(kind: str) -> None:
    for picture, got in zip(held()[0][:6], found(kind), strict=False):
        want = reference(cloud_mask(kind).model_path, {"picture": picture[None]})["cloud"][0]
        difference = np.abs(got - want)
        if kind == "f32":
            assert difference.max() < 1e-4
        else:
            assert (difference <= 1.001 / 256).mean() > 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_small(kind: str) -> None:
    assert cloud_mask(kind).model_path.stat().st_size < LIMIT_BYTES


def test_the_test_pictures_are_those_that_the_generator_gives() -> None:
    pictures, masks = scenes(12, 24)
    np.testing.assert_allclose(held()[0], pictures, atol=1.001 / 255)
    assert (held()[1] == masks).mean() > 0.999
    assert 0.1 < masks.mean() < 0.6


def test_a_mask_misleads_where_a_tenth_of_the_cloud_is_another() -> None:
    mask = np.zeros((1, 1, 10, 10), np.float32)
    mask[0, 0, :5] = 1.0
    moved = mask.copy()
    moved[0, 0, 0, :4] = 0.0
    assert not another_mask({"cloud": mask}, {"cloud": moved}, 0)
    moved[0, 0, 0, :6] = 0.0
    assert another_mask({"cloud": mask}, {"cloud": moved}, 0)
    assert not another_mask({"cloud": 0 * mask}, {"cloud": 0 * mask}, 0)
