"""Fault space: every struck bit of a layout exactly once, and exposure in proportion."""

from __future__ import annotations

import subprocess
import sys

import pytest

from firmware_bridge.errors import ConfigError, DataError
from hil.strikes import SHARED, Cells, FaultSpace
from node.arena import Layout, Region


def layout(*own: Region) -> Layout:
    shared = [
        Region(name="weights", kind="weights", size_bytes=1001),  # an odd size leaves an alignment gap
        Region(name="activations", kind="activations", size_bytes=300),
        Region(name="steps", kind="steps", size_bytes=64),
    ]
    return Layout.place([*shared, *own])


def own(name: str, size_bytes: int, kind: str = "check", technology: str = "dram") -> Region:
    return Region(name=name, kind=kind, size_bytes=size_bytes, own=True, technology=technology)


CHECKS = (own("check.weights", 126), own("check.steps", 8))
CHECKPOINT = own("checkpoint", 2000, kind="checkpoint", technology="flash")


def test_the_shared_space_leaves_no_gap_and_repeats_nothing():
    space = FaultSpace.of(layout(), strike_regions=("weights", "activations", "steps"))
    assert space.shared_bits == 8 * (1001 + 300 + 64)
    found = [space.locate(SHARED, cell) for cell in range(space.shared_bits)]
    wanted = [(cells, bit) for cells in space.shared for bit in range(cells.bits)]
    assert found == wanted
    assert [cells.region for cells in space.shared] == ["weights", "activations", "steps"]


def test_by_default_weights_and_activations_are_struck_in_layout_order():
    space = FaultSpace.of(layout(*CHECKS))
    swapped = FaultSpace.of(layout(*CHECKS), strike_regions=("activations", "weights"))
    assert [cells.region for cells in space.shared] == ["weights", "activations"]
    assert swapped == space


@pytest.mark.parametrize(
    ("struck", "own_names", "left_out"),
    [
        (("weights", "activations"), ["check.weights", "checkpoint", "padding"], ("steps", "check.steps")),
        (("steps",), ["check.steps", "checkpoint", "padding"], ("weights", "activations", "check.weights")),
        (("weights", "steps"), ["check.weights", "check.steps", "checkpoint", "padding"], ("activations",)),
    ],
)
def test_check_bits_follow_what_they_guard_and_the_rest_is_always_struck(struck, own_names, left_out):
    space = FaultSpace.of(layout(*CHECKS, CHECKPOINT, own("padding", 50, kind="padding")), strike_regions=struck)
    assert [cells.region for cells in space.own] == own_names
    assert space.left_out == left_out


def test_an_own_region_is_a_space_from_zero():
    space = FaultSpace.of(layout(*CHECKS))
    check = Cells(region="check.weights", bits=8 * 126)
    assert space.locate("check.weights", 1007) == (check, 1007)
    assert space.cells_of("check.weights") == (check,)


@pytest.mark.parametrize(("name", "cell"), [(SHARED, -1), (SHARED, 8 * 1301), ("check.weights", 1008)])
def test_cells_that_do_not_exist_are_refused(name, cell):
    with pytest.raises(DataError, match="does not exist"):
        FaultSpace.of(layout(*CHECKS)).locate(name, cell)


def test_a_space_that_does_not_exist_is_refused():
    with pytest.raises(DataError, match=r"'padding'.*shared, check.weights"):
        FaultSpace.of(layout(*CHECKS)).locate("padding", 0)


def test_exposure_grows_with_bits_and_time():
    plain = FaultSpace.of(layout())
    larger = FaultSpace.of(layout(own("padding", 1301 // 2, kind="padding")))
    assert plain.exposure() == 1.0
    assert plain.exposure(slowdown=3.0) == 3.0
    assert larger.exposure() == pytest.approx(1.0 + 650 / 1301)
    assert larger.exposure(slowdown=2.0) == pytest.approx(2 * larger.exposure())
    assert sum(cells.bits for cells in larger.own) == 8 * 650


def test_a_technology_has_its_own_rate():
    rates = {"dram": 2.0, "flash": 0.5}
    space = FaultSpace.of(layout(CHECKPOINT), technology_rates=rates)
    assert space.exposure() == pytest.approx(1.0 + 2000 / 1301 * 0.25)
    assert FaultSpace.of(layout(CHECKPOINT), technology_rates={"dram": 4, "flash": 1}).exposure() == space.exposure()
    assert FaultSpace.of(layout(CHECKPOINT), technology_rates={"dram": 1, "flash": 0}).exposure() == 1.0


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ({"dram": 1.0}, "no rate for 'flash'.*'checkpoint'"),
        ({"dram": 0.0, "flash": 1.0}, "dram = 0"),
        ({"dram": -1.0, "flash": 1.0}, "dram = -1.0"),
        ({"dram": "high", "flash": 1.0}, "rate per bit"),
    ],
)
def test_bad_rates_say_what_to_do(rates, words):
    with pytest.raises(ConfigError, match=words):
        FaultSpace.of(layout(CHECKPOINT), technology_rates=rates)


def test_unknown_strike_regions_name_the_nearest():
    with pytest.raises(ConfigError, match=r"'weigths'.*did you mean 'weights'"):
        FaultSpace.of(layout(), strike_regions=("weigths",))
    with pytest.raises(ConfigError, match=r"'check\.weights' is not one of weights, activations, steps"):
        FaultSpace.of(layout(*CHECKS), strike_regions=("check.weights",))


def test_an_empty_space_is_refused():
    with pytest.raises(DataError, match="nothing can be struck"):
        FaultSpace.of(layout(), strike_regions=())


def test_mixed_technologies_of_shared_cells_are_refused():
    cells = (Cells(region="weights", bits=8), Cells(region="state", bits=8, technology="cache"))
    with pytest.raises(DataError, match="several technologies"):
        FaultSpace(shared=cells)


def test_strikes_need_no_numpy():
    code = "import sys, hil.strikes, hil.stats; sys.exit(any(m in sys.modules for m in ('numpy', 'scipy', 'numba')))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
