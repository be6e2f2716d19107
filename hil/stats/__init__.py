"""Arithmetic: counts, estimates and intervals whose coverage is tested; pure functions.

:mod:`hil.stats.weighted` (strata, steered draws, clusters) works on arrays and is imported by itself.
"""

from hil.stats.counts import OutcomeCounts, OutcomeStrata, PairedCounts
from hil.stats.family import each_confidence
from hil.stats.intervals import (
    CONFIDENCE,
    Estimate,
    clopper_pearson,
    mcnemar_p_value,
    paired_difference,
    planned_half_width,
    sample_size,
)
from hil.stats.sequence import anytime, anytime_p_value
from hil.stats.strata import Stratum, events_per_shared_strike

__all__ = [
    "CONFIDENCE",
    "Estimate",
    "OutcomeCounts",
    "OutcomeStrata",
    "PairedCounts",
    "Stratum",
    "anytime",
    "anytime_p_value",
    "clopper_pearson",
    "each_confidence",
    "events_per_shared_strike",
    "mcnemar_p_value",
    "paired_difference",
    "planned_half_width",
    "sample_size",
]
