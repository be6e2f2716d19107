"""Two nodes that hold the same model and receive the same strikes: one unprotected, one protected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.messages import Abnormal, Delivery, Fault, FaultKind, Run
from hil.campaign.workload import inputs_archive
from hil.progress import ProgressSink
from hil.strikes import SHARED, FaultSpace, Stream
from hil.targets.session import Answer, Session
from hil.targets.target import open_session
from node.layout import layout_of
from node.model.image import Image
from node.protection import Protection

DEADLINE_MS = 120_000


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What one node answered: its output, None where it gave none, why not, and the words that it corrected."""

    output: bytes | None
    why: str = ""
    corrected: int = 0


class Pair:
    """Nodes of one target, one a protection.

    Parameters
    ----------
    target : str
        See :func:`hil.targets.target.open_session`.
    image : Image
        What they compute.
    inputs : mapping of str to ndarray
        Samples that a run names by number.
    protections : sequence of Protection
        One node each.
    progress : callable
        Told about uploads and kernels that are compiled.
    """

    def __init__(
        self,
        target: str,
        image: Image,
        inputs: Mapping[str, NDArray[np.generic]],
        *,
        protections: Sequence[Protection],
        progress: ProgressSink,
    ) -> None:
        samples = inputs_archive(inputs)
        self._resources = ExitStack()
        self._sessions: list[Session] = []
        self._runs = 0
        try:
            for protection in protections:
                session = self._resources.enter_context(open_session(target, progress))
                session.prepare(image.to_bytes(), samples)
                session.configure(protection, DEADLINE_MS)
                self._sessions.append(session)
        except BaseException:
            self.close()
            raise

    def run(self, node: int, sample: int, faults: tuple[Fault, ...], *, isolate: bool) -> Delivered:
        """Have one node compute a sample under faults; ``isolate`` begins with pristine memory."""
        self._runs += 1
        run = Run(run_id=self._runs, inputs=(sample,), faults=faults, isolate=isolate)
        return _delivered(self._sessions[node].run(run))

    def close(self) -> None:
        """End the nodes."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _delivered(answer: Answer) -> Delivered:
    if isinstance(answer, Abnormal):
        return Delivered(output=None, why=f"{answer.kind.name}: {answer.detail}")
    inference = answer.inferences[0]
    if inference.delivery is Delivery.WITHHELD:
        return Delivered(output=None, why="output withheld", corrected=answer.corrected_words)
    return Delivered(output=inference.output, corrected=answer.corrected_words)


def strikes(image: Image, regions: Sequence[str], stream: Stream, count: int) -> tuple[Fault, ...]:
    """Give single flipped bits of the named regions, each just before an operator or after the last."""
    space = FaultSpace.of(layout_of(image, Protection()), regions)
    faults = []
    for number in range(count):
        cells, bit = space.locate(SHARED, stream.below(space.shared_bits))
        step = stream.below(len(image.steps) + 1)
        faults.append(Fault(strike=number, region=cells.region, bit=bit, kind=FaultKind.FLIP, inference=0, step=step))
    return tuple(faults)
