"""The one door to numba: the ``kernel`` decorator, parts, a few LLVM intrinsics."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import inspect
import pickle
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.caching import FunctionCache
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic as numba_intrinsic
from numba.np.arrayobj import populate_array

from node import object_code
from node.kernel_cache import choose_cache_directory

__all__ = [
    "allocating_kernel",
    "array_at",
    "bits_of_f64",
    "call_at",
    "cgutils",
    "cpu_features",
    "entry_of",
    "f32_from_bits",
    "f64_from_bits",
    "fma_f32",
    "inlined_kernel",
    "intrinsic",
    "ir",
    "kernel",
    "part",
    "popcount_u64",
    "types",
    "vector_bits",
    "with_dot_products",
]

F = TypeVar("F", bound=Callable[..., Any])


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

dispatchers: list[Any] = []
"""What numba compiles kernels with: one for calls from Python, another for calls from kernels."""

parts: list[Part] = []
"""All parts that are imported."""


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
    options = {"_nrt": counted, "forceinline": forceinline}
    compiled = _dispatcher(function, cache=True, **options)

    @functools.cache
    def inside() -> Any:
        return _dispatcher(_renamed(function), cache=True, no_cpython_wrapper=True, **options)

    def for_types(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        # Else a kernel called with 4 here and with 1 there is compiled twice, and each of its callers with it.
        return inside().get_call_template(tuple(map(types.unliteral, arguments)), keywords)

    def compile_with_parts(signature: Any) -> Any:
        _load_parts(function)
        return compile_alone(signature)

    # Kernels call a form of their own without the wrapper for calls from Python, which takes a sixth of the time to
    # compile and is of no use to them.
    compiled.get_call_template = for_types
    compiled.get_overload = lambda signature: inside().get_overload(signature)
    compile_alone, compiled.compile = compiled.compile, compile_with_parts
    compiled.is_kernel = True
    return cast(F, compiled)


def _dispatcher(function: Callable[..., Any], **options: Any) -> Any:
    # numba's annotations leave out _nrt, the switch of its runtime that counts references, and the wrappers for calls
    # from C, which nobody makes and which take a tenth of the time to compile.
    options["no_cfunc_wrapper"] = True
    made = numba.njit(function, nogil=True, boundscheck=False, fastmath=False, error_model="numpy", **options)
    if options.get("cache"):
        made._cache = _Cache(made.py_func)  # type: ignore[no-untyped-call]
    dispatchers.append(made)
    return made


_REMAINS = (
    AttributeError, EOFError, ImportError, LookupError, MemoryError, TypeError, ValueError, pickle.UnpicklingError,
)  # fmt: skip
"""What reading the remains of a pickle raises; the kernel is then compiled and kept anew."""


class _Cache(FunctionCache):
    """numba's cache, which takes files that a loss of power has damaged for none at all."""

    def _load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super()._load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except _REMAINS:
            self.flush()  # type: ignore[no-untyped-call]
            return None


def _renamed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give the same function under another name, which files of the cache are named by."""
    assert isinstance(function, FunctionType)
    same = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    same.__module__, same.__qualname__ = function.__module__, f"{function.__qualname__}_inside"
    return same


class Part:
    """A kernel that others reach by its address, which is in a cell that their code names.

    Parameters
    ----------
    function : callable
        What is compiled.
    signature : numba signature
        The only types that it is compiled for.
    """

    def __init__(self, function: Callable[..., Any], signature: Any) -> None:
        self.module = function.__module__
        self.signature = signature
        self.symbol = f"{function.__module__}.{function.__qualname__}"
        self.loaded = self.compiled = False
        self._function = function
        self._cell = ctypes.c_int64()
        object_code.name_place(self.symbol, ctypes.addressof(self._cell))

    @property
    def path(self) -> Path:
        """Where its code is kept."""
        return CACHE_DIRECTORY / f"parts-{_processor()}" / f"{self.symbol}.o"

    def compile(self) -> None:
        """Compile it where it is not kept."""
        if object_code.is_kept(self.path):
            return
        dispatcher = _dispatcher(self._function, _nrt=False, no_cpython_wrapper=True)
        dispatcher.compile(self.signature)
        found = dispatcher.overloads[self.signature.args]
        code, _ = found.library.serialize_using_object_code()[2]
        object_code.keep(self.path, found.fndesc.llvm_func_name, code)
        self.compiled = True

    def load(self) -> int:
        """Have it compiled and its address in the cell, with all parts that it calls; give the address."""
        if not self._cell.value:
            _load_parts(self._function)
            self.compile()
            self._cell.value = object_code.load(self.path)
            self.loaded = not self.compiled
        return self._cell.value

    def call(self, context: Any, builder: Any, arguments: Any) -> Any:
        """Emit a call."""
        kinds, result = self.signature.args, self.signature.return_type
        function = context.call_conv.get_function_type(result, kinds).as_pointer()
        cell = builder.module.globals.get(self.symbol)
        cell = cell or ir.GlobalVariable(builder.module, function, self.symbol)
        return _call(context, builder, builder.load(cell), (result, kinds), arguments)


@functools.cache
def _processor() -> str:
    """Give eight digits for what compiles code, and what it is compiled for."""
    name = numba.config.CPU_NAME or object_code.host()  # type: ignore[attr-defined]
    named = (numba.__version__, platform.machine(), name, sorted(cpu_features()))
    return hashlib.sha256(repr(named).encode()).hexdigest()[:8]


def part(result: Any, *arguments: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile as :func:`kernel`, for these types alone, what its callers reach by its address.

    A kernel becomes a copy in each that calls it, is optimised once more with each, and has to be compiled before
    them. A part is compiled once, and waits for nobody: for what is large, or called by many. Python calls it as
    ``name.from_python(...)``.

    Parameters
    ----------
    result, *arguments : numba types
        Exactly these, given in order; integers are converted, also in tuples.
    """
    signature = result(*arguments)

    def decorate(function: Callable[..., Any]) -> Any:
        made = Part(function, signature)

        def codegen(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
            return made.call(context, builder, given)

        def typing(_typing_context: Any, *given: Any) -> Any:
            return (signature, codegen) if all(map(_converts, given, signature.args)) else None

        first = inspect.Parameter("typing_context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(function).parameters.values()
        typing.__signature__ = inspect.Signature([first, *parameters])  # type: ignore[attr-defined]
        typing.__name__ = function.__name__
        call = intrinsic(typing)
        call.from_python, call.part = kernel(function), made
        parts.append(made)
        return call

    return decorate


def entry_of(called: Any, *arguments: Any) -> int:
    """Give the address of a part, or of a kernel for the types of some arguments, in this process."""
    if hasattr(called, "part"):
        return cast(Part, called.part).load()
    kinds = tuple(numba.typeof(argument) for argument in arguments)  # type: ignore[no-untyped-call]
    called.compile(kinds)
    found = called.overloads[kinds]
    return int(found.library.get_pointer_to_function(found.fndesc.llvm_func_name))


def _converts(given: Any, wanted: Any) -> bool:
    if hasattr(wanted, "types"):  # a tuple
        return hasattr(given, "types") and all(map(_converts, given.types, wanted.types))
    integers = isinstance(given, types.Integer | types.Boolean) and isinstance(wanted, types.Integer)
    return integers or bool(types.unliteral(given) == wanted)  # type: ignore[no-untyped-call]


def _load_parts(function: Callable[..., Any]) -> None:
    for found in _parts_within(function, set()):
        found.load()


def _parts_within(function: Any, seen: set[Any]) -> Iterator[Part]:
    """Give the parts that a function names, and those that the kernels name that it names."""
    seen.add(function)
    for value in [function.__globals__.get(name) for name in function.__code__.co_names]:
        if isinstance(getattr(value, "part", None), Part):
            yield value.part
        elif hasattr(value, "is_kernel") and value.py_func not in seen:
            yield from _parts_within(value.py_func, seen)


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


def _of_one(given: Any, result: Any, emit: Callable[[Any, Any], Any]) -> Any:
    """Make an intrinsic of one value."""

    @intrinsic
    def of_one(typing_context: Any, value: Any) -> Any:
        del typing_context
        if value != given:
            return None

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            del context, signature
            return emit(builder, arguments[0])

        return result(given), codegen

    return of_one


popcount_u64 = _of_one(types.uint64, types.uint64, lambda b, word: b.ctpop(word))
"""Give the number of ones in an uint64, as an uint64."""

f32_from_bits = _of_one(
    types.int64, types.float32, lambda b, bits: b.bitcast(b.trunc(bits, ir.IntType(32)), ir.FloatType())
)
"""Give the float32 whose bits are the low 32 bits of an int64."""

f64_from_bits = _of_one(types.int64, types.float64, lambda b, bits: b.bitcast(bits, ir.DoubleType()))
"""Give the float64 whose bits are those of an int64."""

bits_of_f64 = _of_one(types.float64, types.int64, lambda b, value: b.bitcast(value, ir.IntType(64)))
"""Give the bits of a float64 as an int64."""


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


@intrinsic
def call_at(typing_context: Any, entry: Any, arguments: Any) -> Any:
    """Call what is at an address (:func:`entry_of`) with a tuple of its very arguments; give its int64."""
    del typing_context
    arguments = types.unliteral(arguments)  # type: ignore[no-untyped-call]
    kinds = tuple(arguments)

    def codegen(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        function = context.call_conv.get_function_type(signature.return_type, kinds)
        callee = builder.inttoptr(given[0], function.as_pointer())
        values = cgutils.unpack_tuple(builder, given[1])  # type: ignore[no-untyped-call]
        return _call(context, builder, callee, (signature.return_type, kinds), values)

    return types.int64(entry, arguments), codegen


def _call(context: Any, builder: Any, callee: Any, signature: tuple[Any, Any], values: Any) -> Any:
    """Emit a call of a compiled kernel of a result and arguments of these types."""
    convention = context.call_conv
    status, result = convention.call_function(builder, callee, *signature, values)
    with cgutils.if_unlikely(builder, status.is_error):  # type: ignore[no-untyped-call]
        convention.return_status_propagate(builder, status)
    return result
