"""Several intervals that hold together: for whoever picks the best of many."""

from __future__ import annotations

from firmware_bridge.errors import DataError
from hil.stats.intervals import CONFIDENCE


def each_confidence(members: int, confidence: float = CONFIDENCE) -> float:
    """Give the confidence of each of ``members`` intervals that makes all of them hold at once with ``confidence``.

    ``1 - (1 - confidence) / members`` (Bonferroni). Unlike Sidak's root it asks nothing of how the intervals
    depend on each other, and protections that meet the same strikes do depend.

    Examples
    --------
    >>> each_confidence(1), round(each_confidence(5), 12)
    (0.95, 0.99)
    """
    if members < 1:
        raise DataError(f"intervals: a family of {members}: give 1 or more")
    if not 0.0 < confidence < 1.0:
        raise DataError(f"intervals: confidence = {confidence}: give a share between 0 and 1, such as 0.95")
    return confidence if members == 1 else 1.0 - (1.0 - confidence) / members
