"""The character model: it knows its text, forgets what is far back, and runs as a campaign."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

import hil
from hil.campaign.configuration import load_campaign
from hil.campaign.experiment import Experiment
from hil.workloads import story
from node.computer import Computer
from tests.campaigns import write_campaign
from tests.onnx_models import reference

CHARACTERS = 300
"""More than the model remembers."""
WINDOW = 128


@cache
def held() -> dict[str, np.ndarray]:
    with np.load(story().inputs_path) as arrays:
        return dict(arrays)


@cache
def logits() -> np.ndarray:
    with Computer(hil.compile_model(story().model_path)) as computer:
        return np.concatenate([computer.infer({"token": token})["logits"] for token in held()["token"][:CHARACTERS]])


def test_it_knows_english_that_it_has_not_seen() -> None:
    """A guess among all characters costs 4.1 nats; the letters' own frequencies 3.3."""
    scores = logits().astype(np.float64)
    right = scores[np.arange(CHARACTERS), held()["labels"][:CHARACTERS]]
    nats = np.log(np.exp(scores - scores.max(1, keepdims=True)).sum(1)) + scores.max(1) - right
    assert nats.mean() < 2.0


def test_the_node_agrees_with_the_reference_that_is_handed_its_state() -> None:
    path = story().model_path
    image = hil.compile_model(path)
    assert [spec.name for spec in image.inputs] == ["token"]
    state = {spec.name: np.zeros(spec.shape, np.float32) for spec in image.states}
    for token, got in zip(held()["token"][:12], logits(), strict=False):
        want = reference(path, {"token": token} | state)
        np.testing.assert_allclose(got, want["logits"][0], rtol=1e-4, atol=1e-4)
        state = {name: want[name.replace("past", "present")] for name in state}


def test_what_lies_more_than_a_window_back_is_forgotten() -> None:
    """Each layer sees a window, so three of them see three at the most."""
    with Computer(hil.compile_model(story().model_path)) as computer:
        begun_later = [computer.infer({"token": token})["logits"][0] for token in held()["token"][1:CHARACTERS]]
    assert not np.allclose(begun_later[0], logits()[1], atol=1e-3)
    np.testing.assert_allclose(begun_later[-1], logits()[CHARACTERS - 1], atol=1e-2)


def test_the_file_is_small_and_needs_no_other() -> None:
    assert story().model_path.stat().st_size < 2_000_000
    text = bytes(held()["characters"][held()["token"][:, 0]]).decode("ascii")
    assert len(text) == 2048
    assert text.count(" ") > 200


def test_it_runs_as_a_campaign_on_sequences(tmp_path: Path) -> None:
    described = load_campaign(write_campaign(tmp_path, model="builtin:story_f32", regions=("weights", "state")))
    experiment = Experiment.of(described)
    assert experiment.nature.in_order
    shared = [region.name for region in experiment.tasks[0].layout.shared]
    assert shared == ["weights", "activations", "state", "steps", "accumulators"]
    assert {cells.region for cells in experiment.tasks[0].space.shared} == {"weights", "state"}
