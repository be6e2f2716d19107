"""Arithmetic: counts, estimates and intervals whose coverage is tested; pure functions, no dependencies."""

from hil.stats.counts import OutcomeCounts, PairedCounts
from hil.stats.intervals import (
    CONFIDENCE,
    Estimate,
    clopper_pearson,
    mcnemar_p_value,
    paired_difference,
    planned_half_width,
    sample_size,
    wilson,
    zero_event_upper_bound,
)

__all__ = [
    "CONFIDENCE",
    "Estimate",
    "OutcomeCounts",
    "PairedCounts",
    "clopper_pearson",
    "mcnemar_p_value",
    "paired_difference",
    "planned_half_width",
    "sample_size",
    "wilson",
    "zero_event_upper_bound",
]
