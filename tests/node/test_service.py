"""Service: every command gives its reply or says why not, and a refusal leaves the node as it was."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge import crc
from firmware_bridge.errors import ConfigError, DataError, ModelError, Refused
from firmware_bridge.messages import (
    Checkpoint,
    CheckpointReport,
    Configure,
    Done,
    Fault,
    FaultKind,
    HelloRequest,
    Inject,
    Injected,
    Message,
    Readback,
    Reset,
    Restore,
    Run,
    RunResult,
    Scrub,
    ScrubReport,
    SetTemperature,
    SetThrottleLimits,
    Telemetry,
    TelemetryRequest,
)
from node.errors import PayloadCrash, PayloadHang
from node.protection import OnDetected, Protection
from node.service import Service, split_samples
from tests.adder_image import SAMPLES, W, adder_image, right_bytes, weight_bit

SAVED = Protection(code="hsiao_72_64", checkpoint_period=2, on_detected=OnDetected.ROLLBACK)


def stacked() -> dict[str, np.ndarray]:
    return {name: np.stack([sample[name] for sample in SAMPLES]) for name in ("a", "b")}


def npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path, in_process=True)
    yield service
    service.close()


@pytest.fixture
def service(bare: Service, tmp_path: Path) -> Service:
    """Give a service with model, inputs and a protection that does everything."""
    adder_image().save(tmp_path / "adder.image")
    bare.load_image(tmp_path / "adder.image")
    bare.load_inputs(npz(tmp_path / "inputs.npz", **stacked()))
    configure(bare, SAVED)
    return bare


def configure(service: Service, protection: Protection) -> None:
    assert service.handle(Configure(protection=protection.to_json())) == Done()


def run(service: Service, *inputs: int, isolate: bool = True) -> list[bytes]:
    answer = service.handle(Run(run_id=1, inputs=inputs, isolate=isolate))
    assert isinstance(answer, RunResult)
    return [inference.output for inference in answer.inferences]


def strike(service: Service, *bits: int) -> Message:
    return service.handle(Inject(faults=tuple(Fault(strike=0, region="weights", bit=bit) for bit in bits)))


def telemetry(service: Service) -> Telemetry:
    answer = service.handle(TelemetryRequest())
    assert isinstance(answer, Telemetry)
    return answer


# ---- what is loaded ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message", [Run(run_id=0, inputs=(0,)), Scrub(), Checkpoint(), Restore(), Reset(), Inject(faults=())]
)
def test_without_an_image_nothing_works(bare: Service, message: Message) -> None:
    with pytest.raises(Refused, match="no image is loaded"):
        bare.handle(message)


def test_without_inputs_nothing_runs(bare: Service, tmp_path: Path) -> None:
    assert telemetry(bare).state == "no image"
    adder_image().save(tmp_path / "adder.image")
    bare.load_image(tmp_path / "adder.image")
    assert telemetry(bare).state == "no inputs"
    with pytest.raises(Refused, match="no inputs are loaded"):
        bare.handle(Run(run_id=0, inputs=(0,)))
    bare.load_inputs(npz(tmp_path / "inputs.npz", **stacked()))
    assert telemetry(bare).state == "ready"
    assert run(bare, 2, 0) == [right_bytes(2), right_bytes(0)]


def test_a_new_image_forgets_the_inputs_of_the_one_before(service: Service, tmp_path: Path) -> None:
    service.load_image(tmp_path / "adder.image")
    assert telemetry(service).state == "no inputs"


def test_inputs_need_an_image_first(bare: Service, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="load one first"):
        bare.load_inputs(npz(tmp_path / "inputs.npz", **stacked()))


def test_a_damaged_image_is_refused_and_the_loaded_one_works_on(service: Service, tmp_path: Path) -> None:
    (tmp_path / "bad.image").write_bytes((tmp_path / "adder.image").read_bytes()[:-1])
    with pytest.raises(ModelError, match="cut short"):
        service.load_image(tmp_path / "bad.image")
    assert run(service, 1) == [right_bytes(1)]


def lone_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize(
    "content", [b"", b"text", b"PK\x03\x04 cut", lone_array()], ids=["empty", "text", "cut", "npy"]
)
def test_inputs_that_are_no_archive_are_refused_and_the_loaded_ones_stay(
    service: Service, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(DataError, match="inputs: not an"):
        service.load_inputs(tmp_path / "bad.npz")
    assert run(service, 1) == [right_bytes(1)]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros((3, 4), np.float32)}, "no array 'b' .* holds a"),
        ({"b": np.zeros((3, 4), np.float64)}, "'b' has dtype float64, the model takes float32"),
        ({"b": np.zeros((3, 5), np.float32)}, r"'b' has shape \[3, 5\]; give \[samples, 4\]"),
        ({"b": np.zeros((), np.float32)}, r"'b' has shape \[\]"),
        ({"b": np.zeros((2, 4), np.float32)}, "the same number"),
        ({"a": np.zeros((0, 4), np.float32), "b": np.zeros((0, 4), np.float32)}, "at least 1"),
    ],
)
def test_arrays_that_do_not_fit_are_explained(arrays: dict[str, np.ndarray], message: str) -> None:
    given = {"a": np.zeros((3, 4), np.float32)} | arrays
    with pytest.raises(DataError, match=message):
        split_samples(adder_image(), given)


@pytest.mark.parametrize("shape", [(3, 4), (3, 1, 4)])
def test_samples_are_cut_along_the_first_axis(shape: tuple[int, ...]) -> None:
    values = np.arange(12, dtype=np.float32)
    samples = split_samples(adder_image(), {"a": values.reshape(shape), "b": -values.reshape(shape), "labels": values})
    assert len(samples) == 3
    for number, sample in enumerate(samples):
        np.testing.assert_array_equal(sample["a"], values[4 * number : 4 * number + 4].reshape(1, 4))
        np.testing.assert_array_equal(sample["b"], -sample["a"])


# ---- protection --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "no JSON object"),
        ('{"scrub_periode": 1}', "did you mean 'scrub_period'"),
        ('{"scrub_period": "often"}', "wrong type"),
        ('{"code": "parrot"}', "unknown code 'parrot'"),
        ('{"regions": ["weights", "weights"]}', "each region once"),
        ('{"regions": [], "checkpoint_period": 1}', "name at least one"),
        ('{"on_detected": "rollback"}', "needs a checkpoint_period"),
    ],
)
def test_a_protection_that_cannot_be_is_refused_and_the_one_before_holds(
    service: Service, text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        service.handle(Configure(protection=text))
    strike(service, weight_bit(0))
    assert service.handle(Scrub()).corrected == 1  # type: ignore[union-attr]


def test_a_node_that_lost_its_computer_says_what_to_do(service: Service, tmp_path: Path) -> None:
    """The storage that a protection needs can fail after the computer before it is gone."""
    blocked = tmp_path / "checkpoint-a.slot"
    configure(service, Protection())
    for slot in tmp_path.glob("*.slot"):
        slot.unlink()
    blocked.mkdir()
    with pytest.raises(ConfigError, match="checkpoints cannot be kept"):
        service.handle(Configure(protection=SAVED.to_json()))
    with pytest.raises(Refused, match="configure the node again"):
        service.handle(Scrub())
    blocked.rmdir()
    configure(service, SAVED)
    assert run(service, 1) == [right_bytes(1)]


def test_configuring_before_the_image_holds_for_it(bare: Service, tmp_path: Path) -> None:
    configure(bare, SAVED)
    adder_image().save(tmp_path / "adder.image")
    bare.load_image(tmp_path / "adder.image")
    assert isinstance(bare.handle(Checkpoint()), CheckpointReport)


# ---- strikes outside a run ---------------------------------------------------------------------------------------


def test_strikes_outside_a_run_stay_until_a_run_is_isolated(service: Service) -> None:
    configure(service, Protection())
    assert strike(service, weight_bit(0)) == Injected(readbacks=(Readback(before=0x3F, after=0xBF),))
    assert run(service, 1, isolate=False) != [right_bytes(1)]
    assert run(service, 1, isolate=True) == [right_bytes(1)]
    assert run(service, 1, isolate=False) == [right_bytes(1)]


def test_scrub_and_its_report(service: Service) -> None:
    strike(service, weight_bit(0), weight_bit(4, 1), weight_bit(4, 2))
    report = service.handle(Scrub())
    assert isinstance(report, ScrubReport)
    assert (report.words, report.corrected, report.detected) == (4, 1, 1)


def test_checkpoint_and_restore(service: Service) -> None:
    saved = service.handle(Checkpoint())
    assert isinstance(saved, CheckpointReport)
    assert (saved.sequence, saved.size_bytes) == (3, W.nbytes)
    assert 0 < saved.verify_us <= saved.elapsed_us
    strike(service, weight_bit(0), weight_bit(0, 30))
    restored = service.handle(Restore())
    assert isinstance(restored, CheckpointReport)
    assert (restored.sequence, restored.size_bytes) == (3, W.nbytes)
    assert run(service, 1, isolate=False) == [right_bytes(1)]


def test_corruption_is_not_saved_and_what_was_saved_stays(service: Service) -> None:
    strike(service, weight_bit(0), weight_bit(0, 30))
    with pytest.raises(Refused, match="1 words are wrong"):
        service.handle(Checkpoint())
    service.handle(Restore())
    assert run(service, 1, isolate=False) == [right_bytes(1)]


def test_nothing_to_restore_from(service: Service) -> None:
    half = 8 * W.nbytes
    for bit in (0, half):
        service.handle(Inject(faults=(Fault(strike=0, region="checkpoint", bit=bit),)))
    with pytest.raises(Refused, match="no checkpoint verifies"):
        service.handle(Restore())


def test_without_checkpoints_both_commands_are_refused(service: Service) -> None:
    configure(service, Protection(code="parity"))
    for message in (Checkpoint(), Restore()):
        with pytest.raises(Refused, match="checkpoint_period"):
            service.handle(message)


@pytest.mark.parametrize(("bit", "error"), [(0, PayloadCrash), (1, PayloadHang)])
def test_in_process_an_interrupt_is_raised(service: Service, bit: int, error: type[Exception]) -> None:
    interrupt = Fault(strike=0, region="process", bit=bit, kind=FaultKind.INTERRUPT)
    with pytest.raises(error):
        service.handle(Run(run_id=0, inputs=(0,), faults=(interrupt,)))


# ---- what it says of itself --------------------------------------------------------------------------------------


def test_telemetry_counts_until_a_reset(service: Service) -> None:
    strike(service, weight_bit(0), weight_bit(4, 1), weight_bit(4, 2))
    service.handle(Scrub())
    service.handle(SetTemperature(celsius=90.0))
    run(service, 0, 1, 2)
    seen = telemetry(service)
    assert (seen.inferences, seen.corrected_words, seen.detected_words, seen.reloads) == (3, 1, 1, 0)
    assert (seen.plant_c, seen.clock_mhz, seen.throttled & 0xF) == (90.0, 600.0, 4)
    assert seen.throttle_actuator in ("pause", "cpufreq")
    assert seen.crc_engine == crc.engine()
    assert [part.split(": ")[0] for part in seen.sensors.split(", ")] == ["temperature", "clock", "throttle flags"]
    service.handle(Reset())
    seen = telemetry(service)
    assert (seen.inferences, seen.corrected_words, seen.detected_words) == (0, 0, 0)
    assert (seen.throttled, seen.clock_ratio) == (0, 1.0)
    assert np.isnan(seen.plant_c)


def test_reset_heals_memory_and_stuck_cells(service: Service) -> None:
    configure(service, Protection())
    stuck = Fault(strike=0, region="weights", bit=weight_bit(0), kind=FaultKind.STUCK_AT_1)
    service.handle(Inject(faults=(stuck,)))
    assert run(service, 1, isolate=False) != [right_bytes(1)]
    service.handle(Reset())
    assert run(service, 1, isolate=False) == [right_bytes(1)]


def test_load_is_the_share_of_time_that_was_computed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [time.monotonic()]
    monkeypatch.setattr("node.service.time.monotonic", lambda: now[0])
    telemetry(service)
    service._throttle.busy_s += 3.0
    now[0] += 4.0
    assert telemetry(service).load == pytest.approx(0.75)
    now[0] += 4.0
    assert telemetry(service).load == 0.0
    service._throttle.busy_s += 9.0
    now[0] += 4.0
    assert telemetry(service).load == 1.0
    assert telemetry(service).load == 0.0, "no time has passed"


def test_throttle_limits_can_be_lowered_and_not_raised(service: Service) -> None:
    service.handle(SetTemperature(celsius=65.0))
    assert telemetry(service).clock_ratio == 1.0
    service.handle(SetThrottleLimits(soft_c=60.0, hard_c=70.0))
    assert telemetry(service).clock_ratio < 1.0
    with pytest.raises(ConfigError, match="lowered and not raised"):
        service.handle(SetThrottleLimits(soft_c=90.0, hard_c=95.0))


def test_heat_outlives_a_new_configuration(service: Service) -> None:
    service.handle(SetTemperature(celsius=90.0))
    configure(service, Protection(code="parity"))
    assert telemetry(service).clock_mhz == 600.0


def test_a_message_for_somebody_else_is_refused(service: Service) -> None:
    with pytest.raises(Refused, match="does not answer HelloRequest"):
        service.handle(HelloRequest())
