"""Alarm: a check on the computation has failed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Check(Enum):
    """Which check it was."""

    ABFT = "abft"  # the outputs of a product do not sum up to what its inputs and the kept sums of weights say
    VERIFY = "verify"  # what a step reads does not agree with its code
    RANGES = "ranges"  # an output lies outside what clean runs showed
    REDUNDANCY = "redundancy"  # the copies of an output differ, and no majority agrees


@dataclass(frozen=True)
class Alarm:
    """A failed check.

    Parameters
    ----------
    check : Check
        Which one.
    step : int
        At which operator; the number of operators where it was a finished output.
    """

    check: Check
    step: int

    @property
    def before(self) -> bool:
        """True where the step has not been run to its end."""
        return self.check is Check.VERIFY

    @property
    def local(self) -> bool:
        """True where the step's own parameters are at fault, so that this step alone has to be run again."""
        return self.check in (Check.VERIFY, Check.ABFT)
