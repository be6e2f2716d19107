"""Computer: what is struck shows, what is reset is as it was, and stuck cells stay stuck whatever is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.errors import DataError, FlightNodeError, Refused
from firmware_bridge.messages import Fault, FaultKind, Readback
from node.actuator import MIN_PAUSE_S
from node.computer import Computer
from node.errors import PayloadCrash, PayloadHang
from node.protection import OnDetected, Protection
from node.throttle import Throttle
from tests.adder_image import (
    N_STEPS,
    SHIFTED,
    TOTAL,
    A,
    H,
    W,
    activation_bit,
    adder_image,
    checkpoint_bytes,
    right,
    right_bytes,
    sample,
    step_bit,
    weight_bit,
)

SECDED = Protection(code="hsiao_72_64")
SAVED = Protection(code="hsiao_72_64", checkpoint_period=2, on_detected=OnDetected.ROLLBACK)
KINDS = (FaultKind.FLIP, FaultKind.STUCK_AT_0, FaultKind.STUCK_AT_1)


def fault(region: str, bit: int, kind: FaultKind = FaultKind.FLIP) -> Fault:
    return Fault(strike=0, region=region, bit=bit, kind=kind)


def damage_slots(computer: Computer, slots: tuple[int, ...] = (0, 1)) -> None:
    """Strike the payload of the newer slot (0) or the older one (1)."""
    for slot in slots:
        computer.inject(fault("checkpoint", 4 * checkpoint_bytes(computer.protection) * slot + 3))


# ---- inference ---------------------------------------------------------------------------------------------------


def test_two_inputs_give_two_outputs() -> None:
    with Computer(adder_image()) as computer:
        for number in range(4):
            outputs = computer.infer(sample(number))
            assert list(outputs) == ["total", "shifted"]
            for name, values in right(number).items():
                np.testing.assert_array_equal(outputs[name], values)
            assert computer.engine.output_bytes() == right_bytes(number)
        assert computer.counters.inferences == 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"c": np.zeros((1, 4), np.float32)}, "no input 'c'; its inputs are a, b"),
        ({"a": np.zeros((1, 5), np.float32)}, r"'a' has shape \(1, 5\)"),
        ({"a": np.zeros((1, 4), np.complex64)}, "'a' is complex64"),
    ],
)
def test_wrong_inputs_are_named(changed: dict, message: str) -> None:
    with Computer(adder_image()) as computer, pytest.raises(DataError, match=message):
        computer.infer(sample(1) | changed)


def test_a_missing_input_is_named() -> None:
    with Computer(adder_image()) as computer, pytest.raises(DataError, match="'b' is missing: give float32"):
        computer.infer({"a": sample(1)["a"]})


def test_a_step_that_is_none_any_more_is_a_crash() -> None:
    with Computer(adder_image()) as computer:
        computer.inject(fault("steps", step_bit(1, 0, 7)))
        with pytest.raises(PayloadCrash, match=r"invalid step 1 \(second\)"):
            computer.infer(sample(1))


# ---- strikes -----------------------------------------------------------------------------------------------------


def test_a_flip_shows_and_its_readback_is_the_byte() -> None:
    with Computer(adder_image()) as computer:
        seen = computer.inject(fault("weights", weight_bit(0)))
        assert seen == Readback(before=0x3F, after=0xBF)  # the highest byte of 1.0 and of -1.0
        assert computer.infer(sample(5))["total"][0, 0] == 5 - 1 + 550


@pytest.mark.parametrize(("kind", "after"), [(FaultKind.STUCK_AT_0, 0x3F), (FaultKind.STUCK_AT_1, 0xBF)])
def test_a_stuck_cell_takes_its_value(kind: FaultKind, after: int) -> None:
    with Computer(adder_image()) as computer:
        assert computer.inject(fault("weights", weight_bit(0), kind)) == Readback(before=0x3F, after=after)


def test_a_stuck_activation_spoils_every_inference_from_the_moment_it_is_written() -> None:
    with Computer(adder_image()) as computer:
        computer.inject(fault("activations", activation_bit(H), FaultKind.STUCK_AT_1))
        for number in (1, 2):
            outputs = computer.infer(sample(number))
            h = number + W[0]
            assert outputs["total"][0, 0] == -h + 100 * number + 50
            assert outputs["shifted"][0, 0] == -h + W[4]
            np.testing.assert_array_equal(outputs["total"][0, 1:], right(number)["total"][0, 1:])
        computer.reset()
        np.testing.assert_array_equal(computer.infer(sample(3))["total"], right(3)["total"])


@pytest.mark.parametrize("place", [A, TOTAL, SHIFTED])
def test_a_stuck_input_or_output_is_stuck_as_well(place: int) -> None:
    with Computer(adder_image()) as computer:
        computer.inject(fault("activations", activation_bit(place), FaultKind.STUCK_AT_1))
        outputs = computer.infer(sample(2))
    wrong = {A: -2 + W[0] + 250, TOTAL: -right(2)["total"][0, 0], SHIFTED: right(2)["total"][0, 0]}[place]
    assert outputs["total"][0, 0] == wrong
    if place == SHIFTED:
        assert outputs["shifted"][0, 0] == -right(2)["shifted"][0, 0]


def test_a_stuck_weight_is_stuck_again_after_scrub_reload_restore_and_save() -> None:
    with Computer(adder_image(), protection=SAVED) as computer:
        computer.inject(fault("weights", weight_bit(0), FaultKind.STUCK_AT_1))
        for repair in (computer.scrub, computer.reload, computer.restore):
            repair()
            assert computer.arena.view("weights")[3] == 0xBF
            assert computer.infer(sample(1))["total"][0, 0] == 1 - 1 + 150
        # The check bits are those of what was written: the next scrub sees the cell, corrects it, and it stays stuck.
        for _ in range(2):
            report = computer.scrub()
            assert (report.corrected, report.detected) == (1, 0)


@pytest.mark.parametrize("region", ["process", "check.weights", "padding"])
def test_a_region_that_is_not_there_cannot_be_struck(region: str) -> None:
    with Computer(adder_image()) as computer, pytest.raises(DataError, match=region):
        computer.inject(fault(region, 0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_bit_outside_its_region_cannot_be_struck(kind: FaultKind) -> None:
    with Computer(adder_image(), protection=SAVED) as computer:
        for region in ("weights", "activations", "steps", "check.weights", "checkpoint"):
            bits = computer.layout[region].size_bits
            computer.inject(fault(region, bits - 1, kind))
            with pytest.raises(DataError, match="lies outside"):
                computer.inject(fault(region, bits, kind))


def test_no_checkpoint_no_strike_on_it() -> None:
    with Computer(adder_image(), protection=SECDED) as computer, pytest.raises(DataError, match="no checkpoint"):
        computer.inject(fault("checkpoint", 0))


@pytest.mark.parametrize(("bit", "error"), [(0, PayloadCrash), (1, PayloadHang), (2, DataError)])
def test_a_functional_interrupt_ends_the_computer(bit: int, error: type[FlightNodeError]) -> None:
    with Computer(adder_image()) as computer, pytest.raises(error):
        computer.inject(fault("process", bit, FaultKind.INTERRUPT))


# ---- the control that repairs at once ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("region", ["weights", "activations", "steps", "check.weights", "checkpoint"])
def test_repair_at_once_leaves_nothing_behind(region: str, kind: FaultKind) -> None:
    protection = Protection(code="hsiao_72_64", checkpoint_period=1, repair_at_once=True)
    with Computer(adder_image(), protection=protection) as computer:
        computer.infer(sample(1))
        memory = computer.arena.u8.copy()
        for bit in range(0, computer.layout[region].size_bits, 37):
            seen = computer.inject(fault(region, bit, kind))
            mask = 1 << (bit & 7)
            want = {FaultKind.FLIP: seen.before ^ mask, FaultKind.STUCK_AT_0: seen.before & ~mask}
            assert seen.after == want.get(kind, seen.before | mask)
        np.testing.assert_array_equal(computer.arena.u8, memory)
        found = computer.restore()
        assert found is not None
        assert (found.payload, found.rejected) == (W.tobytes(), ())
        np.testing.assert_array_equal(computer.infer(sample(2))["total"], right(2)["total"])


def test_repair_at_once_takes_back_a_functional_interrupt() -> None:
    with Computer(adder_image(), protection=Protection(repair_at_once=True)) as computer:
        assert computer.inject(fault("process", 0, FaultKind.INTERRUPT)) == Readback(before=0, after=0)


# ---- reset -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["none", "parity", "hsiao_72_64", "tmr", "oracle"])
def test_reset_brings_every_byte_back(code: str) -> None:
    protection = Protection(code=code, regions=("weights", "steps"), padding_bytes=100)
    with Computer(adder_image(), protection=protection) as computer:
        before = computer.arena.u8.copy()
        computer.arena.u8[:] = np.random.default_rng(0).integers(0, 256, before.size, dtype=np.uint8)
        assert computer.reset()
        np.testing.assert_array_equal(computer.arena.u8, before)
        assert computer.scrub().corrected == 0


def test_reset_forgets_stuck_cells() -> None:
    with Computer(adder_image()) as computer:
        for region, bit in (("weights", weight_bit(0)), ("activations", activation_bit(H))):
            computer.inject(fault(region, bit, FaultKind.STUCK_AT_1))
        computer.reset()
        np.testing.assert_array_equal(computer.infer(sample(1))["total"], right(1)["total"])


@pytest.mark.parametrize("code", ["hsiao_72_64", "oracle"])
def test_a_golden_copy_that_suffered_is_made_anew_with_its_check_data(code: str) -> None:
    with Computer(adder_image(), protection=Protection(code=code)) as computer:
        for byte in (0, 40, computer.arena.u8.size - 1):  # weights, activations, the end of the check data
            computer._pristine[byte] ^= 1
            assert not computer.reset()
            assert computer.reset()
            assert computer.scrub().corrected == 0
            np.testing.assert_array_equal(computer.infer(sample(1))["total"], right(1)["total"])
        assert computer.counters.reloads == 3


def test_what_the_oracle_knows_is_reset_too() -> None:
    """Its copy lies outside the arena: a wrong state that was once saved and restored must not become its truth."""
    with Computer(adder_image(), protection=Protection(code="oracle", checkpoint_period=1)) as computer:
        computer.inject(fault("weights", weight_bit(0)))
        computer.checkpoint()
        computer.restore()
        assert computer.scrub().corrected == 0
        computer.reset()
        assert computer.scrub().corrected == 0
        np.testing.assert_array_equal(computer.infer(sample(1))["total"], right(1)["total"])


def test_reset_brings_the_checkpoints_to_one_age() -> None:
    """Which slot is the newer one, and which is written next, follows from nothing that was saved before."""
    with Computer(adder_image(), protection=SAVED) as computer:
        for saves in range(4):
            for _ in range(saves):
                computer.checkpoint(7)
            computer.reset()
            found = computer.restore()
            assert found is not None
            assert (found.sequence, found.frame) == (2, 0)
            damage_slots(computer, (0,))
            found = computer.restore()
            assert found is not None
            assert (found.sequence, found.frame) == (1, 0)
            computer.reset()
            assert computer.checkpoint(3) == 3


# ---- recovery ----------------------------------------------------------------------------------------------------


def test_scrub_corrects_and_counts() -> None:
    with Computer(adder_image(), protection=SECDED) as computer:
        computer.inject(fault("weights", weight_bit(0)))
        computer.inject(fault("weights", weight_bit(4, 3)))
        computer.inject(fault("weights", weight_bit(5, 3)))  # the same word: two bits are not corrected
        report = computer.scrub()
        assert (report.words, report.corrected, report.detected) == (4, 1, 1)
        assert (computer.counters.corrected_words, computer.counters.detected_words) == (1, 1)


def test_reload_brings_guarded_regions_back_and_leaves_others() -> None:
    with Computer(adder_image(), protection=Protection(code="parity", on_detected=OnDetected.RELOAD)) as computer:
        computer.infer(sample(1))
        computer.inject(fault("weights", weight_bit(0)))
        computer.inject(fault("steps", step_bit(2, 0, 7)))
        steps = computer.arena.view("steps").copy()
        assert computer.recover() == -1
        assert bytes(computer.arena.view("weights")) == W.tobytes()
        np.testing.assert_array_equal(computer.arena.view("steps"), steps)
        assert computer.scrub().detected == 0


def test_rollback_gives_the_frame_and_falls_back_to_the_older_slot() -> None:
    with Computer(adder_image(), protection=SAVED) as computer:
        computer.checkpoint(2)
        computer.checkpoint(4)
        computer.inject(fault("weights", weight_bit(0)))
        assert computer.recover() == 4
        damage_slots(computer, (0,))
        assert computer.recover() == 2
        assert bytes(computer.arena.view("weights")) == W.tobytes()
        damage_slots(computer, (1,))
        assert computer.recover() is None


def test_a_strike_on_a_slot_that_is_then_written_is_gone() -> None:
    with Computer(adder_image(), protection=SAVED) as computer:
        damage_slots(computer)
        computer.checkpoint(2)
        assert computer.recover() == 2


def test_stop_recovers_nothing() -> None:
    with Computer(adder_image(), protection=SECDED) as computer:
        computer.inject(fault("weights", weight_bit(0)))
        assert computer.recover() is None
        assert bytes(computer.arena.view("weights")) != W.tobytes()


def test_several_regions_are_saved_one_after_the_other() -> None:
    protection = Protection(code="parity", regions=("steps", "weights"), checkpoint_period=1)
    with Computer(adder_image(), protection=protection) as computer:
        assert computer.checkpoint_bytes == W.nbytes + N_STEPS * 32 * 8
        before = computer.arena.u8.copy()
        computer.checkpoint()
        computer.inject(fault("weights", weight_bit(3)))
        computer.inject(fault("steps", step_bit(0, 0, 1)))
        computer.restore()
        np.testing.assert_array_equal(computer.arena.u8, before)


def test_without_a_period_no_checkpoints_are_kept() -> None:
    with Computer(adder_image(), protection=SECDED) as computer:
        for action in (computer.checkpoint, computer.restore):
            with pytest.raises(Refused, match="checkpoint_period"):
                action()


def test_a_storage_of_its_own_goes_with_the_computer() -> None:
    computer = Computer(adder_image(), protection=SAVED)
    (folder,) = [Path(entry).parent for entry in open_files() if "checkpoint-a" in entry]
    computer.close()
    assert not folder.exists()
    assert not [entry for entry in open_files() if "checkpoint-" in entry]


def open_files() -> list[str]:
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(link.readlink()))
        except OSError:  # the listing's own descriptor is closed by now
            continue
    return found


# ---- heat and idleness -------------------------------------------------------------------------------------------


class ObservedThrottle(Throttle):
    """A throttle that writes down what it is asked for instead of sleeping."""

    def __init__(self) -> None:
        super().__init__()
        self.worked_s: list[float] = []
        self.idled_s: list[float] = []

    def worked(self, busy_s: float) -> None:
        self.worked_s.append(busy_s)
        super().worked(busy_s)

    def idle(self, duration_s: float) -> None:
        self.idled_s.append(duration_s)


class InterleavingThrottle(ObservedThrottle):
    """One for which every inference is long."""

    def interleaves(self, inference_s: float) -> bool:
        del inference_s
        return self.throttled


def test_only_long_inferences_are_stretched_piece_by_piece() -> None:
    throttle = Throttle()
    long_s, short_s = 1.0, 1e-4
    assert not throttle.interleaves(long_s)
    throttle.set_temperature(83.0)  # half the clock: as long again is paused
    assert throttle.interleaves(long_s)
    assert not throttle.interleaves(short_s)
    assert throttle.interleaves(2.1 * MIN_PAUSE_S)
    assert not throttle.interleaves(1.9 * MIN_PAUSE_S)
    throttle.close()


def test_a_throttled_computer_gives_the_same_outputs_in_pieces() -> None:
    throttle = InterleavingThrottle()
    with Computer(adder_image(), throttle=throttle) as computer:
        computer.infer(sample(1))
        assert len(throttle.worked_s) == 1
        throttle.set_temperature(84.0)
        outputs = computer.infer(sample(1))
        assert len(throttle.worked_s) == 1 + N_STEPS
        for name, values in right(1).items():
            np.testing.assert_array_equal(outputs[name], values)
    throttle.close()


def test_slowdown_idles_for_a_multiple_of_the_whole_computing_time() -> None:
    throttle = InterleavingThrottle()
    throttle.set_temperature(84.0)  # the computing time then comes in pieces
    with Computer(adder_image(), protection=Protection(slowdown=3.0), throttle=throttle) as computer:
        computer.infer(sample(1))
    throttle.close()
    assert throttle.idled_s == [pytest.approx(2.0 * sum(throttle.worked_s))]


def test_at_full_speed_nothing_is_idled() -> None:
    throttle = ObservedThrottle()
    with Computer(adder_image(), throttle=throttle) as computer:
        computer.infer(sample(1))
    throttle.close()
    assert throttle.idled_s == []
