"""The door to numba: intrinsics against their twins, and the cache that knows its sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node import jit
from node.kernel_modules import KERNELS, PARTS, USUAL_MODULES, warm_up_modules
from tests.naive.inference import fma_f32 as naive_fma

floats = st.floats(width=32, allow_nan=True, allow_infinity=True)


@jit.kernel
def fma(a, b, c):
    return jit.fma_f32(a, b, c)


@jit.kernel
def popcount(word):
    return jit.popcount_u64(word)


@jit.kernel
def from_bits(bits):
    return jit.f32_from_bits(bits)


@jit.kernel
def quotient(a, b):
    return a / b


@jit.kernel
def start_of_second_half(values):
    return halves(values)[1][0]


@jit.kernel
def halves(values):
    return values[: len(values) // 2], values[len(values) // 2 :]


@jit.allocating_kernel
def twice(values):
    doubled = np.empty(2 * len(values), values.dtype)
    for i in range(len(doubled)):
        doubled[i] = values[i % len(values)]
    return doubled.sum()


@jit.kernel
def allocates(count):
    return np.zeros(count, np.int64).sum()


def test_a_kernel_takes_views_apart() -> None:
    assert start_of_second_half(np.arange(8)) == 4


def test_only_an_allocating_kernel_allocates() -> None:
    assert twice(np.arange(4)) == 12
    with pytest.raises(numba.TypingError, match="zeros"):
        allocates(3)


@given(floats, floats, floats)
@settings(max_examples=500, deadline=None)
def test_fma_rounds_once(a: float, b: float, c: float) -> None:
    a, b, c = np.float32(a), np.float32(b), np.float32(c)
    with np.errstate(all="ignore"):
        want = naive_fma(a, b, c)
    got = np.float32(fma(a, b, c))
    assert np.isnan(got) if np.isnan(want) else got.tobytes() == want.tobytes()


def test_fma_differs_from_two_roundings() -> None:
    a = np.float32(1 + 2**-12)
    assert fma(a, a, -np.float32(a * a)) == np.float32(2**-24)


@given(st.integers(0, 2**64 - 1))
@settings(deadline=None)
def test_popcount(word: int) -> None:
    assert popcount(np.uint64(word)) == word.bit_count()


@given(st.integers(-(2**63), 2**63 - 1))
@settings(deadline=None)
def test_float_from_its_bits(bits: int) -> None:
    want = np.uint32(bits & 0xFFFFFFFF).view(np.float32)
    got = np.float32(from_bits(np.int64(bits)))
    assert np.isnan(got) if np.isnan(want) else got.tobytes() == want.tobytes()


def test_division_by_zero_gives_what_numpy_gives() -> None:
    assert quotient(np.float32(1), np.float32(0)) == np.inf
    assert np.isnan(quotient(np.float32(0), np.float32(0)))


def test_hash_changes_with_any_kernel_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "node"
    shutil.copytree(KERNELS, copy / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(jit, "KERNELS", copy / "kernels")
    before = jit.source_hash()
    assert jit.source_hash() == before
    leaf = copy / "kernels" / "inference" / "gather.py"
    leaf.write_text(leaf.read_text() + "\n")
    assert jit.source_hash() != before


def test_cache_folder_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "given"))
    assert jit.choose_cache_directory() == tmp_path / "given" / jit.source_hash()
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert jit.choose_cache_directory() == tmp_path / "xdg" / "flightnode" / jit.source_hash()


def test_a_folder_that_cannot_be_made_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder can be made below a file")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(blocked))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert jit.choose_cache_directory().parent == tmp_path / "flightnode"
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setattr(jit.tempfile, "gettempdir", lambda: str(blocked))
    with pytest.raises(OSError, match="NUMBA_CACHE_DIR"):
        jit.choose_cache_directory()


def test_a_cache_is_cold_until_something_was_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "CACHE_DIRECTORY", tmp_path)
    assert jit.is_cold()
    (tmp_path / "kernels_5f").mkdir()
    (tmp_path / "kernels_5f" / "crc.update-31.py311.nbi").touch()
    assert not jit.is_cold()


def test_every_module_that_can_warm_is_found_once() -> None:
    modules = warm_up_modules()
    assert len(set(modules)) == len(modules)
    assert {*USUAL_MODULES, *PARTS} < set(modules)
    assert "node.kernels.inference.general.interpreter" in modules


def test_warm_up_reports_each_module_and_a_second_process_loads_what_the_first_compiled() -> None:
    seen: list[str] = []
    report = jit.warm_up(lambda name, seconds: seen.append(name), USUAL_MODULES)
    assert tuple(seen) == USUAL_MODULES
    assert report.kernels > 10
    assert report.directory.is_dir()
    code = (
        "from node import jit, kernel_modules as k;"
        "r = jit.warm_up(modules=k.USUAL_MODULES); print(r.compiled, r.loaded > 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=KERNELS.parents[1],
        env=os.environ | {"PYTHONPATH": str(KERNELS.parents[1])},
    )
    assert done.stdout.split() == ["0", "True"]
