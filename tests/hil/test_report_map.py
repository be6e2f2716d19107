"""The map of bits and layers: every struck bit lands on the line and the position it belongs to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import DataError
from hil.report.summary import summarise
from hil.report.vulnerability import MapRow, VulnerabilityMap, together
from tests.hil.synthetic_results import CHECK, STEP_NAMES, TENSORS, fault, header, task, trial, write


def _rows(*faults: tuple, failed: bool = False) -> tuple[MapRow, ...]:
    counted = VulnerabilityMap(header(task("none", "none"), task("parity", own=(CHECK,))))
    for struck in faults:
        counted.add(struck, failed=failed)
    return counted.rows()


@pytest.mark.parametrize("tensor", TENSORS, ids=lambda tensor: tensor.name)
def test_first_and_last_bit_of_a_tensor(tensor) -> None:
    width = int(tensor.dtype.removeprefix("int"))
    first, last = 8 * tensor.offset, 8 * (tensor.offset + tensor.size_bytes) - 1
    [row] = _rows((fault(bit=first),), (fault(bit=last),))
    assert (row.place, row.layer) == (tensor.name, STEP_NAMES[tensor.step])
    assert row.struck == (1, *[0] * (width - 2), 1)


def test_the_gap_between_tensors_belongs_to_none() -> None:
    first, row = _rows((fault(bit=8 * 150 + 3),), (fault(bit=8 * 9000),), (fault(bit=8 * 5000),))
    assert first.place == "dense.weight"
    assert (row.place, row.layer, row.struck) == ("between tensors", "", (1, 0, 0, 1, 0, 0, 0, 0))


@given(bit=st.integers(0, 31), index=st.integers(0, 15))
def test_a_position_is_the_value_of_the_bit(bit: int, index: int) -> None:
    """Oracle: numpy sets the bit in the integer, and the byte image shows which bit of the region that is."""
    values = np.zeros(16, "<i4")
    values[index] = np.array(1 << bit, "<u4").view("<i4")
    [region_bit] = np.flatnonzero(np.unpackbits(values.view(np.uint8), bitorder="little"))
    [row] = _rows((fault(bit=8 * 192 + int(region_bit)),))
    assert row.struck.index(1) == bit


def test_activations_are_told_apart_by_their_moment() -> None:
    rows = _rows(*((fault("activations", 16 + step, step=step),) for step in (4, 0, 2)))
    assert [(row.region, row.place) for row in rows] == [
        ("activations", "conv1"),
        ("activations", "conv2"),
        ("activations", "after the last step"),
    ]
    assert [row.struck.index(1) for row in rows] == [0, 2, 4]


def test_other_regions_have_one_line_each_in_memory_order() -> None:
    rows = _rows((fault("process", 1),), (fault("check.weights", 9),), (fault("steps", 64),), (fault(bit=1),))
    assert [row.region for row in rows] == ["weights", "steps", "check.weights", "process"]


def test_a_trial_counts_once_per_position() -> None:
    twice = (fault(bit=0), fault(bit=8), fault(bit=3))
    [row] = _rows(twice, failed=True)
    assert row.struck == row.failed == (1, 0, 0, 1, 0, 0, 0, 0)


def test_failures_are_counted_where_they_were_caused(tmp_path: Path) -> None:
    rows = (trial("none", 0, "CRASH", faults=(fault(bit=7),)), trial("none", 1, faults=(fault(bit=7),)))
    [row] = summarise(write(tmp_path, header(), *rows)).tasks[0].map_rows
    assert (row.struck[7], row.failed[7]) == (2, 1)


def test_an_impossible_line_is_refused() -> None:
    with pytest.raises(DataError, match="more failed than struck"):
        MapRow(region="weights", place="w", layer="", struck=(1,), failed=(2,))
    with pytest.raises(DataError, match="number of positions"):
        MapRow(region="weights", place="w", layer="", struck=(1,), failed=(0, 0))


def test_lines_add_up_position_by_position() -> None:
    rows = _rows((fault(bit=0),), (fault(bit=0),), (fault(bit=8 * 5000 + 7),), failed=True)
    total = together(rows)
    assert (total.struck, total.failed) == ((2, 0, 0, 0, 0, 0, 0, 1),) * 2


def test_a_region_that_no_task_lists_comes_last() -> None:
    counted = VulnerabilityMap(header(task("none", "none")))
    counted.add((fault("process", 0), fault("activations", 0, step=1)), failed=False)
    assert [row.region for row in counted.rows()] == ["activations", "process"]
