"""The user's own answer to "was this wrong output critical?", given as ``critical = "module:function"``.

The function is called as ``function(golden, delivered, index)`` for each delivered output that differs from golden,
and gives True when the difference is critical. ``golden`` and ``delivered`` are dicts from output name to numpy
array, ``index`` is the number of the sample in the inputs file.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from firmware_bridge.errors import ConfigError
from hil.toml_file import advice

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    Outputs = Mapping[str, NDArray[np.generic]]
    Predicate = Callable[[Outputs, Outputs, int], bool]


def predicate_source(critical: str, directory: Path) -> Path | None:
    """Give the file or package folder beside the campaign that holds the predicate; None if it is installed."""
    top = critical.partition(":")[0].partition(".")[0]
    for path in (directory / f"{top}.py", directory / top):
        if path.exists():
            return path
    return None


def load_predicate(critical: str, directory: Path, where: str) -> Predicate:
    """Import the user's predicate.

    Parameters
    ----------
    critical : str
        ``module:function``.
    directory : Path
        The campaign's folder; it is searched first, and again each time, so that two campaigns may each have
        a module of the same name.
    where : str
        File and table, for messages.

    Raises
    ------
    ConfigError
        For text of another form, a module that cannot be imported, or a name that is no function in it.
    """
    name, colon, function = critical.partition(":")
    if not colon:
        hint = advice(critical, ("top1", "labels", "tolerance", "module:function"))
        raise ConfigError(f"{where}: critical = {critical!r}: no such rule; {hint}")
    module = _import(name, directory, f"{where}: critical = {critical!r}")
    found = getattr(module, function, None)
    if not callable(found):
        raise ConfigError(f"{where}: critical = {critical!r}: module {name} has no function {function!r}")
    return found  # type: ignore[no-any-return]


def guarded(critical: str, predicate: Predicate) -> Predicate:
    """Give a predicate whose failures are the user's to correct, and whose prints stay out of the results.

    Raises
    ------
    ConfigError
        When called, if the user's function raises or gives nothing that is true or false; names function and line.
    """

    def ask(golden: Outputs, delivered: Outputs, index: int) -> bool:
        try:
            with redirect_stdout(sys.stderr):
                return bool(predicate(golden, delivered, index))
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise ConfigError(
                f"[workload]: critical = {critical!r} failed on sample {index}: {type(error).__name__}: {error} "
                f"({place.filename}, line {place.lineno}); it is called as function(golden, delivered, index) "
                "and gives True or False"
            ) from error

    return ask


def _import(name: str, directory: Path, where: str) -> ModuleType:
    local = predicate_source(f"{name}:", directory) is not None
    if local:
        _forget(name.partition(".")[0], directory)
    with _searched_first(directory):
        try:
            return importlib.import_module(name)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's module may fail in any way
            raise ConfigError(
                f"{where}: cannot import {name}: {type(error).__name__}: {error}; "
                f"put {name.partition('.')[0]}.py into {directory} or install it"
            ) from None


def _forget(top: str, directory: Path) -> None:
    """Drop a module of this name that came from another campaign's folder."""
    held = sys.modules.get(top)
    origin = getattr(held, "__file__", None)
    if held is None or (origin is not None and directory.resolve() in Path(origin).resolve().parents):
        return
    for key in [key for key in sys.modules if key == top or key.startswith(f"{top}.")]:
        del sys.modules[key]


@contextmanager
def _searched_first(directory: Path) -> Iterator[None]:
    sys.path.insert(0, str(directory))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with suppress(ValueError):  # the user's module may have changed the path
            sys.path.remove(str(directory))
