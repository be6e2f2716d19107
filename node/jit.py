"""The one door to numba: the ``kernel`` decorator, a few LLVM intrinsics, warm-up and the compile cache.

Compiled kernels are cached on disk in a folder named by a hash of every kernel source, because numba's own
index looks at one file alone and would keep a kernel whose callee in another file has changed. The folder
lies in ``NUMBA_CACHE_DIR`` where that is set, else in ``$XDG_CACHE_HOME/flightnode`` (``~/.cache/flightnode``
without it), else, where that cannot be written, in the system's temporary folder.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic as numba_intrinsic
from numba.np.arrayobj import populate_array

from node.kernel_modules import KERNELS, warm_up_modules

__all__ = [
    "CacheReport",
    "allocating_kernel",
    "array_at",
    "bits_of_f64",
    "cache_report",
    "call_at",
    "cgutils",
    "choose_cache_directory",
    "cpu_features",
    "entry_of",
    "f32_from_bits",
    "f64_from_bits",
    "fma_f32",
    "inlined_kernel",
    "intrinsic",
    "ir",
    "kernel",
    "popcount_u64",
    "run_at",
    "source_hash",
    "types",
    "vector_bits",
    "warm_up",
    "with_dot_products",
]

F = TypeVar("F", bound=Callable[..., Any])


def kernel_sources() -> tuple[Path, ...]:
    """Give every file whose text decides what is compiled, sorted."""
    return tuple(sorted([*KERNELS.rglob("*.py"), Path(__file__).resolve()]))


def source_hash() -> str:
    """Give 16 hexadecimal digits that change whenever a kernel source changes."""
    digest = hashlib.sha256()
    for path in kernel_sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _cache_bases() -> list[Path]:
    given = os.environ.get("NUMBA_CACHE_DIR")
    home = os.environ.get("XDG_CACHE_HOME")
    bases = [Path(given)] if given else []
    if home:
        bases.append(Path(home) / "flightnode")
    elif Path("~").expanduser() != Path("~"):
        bases.append(Path("~/.cache/flightnode").expanduser())
    return [*bases, Path(tempfile.gettempdir()) / f"flightnode-{os.getuid()}"]


def choose_cache_directory() -> Path:
    """Give the first writable cache folder for the present kernel sources, making it.

    Raises
    ------
    OSError
        When not even the temporary folder can be written.
    """
    failure: OSError | None = None
    for base in _cache_bases():
        folder = base / source_hash()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            failure = error
    raise OSError(f"no folder for compiled kernels can be written, set NUMBA_CACHE_DIR: {failure}")


CACHE_DIRECTORY = choose_cache_directory()
numba.config.CACHE_DIR = str(CACHE_DIRECTORY)  # type: ignore[attr-defined]


def with_dot_products(features: str, cpuinfo: str) -> str:
    """Give LLVM's features of this processor with Arm's products of four bytes where Linux knows of them.

    LLVM does not always read that from Linux. A Raspberry Pi 5 has them, a Pi 4 has not.

    Examples
    --------
    >>> with_dot_products("+neon", "Features : fp asimd asimddp")
    '+neon,+dotprod'
    """
    known = any("asimddp" in line.split() for line in cpuinfo.splitlines() if line.startswith("Features"))
    return f"{features},+dotprod" if known and "+dotprod" not in features.split(",") else features


def _name_dot_products() -> None:
    if numba.config.CPU_FEATURES is None and platform.machine() == "aarch64":  # type: ignore[attr-defined]
        listed = get_host_cpu_features()  # type: ignore[no-untyped-call]
        numba.config.CPU_FEATURES = with_dot_products(listed, Path("/proc/cpuinfo").read_text())  # type: ignore[attr-defined]


_name_dot_products()

_kernels: list[Any] = []


def kernel(function: F) -> F:
    """Compile a function on its first call for the argument types it meets; keep the code on disk.

    The function is total arithmetic without the interpreter lock: no bounds checks, no reordering or
    contraction of float operations, and division by zero gives what numpy gives. It counts no references, since
    the caller holds every array as long as the call lasts: the atomic counts of a view cost more than the work on
    a few bytes. So it cannot allocate; what must is an :func:`allocating_kernel`.

    Examples
    --------
    A kernel lives in a file of ``node/kernels``, since its compiled form is kept beside the file's stamp::

        @kernel
        def twice(x: int) -> int:
            return x + x
    """
    return _compiled(function, counted=False)


def allocating_kernel(function: F) -> F:
    """Compile as :func:`kernel` what makes an array, or takes one from a function that does."""
    return _compiled(function, counted=True)


def inlined_kernel(function: F) -> F:
    """Compile as :func:`kernel` what becomes a part of its callers: a call with ten arrays copies a hundred words."""
    return _compiled(function, counted=False, forceinline=True)


def _compiled(function: F, *, counted: bool, forceinline: bool = False) -> F:
    # numba's annotations leave out _nrt, the switch of its runtime that counts references. Nobody calls kernels from C,
    # and the wrappers for that take a tenth of the time to compile.
    options: dict[str, Any] = {"_nrt": counted, "forceinline": forceinline, "no_cfunc_wrapper": True}
    compiled = numba.njit(
        function, cache=True, nogil=True, boundscheck=False, fastmath=False, error_model="numpy", **options
    )
    for_arguments = compiled.get_call_template

    def for_types(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        # Else a kernel called with 4 here and with 1 there is compiled twice, and each of its callers with it.
        return for_arguments(tuple(map(_without_value, arguments)), keywords)

    compiled.get_call_template = for_types
    _kernels.append(compiled)
    return cast(F, compiled)


def _without_value(kind: Any) -> Any:
    """Give the type of an argument, without the value where that is known while compiling."""
    return types.unliteral(kind)  # type: ignore[no-untyped-call]


def entry_of(compiled: Any, *arguments: Any) -> int:
    """Give the address of a kernel for the types of some arguments, compiling it if it has to be.

    A kernel that calls another by its address does not hold a copy of it, as it does of those that it names. For
    this process alone; the kernel stays loaded.
    """
    signature = tuple(numba.typeof(argument) for argument in arguments)  # type: ignore[no-untyped-call]
    compiled.compile(signature)
    found = compiled.overloads[signature]
    return int(found.library.get_pointer_to_function(found.fndesc.llvm_func_name))


def cpu_features() -> frozenset[str]:
    """Give LLVM's names of what the processor offers that kernels are compiled for."""
    given = numba.config.CPU_FEATURES  # type: ignore[attr-defined]
    if given is None:
        given = get_host_cpu_features()  # type: ignore[no-untyped-call]
    listed = given.split(",")
    return frozenset(feature[1:] for feature in listed if feature.startswith("+"))


def vector_bits() -> int:
    """Give the width of the vector registers that kernels are compiled for: 512, 256 or 128."""
    features = cpu_features()
    return 512 if {"avx512f", "avx512bw"} <= features else 256 if "avx2" in features else 128


def intrinsic(typing_function: Callable[..., Any]) -> Any:
    """Make an intrinsic whose type says no more than numba knows: what it is called with inside a kernel."""
    return numba_intrinsic(typing_function)


@intrinsic
def fma_f32(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """Give a * b + c of three float32 with one rounding (IEEE 754 fusedMultiplyAdd)."""
    del typing_context
    if (a, b, c) != (types.float32,) * 3:
        return None

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        single = ir.FloatType()
        llvm = ir.FunctionType(single, [single] * 3)
        fused = builder.module.declare_intrinsic("llvm.fma", [single], llvm)
        return builder.call(fused, arguments)

    return types.float32(types.float32, types.float32, types.float32), codegen


@intrinsic
def popcount_u64(typing_context: Any, word: Any) -> Any:
    """Give the number of ones in an uint64, as an uint64."""
    del typing_context
    if word != types.uint64:
        return None

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), codegen


@intrinsic
def f32_from_bits(typing_context: Any, bits: Any) -> Any:
    """Give the float32 whose bits are the low 32 bits of an int64."""
    del typing_context
    if bits != types.int64:
        return None

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.bitcast(builder.trunc(arguments[0], ir.IntType(32)), ir.FloatType())

    return types.float32(types.int64), codegen


@intrinsic
def f64_from_bits(typing_context: Any, bits: Any) -> Any:
    """Give the float64 whose bits are those of an int64."""
    del typing_context
    if bits != types.int64:
        return None

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), codegen


@intrinsic
def bits_of_f64(typing_context: Any, value: Any) -> Any:
    """Give the bits of a float64 as an int64."""
    del typing_context
    if value != types.float64:
        return None

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def array_at(typing_context: Any, place: Any, shape: Any, kind: Any) -> Any:
    """Give the array at an address, from a tuple of its sizes and the type of its elements; nobody's memory is held."""
    del typing_context, place
    array_type = types.Array(kind.dtype, len(shape), "C")

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        array = context.make_array(array_type)(context, builder)
        item = context.get_abi_sizeof(context.get_data_type(kind.dtype))
        sizes = cgutils.unpack_tuple(builder, arguments[1])  # type: ignore[no-untyped-call]
        strides = [ir.IntType(64)(item)]
        for size in sizes[:0:-1]:
            strides.insert(0, builder.mul(strides[0], size))
        data = builder.inttoptr(arguments[0], array.data.type)
        populate_array(array, data, sizes, strides, item, None)  # type: ignore[no-untyped-call]
        return array._getvalue()

    return array_type(types.int64, shape, kind), codegen


def _make_call(result: Any) -> Any:
    @intrinsic
    def call(typing_context: Any, entry: Any, arguments: Any) -> Any:
        del typing_context
        arguments = _without_value(arguments)
        kinds = tuple(arguments)

        def codegen(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            convention = context.call_conv
            function = convention.get_function_type(signature.return_type, kinds)
            callee = builder.inttoptr(given[0], function.as_pointer())
            values = cgutils.unpack_tuple(builder, given[1])  # type: ignore[no-untyped-call]
            status, value = convention.call_function(builder, callee, signature.return_type, kinds, values)
            with cgutils.if_unlikely(builder, status.is_error):  # type: ignore[no-untyped-call]
                convention.return_status_propagate(builder, status)
            return value

        return result(entry, arguments), codegen

    return call


call_at = _make_call(types.int64)
"""Call the kernel at an address (:func:`entry_of`) with a tuple of its very arguments; give its int64.

So a kernel can call others without being compiled together with them.
"""

run_at = _make_call(types.none)
"""As :data:`call_at` for a kernel that gives nothing."""


@dataclass(frozen=True, kw_only=True)
class CacheReport:
    """Where compiled kernels lie and how many of those used so far came from there.

    Parameters
    ----------
    directory : Path
        The folder for the present sources.
    kernels : int
        Functions decorated with :func:`kernel` that are imported.
    loaded, compiled : int
        Specialisations taken from the folder, and those that had to be compiled.
    """

    directory: Path
    kernels: int
    loaded: int
    compiled: int


def cache_report() -> CacheReport:
    """Give the state of the compile cache for this process."""
    stats = [compiled.stats for compiled in _kernels if hasattr(compiled, "stats")]
    return CacheReport(
        directory=CACHE_DIRECTORY,
        kernels=len(_kernels),
        loaded=sum(sum(entry.cache_hits.values()) for entry in stats),
        compiled=sum(sum(entry.cache_misses.values()) for entry in stats),
    )


def is_cold() -> bool:
    """Tell whether nothing has been compiled yet for the present sources."""
    return next(CACHE_DIRECTORY.rglob("*.nbi"), None) is None


def warm_up(progress: Callable[[str, float], None] | None = None, modules: Sequence[str] | None = None) -> CacheReport:
    """Compile or load kernels, module by module, by calling the ``warm`` function of each.

    Parameters
    ----------
    progress : callable, optional
        Called after each module with its name and the seconds it took.
    modules : sequence of str, optional
        Which modules; all of :func:`node.kernel_modules.warm_up_modules` where not given.
    """
    for name in warm_up_modules() if modules is None else modules:
        start = time.perf_counter()
        importlib.import_module(name).warm()
        if progress is not None:
            progress(name, time.perf_counter() - start)
    return cache_report()
