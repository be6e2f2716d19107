"""Ctrl-C at any moment, the ones included at which Python cannot raise it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

COMPILERS = (f"{os.sep}llvmlite{os.sep}", f"{os.sep}numba{os.sep}")
"""Folders of code that calls back from C, where an exception is lost or turns into another one."""

GENERATED = "<string>"
"""File of code that was made from text, as of dataclasses: an interrupt there makes Python end by the signal itself."""

SHOW_CURSOR = b"\x1b[?25h\n"
"""A progress bar hides it."""


@contextmanager
def interruptible_anywhere(exit_code: int) -> Iterator[None]:
    """Have Ctrl-C raise KeyboardInterrupt where that works, and end the process at once where it does not.

    Nothing measured is lost by an end at once: rows are with the system as soon as they are appended, and a node
    whose host is gone ends by itself.

    Parameters
    ----------
    exit_code : int
        Of a process that ends at once.
    """

    def answer(_signal: int, frame: FrameType | None) -> None:
        if _can_raise(frame):
            raise KeyboardInterrupt
        os.write(2, (SHOW_CURSOR if os.isatty(2) else b"") + b"hil: interrupted\n")
        os._exit(exit_code)

    if threading.current_thread() is not threading.main_thread():  # others never hear signals
        yield
        return
    before = signal.signal(signal.SIGINT, answer)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _can_raise(frame: FrameType | None) -> bool:
    while frame is not None:
        name = frame.f_code.co_filename
        if name == GENERATED or any(folder in name for folder in COMPILERS):
            return False
        frame = frame.f_back
    return True
