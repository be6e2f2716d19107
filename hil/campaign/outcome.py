"""What a trial ended as."""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """How one trial ended, from harmless to dead.

    The order of the members is the order of severity: a trial has the worst outcome that any of its inferences
    shows.

    No trial is LATE: in logical time the clock decides no outcome, so that targets can agree trial by trial. Times
    stand beside the outcome in each row; LATE is for whoever judges them against a deadline.
    """

    MASKED = "MASKED"
    CORRECTED = "CORRECTED"
    DUE = "DUE"
    SDC_TOLERABLE = "SDC_TOLERABLE"
    SDC_CRITICAL = "SDC_CRITICAL"
    LATE = "LATE"
    HANG = "HANG"
    CRASH = "CRASH"
    DEAD = "DEAD"

    @property
    def severity(self) -> int:
        """Place in the order of severity: 0 is harmless."""
        return list(Outcome).index(self)

    @property
    def is_sdc(self) -> bool:
        """True when a wrong output was delivered as if it were right."""
        return self in (Outcome.SDC_TOLERABLE, Outcome.SDC_CRITICAL)

    @property
    def is_failure(self) -> bool:
        """True when at least one requested inference was wrong, withheld or never came."""
        return self not in (Outcome.MASKED, Outcome.CORRECTED)
