"""The board needs four packages: with all others out of reach, the whole node imports, serves and computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import hil
from hil.workloads import digits

ALONE = """
import importlib, importlib.abc, pkgutil, sys

ALLOWED = {"numpy", "numba", "llvmlite", "serial", "crcmod", "node", "firmware_bridge"}

class OnlyTheBoard(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in ALLOWED and top not in sys.stdlib_module_names:
            raise ModuleNotFoundError(f"the board has no {top}", name=top)
        return None

# What is loaded already came in with the interpreter's own start-up files.
sys.meta_path.insert(0, OnlyTheBoard())
import firmware_bridge, node
for package in (firmware_bridge, node):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

import numpy as np
from pathlib import Path
image = node.Image.load(Path(sys.argv[1]))
with node.Computer(image, protection=node.Protection(code="hsiao_72_64", checkpoint_period=2)) as computer:
    logits = computer.infer({"image": np.zeros((1, 1, 8, 8), np.float32)})["logits"]
print(logits.shape)
"""


def test_the_node_needs_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "digits.image"
    hil.compile_model(digits("int8").model_path).save(path)
    command = [sys.executable, "-c", ALONE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(1, 10)"
