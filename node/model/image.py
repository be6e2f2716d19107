"""Image: a compiled model as one value and one file; the board needs nothing else to run it.

The file is the magic ``FNIMAGE1`` (``FNIMAGE2`` for a model with state), the length of the manifest as four bytes
(little endian), the manifest (JSON), the step table (int64, little endian), the weights, the first values of the state
(nothing where they are all zero), and the SHA-256 of everything before it.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import ModelError
from node.arena import ALIGNMENT_BYTES
from node.model.steps import COLUMNS, STEP_WORDS

MAGIC = b"FNIMAGE1"
MAGIC_WITH_STATE = b"FNIMAGE2"
"""A node that knows no state must not run what has some."""
DIGEST_BYTES = 32
DTYPES = ("float32", "int8", "uint8", "int32", "int64", "bool")


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """Where a tensor lies in the arena and who uses it.

    Parameters
    ----------
    name : str
        Name in the model; parameters that the compiler makes are named after their operator.
    dtype : str
        ``float32``, ``int8``, ``uint8``, ``int32``, ``int64`` or ``bool``.
    shape : tuple of int
        As a caller sees it; of a packed parameter the packed shape.
    offset : int
        Bytes from the start of the arena.
    step : int
        The step that reads a parameter or a state first, or that writes an activation; -1 for a model input.
    last_step : int
        The last step that reads it; the number of steps for an output.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    step: int = -1
    last_step: int = -1

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        if self.dtype not in DTYPES:
            raise ModelError(f"tensor {self.name!r}: type {self.dtype!r}: an image holds {', '.join(DTYPES)}")
        if self.offset < 0 or any(size < 1 for size in self.shape):
            raise ModelError(f"tensor {self.name!r}: shape {self.shape} at {self.offset} cannot lie in memory")

    @property
    def size_bytes(self) -> int:
        """Bytes that it takes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + self.size_bytes


@dataclass(frozen=True, kw_only=True)
class Image:
    """A compiled model.

    Parameters
    ----------
    name : str
        For people.
    inputs, outputs : tuple of TensorSpec
        What is written before and read after a run.
    steps : ndarray of int64, [steps, STEP_WORDS]
        What ``node.model.steps`` describes.
    step_names : tuple of str
        The operator that each step comes from.
    weights : bytes
        The weights region: parameters, biases, multipliers.
    tensors : tuple of TensorSpec
        What lies in the weights region.
    activations : tuple of TensorSpec
        What lies in the activations region, and when.
    activation_bytes : int
        Size of that region, which begins at :attr:`activation_offset`.
    states : tuple of TensorSpec
        What persists from one inference to the next, in the state region at :attr:`state_offset`. The last steps
        write it anew.
    initial_state : bytes
        That region before the first inference.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    steps: NDArray[np.int64] = field(repr=False)
    step_names: tuple[str, ...] = field(repr=False)
    weights: bytes = field(repr=False)
    tensors: tuple[TensorSpec, ...] = field(repr=False)
    activations: tuple[TensorSpec, ...] = field(repr=False)
    activation_bytes: int
    states: tuple[TensorSpec, ...] = ()
    initial_state: bytes = field(default=b"", repr=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        steps = np.array(self.steps, "<i8").reshape(-1, STEP_WORDS)
        steps.setflags(write=False)
        object.__setattr__(self, "steps", steps)
        if len(self.step_names) != len(steps):
            raise ModelError(f"image {self.name!r}: {len(steps)} steps have {len(self.step_names)} names")
        if any(spec.end > len(self.weights) for spec in self.tensors):
            raise ModelError(f"image {self.name!r}: a parameter lies outside its {len(self.weights)} weight bytes")
        last = self.activation_offset + self.activation_bytes
        if any(spec.end > last for spec in (*self.inputs, *self.outputs, *self.activations)):
            raise ModelError(f"image {self.name!r}: a tensor ends after the last activation byte {last}")
        end = self.state_offset + self.state_bytes
        if any(spec.offset < self.state_offset or spec.end > end for spec in self.states):
            raise ModelError(f"image {self.name!r}: a state lies outside bytes {self.state_offset} to {end}")
        object.__setattr__(self, "digest", hashlib.sha256(self._body()).hexdigest())

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Image) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def activation_offset(self) -> int:
        """Where the activations region begins in an arena: after the weights, aligned."""
        return -(-len(self.weights) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES

    @property
    def state_offset(self) -> int:
        """Where the state region begins in an arena: after the activations."""
        return self.activation_offset + -(-self.activation_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES

    @property
    def state_bytes(self) -> int:
        """Size of the state region; 0 where nothing persists."""
        return len(self.initial_state)

    @cached_property
    def state_step(self) -> int:
        """The first step that writes the state region, as do all that follow; the number of steps without state."""
        outputs = self.steps[:, COLUMNS.index("out")]
        writing = np.flatnonzero((outputs >= self.state_offset) & (outputs < self.state_offset + self.state_bytes))
        return int(writing[0]) if len(writing) else len(self.steps)

    def locate_weight(self, byte: int) -> TensorSpec | None:
        """Give the parameter that a byte of the weights region belongs to, None for the gaps between them."""
        return next((spec for spec in self.tensors if spec.offset <= byte < spec.end), None)

    def locate_activation(self, byte: int, step: int) -> TensorSpec | None:
        """Give the tensor whose value a byte of the activations region holds just before a step, None if dead.

        Parameters
        ----------
        byte : int
            Counted from the start of the region.
        step : int
            0 up to the number of steps (after the last operator).
        """
        place = self.activation_offset + byte
        alive = (spec for spec in self.activations if spec.step < step <= spec.last_step)
        return next((spec for spec in alive if spec.offset <= place < spec.end), None)

    def _body(self) -> bytes:
        listed = ("inputs", "outputs", "tensors", "activations", *(("states",) if self.states else ()))
        manifest: dict[str, Any] = {key: [asdict(spec) for spec in getattr(self, key)] for key in listed}
        manifest |= {
            "name": self.name,
            "step_names": list(self.step_names),
            "step_words": STEP_WORDS,
            "steps": len(self.steps),
            "weight_bytes": len(self.weights),
            "activation_bytes": self.activation_bytes,
        } | ({"state_bytes": self.state_bytes} if self.states else {})
        text = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
        state = self.initial_state if any(self.initial_state) else b""
        magic = MAGIC_WITH_STATE if self.states else MAGIC
        return b"".join((magic, struct.pack("<I", len(text)), text, self.steps.tobytes(), self.weights, state))

    def to_bytes(self) -> bytes:
        """Give the content of its file."""
        return self._body() + bytes.fromhex(self.digest)

    def save(self, path: str | Path) -> None:
        """Write the file."""
        Path(path).write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file.

        Raises
        ------
        ModelError
            When it is missing, of another kind, cut short or damaged.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror}): give the path of an image") from error
        return cls.from_bytes(data, source=str(path))

    @classmethod
    def from_bytes(cls, data: bytes, source: str = "image") -> Self:
        """Read what :meth:`to_bytes` gave; ``source`` names it in an error."""
        if not data.startswith(MAGIC[:-1]):
            raise ModelError(f"{source}: is no flightnode image: make one with `hil compile MODEL.onnx`")
        body, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
        if hashlib.sha256(body).digest() != digest:
            raise ModelError(f"{source}: is cut short or damaged (its digest differs): compile or send it again")
        if not data.startswith((MAGIC, MAGIC_WITH_STATE)):
            raise ModelError(f"{source}: is an image of another version: compile the model again")
        start = len(MAGIC) + 4
        (length,) = struct.unpack("<I", body[len(MAGIC) : start])
        manifest = json.loads(body[start : start + length])
        if manifest["step_words"] != STEP_WORDS:
            raise ModelError(f"{source}: is of another version (rows of {manifest['step_words']}): compile it again")
        table = start + length
        blob = table + 8 * STEP_WORDS * manifest["steps"]
        end = blob + manifest["weight_bytes"]
        lists = ("inputs", "outputs", "tensors", "activations", "states")
        inputs, outputs, tensors, activations, states = (
            tuple(TensorSpec(**spec) for spec in manifest.get(key, ())) for key in lists
        )
        return cls(
            name=manifest["name"],
            inputs=inputs,
            outputs=outputs,
            steps=np.frombuffer(body[table:blob], "<i8"),
            step_names=tuple(manifest["step_names"]),
            weights=body[blob:end],
            tensors=tensors,
            activations=activations,
            activation_bytes=manifest["activation_bytes"],
            states=states,
            initial_state=body[end:] or bytes(manifest.get("state_bytes", 0)),
        )
