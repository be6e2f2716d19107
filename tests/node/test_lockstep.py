"""LockstepRun: what happens in which order, decided by logical time alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from firmware_bridge.errors import DataError
from firmware_bridge.messages import Delivery, Fault, FaultKind, Readback, Run, RunResult
from node.computer import Computer
from node.errors import PayloadCrash
from node.lockstep import LockstepRun
from node.protection import OnDetected, Protection
from node.throttle import Throttle
from tests.adder_image import (
    N_STEPS,
    SAMPLES,
    H,
    W,
    activation_bit,
    adder_image,
    checkpoint_bytes,
    right,
    right_bytes,
    step_bit,
    weight_bit,
)

INPUTS = (3, 0, 2, 1)
SECDED = Protection(code="hsiao_72_64")
PARITY = Protection(code="parity")
SAVED = Protection(code="parity", checkpoint_period=2, on_detected=OnDetected.ROLLBACK)
DELIVERED, WITHHELD = Delivery.DELIVERED, Delivery.WITHHELD


def fault(region: str, bit: int, inference: int, step: int, kind: FaultKind = FaultKind.FLIP) -> Fault:
    return Fault(strike=0, region=region, bit=bit, kind=kind, inference=inference, step=step)


def execute(protection: Protection, *faults: Fault, inputs: tuple[int, ...] = INPUTS) -> RunResult:
    with Computer(adder_image(), protection=protection) as computer:
        return LockstepRun(computer, SAMPLES, Run(run_id=9, inputs=inputs, faults=faults)).execute()


def wrong(result: RunResult, inputs: tuple[int, ...] = INPUTS) -> list[int]:
    """Give the inferences that were delivered wrong."""
    pairs = enumerate(zip(inputs, result.inferences, strict=True))
    return [k for k, (number, each) in pairs if each.delivery is DELIVERED and each.output != right_bytes(number)]


def deliveries(result: RunResult) -> list[Delivery]:
    return [inference.delivery for inference in result.inferences]


def double(inference: int, step: int, weight: int = 0) -> tuple[Fault, Fault]:
    """Give two flips in one word, which a code for single errors detects and cannot correct."""
    return tuple(fault("weights", weight_bit(weight, bit), inference, step) for bit in (30, 31))  # type: ignore[return-value]


# ---- undisturbed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "protection", [Protection(), SECDED, SAVED, Protection(code="tmr", regions=("weights", "steps"))]
)
def test_an_undisturbed_run_is_right(protection: Protection) -> None:
    result = execute(protection)
    assert wrong(result) == []
    assert deliveries(result) == [DELIVERED] * 4
    assert result.run_id == 9
    assert (result.corrected_words, result.detected_words, result.rollbacks, result.lost_inferences) == (0, 0, 0, 0)
    assert 0 < result.busy_us <= result.elapsed_us


def test_scrubs_and_saves_come_at_their_periods() -> None:
    words = W.nbytes // 8
    for scrub_period, scrubs in ((0, 0), (1, 4), (2, 2), (3, 2), (4, 1), (9, 1)):
        assert execute(replace(SECDED, scrub_period=scrub_period)).checked_words == scrubs * words
    for checkpoint_period, saves in ((0, 0), (1, 3), (2, 1), (3, 1), (4, 0)):
        result = execute(replace(SECDED, scrub_period=0, checkpoint_period=checkpoint_period))
        assert result.saves == saves
        assert result.checked_words == saves * words, "each save verifies before it saves"


def test_no_inference_is_an_empty_run() -> None:
    result = execute(SECDED, inputs=())
    assert (result.inferences, result.readbacks, result.checked_words) == ((), (), 0)


def test_an_input_that_is_not_loaded_is_refused_before_anything_happens() -> None:
    with Computer(adder_image()) as computer:
        run = Run(run_id=1, inputs=(0, len(SAMPLES)), faults=(fault("weights", weight_bit(0), 0, 0),))
        with pytest.raises(DataError, match=f"asks for input {len(SAMPLES)}; {len(SAMPLES)} are loaded"):
            LockstepRun(computer, SAMPLES, run).execute()
        assert bytes(computer.arena.view("weights")) == W.tobytes()


# ---- moments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "total_is_wrong", "shifted_is_wrong"),
    [(0, False, False), (1, True, True), (2, False, True), (3, False, False)],
)
def test_a_fault_strikes_just_before_the_operator_it_names(
    step: int, total_is_wrong: bool, shifted_is_wrong: bool
) -> None:
    """``h`` is written by operator 0 and read by 1 and by 2."""
    result = execute(Protection(), fault("activations", activation_bit(H), 1, step))
    total, shifted = result.inferences[1].output[:16], result.inferences[1].output[16:]
    want = right(INPUTS[1])
    assert (total != want["total"].tobytes()) is total_is_wrong
    assert (shifted != want["shifted"].tobytes()) is shifted_is_wrong
    assert wrong(result) == ([1] if total_is_wrong or shifted_is_wrong else [])


def test_a_weight_that_was_read_already_spoils_the_next_inference_first() -> None:
    assert wrong(execute(Protection(), fault("weights", weight_bit(0), 1, 0))) == [1, 2, 3]
    assert wrong(execute(Protection(), fault("weights", weight_bit(0), 1, 1))) == [2, 3]
    assert wrong(execute(Protection(), fault("weights", weight_bit(4), 1, 2))) == [1, 2, 3]
    assert wrong(execute(Protection(), fault("weights", weight_bit(4), 3, N_STEPS))) == []


def test_several_faults_strike_at_one_moment_in_their_order() -> None:
    bits = [weight_bit(0, bit) for bit in (31, 30, 31)]
    result = execute(Protection(), *(fault("weights", bit, 2, 1) for bit in bits))
    assert result.readbacks == (
        Readback(before=0x3F, after=0xBF),
        Readback(before=0xBF, after=0xFF),
        Readback(before=0xFF, after=0x7F),
    )


def test_readbacks_come_in_the_order_of_the_request_whatever_the_moments() -> None:
    faults = (
        fault("weights", weight_bit(0), 3, 1),
        fault("weights", weight_bit(0), 0, 2),
        fault("weights", weight_bit(0), 3, 0),
    )
    result = execute(Protection(), *faults)
    assert [seen.before for seen in result.readbacks] == [0x3F, 0x3F, 0xBF]


@pytest.mark.parametrize(("inference", "step"), [(4, 0), (0, N_STEPS + 1)])
def test_a_moment_outside_the_run_is_refused(inference: int, step: int) -> None:
    with pytest.raises(DataError, match=rf"fault 1: moment \(inference {inference}, step {step}\) lies outside"):
        execute(Protection(), fault("weights", 0, 0, 0), fault("weights", 0, inference, step))


# ---- scrub, then save, then operators ----------------------------------------------------------------------------


def test_a_strike_before_the_first_operator_comes_after_scrub_and_save() -> None:
    result = execute(replace(SAVED, code="hsiao_72_64"), *double(2, 0))
    assert wrong(result) == [2]
    # The scrub before inference 3 finds it; the checkpoint that was saved before inference 2 is from before the strike.
    assert (result.saves, result.rollbacks, result.lost_inferences) == (1, 1, 1)


def test_the_scrub_comes_before_the_save() -> None:
    """A strike after the last operator is repaired by the scrub, so the save's own verification finds nothing."""
    result = execute(Protection(code="hsiao_72_64", checkpoint_period=2), fault("weights", weight_bit(0), 1, N_STEPS))
    assert (result.corrected_words, result.saves) == (1, 1)
    assert result.checked_words == 5 * 4


def test_a_save_repairs_what_no_scrub_did() -> None:
    protection = Protection(code="hsiao_72_64", scrub_period=0, checkpoint_period=2)
    with Computer(adder_image(), protection=protection) as computer:
        faults = (fault("weights", weight_bit(0), 1, N_STEPS),)
        result = LockstepRun(computer, SAMPLES, Run(run_id=0, inputs=INPUTS, faults=faults)).execute()
        assert (result.corrected_words, result.saves) == (1, 1)
        assert wrong(result) == []
        found = computer.restore()
    assert found is not None
    assert (found.payload, found.frame) == (W.tobytes(), 2)


@pytest.mark.parametrize("policy", [OnDetected.STOP, OnDetected.RELOAD, OnDetected.ROLLBACK])
def test_corruption_is_never_saved(policy: OnDetected) -> None:
    protection = Protection(code="parity", scrub_period=0, checkpoint_period=2, on_detected=policy)
    with Computer(adder_image(), protection=protection) as computer:
        faults = (fault("weights", weight_bit(0), 1, N_STEPS),)
        result = LockstepRun(computer, SAMPLES, Run(run_id=0, inputs=INPUTS, faults=faults)).execute()
        found = computer.restore()
    assert found is not None
    assert (result.saves, found.payload, found.frame) == (0, W.tobytes(), 0)
    assert result.detected_words == 1
    assert deliveries(result)[2:] == ([WITHHELD] * 2 if policy is OnDetected.STOP else [DELIVERED] * 2)


# ---- answers to what cannot be corrected -------------------------------------------------------------------------


def test_stop_withholds_this_inference_and_all_later_ones() -> None:
    result = execute(PARITY, fault("weights", weight_bit(0), 1, 1))
    assert deliveries(result) == [DELIVERED, DELIVERED, WITHHELD, WITHHELD]
    assert wrong(result) == []
    assert [each.output for each in result.inferences[2:]] == [b"", b""]
    assert result.detected_words == 1, "a node that stopped scrubs no more"


def test_a_stopped_node_neither_verifies_nor_saves() -> None:
    result = execute(replace(PARITY, checkpoint_period=2), fault("weights", weight_bit(0), 1, N_STEPS))
    assert (result.detected_words, result.saves, result.checked_words) == (1, 0, 3 * 4)


def test_a_stopped_node_is_still_struck() -> None:
    later = fault("weights", weight_bit(1), 3, 2)
    result = execute(PARITY, fault("weights", weight_bit(0), 0, N_STEPS), later)
    assert result.readbacks == (Readback(before=0x3F, after=0xBF), Readback(before=0x40, after=0xC0))


def test_reload_goes_on_with_the_golden_image() -> None:
    result = execute(replace(PARITY, on_detected=OnDetected.RELOAD), fault("weights", weight_bit(0), 1, 0))
    assert wrong(result) == [1]
    assert deliveries(result) == [DELIVERED] * 4
    assert (result.rollbacks, result.lost_inferences, result.reloads) == (1, 0, 0)


@pytest.mark.parametrize(
    ("struck_in", "step", "lost", "wrong_ones"),
    # Found before inference 1, 2 (by the scrub, before the save) and 3; saved before inference 2.
    [(0, N_STEPS, 1, []), (1, 0, 2, [1]), (1, N_STEPS, 2, []), (2, 0, 1, [2]), (3, N_STEPS, 0, [])],
)
def test_rollback_does_the_work_since_the_checkpoint_again(
    struck_in: int, step: int, lost: int, wrong_ones: list[int]
) -> None:
    result = execute(SAVED, fault("weights", weight_bit(0), struck_in, step))
    assert result.lost_inferences == lost
    assert result.rollbacks == (0 if struck_in == 3 else 1)
    assert wrong(result) == wrong_ones, "what was delivered wrong stays delivered"
    assert deliveries(result) == [DELIVERED] * 4


def test_rollback_passes_over_a_struck_slot() -> None:
    newer = fault("checkpoint", 0, 0, 0)
    result = execute(SAVED, newer, fault("weights", weight_bit(0), 0, N_STEPS))
    assert (result.rollbacks, deliveries(result)) == (1, [DELIVERED] * 4)


def test_rollback_without_a_checkpoint_that_verifies_stops() -> None:
    slots = [fault("checkpoint", 4 * checkpoint_bytes(SAVED) * slot, 0, 1) for slot in (0, 1)]
    result = execute(SAVED, *slots, fault("weights", weight_bit(0), 0, N_STEPS))
    assert deliveries(result) == [DELIVERED, WITHHELD, WITHHELD, WITHHELD]
    assert result.rollbacks == 0


def test_a_crash_in_work_that_is_done_again_is_a_crash() -> None:
    """The step table is not guarded: the row that was struck runs first in the inference that is done again."""
    weights, row = fault("weights", weight_bit(0), 0, N_STEPS), fault("steps", step_bit(1, 0, 7), 0, N_STEPS)
    redone: list[int] = []
    with Computer(adder_image(), protection=SAVED) as computer:
        run = LockstepRun(computer, SAMPLES, Run(run_id=0, inputs=INPUTS, faults=(weights, row)))
        true_write = computer.write_inputs
        computer.write_inputs = lambda inputs: (redone.append(int(inputs["a"][0, 0])), true_write(inputs))  # type: ignore[method-assign, assignment]
        with pytest.raises(PayloadCrash, match="second"):
            run.execute()
    assert redone == [INPUTS[0], INPUTS[0]]


# ---- stuck cells -------------------------------------------------------------------------------------------------


def test_a_stuck_weight_is_corrected_before_each_inference_and_stuck_again() -> None:
    result = execute(SECDED, fault("weights", weight_bit(0), 0, 0, FaultKind.STUCK_AT_1))
    assert result.corrected_words == 3
    assert wrong(result) == [0, 1, 2, 3]


def test_a_stuck_cell_that_holds_its_value_anyway_is_masked() -> None:
    result = execute(SECDED, fault("weights", weight_bit(0), 0, 0, FaultKind.STUCK_AT_0))
    assert (result.corrected_words, wrong(result)) == (0, [])


def test_a_stuck_activation_comes_back_after_each_operator() -> None:
    """Stuck after operator 1 of inference 1: ``total`` of that one is right, all later values come from a wrong h."""
    result = execute(Protection(), fault("activations", activation_bit(H), 1, 2, FaultKind.STUCK_AT_1))
    assert result.inferences[1].output[:16] == right(INPUTS[1])["total"].tobytes()
    assert wrong(result) == [1, 2, 3]


@pytest.mark.parametrize("policy", [OnDetected.RELOAD, OnDetected.ROLLBACK])
def test_a_stuck_cell_outlasts_reload_and_rollback(policy: OnDetected) -> None:
    protection = replace(SAVED, on_detected=policy, checkpoint_period=1)
    result = execute(protection, fault("weights", weight_bit(0), 0, N_STEPS, FaultKind.STUCK_AT_1))
    assert result.rollbacks == 6, "each scrub and each verification before a save finds it again"
    assert (wrong(result), result.saves) == ([1, 2, 3], 0)


def test_a_stuck_cell_lets_go_when_the_next_run_begins() -> None:
    with Computer(adder_image()) as computer:
        struck = fault("activations", activation_bit(H), 0, 0, FaultKind.STUCK_AT_1)
        for faults, spoilt in (((struck,), [0, 1, 2, 3]), ((), [])):
            result = LockstepRun(computer, SAMPLES, Run(run_id=0, inputs=INPUTS, faults=faults)).execute()
            assert wrong(result) == spoilt


# ---- from run to run ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isolate", [True, False])
def test_isolation_is_what_separates_two_runs(isolate: bool) -> None:
    with Computer(adder_image()) as computer:
        computer.inject(fault("weights", weight_bit(0), 0, 0))
        result = LockstepRun(computer, SAMPLES, Run(run_id=0, inputs=INPUTS, isolate=isolate)).execute()
    assert wrong(result) == ([] if isolate else [0, 1, 2, 3])


def test_a_golden_copy_that_suffered_is_said() -> None:
    with Computer(adder_image()) as computer:
        computer._pristine[0] ^= 1
        runs = [LockstepRun(computer, SAMPLES, Run(run_id=0, inputs=INPUTS)).execute() for _ in range(2)]
    assert [result.reloads for result in runs] == [1, 0]
    assert wrong(runs[0]) == []


def history_of_saves(computer: Computer) -> None:
    for frame in range(3):
        computer.checkpoint(frame)


def history_of_strikes(computer: Computer) -> None:
    for bit in range(0, 256, 5):
        computer.inject(fault("weights", bit, 0, 0, FaultKind.STUCK_AT_1))
        computer.inject(fault("checkpoint", bit, 0, 0))
    computer.recover()


def history_of_heat(computer: Computer) -> None:
    computer.throttle.set_temperature(84.0)


@pytest.mark.parametrize("history", [history_of_saves, history_of_strikes, history_of_heat])
def test_what_went_before_changes_no_outcome(history: Callable[[Computer], None]) -> None:
    slots = [fault("checkpoint", bit, 1, 1) for bit in (5, 4 * checkpoint_bytes(SAVED) + 70)]
    strikes = [(fault("weights", weight_bit(0), 1, 0),), (slots[0],), (slots[1], *double(2, 1)), tuple(slots)]
    for faults in strikes:
        run = Run(run_id=0, inputs=INPUTS, faults=(*faults, fault("weights", weight_bit(5, 3), 2, N_STEPS)))
        with Computer(adder_image(), protection=SAVED) as fresh, Computer(adder_image(), protection=SAVED) as used:
            history(used)
            results = [LockstepRun(computer, SAMPLES, run).execute() for computer in (fresh, used)]
        seen = [
            (r.inferences, r.readbacks, r.corrected_words, r.detected_words, r.rollbacks, r.lost_inferences, r.saves)
            for r in results
        ]
        assert seen[0] == seen[1]


def test_a_throttled_run_delivers_the_same() -> None:
    with Computer(adder_image(), protection=SAVED) as computer:
        cool = LockstepRun(computer, SAMPLES, Run(run_id=0, inputs=INPUTS)).execute()
        computer.throttle.set_temperature(84.0)
        hot = LockstepRun(computer, SAMPLES, Run(run_id=0, inputs=INPUTS)).execute()
    assert hot.inferences == cool.inferences
    assert (cool.throttled & 0xF, hot.throttled & 0xF) == (0, 2)
    assert (hot.clock_mhz, hot.plant_c) == (750.0, 84.0)


class SlowClock(Throttle):
    """A throttle that calls every stretch of computing beside the operators one millisecond long."""

    def __init__(self) -> None:
        super().__init__()
        self.spent: list[int] = []

    def spent_ns(self, computed_ns: int) -> int:
        self.spent.append(computed_ns)
        return 1_000_000


def test_checks_and_recovery_take_as_long_as_the_allowed_clock_makes_them() -> None:
    throttle = SlowClock()
    with Computer(adder_image(), protection=SAVED, throttle=throttle) as computer:
        run = Run(run_id=0, inputs=INPUTS, faults=(fault("weights", weight_bit(0), 2, 0),))
        result = LockstepRun(computer, SAMPLES, run).execute()
    throttle.close()
    scrubs = sum(computer.scrubber.due(number) for number in range(len(INPUTS)))
    verifications = result.saves  # each save that was made verified before
    assert result.rollbacks == 1
    assert result.protect_us == 1000 * scrubs
    assert result.verify_us == 1000 * verifications
    assert result.restore_us == 1000
    # and what surrounds the operators of each inference is stretched too
    assert len(throttle.spent) == scrubs + verifications + result.rollbacks + len(INPUTS)
    assert all(computed_ns > 0 for computed_ns in throttle.spent)


def test_padding_is_struck_and_read_by_nobody() -> None:
    result = execute(replace(SECDED, padding_bytes=8), fault("padding", 63, 1, 1))
    assert result.readbacks == (Readback(before=0, after=0x80),)
    assert (wrong(result), result.corrected_words) == ([], 0)
