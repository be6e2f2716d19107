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

from node import compiling, jit, kernel_cache
from node.kernel_modules import KERNELS, USUAL_MODULES, warm_up_modules
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
    monkeypatch.setattr(kernel_cache, "KERNELS", copy / "kernels")
    before = kernel_cache.source_hash()
    assert kernel_cache.source_hash() == before
    leaf = copy / "kernels" / "inference" / "gather.py"
    leaf.write_text(leaf.read_text() + "\n")
    assert kernel_cache.source_hash() != before


def test_cache_folder_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "given"))
    assert kernel_cache.choose_cache_directory() == tmp_path / "given" / kernel_cache.source_hash()
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert kernel_cache.choose_cache_directory() == tmp_path / "xdg" / "flightnode" / kernel_cache.source_hash()


def test_a_folder_that_cannot_be_made_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder can be made below a file")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(blocked))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kernel_cache.choose_cache_directory().parent == tmp_path / "flightnode"
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setattr(kernel_cache.tempfile, "gettempdir", lambda: str(blocked))
    with pytest.raises(OSError, match="NUMBA_CACHE_DIR"):
        kernel_cache.choose_cache_directory()


def test_what_is_kept_is_counted(tmp_path: Path) -> None:
    assert kernel_cache.kept(tmp_path) == 0
    for name in ("kernels_5f/crc.update-31.py311.nbi", "kernels_5f/crc.update-31.py311.1.nbc", "parts-5f/gather.o"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert kernel_cache.kept(tmp_path) == 2


def test_every_module_that_can_warm_is_found_once() -> None:
    modules = warm_up_modules()
    assert len(set(modules)) == len(modules)
    assert set(USUAL_MODULES) < set(modules)
    assert "node.kernels.inference.general.interpreter" in modules


def test_warm_up_reports_each_module_and_a_second_process_loads_what_the_first_compiled() -> None:
    seen: list[str] = []
    report = compiling.warm_up(lambda name, seconds: seen.append(name), USUAL_MODULES)
    assert tuple(seen) == USUAL_MODULES
    assert report.kernels > 10
    assert report.directory.is_dir()
    code = (
        "from node import compiling, kernel_modules as k;"
        "r = compiling.warm_up(modules=k.USUAL_MODULES); print(r.compiled, r.loaded > 0)"
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


@jit.part(jit.types.int64, jit.types.int64, jit.types.int64)
def difference(a, b):
    return a - b


@jit.part(jit.types.int64, jit.types.int64)
def doubled_less_one(a):
    return difference(a, 1) + a


@jit.kernel
def through_a_kernel(a):
    return doubled_less_one(a)


@jit.kernel
def through_parts(a):
    return through_a_kernel(a) + difference(a, True)


@jit.kernel
def through_a_float(value):
    return difference(value, 1)


def test_parts_are_called_by_kernels_and_by_parts() -> None:
    assert through_parts(5) == 9 + 4
    assert difference.part.path.is_file()
    assert difference.from_python(7, 9) == -2


def test_a_kernel_from_the_cache_finds_its_parts_in_a_new_process() -> None:
    """Code that is loaded refers to cells, which are filled before it runs."""
    through_parts(5)
    code = (
        "from node import jit, compiling; from tests.node import test_jit as t;"
        "print(t.through_parts(20), compiling.cache_report().compiled)"
    )
    environment = os.environ | {"PYTHONPATH": str(KERNELS.parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["58", "0"]


def test_files_cut_short_by_a_loss_of_power_are_compiled_anew(tmp_path: Path) -> None:
    """Half of an index, of a kernel's data or of object code is as good as none."""
    code = "from tests.node import test_jit as t; print(t.through_parts(20))"
    environment = os.environ | {"PYTHONPATH": str(KERNELS.parents[1]), "NUMBA_CACHE_DIR": str(tmp_path)}

    def run() -> str:
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        ).stdout.strip()

    assert run() == "58"
    files = [path for path in tmp_path.rglob("*") if path.suffix in (".nbi", ".nbc", ".o")]
    assert {path.suffix for path in files} == {".nbi", ".nbc", ".o"}
    whole = {path: path.stat().st_size for path in files}
    for kept in (0.0, 0.6):
        for path, size in whole.items():
            os.truncate(path, int(kept * size))
        assert run() == "58"
        assert {path: path.stat().st_size for path in files} == whole


def test_a_part_is_compiled_once_for_all_that_call_it() -> None:
    """A kernel that calls a part holds no copy of it."""
    through_parts(5)
    (signature,) = through_parts.overloads
    assert "sub" not in through_parts.inspect_llvm(signature)


def test_a_part_takes_its_own_types_alone() -> None:
    with pytest.raises(numba.TypingError, match="difference"):
        through_a_float(2.5)
