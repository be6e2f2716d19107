"""The campaign file: what is given is what is run, and every mistake is named with its remedy."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.errors import ConfigError, PortError, UsageError
from hil.campaign.configuration import CampaignFile, load_campaign, read_campaign
from hil.campaign.protections import ProtectionEntry
from hil.environment.beam_data import CRASH_DATA
from hil.workloads import digits
from node.protection import OnDetected, Protection

HEAD = '[campaign]\nname = "digits"\n'
WORKLOAD = '[workload]\nmodel = "builtin:digits_int8"\n'
RATE = "[rate]\nlow = 1e-12\nbest = 2e-12\nhigh = 3e-12\n"
HSIAO = '[[protection]]\nname = "hsiao"\ncode = "hsiao_72_64"\nscrub_period = 3\n'


def load(tmp_path: Path, text: str) -> CampaignFile:
    path = tmp_path / "campaign.toml"
    path.write_text(text)
    return load_campaign(path)


def by_name(campaign: CampaignFile) -> dict[str, ProtectionEntry]:
    return {entry.name: entry for entry in campaign.protections}


# ---- what is read ----------------------------------------------------------------------------------------------


def test_defaults(tmp_path: Path) -> None:
    campaign = load(tmp_path, HEAD + WORKLOAD + HSIAO)
    section = campaign.campaign
    assert (section.trials, section.inferences, section.target, section.seed) == (1000, 4, "sim", 0)
    assert campaign.fault_model.name == "clusters"
    assert campaign.strikes.regions == ("weights", "activations")
    assert campaign.rate is None
    assert campaign.heat is None
    assert campaign.model_path == digits("int8").model_path
    assert campaign.labels_path == campaign.inputs_path == digits("int8").inputs_path
    assert campaign.workload.label == "builtin:digits_int8"


def test_every_field_of_a_protection_arrives(tmp_path: Path) -> None:
    text = (
        '[[protection]]\nname = "all"\ncode = "tmr"\nregions = ["weights", "steps"]\nscrub_period = 2\n'
        'on_detected = "rollback"\ncheckpoint_period = 5\npadding_bytes = 64\nslowdown = 2\ntemperature_c = 83\n'
    )
    entry = by_name(load(tmp_path, HEAD + WORKLOAD + text))["all"]
    assert entry == ProtectionEntry(
        name="all",
        temperature_c=83.0,
        protection=Protection(
            code="tmr",
            regions=("weights", "steps"),
            scrub_period=2,
            on_detected=OnDetected.ROLLBACK,
            checkpoint_period=5,
            padding_bytes=64,
            slowdown=2.0,
        ),
    )


def test_a_custom_fault_model(tmp_path: Path) -> None:
    text = '[strikes.custom]\nname = "pairs"\ncluster_sizes = { 1 = 0.5, 2 = 0.5 }\ninterleave = 4\n'
    campaign = load(tmp_path, HEAD + WORKLOAD + text + HSIAO)
    assert campaign.fault_model.name == "pairs"
    assert campaign.fault_model.cluster_sizes == ((1, 0.5), (2, 0.5))
    assert campaign.fault_model.interleave == 4


def test_rate_and_heat(tmp_path: Path) -> None:
    text = "[rate]\nlow = 1e-12\nbest = 2.5e-11\nhigh = 1.7e-10\n"
    text += "[heat]\nacceleration = 60\nambient = [[0, 50], [2, 5.5]]\n"
    campaign = load(tmp_path, HEAD + WORKLOAD + text + HSIAO)
    assert campaign.rate is not None
    assert (campaign.rate.low, campaign.rate.best, campaign.rate.high) == (1e-12, 2.5e-11, 1.7e-10)
    assert campaign.heat is not None
    schedule = campaign.heat.schedule()
    assert schedule.acceleration == 60.0
    assert schedule.ambient == ((0.0, 50.0), (2.0, 5.5))
    assert schedule.duration_s == type(schedule)().duration_s


def test_the_boards_own_crashes_come_from_published_beam_data(tmp_path: Path) -> None:
    """The Pi Zero 2 W at 650 km: the reference mission profile has 1 crash in 56 days, between 40 and 98."""
    beam = 'board = "pi_zero_2w"\nprotons_per_cm2_s = [42.0, 42.0, 42.0]\n'
    campaign = load(tmp_path, HEAD + WORKLOAD + RATE + beam + HSIAO)
    assert campaign.rate is not None
    assert campaign.rate.crashes_per_day is not None
    days = [1.0 / crashes for crashes in campaign.rate.crashes_per_day]
    assert days == pytest.approx([98, 56, 40], rel=0.02)
    assert "2.84e-09 to 6.95e-09 cm2" in campaign.rate.crash_source
    assert "arXiv:2503.03722), times 42 protons" in campaign.rate.crash_source
    assert read_campaign(campaign.to_document(), tmp_path / "again.toml").rate == campaign.rate
    for known in CRASH_DATA.values():
        low, central, high = known.cross_section_cm2
        assert 1e-10 < low < central < high < 1e-8
    own = load(tmp_path, HEAD + WORKLOAD + RATE + "board_crashes_per_day = [1, 2, 3]\n" + HSIAO).rate
    assert own is not None
    assert (own.crashes_per_day, own.crash_source) == ((1.0, 2.0, 3.0), "")


# ---- controls --------------------------------------------------------------------------------------------------


def test_controls_are_added_with_the_machinery_of_the_first_code(tmp_path: Path) -> None:
    parity = '[[protection]]\nname = "p"\ncode = "parity"\n'
    campaign = load(tmp_path, HEAD + WORKLOAD + HSIAO + parity)
    names = [(entry.name, entry.control) for entry in campaign.protections]
    assert names == [
        ("none", "none"),
        ("hsiao", ""),
        ("p", ""),
        ("null", "null"),
        ("oracle", "oracle"),
        ("restore", "restore"),
    ]
    held = by_name(campaign)
    machinery = held["hsiao"].protection
    assert machinery.scrub_period == 3
    assert held["none"].protection == Protection()
    assert held["null"].protection == machinery
    assert held["oracle"].protection == replace(machinery, code="oracle")
    assert held["restore"].protection == replace(machinery, repair_at_once=True)


def test_without_a_code_the_controls_have_the_machinery_of_the_first_that_checks(tmp_path: Path) -> None:
    text = HEAD + WORKLOAD + '[[protection]]\nname = "none"\n[[protection]]\nname = "vote"\nredundancy = 3\n'
    entries = {entry.name: entry.protection for entry in load(tmp_path, text).protections}
    assert entries["null"].redundancy == entries["oracle"].redundancy == 3
    assert entries["none"].redundancy == 1


def test_listed_controls_are_not_added_again_and_stand_in_their_place(tmp_path: Path) -> None:
    listed = (
        '[[protection]]\nname = "perfect"\ncode = "oracle"\nscrub_period = 7\n'
        '[[protection]]\nname = "bare"\ncode = "none"\n'
        '[[protection]]\nname = "quiet"\ncode = "tmr"\ncontrol = "null"\n'
        '[[protection]]\nname = "mended"\ncode = "tmr"\nrepair_at_once = true\n'
    )
    campaign = load(tmp_path, HEAD + WORKLOAD + listed + HSIAO)
    names = [(entry.name, entry.control) for entry in campaign.protections]
    assert names == [("bare", "none"), ("hsiao", ""), ("quiet", "null"), ("perfect", "oracle"), ("mended", "restore")]


def test_an_unprotected_node_that_differs_in_size_speed_or_heat_is_no_control(tmp_path: Path) -> None:
    listed = (
        '[[protection]]\nname = "padded"\npadding_bytes = 4096\n'
        '[[protection]]\nname = "slow"\nslowdown = 2.0\n'
        '[[protection]]\nname = "hot"\ntemperature_c = 83.0\n'
    )
    held = by_name(load(tmp_path, HEAD + WORKLOAD + listed))
    assert [held[name].control for name in ("padded", "slow", "hot", "none")] == ["", "", "", "none"]
    assert held["oracle"].protection == Protection(code="oracle")


# ---- mistakes --------------------------------------------------------------------------------------------------

MISTAKES = {
    "misspelt table": ("[campain]\n" + WORKLOAD + HSIAO, ["unknown key 'campain'", "'campaign'"]),
    "misspelt key": (HEAD + "trails = 3\n" + WORKLOAD + HSIAO, ["[campaign]", "'trails'", "did you mean 'trials'?"]),
    "misspelt workload key": (HEAD + WORKLOAD + 'input = "x"\n' + HSIAO, ["[workload]", "'input'", "'inputs'"]),
    "misspelt protection key": (HEAD + WORKLOAD + HSIAO + "scrubperiod = 1\n", ["'hsiao'", "'scrub_period'"]),
    "misspelt strikes key": (HEAD + WORKLOAD + HSIAO + '[strikes]\nregion = ["weights"]\n', ["'regions'"]),
    "misspelt rate key": (HEAD + WORKLOAD + HSIAO + "[rate]\nlow=1\nbset=2\nhigh=3\n", ["[rate]", "'best'"]),
    "misspelt heat key": (HEAD + WORKLOAD + HSIAO + "[heat]\nduration = 3\n", ["[heat]", "'duration_s'"]),
    "no campaign": (WORKLOAD + HSIAO, ["[campaign] is missing", "hil init --example"]),
    "no workload": (HEAD + HSIAO, ["[workload] is missing"]),
    "no name": ("[campaign]\n" + WORKLOAD + HSIAO, ["name is missing"]),
    "empty name": ('[campaign]\nname = " "\n' + WORKLOAD + HSIAO, ["name = ' '"]),
    "newline in name": ('[campaign]\nname = "a\\nb"\n' + WORKLOAD + HSIAO, ["printable"]),
    "trials 0": (HEAD + "trials = 0\n" + WORKLOAD + HSIAO, ["[campaign]: trials = 0", ">= 1"]),
    "trials negative": (HEAD + "trials = -5\n" + WORKLOAD + HSIAO, ["trials = -5"]),
    "trials text": (HEAD + 'trials = "many"\n' + WORKLOAD + HSIAO, ["trials = 'many'", "expected int, got str"]),
    "trials float": (HEAD + "trials = 10.5\n" + WORKLOAD + HSIAO, ["trials = 10.5"]),
    "inferences 0": (HEAD + "inferences = 0\n" + WORKLOAD + HSIAO, ["inferences = 0"]),
    "inferences too many": (HEAD + "inferences = 70000\n" + WORKLOAD + HSIAO, ["inferences = 70000"]),
    "seed negative": (HEAD + "seed = -1\n" + WORKLOAD + HSIAO, ["seed = -1"]),
    "seed huge": (HEAD + f"seed = {2**70}\n" + WORKLOAD + HSIAO, ["seed"]),
    "unknown target": (HEAD + 'target = "simm"\n' + WORKLOAD + HSIAO, ["target = 'simm'", "did you mean 'sim'?"]),
    "campaign is no table": ("campaign = 3\n" + WORKLOAD + HSIAO, ["expected a table"]),
    "syntax": (HEAD + "trials = \n" + WORKLOAD, ["not valid TOML", "line 3"]),
    "unknown builtin": (
        HEAD + '[workload]\nmodel = "builtin:digits"\n' + HSIAO,
        ["model = 'builtin:digits'", "builtin:digits_int8"],
    ),
    "builtin with inputs": (HEAD + WORKLOAD + 'inputs = "x.npz"\n' + HSIAO, ["brings its own inputs"]),
    "model without inputs": (HEAD + '[workload]\nmodel = "m.onnx"\n' + HSIAO, ["inputs is missing"]),
    "missing model": (HEAD + '[workload]\nmodel = "m.onnx"\ninputs = "x.npz"\n' + HSIAO, ["model: no file", "m.onnx"]),
    "model of another kind": (
        HEAD + '[workload]\nmodel = "m.tflite"\ninputs = "x.npz"\n' + HSIAO,
        ["m.tflite", "expected a .onnx file"],
    ),
    "critical misspelt": (HEAD + WORKLOAD + 'critical = "top-1"\n' + HSIAO, ["'top-1'", "did you mean 'top1'?"]),
    "critical without module": (HEAD + WORKLOAD + 'critical = "nowhere_x:f"\n' + HSIAO, ["cannot import nowhere_x"]),
    "critical without function": (HEAD + WORKLOAD + 'critical = "math:nope"\n' + HSIAO, ["no function 'nope'"]),
    "critical no function": (HEAD + WORKLOAD + 'critical = "math:pi"\n' + HSIAO, ["no function 'pi'"]),
    "tolerance missing": (HEAD + WORKLOAD + 'critical = "tolerance"\n' + HSIAO, ["tolerance = 0.0"]),
    "tolerance unused": (HEAD + WORKLOAD + "tolerance = 0.1\n" + HSIAO, ["tolerance = 0.1", "'top1'"]),
    "tolerance negative": (HEAD + WORKLOAD + "tolerance = -0.1\n" + HSIAO, ["tolerance = -0.1"]),
    "tolerance nan": (HEAD + WORKLOAD + 'critical = "tolerance"\ntolerance = nan\n' + HSIAO, ["tolerance = nan"]),
    "unknown fault model": (
        HEAD + WORKLOAD + HSIAO + '[strikes]\nfault_model = "cluster"\n',
        ["[strikes]: fault_model", "'cluster'", "did you mean 'clusters'?"],
    ),
    "two fault models": (
        HEAD + WORKLOAD + HSIAO + '[strikes]\nfault_model = "clusters"\n[strikes.custom]\nname = "x"\n',
        ["both given"],
    ),
    "bad custom fault model": (
        HEAD + WORKLOAD + HSIAO + '[strikes.custom]\nname = "x"\nkind = "flop"\n',
        ["[strikes]: custom", "'flop'", "did you mean 'flip'?"],
    ),
    "custom fault model of wrong type": (
        HEAD + WORKLOAD + HSIAO + '[strikes.custom]\nname = "x"\nrow_bits = "wide"\n',
        ["[strikes]: custom", "row_bits = 'wide'"],
    ),
    "unknown region": (HEAD + WORKLOAD + HSIAO + '[strikes]\nregions = ["wieghts"]\n', ["'wieghts'", "weights"]),
    "no region": (HEAD + WORKLOAD + HSIAO + "[strikes]\nregions = []\n", ["at least one region"]),
    "region twice": (HEAD + WORKLOAD + HSIAO + '[strikes]\nregions = ["steps", "steps"]\n', ["each once"]),
    "rate out of order": (HEAD + WORKLOAD + HSIAO + "[rate]\nlow=3\nbest=2\nhigh=4\n", ["rising order"]),
    "rate zero": (HEAD + WORKLOAD + HSIAO + "[rate]\nlow=0\nbest=2\nhigh=4\n", ["low = 0.0"]),
    "rate nan": (HEAD + WORKLOAD + HSIAO + "[rate]\nlow=1\nbest=nan\nhigh=4\n", ["best = nan"]),
    "rate incomplete": (HEAD + WORKLOAD + HSIAO + "[rate]\nlow=1\nbest=2\n", ["high is missing"]),
    "crashes in disorder": (
        HEAD + WORKLOAD + HSIAO + RATE + "board_crashes_per_day = [2, 1, 3]\n",
        ["board_crashes_per_day = [2.0, 1.0, 3.0]", "rising order"],
    ),
    "unknown board": (
        HEAD + WORKLOAD + HSIAO + RATE + 'board = "pi"\nprotons_per_cm2_s = [1, 2, 3]\n',
        ["[rate]: board: ", "'pi'", "pi_zero_2w"],
    ),
    "board without flux": (HEAD + WORKLOAD + HSIAO + RATE + 'board = "pi_zero_2w"\n', ["give both or neither"]),
    "two crash rates": (
        HEAD
        + WORKLOAD
        + HSIAO
        + RATE
        + 'board = "pi_zero_2w"\nprotons_per_cm2_s = [1, 2, 3]\nboard_crashes_per_day = [1, 2, 3]\n',
        ["both say how often it crashes", "keep one"],
    ),
    "heat without time": (HEAD + WORKLOAD + HSIAO + "[heat]\nduration_s = 0\n", ["[heat]", "duration_s = 0.0"]),
    "heat out of order": (
        HEAD + WORKLOAD + HSIAO + "[heat]\nambient = [[2, 50]]\n",
        ["[heat]", "rising seconds from 0"],
    ),
    "no protection": (HEAD + WORKLOAD, ["[[protection]]", "at least one"]),
    "protection is a table": (HEAD + WORKLOAD + '[protection]\nname = "x"\n', ["under its own [[protection]]"]),
    "protection is a list of words": ('protection = ["tmr"]\n' + HEAD + WORKLOAD, ["under its own [[protection]]"]),
    "protection without name": (HEAD + WORKLOAD + '[[protection]]\ncode = "tmr"\n', ["name = ''"]),
    "protection twice": (HEAD + WORKLOAD + HSIAO + HSIAO, ["'hsiao'", "stands there twice"]),
    "protection with a number as name": (HEAD + WORKLOAD + "[[protection]]\nname = 3\n", ["name = 3", "expected str"]),
    "unknown code": (HEAD + WORKLOAD + '[[protection]]\nname = "x"\ncode = "hsiao"\n', ["'x'", "code = 'hsiao'"]),
    "unknown on_detected": (HEAD + WORKLOAD + HSIAO + 'on_detected = "rolback"\n', ["'hsiao'", "rolback", "rollback"]),
    "rollback without checkpoints": (HEAD + WORKLOAD + HSIAO + 'on_detected = "rollback"\n', ["checkpoint_period"]),
    "negative period": (
        HEAD + WORKLOAD + '[[protection]]\nname = "x"\nscrub_period = -1\n',
        ["'x'", "scrub_period = -1"],
    ),
    "guarded region unknown": (HEAD + WORKLOAD + HSIAO + 'regions = ["activations"]\n', ["weights, steps"]),
    "too hot": (HEAD + WORKLOAD + HSIAO + "temperature_c = 1000.0\n", ["temperature_c = 1000.0"]),
    "temperature nan": (HEAD + WORKLOAD + HSIAO + "temperature_c = nan\n", ["temperature_c = nan"]),
    "unknown control": (HEAD + WORKLOAD + HSIAO + 'control = "orakel"\n', ["control = 'orakel'", "oracle"]),
    "control that it is not": (HEAD + WORKLOAD + HSIAO + 'control = "oracle"\n', ["code must be oracle"]),
    "restore that does not": (HEAD + WORKLOAD + HSIAO + 'control = "restore"\n', ["repair_at_once must be true"]),
    "none with a code": (HEAD + WORKLOAD + HSIAO + 'control = "none"\n', ["code must be none"]),
    "none with checks": (
        HEAD + WORKLOAD + '[[protection]]\nname = "x"\ncontrol = "none"\nredundancy = 2\n',
        ["the computation must not be checked"],
    ),
    "unknown ranges": (HEAD + WORKLOAD + HSIAO + 'ranges = "clamp"\n', ["ranges = 'clamp'", "off, detect, clip"]),
    "name of a control": (HEAD + WORKLOAD + '[[protection]]\nname = "null"\ncode = "tmr"\n', ["kept for the control"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_remedy(tmp_path: Path, mistake: str) -> None:
    text, parts = MISTAKES[mistake]
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert "campaign.toml" in message
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_unknown_code_lists_the_codes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"choose from .*hsiao_72_64"):
        load(tmp_path, HEAD + WORKLOAD + '[[protection]]\nname = "x"\ncode = "y"\n')


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; write a campaign with `hil init --example DIR`"):
        load_campaign(tmp_path / "campaign.toml")


# ---- files of the user -----------------------------------------------------------------------------------------


def own_files(folder: Path) -> None:
    shutil.copyfile(digits("f32").model_path, folder / "m.onnx")
    np.savez(folder / "x.npz", image=np.zeros((2, 1, 8, 8), np.float32))
    np.save(folder / "y.npy", np.zeros(2, np.int64))


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    own_files(folder)
    workload = '[workload]\nmodel = "m.onnx"\ninputs = "x.npz"\nlabels = "y.npy"\ncritical = "labels"\n'
    (folder / "campaign.toml").write_text(HEAD + workload + HSIAO)
    monkeypatch.chdir(tmp_path)
    campaign = load_campaign(Path("deep/campaign.toml"))
    assert campaign.model_path == folder / "m.onnx"
    assert campaign.labels_path == folder / "y.npy"
    assert campaign.workload.label == "m.onnx"


def test_labels_are_needed_where_they_decide(tmp_path: Path) -> None:
    own_files(tmp_path)
    workload = '[workload]\nmodel = "m.onnx"\ninputs = "x.npz"\n'
    assert load(tmp_path, HEAD + workload + HSIAO).labels_path is None
    with pytest.raises(ConfigError, match="critical = 'labels' needs labels"):
        load(tmp_path, HEAD + workload + 'critical = "labels"\n' + HSIAO)
    with pytest.raises(ConfigError, match="labels: no file"):
        load(tmp_path, HEAD + workload + 'labels = "none.npy"\n' + HSIAO)
    with pytest.raises(ConfigError, match=r"labels = 'x.npz': expected a \.npy file"):
        load(tmp_path, HEAD + workload + 'labels = "x.npz"\n' + HSIAO)


# ---- changes from the command line -----------------------------------------------------------------------------


def test_target_and_trials_can_be_changed(tmp_path: Path) -> None:
    campaign = load(tmp_path, HEAD + WORKLOAD + HSIAO)
    changed = campaign.changed(target="pty", trials=7)
    assert (changed.campaign.target, changed.campaign.trials) == ("pty", 7)
    assert campaign.changed() == campaign
    with pytest.raises(ConfigError, match="--target = 'ptyy'"):
        campaign.changed(target="ptyy")
    with pytest.raises(ConfigError, match="--trials 0: give 1 or more"):
        campaign.changed(trials=0)


def test_configuration_errors_are_the_users(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_campaign(tmp_path / "none.toml")
    assert caught.value.exit_code == 2
    assert PortError.exit_code == 3
