"""The examples in the docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import firmware_bridge

MODULES = [name for _, name, _ in pkgutil.iter_modules(firmware_bridge.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(f"firmware_bridge.{name}")
    assert doctest.testmod(module).failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    found = [importlib.import_module(f"firmware_bridge.{name}") for name in MODULES]
    assert sum(len(test.examples) > 0 for module in found for test in finder.find(module)) >= 10
