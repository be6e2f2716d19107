"""Shares from some faults: what is printed covers the truth that classifying every fault gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.errors import ConfigError
from hil.campaign.configuration import load_campaign, read_campaign
from hil.campaign.exhaustive import Classifier
from hil.campaign.sampled import METHODS, NATURAL_SHARE, Part, parts_of, sample
from hil.campaign.workload import load_workload
from hil.cli import main
from hil.stats import sample_size
from tests.onnx_models import Builder
from tests.proof import count

# One process compiles the kernels of the exact engine.
pytestmark = pytest.mark.xdist_group("exact engine")


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("estimate")
    b = Builder(3)
    h = b.add("Relu", b.add("Conv", "x", b.weights(3, 1, 2, 2), b.weights(3)))
    b.save(folder / "net.onnx", (1, 1, 4, 4), b.add("Gemm", b.add("Flatten", h), b.weights(27, 3), b.weights(3)))
    inputs = np.random.default_rng(0).normal(size=(4, 1, 4, 4)).astype(np.float32)
    np.savez(folder / "inputs.npz", x=inputs)
    text = '[campaign]\nname = "small"\nseed = 5\n[workload]\nmodel = "net.onnx"\ninputs = "inputs.npz"\n'
    path = folder / "campaign.toml"
    path.write_text(text + '[[protection]]\nname = "none"\ncode = "none"\n')
    return path


@pytest.fixture(scope="module")
def population(campaign: Path) -> tuple[list[Part], np.ndarray, np.ndarray]:
    """The strata, and the truth about every bit of the region: critical, wrong."""
    workload = load_workload(load_campaign(campaign))
    classifier = Classifier(workload, "weights", (0, 1, 2, 3))
    every = np.arange(8 * len(workload.image.weights))
    return parts_of(workload.image), classifier.harms(every), classifier.wrongs(every)


def test_parts_hold_every_bit_of_every_parameter_once(campaign: Path, population) -> None:
    image = load_workload(load_campaign(campaign)).image
    parts = population[0]
    bits = np.sort(np.concatenate([part.bits for part in parts]))
    assert bits.tolist() == [bit for spec in image.tensors for bit in range(8 * spec.offset, 8 * spec.end)]
    signs = next(part.bits for part in parts if part.bit_class == "sign")
    assert (signs % 32 == 31).all()


@pytest.mark.proof
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("which", [1, 2])
def test_the_printed_share_covers_the_truth(population, method: str, which: int) -> None:
    parts, truth = population[0], population[which]
    every = np.concatenate([part.bits for part in parts])
    true = truth[every].mean()
    assert 0.005 < true < 0.5
    campaigns = count(150, 3000)
    found = [sample(parts, lambda bits: truth[bits], 400, method=method, seed=seed) for seed in range(campaigns)]
    held = sum(each.share.low <= true <= each.share.high for each in found)
    assert held >= 0.95 * campaigns - 2.0 * np.sqrt(campaigns * 0.95 * 0.05)
    spread = np.std([each.share.best for each in found]) / np.sqrt(campaigns)
    assert abs(np.mean([each.share.best for each in found]) - true) < 4 * spread
    assert {each.draws for each in found} == {400}


def test_strata_tell_more_than_plain_draws(population) -> None:
    parts, truth, _ = population
    spread = {}
    for method in ("plain", "stratified"):
        found = [sample(parts, lambda bits: truth[bits], 1000, method=method, seed=seed) for seed in range(60)]
        spread[method] = np.std([each.share.best for each in found])
    assert spread["stratified"] < 0.95 * spread["plain"]


def test_weights_of_steered_draws_are_bounded_and_their_cost_is_said(population) -> None:
    found = sample(population[0], lambda bits: population[1][bits], 1000, method="importance", seed=1)
    assert found.largest_weight <= 1 / NATURAL_SHARE
    assert 0 < found.effective_draws < sum(part.draws for part in found.parts)
    assert found == sample(population[0], lambda bits: population[1][bits], 1000, method="importance", seed=1)


def test_what_cannot_be_drawn_is_refused(population) -> None:
    with pytest.raises(ConfigError, match="give 80 or more"):
        sample(population[0], lambda bits: population[1][bits], 20, method="stratified", seed=1)
    with pytest.raises(ConfigError, match="choose from stratified"):
        sample(population[0], lambda bits: population[1][bits], 200, method="guess", seed=1)


@pytest.mark.parametrize("method", METHODS)
def test_the_command(campaign: Path, population, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["estimate", str(campaign), "--faults", "600", "--method", method, "--count", "wrong"]
    assert main([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    every = np.concatenate([part.bits for part in population[0]])
    assert printed["share"]["low"] < population[2][every].mean() < printed["share"]["high"]
    assert printed["planned"] == sample_size(len(every), 0.01)
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert f"600 of {len(every)} single-bit faults" in out
    assert ("plain draws; largest weight" in out) == (method == "importance")
    assert main([*arguments, "--faults", "3"]) == (0 if method == "plain" else 2)


def test_the_campaign_file_says_how_and_options_take_precedence(
    campaign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = campaign.with_name("sampling.toml")
    section = '[sampling]\nmethod = "importance"\nfaults = 300\ncount = "wrong"\ninputs = 2\n'
    path.write_text(campaign.read_text() + section)
    assert read_campaign(load_campaign(path).to_document(), path).sampling == load_campaign(path).sampling
    assert main(["estimate", str(path), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert (written["method"], written["count"], written["inputs"]) == ("importance", "wrong", 2)
    assert sum(part["pilot"] + part["draws"] for part in written["parts"]) == 300
    assert main(["estimate", str(path), "--method", "plain", "--inputs", "3", "--json"]) == 0
    overridden = json.loads(capsys.readouterr().out)
    assert (overridden["method"], overridden["count"], overridden["inputs"]) == ("plain", "wrong", 3)
    assert main(["run", str(path), "--plan"]) == 0
    assert "[sampling] is for `hil estimate`" in capsys.readouterr().err
    path.write_text(campaign.read_text() + '[sampling]\nmethod = "guess"\n')
    assert main(["estimate", str(path)]) == 2
    assert "[sampling]: method" in capsys.readouterr().err
