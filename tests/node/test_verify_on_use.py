"""Verification on use: weights under a vertical code are checked slab by slab, each just before its products."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from node.checks import verified_steps
from node.checks.verified_steps import VerifiedSteps
from node.computer import Computer
from node.ecc import DecodeReport
from node.errors import OutputWithheld
from node.jit import entry_of, kernel
from node.kernels.codes import sweeps
from node.kernels.inference.verified import slabs
from node.model.image import Image
from node.model.steps import Opcode
from node.protection import OnAlarm, Protection
from tests.product_images import dense_f32, dense_int8, image_of

BLOCK = 4096
WINDOW = {"in_h": 5, "in_w": 6, "out_h": 5, "out_w": 6, "kernel_h": 3, "kernel_w": 3, "pad_top": 1, "pad_left": 1}
SHAPES: dict[str, dict[str, Any]] = {
    "one row": {"rows": 1, "depth": 300, "channels": 200},
    "rows of many slabs": {"rows": 9, "depth": 260, "channels": 150},
    "groups": WINDOW | {"rows": 1, "depth": 90, "channels": 20, "groups": 7, "in_c": 70, "out_c": 140},
    "lines": WINDOW | {"in_w": 16, "out_w": 16, "rows": 1, "depth": 180, "channels": 40, "in_c": 20, "out_c": 40},
}
IMAGES = {
    f"{kind}, {name}": make(np.random.default_rng(3), **shape)
    for kind, make in (("int8", dense_int8), ("f32", dense_f32))
    for name, shape in SHAPES.items()
}


def verifying(code: str = "vertical_hsiao", **more: Any) -> Protection:
    return Protection(code=code, scrub_period=0, verify_on_use=True, **more)


@pytest.fixture(autouse=True)
def small_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slabs of four panels or groups, so that small steps have several."""
    monkeypatch.setattr(verified_steps, "SLAB_BYTES", 1)


def sample(image: Image) -> dict[str, np.ndarray]:
    spec = image.inputs[0]
    rng = np.random.default_rng(5)
    return {spec.name: (40 * rng.normal(size=spec.shape)).astype(spec.dtype)}


def fused(computer: Computer) -> VerifiedSteps:
    runner = computer.checks.runner
    assert isinstance(runner, VerifiedSteps)
    assert runner.steps == {0}
    return runner


def run(computer: Computer) -> bool:
    """Run the step as an inference does, and tell whether it raised an alarm."""
    if computer.checks.before(0) is not None:
        return True
    computer.engine.run_step(0)
    return computer.checks.after(0) is not None


@pytest.mark.parametrize("name", IMAGES)
def test_it_computes_the_bytes_of_the_plain_step_and_looks_at_each_codeword_that_it_reads(name: str) -> None:
    image = IMAGES[name]
    with Computer(image) as plain, Computer(image, protection=verifying()) as computer:
        fused(computer)
        for each in (plain, computer):
            each.write_inputs(sample(image))
        plain.engine.run_step(0)
        assert not run(computer)
        start, end = image.activation_offset, image.activation_offset + image.activation_bytes
        assert computer.arena.u8[start:end].tobytes() == plain.arena.u8[start:end].tobytes(), "the scratch too"
        assert computer.checks.verified == computer.guarded[0].check()


@pytest.mark.parametrize("name", IMAGES)
def test_every_struck_block_raises_an_alarm_and_is_repaired(name: str) -> None:
    """Weights, biases, multipliers and check rows, whole blocks and the smaller one after them."""
    image = IMAGES[name]
    with Computer(image, protection=verifying()) as computer:
        golden = computer.infer(sample(image))["y"].tobytes()
        rng = np.random.default_rng(1)
        for region in ("weights", "check.weights"):
            size = computer.layout[region].size_bytes
            for start in range(0, size, BLOCK // 2):
                computer.arena.flip(region, 8 * start + int(rng.integers(8 * min(BLOCK // 2, size - start))))
                before = computer.counters.alarms
                assert computer.infer(sample(image))["y"].tobytes() == golden
                assert computer.counters.alarms == before + 1, (region, start)
                assert computer.guarded[0].check().clean


def test_what_cannot_be_repaired_is_withheld() -> None:
    image = IMAGES["int8, one row"]
    with Computer(image, protection=verifying(on_alarm=OnAlarm.STOP)) as computer:
        computer.arena.flip("weights", 8 * 5 * BLOCK)
        with pytest.raises(OutputWithheld):
            computer.infer(sample(image))
        assert computer.checks.verified.detected == 1


@kernel
def strikes_once(kind: int, data: Any, check: Any, records: Any, first: int, last: int) -> Any:
    """Find the first wrong block under vertical parity, after a strike at the check of block ``kind`` // 2**32.

    The smaller block after the last whole one comes by itself.
    """
    if data.size > BLOCK and first <= kind >> 32 < last:
        data[kind & 0xFFFFFFFF] ^= 1
    return sweeps.parity_scan(data, check, records, first, last)


def moments() -> Iterator[tuple[int, int, bool]]:
    """Give the slab during whose check a strike arrives, the slab that it hits, and whether that one is still to come.

    The strike arrives just before the check looks at memory.
    """
    for now in range(4):
        for struck in range(4):
            yield now, struck, struck >= now


def test_what_is_struck_before_its_slab_is_checked_is_seen_also_while_the_step_runs() -> None:
    """The window that is left: a slab may be struck unseen from its own check to the end of its products."""
    depth, channels = 256, 256
    weights = np.random.default_rng(7).normal(size=(1, depth, channels)).astype(np.float32)
    shape = {"in_w": 1, "out_w": 1, "in_c": depth, "out_c": channels, "low": 0xFF800000, "high": 0x7F800000}
    image = image_of(Opcode.CONV_F32, weights, np.zeros((1, channels), np.float32), **shape)
    slab_blocks = 4 * 64 * depth // BLOCK
    for now, struck, seen in moments():
        with Computer(image, protection=verifying("vertical_parity")) as computer:
            runner = fused(computer)
            words = runner._frames[0].words
            arrays = (computer.arena.u8,) * 3
            words[slabs.SCAN] = entry_of(strikes_once, 0, *arrays, 0, 0)
            words[slabs.KIND] = (now * slab_blocks) << 32 | struck * slab_blocks * BLOCK
            assert runner.run(0) == -1
            assert runner.alarm == seen, (now, struck)


def test_a_struck_row_is_left_to_the_plain_interpreter_and_its_weights_to_a_check_before() -> None:
    image = IMAGES["int8, one row"]
    with Computer(image, protection=verifying()) as computer:
        runner = fused(computer)
        computer.arena.flip("steps", 64 * 23)  # the lower limit of the outputs
        assert runner.run(0) is None
        computer.arena.flip("weights", 8)
        assert (runner.run(0), runner.alarm) == (-1, True)
        assert runner.report(0).detected == 1


@pytest.mark.parametrize(
    "protection", [verifying("hsiao_72_64"), verifying(abft=True), verifying("vertical_hsiao", regions=("steps",))]
)
def test_other_codes_and_checks_are_made_before_the_step(protection: Protection) -> None:
    image = IMAGES["int8, one row"]
    with Computer(image, protection=protection) as computer:
        assert not isinstance(computer.checks.runner, VerifiedSteps)
        assert computer.checks.before(0) is None
        assert computer.checks.verified != DecodeReport()
        computer.arena.flip(protection.regions[0], 8)
        assert computer.checks.before(0) is not None


def test_threads_share_a_step_that_was_checked_before() -> None:
    image = IMAGES["int8, one row"]
    with Computer(image, protection=verifying(), threads=2) as computer:
        assert computer.checks.runner is None
        computer.infer(sample(image))
        assert computer.checks.verified == computer.guarded[0].check()
