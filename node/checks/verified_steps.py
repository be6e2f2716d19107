"""Steps that check their parameters by a vertical code while they use them, instead of all of them before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.arena import Arena
from node.checks.verify import Spans, spans_of
from node.ecc import DecodeReport, ProtectedRegion
from node.ecc.code import WORD_BYTES, Span
from node.ecc.vertical import VerticalCode
from node.jit import entry_of
from node.kernels.codes import vertical
from node.kernels.codes.blocks import BLOCK_BYTES, ROW_BYTES
from node.kernels.inference.columns import INVALID, OK, OPCODE
from node.kernels.inference.tiles import LANES
from node.kernels.inference.verified import slabs
from node.kernels.inference.windows import in_lines, is_valid, is_window
from node.model.image import Image, TensorSpec
from node.model.steps import STEP_WORDS, Opcode, Step

SLAB_BYTES = 128 << 10
"""Packed weights that are checked at a time: little beside a second-level cache, much beside a block of a code."""

LEAST_UNITS = 4
"""Panels of a slab at least, so that a single row of inputs meets as many at once as hide the multiplier's latency."""


@dataclass(frozen=True)
class _Frame:
    """A step's frame for the kernel, its address, what it points to, and the spans that the kernel checks."""

    words: NDArray[np.int64]
    place: int
    held: tuple[NDArray[np.int64], ...]
    spans: Spans
    sound: DecodeReport


class VerifiedSteps:
    """Runs steps over windows, each of which checks its parameters; packed weights slab by slab before their products.

    Parameters
    ----------
    image : Image
        The steps.
    arena : Arena
        Their memory.
    region : ProtectedRegion
        Region ``weights`` of that memory, under a :class:`VerticalCode`.

    Attributes
    ----------
    alarm : bool
        Whether the last step was left unfinished, because a block was wrong.
    """

    def __init__(self, image: Image, arena: Arena, region: ProtectedRegion) -> None:
        self._arena, self._region = arena, region
        self._base = arena.layout[region.name].offset
        self._weights = {spec.offset: spec for spec in image.tensors}
        self._common = self._words_in_common()
        table = arena.view("steps").view(np.int64).reshape(-1, STEP_WORDS)
        self._frames: dict[int, _Frame] = {}
        for number, spans in enumerate(spans_of(image, region)):
            row = image.steps[number].copy()
            if spans and is_window(row[OPCODE]) and is_valid(row, arena.u8.size):
                self._frames[number] = self._frame(table[number], row, spans)
        self.alarm = False
        if self._frames:
            entry_of(slabs.verified_step, 0)

    def _words_in_common(self) -> NDArray[np.int64]:
        """Give a frame with what is the same for all steps."""
        u8, region = self._arena.u8, self._region
        assert isinstance(region.code, VerticalCode)
        parts = region.code.parts(region.data, region.check_bits)
        blocks, rest = np.split(region.data, [parts.blocks * BLOCK_BYTES])
        record = region.code.record_bytes
        records, last = np.split(parts.records, [parts.blocks * record])
        self._spare = np.zeros(BLOCK_BYTES + parts.rest.shape[0] * ROW_BYTES, np.uint8)
        words = np.zeros(slabs.FIRST_SPAN, np.int64)
        words[[slabs.ARENA, slabs.TOTAL, slabs.BASE]] = u8.ctypes.data, u8.size, self._base
        words[slabs.SCAN] = entry_of(vertical.first_wrong, region.code.kind, blocks, parts.rows, records, 0, 0)
        words[slabs.KIND] = region.code.kind
        for index, part in ((slabs.DATA, blocks), (slabs.CHECK, parts.rows), (slabs.RECORDS, records)):
            words[index : index + 2] = part.ctypes.data, part.size
        words[[slabs.REST, slabs.REST_BYTES, slabs.WIDTH]] = rest.ctypes.data, rest.size, parts.rest.shape[1]
        words[[slabs.REST_CHECK, slabs.CHECKS]] = parts.rest.ctypes.data, parts.rest.shape[0]
        words[[slabs.RECORD, slabs.RECORD_SIZE, slabs.SPARE]] = last.ctypes.data, last.size, self._spare.ctypes.data
        return words

    def _frame(self, given: NDArray[np.int64], row: NDArray[np.int64], spans: Spans) -> _Frame:
        """Give the frame of a step whose row in the table is ``given``, and which reads those spans."""
        code, whole = self._region.code, int(self._common[slabs.DATA_BYTES]) // BLOCK_BYTES
        before = [(start // code.grain_words, min(stop // code.grain_words, whole)) for start, stop in spans]
        step = Step.from_row(row)
        weights, slab = self._weights.get(step.weights), 0
        product = step.opcode in (Opcode.CONV_F32, Opcode.CONV_INT8)
        if weights is not None and product and not in_lines(row, self._arena.u8.size):
            slab = _units_of_slab(step, weights)
            before = [part for span in before for part in self._beside(weights, span)]
        held = (given, row, row.copy())
        words = np.append(self._common, np.array(before, np.int64).reshape(-1))
        words[[slabs.GIVEN, slabs.COMPILED, slabs.COPY]] = [part.ctypes.data for part in held]
        words[[slabs.SLAB, slabs.SPANS]] = slab, len(before)
        if spans[-1][1] <= whole * code.grain_words:
            words[slabs.REST_BYTES] = 0
        looked_at = sum(code.codewords(WORD_BYTES * stop) - code.codewords(WORD_BYTES * start) for start, stop in spans)
        return _Frame(words, words.ctypes.data, held, spans, DecodeReport(words=looked_at))

    def _beside(self, weights: TensorSpec, span: Span) -> list[Span]:
        """Give the parts of a span of blocks that no slab of the weights looks at."""
        first = (weights.offset - self._base) // BLOCK_BYTES
        last = -((self._base - weights.end) // BLOCK_BYTES)
        parts = (span[0], min(span[1], first)), (max(span[0], last), span[1])
        return [(start, stop) for start, stop in parts if start < stop]

    @property
    def steps(self) -> frozenset[int]:
        """Steps that are checked here."""
        return frozenset(self._frames)

    def run(self, number: int) -> int | None:
        """Run a step and note in ``alarm`` whether a block that it reads is wrong.

        Returns
        -------
        int or None
            As the interpreter: -1, or 0 where the row is no valid step; None where the step was not run: it is none of
            these, or its row in memory is not the compiled one.
        """
        self.alarm = False
        frame = self._frames.get(number)
        if frame is None:
            return None
        status = slabs.verified_step(frame.place)
        if status in (OK, INVALID):
            return -1 if status == OK else 0
        self.alarm = status == slabs.ALARM or not self._check(frame).clean
        return -1 if self.alarm else None

    def report(self, number: int) -> DecodeReport:
        """Give what was found when this step was run just now."""
        frame = self._frames[number]
        return self._check(frame) if self.alarm else frame.sound

    def _check(self, frame: _Frame) -> DecodeReport:
        return sum((self._region.check(span) for span in frame.spans), DecodeReport())


def _units_of_slab(step: Step, weights: TensorSpec) -> int:
    """Give the panels of a slab, or its groups where there are more than one."""
    units = step.groups if step.groups > 1 else -(-step.out_c // LANES)
    most = SLAB_BYTES * units // (weights.end - weights.offset)
    return max(LEAST_UNITS, most // LEAST_UNITS * LEAST_UNITS)
