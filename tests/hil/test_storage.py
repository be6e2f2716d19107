"""Folders of nodes: the next program removes what a killed one left, and nothing else."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from pathlib import Path

from hil.targets.storage import NODE_LOCK_FILE, OWNER_FILE, NodeStorage

HOLD = """
import sys, time
from pathlib import Path
from hil.targets.storage import NodeStorage
print(NodeStorage("sim", Path(sys.argv[1])).path, flush=True)
time.sleep(60)
"""


def test_a_folder_lives_as_long_as_it_is_open(tmp_path: Path) -> None:
    storage, other = NodeStorage("sim", tmp_path), NodeStorage("sim", tmp_path)
    assert storage.path.is_dir()
    assert storage.path != other.path
    other.close()
    other.close()
    assert [path.name for path in tmp_path.iterdir()] == [storage.path.name]
    storage.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_program_left_goes_with_the_next_one(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as program:
        left = Path(program.stdout.readline().strip())
        NodeStorage("sim", tmp_path).close()
        assert left.exists(), "its owner lives"
        program.send_signal(signal.SIGKILL)
    assert left.exists()
    NodeStorage("pty", tmp_path).close()
    assert left.exists(), "another kind is not ours to judge"
    NodeStorage("sim", tmp_path).close()
    assert not left.exists()


def test_a_node_that_outlives_its_host_keeps_its_folder(tmp_path: Path) -> None:
    left = tmp_path / "flightnode-pty-x"
    left.mkdir()
    (left / OWNER_FILE).touch()
    with (left / NODE_LOCK_FILE).open("w") as node:
        fcntl.flock(node, fcntl.LOCK_EX)
        NodeStorage("pty", tmp_path).close()
        assert left.exists()
    NodeStorage("pty", tmp_path).close()
    assert not left.exists()


def test_folders_without_an_owner_are_left_alone(tmp_path: Path) -> None:
    strange = tmp_path / "flightnode-sim-strange"
    strange.mkdir()
    (tmp_path / "flightnode-sim-file").touch()
    NodeStorage("sim", tmp_path).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flightnode-sim-file", "flightnode-sim-strange"]
