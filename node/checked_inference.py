"""One inference under the checks of its protection: every copy of it, operator by operator, and what follows alarms."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from node.checks import Alarm, Check
from node.ecc import DecodeReport
from node.protection import OnAlarm

if TYPE_CHECKING:
    from node.computer import Computer

ROUNDS = 2
"""So often all copies are computed before the output is withheld because no two of them agree."""

Moment = tuple[int, Callable[[], None]]
"""A number of an operator, counted over all copies, and what happens just before it."""


class Resume(Enum):
    """How work goes on after an alarm was answered."""

    STEP = "step"  # the activations are as they were
    START = "start"  # the activations were overwritten: from the inputs on
    STOP = "stop"  # not at all


class CheckedInference:
    """Runs one inference.

    Moments count operators over all copies: operator ``step`` of copy ``c`` is number ``c * (steps + 1) + step``, and
    the number after its last operator follows on it. An operator that is run again has no new moment.

    Parameters
    ----------
    computer : Computer
        Where it runs.
    begin : callable
        Writes the inputs.
    answer : callable
        Carries out the protection's answer to an alarm.
    moments : iterable of Moment
        What happens meanwhile, in order.

    Attributes
    ----------
    busy_ns : int
        Time that operators and the checks fused with them took.
    alarms, recomputed_steps : int
        Checks that failed, and operators that were run again because of that.
    """

    def __init__(
        self,
        computer: Computer,
        *,
        begin: Callable[[], None],
        answer: Callable[[Alarm], Resume],
        moments: Iterable[Moment] = (),
    ) -> None:
        self._computer = computer
        self._begin = begin
        self._answer = answer
        self._moments = deque(moments)
        self._steps = computer.engine.n_steps
        self._copies = computer.protection.redundancy
        self._states, self._guard = computer.state_copies, computer.state_guard
        self._saved = False
        self._sound: list[bool] = []
        self.busy_ns = self.alarms = self.recomputed_steps = 0

    def execute(self) -> bytes | None:
        """Give the bytes of all outputs, or None where they are withheld."""
        output = self._agreed_output()
        if output is None:
            self._states.restore()
        # What strikes after the output was given up still strikes: the record must show it.
        self._happen(self._copies * (self._steps + 1))
        return output

    def _agreed_output(self) -> bytes | None:
        for _ in range(ROUNDS):
            outputs: list[bytes] = []
            self._sound.clear()
            for copy in range(self._copies):
                output = self._copy(copy)
                if output is None:
                    return None
                outputs.append(output)
                self._sound.append(self._guard is None or self._guard.sound)
            results = list(zip(outputs, self._states.new_states(), strict=True))
            agreed, votes = Counter(results).most_common(1)[0]
            self.alarms += votes < self._copies
            if 2 * votes > self._copies:
                self._go_on(results, agreed)
                return agreed[0]
            self._states.restore()
            if self._answer(Alarm(Check.REDUNDANCY, self._steps)) is Resume.STOP:
                return None
            self._states.save()
            self.recomputed_steps += self._copies * self._steps
        # The round that was counted last is not computed.
        self.recomputed_steps -= self._copies * self._steps
        return None

    def _go_on(self, results: list[tuple[bytes, bytes]], agreed: tuple[bytes, bytes]) -> None:
        """Take over the new state that won; it is encoded where the old one was sound."""
        winners = [copy for copy, result in enumerate(results) if result == agreed]
        self._states.take(winners[0])
        if self._guard is not None and self._copies > 1:
            self._guard.sound = any(self._sound[copy] for copy in winners)
            self._guard.after_writing()

    def _begin_copy(self, copy: int) -> None:
        """Write the inputs, and have the old state ready; it is saved once, as the first copy finds it."""
        self._begin()
        self._states.begin(copy)
        if not self._saved:
            self._happen(0)
            self._states.save()
            self._saved = True

    def _copy(self, copy: int) -> bytes | None:
        """Compute all operators once; one at fault is run again once, and so is the whole inference."""
        base = copy * (self._steps + 1)
        tried: set[int] = set()
        begun_again = False
        first = 0
        self._begin_copy(copy)
        while True:
            alarm = self._run(base, first)
            if alarm is None:
                self._happen(base + self._steps)
                return self._computer.engine.output_bytes()
            self.alarms += 1
            again = alarm.local and alarm.step not in tried
            if not again:
                if begun_again or not self._can_begin_again(alarm):
                    return None
                self._states.restore()
            resume = self._answer(alarm)
            if resume is Resume.STOP:
                return None
            tried.add(alarm.step)
            begun_again = begun_again or not again
            first = alarm.step
            if not again or resume is Resume.START:
                self._states.save(copy)
                self._begin()
                first = 0
            self.recomputed_steps += alarm.step - first + (not alarm.before)

    def _can_begin_again(self, alarm: Alarm) -> bool:
        """Tell whether the old state is still there, or was saved."""
        moved = alarm.step + (not alarm.before) > self._computer.image.state_step
        return self._states.kept or not moved

    def _run(self, base: int, first: int) -> Alarm | None:
        """Run the operators from ``first`` on, up to the first alarm."""
        computer, checks = self._computer, self._computer.checks
        position = first
        encode = self._copies == 1  # else the state that wins is encoded
        while position < self._steps:
            self._happen(base + position)
            if not computer.protection.checks_steps:
                following = min(self._steps, self._moments[0][0] - base) if self._moments else self._steps
                self.busy_ns += computer.run_steps(position, following, encode=encode)
                position = following
                continue
            alarm = checks.before(position)
            if alarm is None:
                self.busy_ns += computer.run_steps(position, position + 1, encode=encode)
                alarm = checks.after(position)
            if alarm is not None:
                return alarm
            position += 1
        return None

    def _happen(self, moment: int) -> None:
        """Let happen what is due up to a moment."""
        while self._moments and self._moments[0][0] <= moment:
            self._moments.popleft()[1]()


@dataclass(frozen=True)
class Answer:
    """What was done about an alarm.

    Parameters
    ----------
    frame : int or None
        As of :meth:`Computer.recover`: the frame from which work has to be done again (-1: none is lost), None where
        the node computes no more.
    restored : bool
        True where memory was loaded again, from the golden image or from a checkpoint.
    report : DecodeReport
        What the code found and repaired.
    """

    frame: int | None = -1
    restored: bool = False
    report: DecodeReport = field(default_factory=DecodeReport)


def answer_alarm(computer: Computer, alarm: Alarm) -> Answer:
    """Carry out the protection's answer to an alarm."""
    match computer.protection.on_alarm:
        case OnAlarm.STOP:
            return Answer(frame=None)
        case OnAlarm.RECOMPUTE:
            return Answer()
        case OnAlarm.CORRECT:
            report = computer.correct_step(alarm.step) if alarm.local else computer.scrub()
            if not report.detected:
                return Answer(report=report)
            frame = computer.recover()
            return Answer(frame=frame, restored=frame is not None, report=report)
        case OnAlarm.RELOAD:
            computer.reload()
            return Answer(frame=computer.first_lost, restored=True)
        case OnAlarm.ROLLBACK:
            found = computer.restore()
            return Answer(frame=None) if found is None else Answer(frame=found.frame, restored=True)
