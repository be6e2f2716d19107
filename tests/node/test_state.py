"""State under fire: what a struck bit of it does, and what each protection makes of that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.errors import ConfigError
from firmware_bridge.messages import Delivery, Fault, FaultKind, Run, RunResult
from hil.compiler import compile_model
from node.computer import Computer
from node.ecc import DecodeReport
from node.errors import OutputWithheld
from node.layout import layout_of
from node.lockstep import LockstepRun
from node.model.image import Image
from node.protection import OnAlarm, OnDetected, Protection, Ranges
from tests.state_models import DEPTH, accumulator, register, samples, sums

COUNT = 6
INPUTS = tuple(range(COUNT))
GUARDED = ("weights", "state")
SIGN = 31
DELIVERED, WITHHELD = Delivery.DELIVERED, Delivery.WITHHELD


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return compile_model(accumulator(tmp_path_factory.mktemp("model") / "m.onnx"))


@pytest.fixture(scope="module")
def shift(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return compile_model(register(tmp_path_factory.mktemp("model") / "m.onnx"))


def fault(
    inference: int, step: int, *, bit: int = SIGN, region: str = "state", kind: FaultKind = FaultKind.FLIP
) -> Fault:
    return Fault(strike=0, region=region, bit=bit, kind=kind, inference=inference, step=step)


def double(inference: int, step: int) -> tuple[Fault, Fault]:
    """Two flips in one word, which a code for single errors detects and cannot correct."""
    return fault(inference, step), fault(inference, step, bit=30)


def execute(image: Image, protection: Protection, *faults: Fault) -> RunResult:
    with Computer(image, protection=protection) as computer:
        return LockstepRun(computer, samples(COUNT), Run(run_id=1, inputs=INPUTS, faults=faults)).execute()


def wrong(result: RunResult, right: list[np.ndarray] | None = None) -> list[int]:
    """Inferences that were delivered wrong."""
    wanted = [y.tobytes() for y in right or sums(COUNT)]
    return [k for k, each in enumerate(result.inferences) if each.delivery is DELIVERED and each.output != wanted[k]]


def test_the_state_region_lies_between_activations_and_steps(image: Image) -> None:
    layout = layout_of(image, Protection())
    assert [region.name for region in layout.shared] == ["weights", "activations", "state", "steps"]
    assert layout["state"].offset == image.state_offset == image.states[0].offset
    assert layout["state"].size_bytes == image.state_bytes == 64
    assert layout["steps"].offset >= image.state_offset + image.state_bytes
    assert 0 < image.state_step == len(image.steps) - 1


def test_an_undisturbed_run_begins_with_zeros_and_so_does_the_next(image: Image) -> None:
    with Computer(image) as computer:
        for _ in range(2):
            result = LockstepRun(computer, samples(COUNT), Run(run_id=1, inputs=INPUTS)).execute()
            assert wrong(result) == []


@pytest.mark.parametrize("step", [0, 1, 3])
def test_a_struck_sum_stays_wrong(image: Image, step: int) -> None:
    """Before the state is read: from this inference on; after it was written (3 steps): from the next."""
    result = execute(image, Protection(), fault(2, step))
    first = 2 if step == 0 else 3
    if step == 1:  # read already, and overwritten before it is read again
        assert wrong(result) == []
    else:
        assert wrong(result) == list(range(first, COUNT))


def test_a_bit_that_is_struck_in_a_register_leaves_it_with_its_value(shift: Image) -> None:
    powers = 2.0 ** np.arange(COUNT)
    right = [np.full((1, 4), powers[max(0, k - DEPTH) : k + 1].sum(), np.float32) for k in range(COUNT)]
    assert wrong(execute(shift, Protection()), right) == []
    newest = 32 * 4 * (DEPTH - 1) + SIGN
    result = execute(shift, Protection(), fault(0, shift.steps.shape[0], bit=newest))
    assert wrong(result, right) == list(range(1, 1 + DEPTH))


@pytest.mark.parametrize("step", [0, 1, 2, 3])
@pytest.mark.parametrize("code", ["hsiao_72_64", "tmr", "oracle", "vertical_ssc"])
def test_a_code_on_the_state_corrects_strikes_between_and_during_inferences(image: Image, code: str, step: int) -> None:
    result = execute(image, Protection(code=code, regions=GUARDED), fault(2, step))
    assert wrong(result) == []
    assert (result.corrected_words, result.detected_words) == (1, 0)


def test_a_code_on_the_weights_alone_does_nothing_for_the_state(image: Image) -> None:
    result = execute(image, Protection(code="hsiao_72_64"), fault(2, 0))
    assert wrong(result) == [2, 3, 4, 5]


@pytest.mark.parametrize("step", [0, 3])
def test_an_error_that_cannot_be_corrected_withholds_the_output(image: Image, step: int) -> None:
    result = execute(image, Protection(code="hsiao_72_64", regions=GUARDED), *double(2, step))
    assert wrong(result) == []
    first = 2 if step == 0 else 3
    assert [each.delivery for each in result.inferences] == [DELIVERED] * first + [WITHHELD] * (COUNT - first)


@pytest.mark.parametrize("step", [0, 2, 3])
@pytest.mark.parametrize("regions", [("weights",), GUARDED])
def test_a_rollback_brings_the_state_of_its_moment_back(image: Image, regions: tuple[str, ...], step: int) -> None:
    """The error lies in a weight or in the state; what follows is right only if the state is rolled back too."""
    protection = Protection(code="parity", regions=regions, checkpoint_period=2, on_detected=OnDetected.ROLLBACK)
    struck = "state" if "state" in regions else "weights"
    result = execute(image, protection, fault(3, step, region=struck))
    assert result.rollbacks == 1
    assert result.lost_inferences == 2
    delivered_wrong = [3] if struck == "weights" and step < 2 else []
    assert wrong(result) == delivered_wrong
    assert all(each.delivery is DELIVERED for each in result.inferences)


@pytest.mark.parametrize("step", [0, 3])
def test_a_reload_begins_the_sequence_again(image: Image, step: int) -> None:
    protection = Protection(code="parity", regions=GUARDED, on_detected=OnDetected.RELOAD)
    result = execute(image, protection, fault(3, step))
    assert wrong(result) == []
    assert (result.rollbacks, result.lost_inferences) == (1, 4)


VERIFY = Protection(code="hsiao_72_64", regions=GUARDED, verify_on_use=True)


def test_state_is_verified_before_each_step_that_reads_it(image: Image) -> None:
    result = execute(image, VERIFY, fault(2, 0))
    assert wrong(result) == []
    assert (result.alarms, result.corrected_words, result.recomputed_steps) == (1, 1, 0)


@pytest.mark.parametrize(
    ("answer", "lost", "fates"), [("rollback", 1, "rrrrrr"), ("reload", 3, "rrrrrr"), ("stop", 0, "rrr---")]
)
def test_an_alarm_in_the_state_is_answered_from_the_state_of_its_moment(
    image: Image, answer: str, lost: int, fates: str
) -> None:
    protection = replace(VERIFY, code="parity", on_alarm=OnAlarm(answer), checkpoint_period=2)
    result = execute(image, protection, fault(3, 0))
    letters = ["-" if each.delivery is WITHHELD else "r" for each in result.inferences]
    assert ("".join(letters), wrong(result), result.lost_inferences) == (fates, [], lost)


def test_a_bare_computer_withholds_what_needs_inputs_that_it_no_longer_has(image: Image) -> None:
    with Computer(image, protection=replace(VERIFY, code="parity", on_alarm=OnAlarm.RELOAD)) as computer:
        computer.infer(samples(1)[0])
        computer.arena.flip("state", SIGN)
        with pytest.raises(OutputWithheld):
            computer.infer(samples(2)[1])
        np.testing.assert_array_equal(computer.infer(samples(1)[0])["y"], sums(1)[0])


# ---- computed again ----------------------------------------------------------------------------------------------


def moments(image: Image, copies: int) -> range:
    """Every moment of an inference but the first, which is before its copies part."""
    return range(1, copies * (len(image.steps) + 1))


@pytest.mark.parametrize("copies", [2, 3])
@pytest.mark.parametrize("regions", [("weights",), GUARDED])
def test_copies_outvote_what_struck_one_of_them_and_its_state(
    image: Image, copies: int, regions: tuple[str, ...]
) -> None:
    protection = Protection(code="hsiao_72_64", regions=regions, redundancy=copies)
    slots = [("check.copies", 8 * image.state_bytes * slot + SIGN) for slot in range(copies)]
    result_bit = 8 * (image.outputs[0].offset - image.activation_offset) + SIGN
    noticed = 0
    with Computer(image, protection=protection) as computer:
        for region, bit in [("state", SIGN), ("activations", result_bit), *slots]:
            for step in moments(image, copies):
                run = Run(run_id=1, inputs=INPUTS, faults=(fault(2, step, region=region, bit=bit),))
                result = LockstepRun(computer, samples(COUNT), run).execute()
                assert wrong(result) == [], (region, bit, step)
                assert all(each.delivery is DELIVERED for each in result.inferences)
                noticed += bool(result.alarms or result.corrected_words)
        result = LockstepRun(computer, samples(COUNT), Run(run_id=1, inputs=INPUTS)).execute()
    assert (wrong(result), result.alarms, result.corrected_words, result.detected_words) == ([], 0, 0, 0)
    assert noticed > len(moments(image, copies))


def test_what_struck_between_inferences_is_in_every_copy_unless_a_code_guards_it(image: Image) -> None:
    assert wrong(execute(image, Protection(redundancy=3), fault(2, 0))) == [2, 3, 4, 5]
    guarded = execute(image, Protection(code="hsiao_72_64", regions=GUARDED, redundancy=3), fault(2, 0))
    assert (wrong(guarded), guarded.corrected_words, guarded.alarms) == ([], 3, 0)


@pytest.mark.parametrize("kind", [FaultKind.STUCK_AT_0, FaultKind.STUCK_AT_1])
def test_a_cell_that_is_stuck_in_one_copy_is_outvoted(image: Image, kind: FaultKind) -> None:
    """The first copy's kept result and the second one's old state lie there."""
    stuck = fault(2, 1, region="check.copies", bit=8 * image.state_bytes + 24, kind=kind)
    assert wrong(execute(image, Protection(redundancy=3), stuck)) == []


@pytest.mark.parametrize("code", ["hsiao_72_64", "vertical_ssc"])
def test_copies_that_never_agree_are_withheld_and_leave_the_old_state(image: Image, code: str) -> None:
    """The output of the second copy is stuck; a bare computer can be asked again."""
    bit = 8 * (image.outputs[0].offset - image.activation_offset) + SIGN
    with Computer(image, protection=Protection(code=code, regions=GUARDED, redundancy=2)) as computer:
        computer.infer(samples(1)[0])
        flipped = iter(range(8))
        run_steps = computer.run_steps

        def alternating(first: int, last: int, *, encode: bool) -> int:
            spent = run_steps(first, last, encode=encode)
            if next(flipped) % 2:
                computer.arena.flip("activations", bit)
            return spent

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(computer, "run_steps", alternating)
            with pytest.raises(OutputWithheld):
                computer.infer(samples(2)[1])
        np.testing.assert_array_equal(computer.infer(samples(2)[1])["y"], sums(2)[1])
        assert computer.scrub().clean


@pytest.mark.parametrize("sequence", [0, 2, COUNT])
def test_ranges_are_learned_from_clean_sequences(image: Image, sequence: int) -> None:
    """The sum of a row of six is larger than that of any row of two."""
    with Computer(image, protection=Protection(ranges=Ranges.DETECT, sequence=sequence)) as computer:
        computer.learn(samples(COUNT))
        result = LockstepRun(computer, samples(COUNT), Run(run_id=1, inputs=INPUTS)).execute()
        first = [y.tobytes() == each.output for y, each in zip(sums(COUNT), result.inferences, strict=True)]
    assert first == [True] * (COUNT - 1) + [sequence != 2]


@pytest.mark.parametrize(("code", "fates"), [("none", "rr----"), ("hsiao_72_64", "rrrrrr")])
def test_a_state_out_of_range_has_the_inference_done_again_on_the_corrected_one(
    image: Image, code: str, fates: str
) -> None:
    protection = Protection(
        code=code, regions=GUARDED if code != "none" else ("weights",), scrub_period=0, ranges=Ranges.DETECT
    )
    with Computer(image, protection=protection) as computer:
        computer.learn(samples(COUNT))
        run = Run(run_id=1, inputs=INPUTS, faults=(fault(2, 0, bit=29),))
        result = LockstepRun(computer, samples(COUNT), run).execute()
    letters = ["-" if each.delivery is WITHHELD else "r" for each in result.inferences]
    assert ("".join(letters), wrong(result)) == (fates, [])
    assert result.alarms == (1 if code != "none" else 2)


def test_repair_at_once_leaves_the_state_as_it_was(image: Image) -> None:
    assert wrong(execute(image, Protection(repair_at_once=True), fault(2, 0))) == []


def test_a_run_after_a_struck_one_is_undisturbed(image: Image) -> None:
    with Computer(image, protection=Protection(code="parity", regions=GUARDED)) as computer:
        for faults in ((fault(COUNT - 1, 2),), ()):
            result = LockstepRun(computer, samples(COUNT), Run(run_id=1, inputs=INPUTS, faults=faults)).execute()
        assert wrong(result) == []
        assert (result.detected_words, result.reloads) == (0, 0)


def test_the_bare_computer_counts_what_it_corrects(image: Image) -> None:
    with Computer(image, protection=Protection(code="hsiao_72_64", regions=GUARDED)) as computer:
        got = [computer.infer(samples(COUNT)[0])["y"]]
        computer.arena.flip("state", SIGN)
        got.append(computer.infer(samples(COUNT)[1])["y"])
        np.testing.assert_array_equal(got, sums(2))
        assert computer.counters.corrected_words == 1
        computer.arena.flip("state", SIGN)
        assert computer.scrub() == DecodeReport(
            words=computer.guarded[0].words + computer.guarded[1].words, corrected=1
        )
        np.testing.assert_array_equal(computer.infer(samples(COUNT)[2])["y"], sums(3)[2])


def test_a_checkpoint_holds_the_state_although_nothing_guards_it(image: Image) -> None:
    protection = Protection(code="parity", checkpoint_period=2, on_detected=OnDetected.ROLLBACK)
    layout = layout_of(image, protection)
    assert layout["checkpoint"].size_bytes == 2 * (len(image.weights) + image.state_bytes)
    with Computer(image, protection=protection) as computer:
        assert computer.checkpoint_bytes == len(image.weights) + image.state_bytes
        computer.infer(samples(1)[0])
        computer.checkpoint(1)
        for inputs in samples(3)[1:]:
            computer.infer(inputs)
        computer.restore()
        np.testing.assert_array_equal(computer.infer(samples(2)[1])["y"], sums(2)[1])


def test_a_model_without_state_has_none_to_guard(tmp_path: Path) -> None:
    plain = compile_model(accumulator(tmp_path / "m.onnx"), state={})
    with pytest.raises(ConfigError, match="keeps no state between inferences"):
        layout_of(plain, Protection(code="parity", regions=("state",)))
