"""Compiling ahead, by several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from firmware_bridge.errors import Interrupted
from firmware_bridge.messages import Progress
from node import warm_up
from node.kernel_modules import USUAL_MODULES, warm_up_modules


def test_what_is_named_as_slow_has_kernels() -> None:
    assert set(warm_up.SLOWEST) <= set(warm_up_modules())


def test_every_module_is_compiled_once_and_said(capfd: pytest.CaptureFixture[str]) -> None:
    subprocess.run([sys.executable, "-m", "node", "warm-up", "--processes", "2"], check=True)
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [f"{n}/{len(lines)}" for n in range(1, len(lines) + 1)]
    assert sorted(line.split()[-1] for line in lines) == sorted(warm_up_modules())


@pytest.mark.parametrize("held", [0, 1])
def test_the_usual_kernels_are_compiled_by_other_processes_where_nothing_is_compiled(
    held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Progress] = []
    monkeypatch.setattr(warm_up, "kept", lambda folder: held)
    monkeypatch.setattr(warm_up, "usual_processes", lambda: 2)
    warm_up.warm_up_usual_kernels(seen.append)
    assert sorted(progress.stage.split()[-1] for progress in seen) == sorted(USUAL_MODULES)
    assert [progress.done for progress in seen] == list(range(1, len(USUAL_MODULES) + 1))
    assert {progress.total for progress in seen} == {len(USUAL_MODULES)}


def test_a_number_that_is_none_is_refused() -> None:
    arguments = [sys.executable, "-m", "node", "warm-up", "--processes", "0"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'0': give 1 or more" in done.stderr


def die(_module: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Progress] = []
    monkeypatch.setattr(warm_up, "_warm_up", die)
    with pytest.raises(Interrupted, match="--processes 1 goes on with less"):
        warm_up.warm_up_all_kernels(seen.append, 1)
    assert seen == []


def test_there_is_at_least_one_process_and_no_more_than_processors() -> None:
    assert 1 <= warm_up.usual_processes() <= len(os.sched_getaffinity(0))
