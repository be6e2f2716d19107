"""Ctrl-C is answered at once wherever it comes, with the same exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hil.ctrl_c import interruptible_anywhere

PROGRAM = """
import sys, time
from hil.ctrl_c import interruptible_anywhere

SWALLOWS = '''
def swallow(ready):
    try:
        ready()
    except KeyboardInterrupt:
        print("swallowed")
'''

def ready():
    print("ready", flush=True)
    time.sleep(30)

work = {}
exec(compile(SWALLOWS, sys.argv[1], "exec"), work)
with interruptible_anywhere(4):
    work["swallow"](ready)
"""


def interrupted(program: Path, file: str) -> tuple[int, str, str]:
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), file]
    folder = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": folder}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.mark.parametrize("file", ["/any/llvmlite/binding/x.py", "/any/numba/core/x.py", "<string>"])
def test_where_an_exception_would_be_swallowed_the_process_ends(file: str, tmp_path: Path) -> None:
    assert interrupted(tmp_path / "program.py", file) == (4, "", "hil: interrupted\n")


RAISED = """
import signal
from hil.ctrl_c import interruptible_anywhere

before = signal.getsignal(signal.SIGINT)
try:
    with interruptible_anywhere(4):
        signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("raised", signal.getsignal(signal.SIGINT) is before)
"""


def test_elsewhere_it_is_raised(tmp_path: Path) -> None:
    """In a process of its own: test workers run in generated code, where an interrupt ends the process."""
    assert interrupted(tmp_path / "program.py", "/any/hil/x.py") == (0, "swallowed\n", "")
    (tmp_path / "raised.py").write_text(RAISED)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(tmp_path / "raised.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
    assert done.stdout == "raised True\n"


def test_a_thread_that_hears_no_signals_is_left_alone() -> None:
    done: list[bool] = []

    def work() -> None:
        with interruptible_anywhere(4):
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done
