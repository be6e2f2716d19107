"""Every example in a public docstring runs and gives what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import firmware_bridge
import hil
import node

NEED_MORE = {f"hil.workloads.{name}" for name in ("train_digits", "train_cloud_mask", "train_story", "quantise")}
"""Scripts that need the extra ``train``."""
MODULES = sorted(
    module.name
    for package in (firmware_bridge, node, hil)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith("__main__") and module.name not in NEED_MORE
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert results.failed == 0
