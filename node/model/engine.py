"""Engine: runs the step table that lies in an arena."""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firmware_bridge.errors import DataError
from node.arena import Arena
from node.errors import PayloadCrash
from node.jit import entry_of
from node.kernels.inference import dispatch, fused
from node.model.crew import Crew, CrewPlan
from node.model.image import Image, TensorSpec
from node.model.steps import STEP_WORDS, Opcode


class CheckedRunner(Protocol):
    """Runs some steps together with a check of their own, where they are run one by one."""

    def run(self, number: int) -> int | None:
        """Run a step: -1 or 0 as an interpreter of this one step, None where it is not this runner's."""


class Engine:
    """The steps of an image, executed on the memory of an arena.

    Steps and parameters are read from the arena each time, so whatever strikes its memory has effect.

    Parameters
    ----------
    image : Image
        For the names and places of inputs and outputs.
    arena : Arena
        Holds regions ``weights``, ``activations`` and ``steps`` as the image was compiled for them.
    plan : CrewPlan, optional
        For more threads than one; the arena has its spare bytes.
    """

    def __init__(self, image: Image, arena: Arena, plan: CrewPlan | None = None) -> None:
        self.image = image
        self.n_steps = len(image.steps)
        self._table = arena.view("steps").view(np.int64).reshape(-1, STEP_WORDS)
        self._memory = (arena.with_spare, arena.i32, arena.f32)
        self._row = np.zeros(STEP_WORDS, np.int64)
        self._crew: Crew | None = None
        if plan is not None and plan.large.any():
            self._crew = Crew(plan, self._memory, self._table)
            self._row = self._crew.row
        self._frame = np.empty(0, np.int64)
        self._frame_place = 0
        self.checked: CheckedRunner | None = None
        self._inputs = {spec.name: _view(arena, spec) for spec in image.inputs}
        self._outputs = {spec.name: _view(arena, spec) for spec in image.outputs}

    def run(self) -> None:
        """Run every step on inputs written just before: later activations take over the memory of an input.

        Raises
        ------
        PayloadCrash
            At a step that the memory no longer describes validly; the steps before it are done.
        """
        self.run_steps(0, self.n_steps)

    def run_step(self, index: int) -> None:
        """Run one step; raises as :meth:`run`."""
        if not 0 <= index < self.n_steps:
            raise DataError(f"step {index}: image {self.image.name!r} has steps 0 to {self.n_steps - 1}")
        self.run_steps(index, index + 1)

    def run_steps(self, first: int, last: int) -> None:
        """Run the steps ``first`` to ``last - 1``; raises as :meth:`run`."""
        if self.checked is not None and last - first == 1:
            failed = self.checked.run(first)
            if failed is not None:
                if failed >= 0:
                    raise self._invalid(first)
                return
        if self._crew is not None:
            self._crew.call(first, last)
        failed = fused.run_plan(self._frame_place or self._prepare(), first, last)
        if failed >= 0:
            raise self._invalid(failed)

    def close(self) -> None:
        """End the threads that help, if there are any."""
        if self._crew is not None:
            self._crew.close()

    def _prepare(self) -> int:
        """Write what the compiled plan reads: addresses, and which interpreter runs which neighbouring steps.

        General steps have an interpreter of their own, which is imported and compiled only for an image that has some.
        """
        general = self.image.steps[:, 0] >= Opcode.COPY
        cuts = [0, *(int(i) + 1 for i in np.flatnonzero(np.diff(general))), self.n_steps]
        segments: list[int] = []
        for first, last in pairwise(cuts if self.n_steps else ()):
            interpret = _interpreter(bool(general[first]))
            segments += (first, last, entry_of(interpret))
        whole, i32, _ = self._memory
        table, row = self._table, self._row
        places = (whole.ctypes.data, i32.nbytes, table.ctypes.data, *table.shape, row.ctypes.data)
        sizes = (row.size, whole.size - i32.nbytes, len(segments) // fused.SEGMENT_WORDS)
        self._frame = np.array([*places, *sizes, *segments], np.int64)
        self._frame_place = self._frame.ctypes.data
        return self._frame_place

    def _invalid(self, step: int) -> PayloadCrash:
        name = self.image.step_names[step]
        return PayloadCrash(f"invalid step {step} ({name}): its row points outside the memory or is no step")

    def write_input(self, name: str, values: ArrayLike) -> None:
        """Copy a model input into the arena.

        Parameters
        ----------
        name : str
            One of the image's inputs.
        values : array_like
            In the shape of the input, or without its first axis of 1.
        """
        if name not in self._inputs:
            raise DataError(f"no input {name!r}: image {self.image.name!r} has {', '.join(self._inputs)}")
        view = self._inputs[name]
        array = np.asarray(values)
        if array.shape != view.shape or array.dtype != view.dtype:
            array = self._fitting(name, array)
        view[...] = array

    def _fitting(self, name: str, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Give an input in its full shape; its elements are converted as they are copied."""
        wanted = self._inputs[name]
        if array.shape not in (wanted.shape, wanted.shape[1:] if wanted.shape[:1] == (1,) else wanted.shape):
            raise DataError(f"input {name!r} has shape {array.shape}: the image wants {wanted.shape}")
        if not np.can_cast(array.dtype, wanted.dtype, "same_kind"):
            raise DataError(f"input {name!r} is {array.dtype}: the image wants {wanted.dtype}")
        return array.reshape(wanted.shape)

    def read_output(self, name: str) -> NDArray[np.generic]:
        """Give a copy of a model output."""
        if name not in self._outputs:
            raise DataError(f"no output {name!r}: image {self.image.name!r} has {', '.join(self._outputs)}")
        return self._outputs[name].copy()

    def output_bytes(self) -> bytes:
        """Give all model outputs, one after the other, as they lie in memory."""
        return b"".join(view.tobytes() for view in self._outputs.values())

    def split_output(self, data: bytes) -> dict[str, NDArray[np.generic]]:
        """Give what :meth:`output_bytes` gave as arrays by name."""
        arrays: dict[str, NDArray[np.generic]] = {}
        at = 0
        for name, view in self._outputs.items():
            arrays[name] = np.frombuffer(data, view.dtype, view.size, at).reshape(view.shape).copy()
            at += view.nbytes
        return arrays

    def read_outputs(self) -> dict[str, NDArray[np.generic]]:
        """Give copies of all model outputs, by name."""
        return {name: view.copy() for name, view in self._outputs.items()}


def load_image(arena: Arena, image: Image) -> None:
    """Put parameters, steps and the first state of an image into an arena; the rest of it stays as it is."""
    arena.view("weights")[:] = np.frombuffer(image.weights, np.uint8)
    arena.view("steps")[:] = np.ascontiguousarray(image.steps).view(np.uint8).reshape(-1)
    if image.states:
        arena.view("state")[:] = np.frombuffer(image.initial_state, np.uint8)


def _interpreter(general: bool) -> object:
    if not general:
        return dispatch.run_steps
    from node.kernels.inference.general import interpreter

    return interpreter.run_steps


def _view(arena: Arena, spec: TensorSpec) -> NDArray[np.generic]:
    return arena.u8[spec.offset : spec.end].view(spec.dtype).reshape(spec.shape)
