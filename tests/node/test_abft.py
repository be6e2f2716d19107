"""ABFT: exact for integers, a proven bound for floats; exhaustive on small layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from firmware_bridge.messages import Delivery, Fault, Run
from node.arena import Arena
from node.checks.abft import Abft, abft_bytes
from node.computer import Computer
from node.kernels.inference.checked.conv_int8 import HEAD, group_bytes
from node.kernels.inference.checked.counts import TAKEN, WEIGHTS, clear, kept_words
from node.kernels.inference.checked.expected import agree, expect, half_bytes
from node.kernels.inference.conv_int8 import begin_conv_int8, by_chunks_int8, input_shift
from node.kernels.inference.dispatch import run_steps
from node.kernels.inference.dots import OFFSET
from node.lockstep import LockstepRun
from node.model.image import Image
from node.model.steps import Opcode, Step
from node.protection import OnAlarm, Protection
from tests.adder_image import SAMPLES, adder_image
from tests.naive.checks import sums_differ
from tests.product_images import dense_f32, dense_int8, image_of
from tests.proof import count

ABFT = Protection(abft=True)
DEPTH, CHANNELS, ROWS = 33, 12, 9


class Bench:
    """One step in an arena, run with and without its check."""

    def __init__(self, image: Image) -> None:
        self.computer = Computer(image, protection=ABFT)
        self.image, self.arena = image, self.computer.arena
        self.step = Step.from_row(image.steps[0])
        self._row = np.zeros(32, np.int64)

    def take(self, inputs: np.ndarray) -> None:
        spec = self.image.inputs[0]
        self.arena.u8[spec.offset : spec.end] = np.ascontiguousarray(inputs).view(np.uint8).reshape(-1)

    def plain(self) -> bytes:
        table = self.arena.view("steps").view(np.int64).reshape(1, 32)
        assert run_steps.from_python((self.arena.u8, self.arena.i32, self.arena.f32), table, self._row, 0, 1) == -1
        return self.computer.engine.output_bytes()

    def checked(self) -> tuple[bytes, bool]:
        self.computer.engine.run_step(0)
        return self.computer.engine.output_bytes(), self.computer.checks.abft.alarm


def random_int8(rng: np.random.Generator, step: Step) -> np.ndarray:
    return rng.integers(-128, 128, step.in_h * step.in_w * step.in_c, dtype=np.int8)


SHAPES = {
    "one row": {"rows": 1, "depth": 40, "channels": 16},
    "less than a block": {"rows": 3, "depth": 5, "channels": 3},
    "a tile and one": {"rows": 9, "depth": 33, "channels": 12},
    "two panels and a bit": {"rows": 17, "depth": 64, "channels": 40},
    "many channels, one row": {"rows": 1, "depth": 48, "channels": 80},
    "so many that a sum has two halves": {"rows": 11, "depth": 70, "channels": 300},
    "pixels counted one by one as they are copied": {"rows": 333, "depth": 65, "channels": 5},
    "four together, one left over": {"rows": 73, "depth": 16, "channels": 17},
    "many short ones": {"rows": 75, "depth": 3, "channels": 2},
}
WINDOW = {"in_h": 5, "in_w": 6, "out_h": 5, "out_w": 6, "kernel_h": 3, "kernel_w": 3, "pad_top": 1, "pad_left": 1}
WINDOWS = {
    "padded": WINDOW | {"in_c": 4, "depth": 36},
    "strided": WINDOW | {"in_c": 4, "depth": 36, "out_h": 3, "out_w": 3, "stride_h": 2, "stride_w": 2},
    "dilated": WINDOW | {"in_c": 2, "depth": 18, "dilation_h": 2, "dilation_w": 2, "pad_top": 2, "pad_left": 2},
    "lines": WINDOW | {"in_c": 4, "depth": 36, "in_h": 9, "in_w": 19, "out_h": 9, "out_w": 19},
    "lines, strided": WINDOW
    | {"in_c": 3, "depth": 27, "in_h": 19, "in_w": 27, "out_h": 9, "out_w": 13, "stride_h": 2, "stride_w": 2},
    "tall": WINDOW | {"in_c": 1, "depth": 9, "in_h": 300, "out_h": 300, "dilation_h": 2, "pad_top": 2},
    "grouped": WINDOW | {"in_c": 6, "depth": 18, "groups": 3, "out_c": 60},
}


def images(kind: str) -> dict[str, Image]:
    """Give one image a shape."""
    rng = np.random.default_rng(3)
    make = dense_int8 if kind == "int8" else dense_f32
    found = {name: make(rng, **shape) for name, shape in SHAPES.items()}
    for name, shape in WINDOWS.items():
        more = {key: value for key, value in shape.items() if key not in ("depth", "groups")}
        found[name] = make(rng, 1, shape["depth"], 20, shape.get("groups", 1), **({"out_c": 20} | more))
    return found


INT8, F32 = images("int8"), images("f32")


# ---- undisturbed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INT8)
def test_int8_gives_the_bytes_of_the_plain_kernel_and_no_alarm(name: str) -> None:
    bench, rng = Bench(INT8[name]), np.random.default_rng(5)
    for _ in range(20):
        bench.take(random_int8(rng, bench.step))
        plain = bench.plain()
        assert bench.checked() == (plain, False)


@pytest.mark.parametrize("name", F32)
def test_f32_gives_the_bytes_of_the_plain_kernel_and_no_alarm(name: str) -> None:
    bench, rng = Bench(F32[name]), np.random.default_rng(5)
    size = bench.step.in_h * bench.step.in_w * bench.step.in_c
    for _ in range(20):
        bench.take(rng.normal(size=size).astype(np.float32))
        plain = bench.plain()
        assert bench.checked() == (plain, False)


def test_limits_are_applied_after_the_check() -> None:
    image = dense_f32(np.random.default_rng(1), 9, 33, 20, low=0, high=int(np.float32(1.5).view(np.uint32)))
    bench = Bench(image)
    bench.take(np.random.default_rng(2).normal(size=9 * 33).astype(np.float32))
    plain = bench.plain()
    values = np.frombuffer(plain, np.float32)
    assert (values.min(), values.max()) == (0.0, 1.5)
    assert bench.checked() == (plain, False)


# ---- int8, every bit -----------------------------------------------------------------------------------------------


def flips(bench: Bench, name: str, checked: bool) -> tuple[int, int, int]:
    """Flip every bit of a parameter; give how many changed the output unseen, raised an alarm, changed no sum."""
    spec = next(spec for spec in bench.image.tensors if spec.name == name)
    golden = bench.plain()
    missed = seen = 0
    for bit in range(8 * spec.offset, 8 * spec.end):
        bench.arena.flip("weights", bit)
        output, alarm = bench.checked() if checked else (bench.plain(), False)
        bench.arena.flip("weights", bit)
        seen += alarm
        missed += output != golden and not alarm
    return missed, seen, 8 * (spec.end - spec.offset) - seen


def published_case(rows: int) -> Bench:
    """33 x 12 weights and an input column that is zero (knowledge: 3168 flips, 3072 found, 96 harmless)."""
    rng = np.random.default_rng(11)
    bench = Bench(dense_int8(rng, rows, DEPTH, CHANNELS))
    inputs = random_int8(rng, bench.step).reshape(rows, DEPTH)
    inputs[inputs == bench.step.zero_a] = 1
    inputs[:, 7] = bench.step.zero_a
    bench.take(inputs)
    return bench


@pytest.mark.parametrize("rows", [1, ROWS, 8 * ROWS])
def test_no_flip_of_a_weight_that_changes_an_output_is_missed(rows: int) -> None:
    """Nor any other in use. Padding columns of the packed weights reach no output: their flips raise no alarm."""
    missed, seen, silent = flips(published_case(rows), "weights", checked=True)
    assert (missed, seen) == (0, 8 * DEPTH * CHANNELS)
    assert silent == 8 * DEPTH * (16 - CHANNELS)


@pytest.mark.parametrize("name", ["padded", "lines"])
def test_no_flip_of_a_weight_of_a_window_that_changes_an_output_is_missed(name: str) -> None:
    bench = Bench(INT8[name])
    bench.take(random_int8(np.random.default_rng(4), bench.step))
    missed, seen, silent = flips(bench, "weights", checked=True)
    assert (missed, seen, silent) == (0, 8 * 36 * 20, 8 * 36 * 12)


def test_without_the_check_flips_are_missed() -> None:
    """The count above can fail."""
    missed, seen, _ = flips(published_case(1), "weights", checked=False)
    assert seen == 0
    assert missed > 1000


@pytest.mark.parametrize("name", ["bias", "scales"])
def test_every_flip_of_a_bias_or_multiplier_in_use_raises_an_alarm(name: str) -> None:
    missed, seen, _ = flips(published_case(ROWS), name, checked=True)
    assert (missed, seen) == (0, 32 * CHANNELS)


class Counted:
    """The plain kernel in its two parts, counting: a strike may fall between them."""

    def __init__(self, bench: Bench) -> None:
        self.arena, self.row = bench.arena, bench.image.steps[0].copy()
        start = bench.computer.layout["check.abft"].offset
        self.sums = (start + 4 * HEAD, 1, int(half_bytes(DEPTH)))
        self.inputs, self.begin_word = bench.step.scratch + 4 * 16, bench.step.scratch // 4
        self.kept_sum = int(self.arena.i32[start // 4 + 2])
        self.words = np.zeros(int(kept_words(self.row)), np.int64)
        self.kept = self.words.view(np.int32)

    def begin(self) -> None:
        clear(self.row, self.words)
        begin_conv_int8.from_python(self.arena.u8, self.row, self.words)

    def multiply(self) -> bool:
        by_chunks_int8.from_python(self.arena.u8, self.row, (0, ROWS, 0, 1, 0, 1), self.inputs, self.words)
        pixels = expect(self.arena.u8, self.row, False, OFFSET ^ 128, self.words, self.sums)
        self.begun = pixels * int(self.arena.i32[self.begin_word :][:CHANNELS].sum())
        return agree(self.kept, self.begun, self.kept_sum)

    def total(self, word: int) -> int:
        return int(self.kept[word : word + 16].sum())


def test_every_accumulator_is_counted_once() -> None:
    """One product is 1, all others are 0: each accumulator in use counts it once. So a wrong bit is a wrong sum."""
    bench = published_case(ROWS)
    counted, weights = Counted(bench), bench.arena.u8[bench.step.weights :][: 16 * DEPTH].reshape(DEPTH, 16)
    nothing = OFFSET ^ 128
    weights[:] = 0
    for pixel in range(ROWS):
        inputs = np.full((ROWS, DEPTH), nothing, np.uint8)
        inputs[pixel, pixel] = nothing + 1
        bench.take(inputs)
        for column in range(16):
            weights[pixel, column] = 1
            counted.begin()
            counted.multiply()
            taken = counted.total(TAKEN) - counted.begun
            assert taken == counted.total(WEIGHTS) == (column < CHANNELS), (pixel, column)
            weights[pixel, column] = 0


def test_a_wrong_bit_of_an_accumulator_raises_an_alarm() -> None:
    counted = Counted(published_case(ROWS))
    counted.begin()
    assert counted.multiply()
    for word in (*range(TAKEN, TAKEN + 16), *range(WEIGHTS, WEIGHTS + 16)):
        for bit in range(32):
            counted.kept.view(np.uint32)[word] ^= np.uint32(1 << bit)
            assert not agree(counted.kept, counted.begun, counted.kept_sum), (word, bit)
            counted.kept.view(np.uint32)[word] ^= np.uint32(1 << bit)


def test_a_weight_struck_while_its_step_runs_is_seen_where_it_changes_a_sum() -> None:
    """After the weights were summed up: what sums take up, it alone, says so."""
    bench = published_case(ROWS)
    counted, first = Counted(bench), 8 * bench.step.weights
    bench.arena.u8.view(np.int8)[bench.step.in_a + np.arange(ROWS) * DEPTH + 20] = OFFSET - 128
    seen = {
        (column, depth)
        for depth in range(DEPTH)
        for column in range(16)
        for bit in range(8)
        if struck(counted, first + 8 * (16 * depth + column) + bit)
    }
    assert seen == {(column, depth) for column in range(CHANNELS) for depth in range(DEPTH) if depth != 20}


def struck(counted: Counted, bit: int) -> bool:
    counted.begin()
    counted.arena.flip("weights", bit)
    sound = counted.multiply()
    counted.arena.flip("weights", bit)
    return not sound


def test_the_alarm_is_that_of_the_slow_twin() -> None:
    """Many random flips at once: what is seen is what differs modulo 2**32, no more and no less."""
    rng = np.random.default_rng(4)
    bench = Bench(dense_int8(rng, 2, 10, 3))
    spec = bench.image.tensors[0]
    weights = np.frombuffer(bench.image.weights, np.int8, 160).reshape(10, 16)[:, :3]
    verdicts = set()
    for _ in range(200):
        inputs = rng.integers(-128, 128, (2, 10), dtype=np.int8)
        bench.take(inputs)
        bits = rng.choice(8 * 160, rng.integers(1, 5), replace=False)
        for bit in bits:
            bench.arena.flip("weights", 8 * spec.offset + int(bit))
        found = bench.arena.view("weights")[:160].view(np.int8).reshape(10, 16)[:, :3]
        expected = sums_differ(
            inputs.astype(int) + input_shift(bench.image.steps[0]) - bench.step.zero_a, found, weights
        )
        assert bench.checked()[1] == expected
        verdicts.add(expected)
        for bit in bits:
            bench.arena.flip("weights", 8 * spec.offset + int(bit))
    assert verdicts == {True, False}


@pytest.mark.parametrize("channels", [40, 300])
def test_check_data_are_the_sums_of_rows_in_halves(channels: int) -> None:
    image = dense_int8(np.random.default_rng(3), 17, 64, channels)
    data = Computer(image, protection=ABFT).arena.view("check.abft")
    panels, halves = -(-channels // 16), 1 if channels == 40 else 2
    packed = np.frombuffer(image.weights, np.int8, panels * 64 * 16).reshape(panels, 64, 16).astype(int)
    sums = data[4 * HEAD :].view(np.int16).reshape(halves, -1)[:, :64].astype(int)
    assert data.size == 4 * HEAD + group_bytes(64, channels) == abft_bytes(image)
    assert (sums.T @ 65536 ** np.arange(halves)).tolist() == packed.sum(axis=(0, 2)).tolist()
    assert data.view(np.int32)[2] == packed.sum()


# ---- float32 -------------------------------------------------------------------------------------------------------


def extreme(rng: np.random.Generator, size: int, spread: int) -> np.ndarray:
    """Give floats of both signs whose magnitudes lie up to 2**spread apart; some sums nearly cancel."""
    values = rng.normal(size=size) * 2.0 ** rng.integers(-spread, spread + 1, size)
    values[1::2] = np.where(rng.random(len(values[1::2])) < 0.5, -values[::2][: len(values[1::2])], values[1::2])
    return values.astype(np.float32)


@pytest.mark.proof
def test_a_sound_float_step_raises_no_alarm() -> None:
    """A million runs in the proof: wide spreads, cancellation, results that underflow or nearly overflow."""
    rng = np.random.default_rng(2)
    runs = count(4000, 1_000_000)
    done = 0
    while done < runs:
        rows, depth, channels = int(rng.integers(1, 10)), int(rng.integers(1, 80)), int(rng.integers(1, 50))
        spread = int(rng.choice([0, 3, 20, 60]))
        shift = np.float32(2.0 ** rng.choice([0, -70, 40])) if spread < 20 else np.float32(1)
        weights = extreme(rng, depth * channels, spread).reshape(1, depth, channels) * shift
        shape = {"in_w": rows, "out_w": rows, "in_c": depth, "out_c": channels, "low": 0xFF800000, "high": 0x7F800000}
        bench = Bench(image_of(Opcode.CONV_F32, weights, extreme(rng, channels, spread)[None, :], **shape))
        for _ in range(100):
            bench.take(extreme(rng, rows * depth, spread) * shift)
            assert not bench.checked()[1], (rows, depth, channels, spread, shift)
            done += 1


def test_a_result_that_may_overflow_or_is_not_finite_is_left_alone() -> None:
    bench = Bench(F32["a tile and one"])
    inputs = np.random.default_rng(1).normal(size=9 * 33).astype(np.float32)
    for value in (np.float32(3e38), np.float32(np.inf), np.float32(np.nan)):
        inputs[40] = value
        bench.take(inputs)
        assert not bench.checked()[1]


@pytest.mark.parametrize("name", ["padded", "grouped", "two panels and a bit", "many channels, one row"])
def test_a_struck_float_weight_raises_an_alarm_unless_it_hardly_matters(name: str) -> None:
    bench, rng = Bench(F32[name]), np.random.default_rng(9)
    bench.take(rng.normal(size=bench.step.in_h * bench.step.in_w * bench.step.in_c).astype(np.float32))
    golden = np.frombuffer(bench.plain(), np.float32)
    spec = bench.image.tensors[0]
    large = silent = 0
    for bit in rng.choice(8 * (spec.end - spec.offset), 600, replace=False):
        bench.arena.flip("weights", 8 * spec.offset + int(bit))
        output, alarm = bench.checked()
        bench.arena.flip("weights", 8 * spec.offset + int(bit))
        difference = np.abs(np.frombuffer(output, np.float32).astype(float) - golden)
        big = not np.nanmax(difference) <= 1e-2 * np.abs(golden).max()
        large += big
        silent += not alarm
        assert alarm or not big, f"bit {bit}: off by {np.nanmax(difference)}"
    assert large > 50
    assert silent > 50, "low bits of the mantissa drown in rounding"


def test_a_nan_that_was_not_there_raises_an_alarm() -> None:
    bench = Bench(F32["a tile and one"])
    bench.take(np.random.default_rng(1).normal(size=9 * 33).astype(np.float32))
    bench.arena.f32[bench.step.weights // 4 + 5] = np.nan
    assert bench.checked()[1]


# ---- depthwise -----------------------------------------------------------------------------------------------------


def depthwise(integer: bool) -> Image:
    rng = np.random.default_rng(8)
    shape = WINDOW | {"in_c": 5, "out_c": 5}
    if integer:
        weights, bias = rng.integers(-128, 128, (9, 5), dtype=np.int8), rng.integers(-99, 99, 5, dtype=np.int32)
        limits = {"low": -128, "high": 127, "signed": 7}
        return image_of(Opcode.DEPTHWISE_INT8, weights, bias, np.full(5, 0.01, np.float32), **(shape | limits))
    limits = {"low": 0xFF800000, "high": 0x7F800000}
    weights, bias = rng.normal(size=(9, 5)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    return image_of(Opcode.DEPTHWISE_F32, weights, bias, **(shape | limits))


@pytest.mark.parametrize("integer", [True, False])
def test_every_flip_of_a_depthwise_parameter_raises_an_alarm(integer: bool) -> None:
    bench = Bench(depthwise(integer))
    bench.take(np.ones(5 * 6 * 5, np.int8 if integer else np.float32))
    assert bench.checked() == (bench.plain(), False)
    for spec in bench.image.tensors:
        assert flips(bench, spec.name, checked=True)[:2] == (0, 8 * spec.size_bytes)


# ---- in a computer -------------------------------------------------------------------------------------------------


def fates_of(image: Image, protection: Protection, strikes: Iterable[Sequence[Fault]]) -> list[tuple[str, int]]:
    """Give, run by run, a letter for the outputs of two inferences (right, wrong, withheld), and the alarms."""
    rng = np.random.default_rng(6)
    shape = image.inputs[0].shape
    samples = [{"x": rng.integers(-99, 99, shape).astype(image.inputs[0].dtype)} for _ in range(2)]
    with Computer(image) as computer:
        golden = [computer.infer(sample)["y"].tobytes() for sample in samples]
    found = []
    with Computer(image, protection=protection) as computer:
        for faults in strikes:
            run = Run(run_id=0, inputs=(0, 1), faults=tuple(faults))
            result = LockstepRun(computer, samples, run).execute()
            pairs = zip(result.inferences, golden, strict=True)
            letters = ["-" if one.delivery is Delivery.WITHHELD else "wr"[one.output == right] for one, right in pairs]
            found.append(("".join(letters), result.alarms))
    return found


def execute(image: Image, protection: Protection, *faults: Fault) -> tuple[str, int]:
    """Give the fate of a single run."""
    return fates_of(image, protection, [faults])[0]


def strike(region: str, bit: int, step: int = 0) -> Fault:
    return Fault(strike=0, region=region, bit=bit, inference=0, step=step)


@pytest.mark.parametrize("kind", [INT8, F32])
def test_an_alarm_has_the_weights_repaired_and_the_step_computed_again(kind: dict[str, Image]) -> None:
    image = kind["a tile and one"]
    guarded = Protection(code="hsiao_72_64", scrub_period=0, abft=True)
    assert execute(image, guarded, strike("weights", 30)) == ("rr", 1)
    assert execute(image, Protection(), strike("weights", 30))[0] == "ww"
    assert execute(image, ABFT, strike("weights", 30)) == ("--", 6)
    assert execute(image, Protection(abft=True, on_alarm=OnAlarm.RELOAD), strike("weights", 30)) == ("rr", 1)
    assert execute(image, Protection(abft=True, on_alarm=OnAlarm.STOP), strike("weights", 30)) == ("--", 1)


@pytest.mark.parametrize("protection", [ABFT, Protection(code="parity", scrub_period=0, abft=True)])
def test_no_bit_of_the_check_data_can_spoil_an_output(protection: Protection) -> None:
    """A struck sum raises a false alarm. With a code that finds the weights sound, it is made anew."""
    image = INT8["less than a block"]
    fates = set(fates_of(image, protection, ([strike("check.abft", bit)] for bit in range(8 * abft_bytes(image)))))
    assert fates == {("rr", 0), ("--", 6) if protection is ABFT else ("rr", 1)}


def test_a_row_that_asks_for_another_shape_raises_an_alarm() -> None:
    image = INT8["a tile and one"]
    column_out_c = 13
    fates, alarms = execute(image, ABFT, strike("steps", 64 * column_out_c))
    assert (fates, alarms) == ("--", 6)


def test_sums_survive_a_damaged_golden_copy() -> None:
    with Computer(INT8["one row"], protection=ABFT) as computer:
        kept = computer.arena.view("check.abft").copy()
        computer._pristine[-1] ^= 1
        assert not computer.reset()
        assert np.array_equal(computer.arena.view("check.abft"), kept)


def test_an_image_without_products_needs_no_region() -> None:
    assert abft_bytes(adder_image()) == 0
    with Computer(adder_image(), protection=ABFT) as computer:
        assert "check.abft" not in computer.layout
        assert computer.infer(SAMPLES[0])


def test_check_data_lie_in_the_arena() -> None:
    with Computer(INT8["one row"], protection=ABFT) as computer:
        assert isinstance(computer.arena, Arena)
        assert isinstance(computer.checks.abft, Abft)
        assert computer.layout["check.abft"].own


def test_sums_are_those_of_the_weights_without_the_check_bits_among_them() -> None:
    """A code that lies in the weights is taken out before these are read, and before they are added up."""
    rng = np.random.default_rng(3)
    weights = rng.integers(-64, 64, (1, DEPTH, CHANNELS), dtype=np.int8)
    parts = (weights, np.zeros((1, CHANNELS), np.int32), np.full((1, CHANNELS), 2.0**-7, np.float32))
    shape = {"in_w": ROWS, "out_w": ROWS, "in_c": DEPTH, "out_c": CHANNELS, "low": -128, "high": 127, "signed": 7}
    image = image_of(Opcode.CONV_INT8, *parts, **shape)
    protection = Protection(code="in_place_64_57", scrub_period=0, abft=True)
    assert execute(image, protection) == ("rr", 0)
    assert execute(image, protection, strike("weights", 3)) == ("rr", 1)
