"""Graph: an ONNX model after loading, with fixed shapes and constants as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import ModelError

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Node:
    """One operator; an input that is left out is an empty name."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    source: str
    """The model file, for errors."""

    def input(self, index: int) -> str:
        """Give the name of an input, empty where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def error(self, problem: str) -> ModelError:
        """Give an error that names this node."""
        where = f"{self.source}: {self.op} node {self.name!r} (output {self.outputs[0]!r})"
        return ModelError(f"{where}: {problem}")


@dataclass(frozen=True)
class Port:
    """A model input."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can run."""

    name: str
    source: str
    nodes: tuple[Node, ...]
    constants: dict[str, Array]
    inputs: tuple[Port, ...]
    outputs: tuple[str, ...]
    opset: int
    _consumers: dict[str, list[Node]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for node in self.nodes:
            for name in set(node.inputs):
                self._consumers.setdefault(name, []).append(node)

    def only_consumer(self, name: str) -> Node | None:
        """Give the node that alone reads a value, None when there are others or the value is an output."""
        consumers = self._consumers.get(name, [])
        return consumers[0] if len(consumers) == 1 and name not in self.outputs else None

    def scalar(self, name: str) -> float:
        """Give a constant of one element."""
        return float(np.asarray(self.constants[name]).reshape(-1)[0])
