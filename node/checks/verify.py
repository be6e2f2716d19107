"""Verify on use: what a step is about to read is checked by its code just before."""

from __future__ import annotations

from collections.abc import Iterable

from node.ecc import DecodeReport, ProtectedRegion
from node.ecc.code import WORD_BYTES, Span
from node.model.image import Image
from node.model.steps import STEP_WORDS

Spans = tuple[Span, ...]


def spans_of(image: Image, region: ProtectedRegion) -> list[Spans]:
    """Give, for each step, the spans of a guarded region that hold what it reads: parameters, state, or its row.

    Spans are widened to the grain of the code, and joined where they meet.
    """
    parts: list[list[Span]] = [[] for _ in range(len(image.steps))]
    if region.name == "steps":
        for number, own in enumerate(parts):
            own.append((number * STEP_WORDS, (number + 1) * STEP_WORDS))
    else:
        specs, start = (image.states, image.state_offset) if region.name == "state" else (image.tensors, 0)
        for spec in specs:
            for number in range(spec.step, max(spec.step, spec.last_step) + 1):
                parts[number].append(((spec.offset - start) // WORD_BYTES, -((start - spec.end) // WORD_BYTES)))
    return [_widened(own, region.code.grain_words, region.words) for own in parts]


def _widened(parts: Iterable[Span], grain: int, words: int) -> Spans:
    joined: list[Span] = []
    for start, stop in sorted((start // grain * grain, min(-(-stop // grain) * grain, words)) for start, stop in parts):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return tuple(joined)


class Parameters:
    """What each step reads of the guarded regions.

    Parameters
    ----------
    image : Image
        The steps.
    guarded : iterable of ProtectedRegion
        Their memory and its code.
    """

    def __init__(self, image: Image, guarded: Iterable[ProtectedRegion]) -> None:
        self._regions = [(region, spans_of(image, region)) for region in guarded]

    def check(self, step: int, leave_out: str = "") -> DecodeReport:
        """Count the wrong codewords of what a step reads, of all regions but one."""
        found = DecodeReport()
        for region, spans in self._regions:
            if region.name != leave_out:
                for span in spans[step]:
                    found += region.check(span)
        return found

    def correct(self, step: int) -> DecodeReport:
        """Repair what a step reads."""
        return sum((region.correct(span) for region, spans in self._regions for span in spans[step]), DecodeReport())
