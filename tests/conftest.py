"""Options of the test suite."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--board", metavar="URL", help="A real board that the conformance suite runs on, too.")


@pytest.fixture(scope="session")
def board(pytestconfig: pytest.Config) -> str:
    """The URL of a real board."""
    url = pytestconfig.getoption("--board")
    if not url:
        pytest.skip("no board is named: give --board serial:///dev/ttyUSB0?baud=921600 or --board bench:NAME")
    return url
