"""Long proofs: a fixed share of them in every test run, all of them in ``make prove``.

Mark such a test with ``@pytest.mark.proof`` and take its size from :func:`count`.
"""

from __future__ import annotations

import os

PROVING = os.environ.get("FLIGHTNODE_PROVE") == "1"


def count(share: int, full: int) -> int:
    """Give how many cases to run: ``share`` in a test run, ``full`` in a proof."""
    return full if PROVING else share
