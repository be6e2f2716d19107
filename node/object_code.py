"""Machine code in files of its own: kept, and put where it can be called, without anything that compiled it.

numba's own files hold what other kernels are compiled with, too: reading that takes most of the time.
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import Any

from llvmlite import binding


def name_place(symbol: str, place: int) -> None:
    """Let code refer to a place in the memory of this process by a name."""
    binding.add_symbol(symbol, place)


def host() -> str:
    """Give LLVM's name of this processor."""
    return str(binding.get_host_cpu_name())


def keep(path: Path, function: str, code: bytes) -> None:
    """Write object code, and the name of the function in it that is to be called; all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    named = function.encode() + b"\n" + code
    unfinished.write_bytes(hashlib.sha256(named).digest() + named)
    unfinished.replace(path)


def is_kept(path: Path) -> bool:
    """Tell whether there is such a file, whole: the power may fail while a board compiles."""
    return bool(_read(path))


def load(path: Path) -> int:
    """Give the address of the function in such a file, 0 where there is no whole one."""
    named = _read(path)
    if not named:
        return 0
    name, code = named.split(b"\n", 1)
    engine = _engine()
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return int(engine.get_function_address(name.decode()))


def _read(path: Path) -> bytes:
    """Give the named code in a file; nothing where there is none, or it is not what was written."""
    try:
        held = path.read_bytes()
    except FileNotFoundError:
        return b""
    size = hashlib.sha256().digest_size
    return held[size:] if hashlib.sha256(held[size:]).digest() == held[:size] else b""


@functools.cache
def _engine() -> Any:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine()
    nothing = binding.parse_assembly("")
    return binding.create_mcjit_compiler(nothing, machine)
