"""Checks between operators: what they find, what follows, and what they cost nothing for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from firmware_bridge.errors import ConfigError
from firmware_bridge.messages import Delivery, Fault, FaultKind, Run, RunResult
from node.computer import Computer
from node.errors import OutputWithheld
from node.kernels.checks.ranges import clip, count_outside
from node.lockstep import LockstepRun
from node.protection import OnAlarm, OnDetected, Protection, Ranges
from tests.adder_image import N_STEPS, SAMPLES, H, activation_bit, adder_image, right_bytes, weight_bit
from tests.naive import checks as naive

INPUTS = (3, 0, 2, 1)
SIGN = 31
EXPONENT = 30
VERIFY = Protection(code="hsiao_72_64", scrub_period=0, verify_on_use=True)
DETECT = Protection(ranges=Ranges.DETECT)
DELIVERED, WITHHELD = Delivery.DELIVERED, Delivery.WITHHELD


def fault(region: str, bit: int, inference: int, step: int, kind: FaultKind = FaultKind.FLIP) -> Fault:
    return Fault(strike=0, region=region, bit=bit, kind=kind, inference=inference, step=step)


def weight(bit: int, inference: int = 1, step: int = 0) -> Fault:
    return fault("weights", weight_bit(0, bit), inference, step)


def activation(bit: int, inference: int = 1, step: int = 1) -> Fault:
    return fault("activations", activation_bit(H, 0, bit), inference, step)


def execute(protection: Protection, *faults: Fault) -> RunResult:
    with Computer(adder_image(), protection=protection) as computer:
        computer.learn(SAMPLES)
        return LockstepRun(computer, SAMPLES, Run(run_id=9, inputs=INPUTS, faults=faults)).execute()


def fates(result: RunResult) -> str:
    """Give a letter for each inference: right, wrong or withheld."""
    letters = []
    for number, each in zip(INPUTS, result.inferences, strict=True):
        letters.append("-" if each.delivery is WITHHELD else "r" if each.output == right_bytes(number) else "w")
    return "".join(letters)


# ---- undisturbed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "protection",
    [
        VERIFY,
        DETECT,
        Protection(ranges=Ranges.CLIP),
        Protection(redundancy=2),
        Protection(redundancy=3),
        Protection(code="tmr", regions=("weights", "steps"), verify_on_use=True, ranges=Ranges.DETECT, redundancy=2),
    ],
)
def test_an_undisturbed_run_raises_no_alarm(protection: Protection) -> None:
    result = execute(protection)
    assert (fates(result), result.alarms, result.recomputed_steps, result.respond_us) == ("rrrr", 0, 0, 0)


# ---- verify on use -----------------------------------------------------------------------------------------------


def test_a_struck_weight_is_repaired_before_it_is_read() -> None:
    result = execute(VERIFY, weight(EXPONENT))
    assert (fates(result), result.alarms, result.corrected_words, result.recomputed_steps) == ("rrrr", 1, 1, 0)
    assert result.checked_words > 0
    assert fates(execute(Protection(code="hsiao_72_64", scrub_period=0), weight(EXPONENT))) == "rwww"


@pytest.mark.parametrize(
    ("on_detected", "fate", "rollbacks"),
    [(OnDetected.STOP, "r---", 0), (OnDetected.RELOAD, "rrrr", 1), (OnDetected.ROLLBACK, "rrrr", 1)],
)
def test_what_verification_cannot_repair_follows_the_code_s_rule(
    on_detected: OnDetected, fate: str, rollbacks: int
) -> None:
    protection = Protection(
        code="hsiao_72_64", scrub_period=0, verify_on_use=True, on_detected=on_detected, checkpoint_period=9
    )
    result = execute(protection, weight(EXPONENT), weight(SIGN))
    assert (fates(result), result.rollbacks, result.alarms) == (fate, rollbacks, 1)


@pytest.mark.parametrize("region", ["weights", "steps"])
def test_rows_are_verified_where_they_are_guarded(region: str) -> None:
    protection = Protection(code="hsiao_72_64", regions=("weights", "steps"), scrub_period=0, verify_on_use=True)
    result = execute(protection, fault(region, 3, 1, 0))
    assert (fates(result), result.alarms, result.corrected_words) == ("rrrr", 1, 1)


def test_a_stuck_weight_is_found_again_and_the_output_withheld() -> None:
    stuck = fault("weights", weight_bit(0, EXPONENT), 1, 0, FaultKind.STUCK_AT_1)
    flipped = execute(VERIFY, stuck)
    assert fates(flipped) == "r---"
    assert flipped.alarms == 3 * 3, "at the step, again at the step, again from the inputs on"


# ---- ranges ------------------------------------------------------------------------------------------------------


def test_a_value_out_of_range_is_computed_again() -> None:
    """Operator 0 writes ``h`` from a struck weight; with the weight repaired, it is right when computed anew."""
    protection = Protection(code="hsiao_72_64", scrub_period=0, ranges=Ranges.DETECT)
    result = execute(protection, weight(EXPONENT))
    assert (fates(result), result.alarms, result.corrected_words, result.recomputed_steps) == ("rrrr", 1, 1, 1)


def test_a_struck_activation_is_gone_when_it_is_computed_again() -> None:
    result = execute(DETECT, activation(EXPONENT))
    assert (fates(result), result.alarms, result.recomputed_steps) == ("rrrr", 1, 2)


def test_without_a_repair_an_output_out_of_range_is_withheld() -> None:
    result = execute(DETECT, weight(EXPONENT))
    assert (fates(result), result.alarms) == ("r---", 6)
    reloaded = execute(Protection(ranges=Ranges.DETECT, on_alarm=OnAlarm.RELOAD), weight(EXPONENT))
    assert (fates(reloaded), reloaded.alarms, reloaded.rollbacks) == ("rrrr", 1, 1)
    stopped = execute(Protection(ranges=Ranges.DETECT, on_alarm=OnAlarm.STOP), activation(EXPONENT))
    assert (fates(stopped), stopped.alarms) == ("r---", 1)


def test_rolling_back_after_an_alarm_does_the_lost_work_again() -> None:
    protection = Protection(ranges=Ranges.DETECT, on_alarm=OnAlarm.ROLLBACK, checkpoint_period=2)
    result = execute(protection, weight(EXPONENT, inference=3))
    assert (fates(result), result.alarms, result.rollbacks, result.lost_inferences) == ("rrrr", 1, 1, 1)


def test_clipping_bounds_the_damage_and_counts() -> None:
    result = execute(Protection(ranges=Ranges.CLIP), weight(EXPONENT))
    largest = max(np.abs(np.frombuffer(right_bytes(n), np.float32)).max() for n in range(len(SAMPLES)))
    for each in result.inferences:
        assert np.abs(np.frombuffer(each.output, np.float32)).max() <= largest
    assert result.alarms >= 3
    assert result.recomputed_steps == 0


@pytest.mark.parametrize("bit", range(64))
def test_struck_limits_cost_no_wrong_output(bit: int) -> None:
    """The limits of operator 0: an alarm may be false, but then nothing wrong is delivered."""
    result = execute(DETECT, fault("check.ranges", bit, 0, 0))
    assert "w" not in fates(result)
    reloading = execute(Protection(ranges=Ranges.DETECT, on_alarm=OnAlarm.RELOAD), fault("check.ranges", bit, 0, 0))
    assert fates(reloading) == "rrrr"


def test_limits_survive_a_damaged_golden_copy() -> None:
    with Computer(adder_image(), protection=DETECT) as computer:
        computer.learn(SAMPLES)
        limits = computer.arena.view("check.ranges").copy()
        computer._pristine[0] ^= 1
        assert not computer.reset()
        assert np.array_equal(computer.arena.view("check.ranges"), limits)
        assert computer.reset()


def test_before_anything_is_learned_every_finite_number_passes() -> None:
    with Computer(adder_image(), protection=DETECT) as computer:
        assert computer.infer(SAMPLES[0])
        computer.inject(fault("activations", activation_bit(H), 0, 0))
        nan = {name: np.full_like(array, np.nan) for name, array in SAMPLES[0].items()}
        with pytest.raises(OutputWithheld, match="failed again after 2 alarms"):
            computer.infer(nan)
        assert computer.counters.alarms == 2


# ---- redundancy --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("copies", "recomputed"), [(2, 2 * N_STEPS), (3, 0)])
def test_a_copy_that_was_struck_is_outvoted_or_computed_again(copies: int, recomputed: int) -> None:
    result = execute(Protection(redundancy=copies), activation(SIGN))
    assert (fates(result), result.alarms, result.recomputed_steps) == ("rrrr", 1, recomputed)
    later = execute(Protection(redundancy=copies), activation(SIGN, step=N_STEPS + 1 + 1))
    assert (fates(later), later.alarms) == ("rrrr", 1)


def test_copies_of_wrong_weights_agree() -> None:
    assert fates(execute(Protection(redundancy=3), weight(SIGN))) == "rwww"


def test_three_copies_without_a_majority_are_computed_again() -> None:
    last = N_STEPS
    output = adder_image().outputs[0]
    start = 8 * (output.offset - adder_image().activation_offset)
    strikes = [fault("activations", start + copy, 1, copy * (last + 1) + last) for copy in range(3)]
    result = execute(Protection(redundancy=3), *strikes)
    assert (fates(result), result.alarms, result.recomputed_steps) == ("rrrr", 1, 3 * N_STEPS)


def test_a_moment_belongs_to_one_copy() -> None:
    """Struck after the last operator of copy 0, the output of copy 0 alone differs."""
    result = execute(Protection(redundancy=2, on_alarm=OnAlarm.STOP), activation(SIGN, step=2 * N_STEPS + 1))
    assert (fates(result), result.alarms) == ("rrrr", 0), "h is read by no operator any more"


# ---- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"redundancy": 4}, r"redundancy = 4: give 1 \(once\), 2 \(compare\) or 3 \(vote\)"),
        ({"redundancy": 0}, "redundancy = 0"),
        ({"ranges": "clamp"}, "ranges = 'clamp': choose from off, detect, clip"),
        ({"on_alarm": "pray"}, "on_alarm = 'pray': choose from correct, recompute, reload, rollback, stop"),
        ({"on_alarm": "rollback"}, "on_alarm = rollback needs a checkpoint_period of 1 or more"),
        ({"verify_on_use": True}, "verify_on_use checks by a code: name a code"),
        ({"verify_on_use": True, "code": "parity", "regions": ()}, "and regions that it guards"),
        ({"verify_on_use": True, "code": "parity", "on_alarm": "recompute"}, "reads them again"),
    ],
)
def test_a_protection_that_makes_no_sense_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Protection(**settings)


def test_a_protection_with_checks_crosses_the_line_unchanged() -> None:
    held = Protection(code="parity", verify_on_use=True, ranges=Ranges.CLIP, redundancy=3, on_alarm=OnAlarm.RELOAD)
    assert Protection.from_json(held.to_json()) == held


# ---- kernels and their slow twins ----------------------------------------------------------------------------------

limits = st.floats(width=32, allow_nan=True)


@given(
    values=st.one_of(
        arrays(np.float32, st.integers(1, 40), elements=st.floats(width=32, allow_nan=True)),
        arrays(np.int8, st.integers(1, 40)),
        arrays(np.uint8, st.integers(1, 40)),
    ),
    low=limits,
    high=limits,
)
@settings(max_examples=200, deadline=None)
def test_range_kernels_do_what_their_twins_do(values: np.ndarray, low: float, high: float) -> None:
    assert count_outside(values, np.float32(low), np.float32(high)) == naive.outside(values, low, high)
    before = values.copy()
    expected = naive.clipped(values, low, high)
    changed = clip(values, np.float32(low), np.float32(high))
    assert values.tobytes() == expected.tobytes()
    assert changed == (naive.outside(before, low, high) if low <= high else 0)
