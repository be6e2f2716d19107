"""The checks of a protection between two operators."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from node.arena import Arena
from node.checks.abft import REGION as ABFT_REGION
from node.checks.abft import Abft
from node.checks.alarm import Alarm, Check
from node.checks.ranges import REGION, RangeCheck
from node.checks.verified_steps import VerifiedSteps
from node.checks.verify import Parameters
from node.ecc import DecodeReport, ProtectedRegion
from node.ecc.vertical import VerticalCode
from node.model.image import Image
from node.protection import Protection, Ranges


class StepChecks:
    """What is done before and after each operator.

    Parameters
    ----------
    image : Image
        The operators.
    arena : Arena
        Their memory, with the regions that ``layout_of`` gives for the protection.
    guarded : tuple of ProtectedRegion
        What its code guards.
    protection : Protection
        Which checks there are.
    threads : int
        How many share the operators. With one of them, and without ABFT, weights under a vertical code are verified
        while their operator runs; else before it.

    Attributes
    ----------
    runner : Abft or VerifiedSteps or None
        Runs those operators that are run together with a check of theirs.
    verified : DecodeReport
        Sum of all verifications on use.
    spent_ns : int
        Time of the checks beside the operators, in nanoseconds.
    clipped : int
        Operators some of whose outputs were set to a limit.
    """

    def __init__(
        self,
        image: Image,
        arena: Arena,
        guarded: tuple[ProtectedRegion, ...],
        protection: Protection,
        *,
        threads: int = 1,
    ) -> None:
        self._parameters = Parameters(image, guarded)
        self._verifies = protection.verify_on_use
        clips = protection.ranges is Ranges.CLIP
        wanted = protection.ranges is not Ranges.OFF and REGION in arena.layout
        self.ranges = RangeCheck(image, arena, clips=clips) if wanted else None
        self._clips = clips
        self.abft = Abft(image, arena) if protection.abft and ABFT_REGION in arena.layout else None
        self._fused = None
        if self._verifies and self.abft is None and threads == 1:
            self._fused = _fused(image, arena, guarded)
        self._only_weights = len(guarded) == 1
        self.runner = self.abft or self._fused
        self._steps = len(image.steps)
        self._in_place = tuple(region for region in guarded if region.code.in_place)
        self.load()
        self.reset()

    def reset(self) -> None:
        """Set the counters to zero."""
        self.verified = DecodeReport()
        self.spent_ns = self.clipped = 0

    def load(self) -> None:
        """Write anew what the checks keep in memory."""
        if self.ranges is not None:
            self.ranges.load()
        if self.abft is not None:
            with self._readable():
                self.abft.load()

    def rehearse(self) -> None:
        """Do every check once, whatever it finds."""
        for step in range(self._steps):
            self.before(step)
            self.after(step)
        self.reset()

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the regions in which the checks keep what they know."""
        held = {REGION: self.ranges, ABFT_REGION: self.abft}
        return tuple(name for name, check in held.items() if check is not None)

    def before(self, step: int) -> Alarm | None:
        """Check what a step is about to read, but for what it checks itself."""
        if not self._verifies:
            return None
        fused = self._fused is not None and step in self._fused.steps
        if fused and self._only_weights:
            return None
        started_ns = time.perf_counter_ns()
        report = self._parameters.check(step, leave_out="weights" if fused else "")
        self.spent_ns += time.perf_counter_ns() - started_ns
        self.verified += report
        return None if report.clean else Alarm(Check.VERIFY, step)

    def after(self, step: int) -> Alarm | None:
        """Check what a step has written, and take in what was found while it ran."""
        if self._fused is not None and step in self._fused.steps:
            self.verified += self._fused.report(step)
            if self._fused.alarm:
                return Alarm(Check.VERIFY, step)
        if self.abft is not None and self.abft.alarm:
            return Alarm(Check.ABFT, step)
        if self.ranges is None:
            return None
        started_ns = time.perf_counter_ns()
        outside = self.ranges.apply(step)
        self.spent_ns += time.perf_counter_ns() - started_ns
        if not outside:
            return None
        if self._clips:
            self.clipped += 1
            return None
        return Alarm(Check.RANGES, step)

    def correct(self, step: int) -> DecodeReport:
        """Repair by their code the parameters that a step reads.

        Where the code finds nothing wrong with them, it is the kept sums that are wrong: they are made anew.
        """
        report = self._parameters.correct(step)
        if self.abft is not None and step in self.abft.steps and report.words and report.clean:
            with self._readable():
                self.abft.load_step(step)
        return report

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Have the parameters in memory as the operators read them, without the check bits of a code among them."""
        with ExitStack() as stack:
            for region in self._in_place:
                stack.enter_context(region.opened())
            yield


def _fused(image: Image, arena: Arena, guarded: tuple[ProtectedRegion, ...]) -> VerifiedSteps | None:
    weights = next((region for region in guarded if region.name == "weights"), None)
    if weights is None or not isinstance(weights.code, VerticalCode):
        return None
    return VerifiedSteps(image, arena, weights)
