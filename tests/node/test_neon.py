"""Inner loops on the processors of a Raspberry Pi 4 and 5: the products, and no register spilled to the stack."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import llvmlite.binding as llvm
import pytest

from hil.boards.qemu.kernels import FEATURES
from node.jit import with_dot_products

SCRIPT = Path(__file__).with_name("neon_assembly.py")
INFERENCE = "node.kernels.inference"
SWEEPS = "node.kernels.codes.sweeps"
TILES = [f"{INFERENCE}.tiles_int8:tile_int8", f"{INFERENCE}.tiles_int8:row_wide_int8"]
OTHERS = [
    f"{INFERENCE}.tiles_f32:tile_f32",
    f"{INFERENCE}.tiles_f32:row_wide_f32",
    *(f"{SWEEPS}:{name}_scan" for name in ("parity", "diagonal", "symbols", "chipkill", "hsiao")),
]
ROWS, REGISTERS = 4, 4
"""Rows of a tile, and registers of four lanes that sixteen columns take."""
A72, A76 = FEATURES


def target_is_missing() -> bool:
    llvm.initialize_all_targets()
    try:
        llvm.Target.from_triple("aarch64-unknown-linux-gnu")
    except RuntimeError:
        return True
    return False


pytestmark = pytest.mark.skipif(target_is_missing(), reason="this llvmlite compiles for its own processor alone")


def loops_of(text: str) -> list[list[str]]:
    """Give the instructions of each loop that holds no other, in order."""
    lines = [line.split("//")[0].strip() for line in text.splitlines()]
    labels = {line[:-1]: at for at, line in enumerate(lines) if line.endswith(":")}
    jumps = [(at, re.search(r"(\.LBB\w+)$", line)) for at, line in enumerate(lines) if not line.endswith(":")]
    spans = [(labels[found[1]], at) for at, found in jumps if found and labels.get(found[1], at) < at]
    inner = [(a, b) for a, b in spans if not any((a, b) != (c, d) and a <= c and d <= b for c, d in spans)]
    return [[line for line in lines[a : b + 1] if line and line[0] != "." and line[-1] != ":"] for a, b in inner]


def compiled(processor: str, names: list[str]) -> dict[str, list[list[str]]]:
    """Give the inner loops of micro-kernels by name."""
    command = [sys.executable, SCRIPT, processor, FEATURES[processor], *names]
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    functions = re.split(r"^(\w+):", done.stdout, flags=re.MULTILINE)[1:]
    return {name: loops_of(text) for name, text in zip(functions[::2], functions[1::2], strict=True)}


@pytest.fixture(scope="module")
def pi4() -> dict[str, list[list[str]]]:
    return compiled(A72, TILES + OTHERS)


@pytest.fixture(scope="module")
def pi5() -> dict[str, list[list[str]]]:
    return compiled(A76, [*TILES, f"{INFERENCE}.sliding_int8:line_int8"])


def busiest(loops: list[list[str]], *products: str) -> tuple[int, int]:
    """Give how many products the loop with most of them has, and how many instructions in all; no stack in any."""
    counts = [Counter(line.split()[0] for line in loop) for loop in loops]
    assert not [line for loop in loops for line in loop if re.search(r"\[sp\b", line)]
    return max((sum(count[name] for name in products), sum(count.values())) for count in counts)


@pytest.mark.parametrize("name", ["tile_f32", "row_wide_f32"])
def test_floats_are_multiplied_and_added_at_once(pi4, name: str) -> None:
    products, instructions = busiest(pi4[name], "fmla")
    assert products == ROWS * REGISTERS
    assert instructions <= products + 21  # sixteen loads of a row's weights, and five of counting


@pytest.mark.parametrize("name", ["tile_int8", "row_wide_int8"])
def test_bytes_are_multiplied_four_at_a_time_where_the_processor_can(pi5, name: str) -> None:
    products, instructions = busiest(pi5[name], "sdot")
    assert products == ROWS * REGISTERS
    assert instructions <= (40 if name == "tile_int8" else 70)


def test_the_columns_of_a_window_are_multiplied_three_bytes_at_a_time(pi5) -> None:
    products, instructions = min(
        (Counter(line.split()[0] for line in loop)["sdot"], len(loop)) for loop in pi5["line_int8"]
    )
    assert products == 3 * REGISTERS
    assert instructions <= 115  # a third of them to round, a seventh for what there is no register for


@pytest.mark.parametrize("name", ["tile_int8", "row_wide_int8"])
def test_bytes_are_widened_once_where_it_cannot(pi4, name: str) -> None:
    products, instructions = busiest(pi4[name], "smlal", "smlal2")
    assert products == 4 * ROWS * REGISTERS
    assert instructions <= (90 if name == "tile_int8" else 120)


@pytest.mark.parametrize("name", ["parity", "diagonal", "symbols", "chipkill", "hsiao"])
def test_vertical_codes_add_up_in_registers(pi4, name: str) -> None:
    sums, _ = busiest(pi4[f"{name}_scan"], "eor")
    assert sums >= 63


@pytest.mark.parametrize(
    ("features", "cpuinfo", "wanted"),
    [
        ("+neon", "processor : 0\nFeatures : fp asimd crc32 asimddp\n", "+neon,+dotprod"),
        ("+neon,+dotprod", "Features\t: asimddp", "+neon,+dotprod"),
        ("+neon", "Features : fp asimd crc32", "+neon"),
        ("+avx2", "flags : asimddp", "+avx2"),
    ],
)
def test_what_linux_says_of_the_processor_is_taken(features: str, cpuinfo: str, wanted: str) -> None:
    assert with_dot_products(features, cpuinfo) == wanted
