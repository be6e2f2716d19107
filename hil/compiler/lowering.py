"""Lowering: the state shared while operators become steps, and the questions that they ask of the graph."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from hil.compiler.graph import Array, Graph, Node
from hil.compiler.program import Buffer, Draft, Parameter, Program, Quantisation, Tensor
from node.model.steps import Opcode, Step


@dataclass(frozen=True, eq=False)
class QuantisedConstant:
    """Integers of a DequantizeLinear whose input is constant.

    Parameters
    ----------
    name : str
        What the model calls them.
    integers : ndarray
        As stored in the model.
    scale, zero : ndarray
        Of one element, or one for each index of ``axis``.
    axis : int
        See ``scale``.
    """

    name: str
    integers: Array
    scale: Array
    zero: Array
    axis: int

    def along_axis(self, values: Array) -> Array:
        """Give scale or zero so that it broadcasts against the integers."""
        if values.size == 1:
            return values.reshape(())
        return values.reshape([-1 if i == self.axis else 1 for i in range(self.integers.ndim)])

    @property
    def real(self) -> Array:
        """The values that the integers stand for, float32."""
        difference = self.integers.astype(np.int32) - self.along_axis(self.zero).astype(np.int32)
        with np.errstate(over="ignore"):  # A scale too large gives infinity, which is a value like another here.
            return difference.astype(np.float32) * self.along_axis(self.scale)


@dataclass
class Lowering:
    """What is known while the nodes of a graph are lowered one after the other.

    Parameters
    ----------
    graph : Graph
        What is lowered.
    program : Program
        What is written.
    values : dict
        The tensor of each name that has been lowered.
    """

    graph: Graph
    program: Program
    values: dict[str, Tensor] = field(default_factory=dict)
    quantised: dict[str, QuantisedConstant] = field(default_factory=dict)
    _absorbed: set[Node] = field(default_factory=set)
    _floats: dict[str, Tensor] = field(default_factory=dict)
    _used_names: dict[str, int] = field(default_factory=dict)

    def absorb(self, node: Node) -> None:
        """Note that an earlier step does the work of this node too."""
        self._absorbed.add(node)

    def is_absorbed(self, node: Node) -> bool:
        """Tell whether an earlier step did the work of this node."""
        return node in self._absorbed

    def is_constant(self, name: str) -> bool:
        """Tell whether a value is known at compile time."""
        return name in self.graph.constants or name in self.quantised

    def constant(self, node: Node, index: int) -> Array:
        """Give an input that has to be constant, as real values."""
        name = node.input(index)
        if name in self.quantised:
            return self.quantised[name].real
        if name not in self.graph.constants:
            raise node.error(f"input {index} ({name!r}) has to be constant: fold it before the export")
        return np.asarray(self.graph.constants[name])

    def optional_constant(self, node: Node, index: int, size: int) -> Array:
        """Give a constant input, or zeros where it is left out."""
        return self.constant(node, index) if node.input(index) else np.zeros(size, np.float32)

    def raw(self, node: Node, index: int) -> Tensor:
        """Give an input as it lies in memory, integers or floats."""
        name = node.input(index)
        if name not in self.values:
            what = "is constant" if self.is_constant(name) else "is missing"
            raise node.error(f"input {index} ({name!r}) {what}: an activation is expected there")
        return self.values[name]

    def tensor(self, node: Node, index: int) -> Tensor:
        """Give an input as floats, dequantised in a step of its own where need be."""
        source = self.raw(node, index)
        if source.quantisation is None:
            if source.buffer.dtype != "float32":
                raise node.error(f"input {index} holds {source.buffer.dtype}: put a DequantizeLinear before it")
            return source
        name = node.input(index)
        if name not in self._floats:
            self._floats[name] = self.dequantise(name, source, source.quantisation)
        return self._floats[name]

    def tensor_of_any_type(self, node: Node, index: int) -> Tensor:
        """Give an input with its real values, whatever their type."""
        source = self.raw(node, index)
        return source if source.quantisation is None else self.tensor(node, index)

    def dequantise(self, name: str, source: Tensor, kind: Quantisation) -> Tensor:
        """Emit a DEQUANTIZE step."""
        out = Buffer(f"{name}.float", "float32", source.buffer.count)
        step = Step(opcode=Opcode.DEQUANTIZE, in_c=source.buffer.count, zero_a=kind.zero, signed=int(kind.signed))
        scales = Parameter(self.unique(f"{name}.scale"), np.array([kind.scale], np.float32))
        self.program.emit(Draft(f"{name}.dequantise", step, {"in_a": source.buffer}, {"scales": scales}, out))
        return replace(source, buffer=out, quantisation=None)

    def image(self, node: Node, tensor: Tensor) -> Tensor:
        """Give an input of a windowed operator, channels last."""
        if len(tensor.shape) not in (3, 4):
            raise node.error(f"input of shape {tensor.shape}: three or four dimensions are supported")
        return self.program.as_channels_last(node.name, tensor)

    def same_order(self, node: Node, tensor: Tensor, like: Tensor) -> Tensor:
        """Give a tensor in the memory order of another of the same shape."""
        if tensor.shape != like.shape:
            raise node.error(f"shapes {like.shape} and {tensor.shape}: two activations need the same shape")
        if like.channels_last:
            return self.program.as_channels_last(node.name, tensor)
        return self.program.as_plain(node.name, tensor)

    def parameter(self, node: Node, index: int, array: Array) -> Parameter:
        """Give a parameter named after the input that it comes from."""
        name = node.input(index) or f"{node.name}.{('input', 'weight', 'bias', 'bias')[index]}"
        if name in self.quantised:
            name = self.quantised[name].name
        return Parameter(self.unique(name), np.ascontiguousarray(array))

    def unique(self, name: str) -> str:
        """Give a parameter name that no other has."""
        count = self._used_names.get(name, 0)
        self._used_names[name] = count + 1
        return name if count == 0 else f"{name}#{count + 1}"

    def clamp_of(self, node: Node) -> tuple[float, float]:
        """Give the limits of a Relu or Clip."""
        if node.op == "Relu":
            return 0.0, float("inf")
        low, high = node.attributes.get("min", float("-inf")), node.attributes.get("max", float("inf"))
        if node.input(1):
            low = float(self.constant(node, 1).reshape(-1)[0])
        if node.input(2):
            high = float(self.constant(node, 2).reshape(-1)[0])
        return float(low), float(high)

    def quantisation(self, node: Node) -> Quantisation:
        """Read scale, zero point and type of a QuantizeLinear or DequantizeLinear of an activation."""
        scale = self.constant(node, 1)
        zero = self.constant(node, 2) if node.input(2) else np.zeros((), np.uint8)
        if scale.size != 1 or zero.size != 1:
            raise node.error("activations quantised per channel are not supported: quantise them per tensor")
        if zero.dtype not in (np.int8, np.uint8):
            raise node.error(f"quantises to {zero.dtype}: int8 and uint8 are supported")
        real = float(scale.reshape(-1)[0])
        if not (np.isfinite(real) and real > 0):
            raise node.error(f"has the scale {real}: a positive number is expected")
        return Quantisation(scale=real, zero=int(zero.reshape(-1)[0]), dtype=str(zero.dtype))

    def quantised_result(self, name: str) -> Quantisation | None:
        """Tell as what a value is quantised that reaches, through Relu and Clip alone, a QuantizeLinear."""
        follower = self.graph.only_consumer(name)
        while follower is not None and follower.op in ("Relu", "Clip") and follower.input(0) == name:
            name = follower.outputs[0]
            follower = self.graph.only_consumer(name)
        if follower is None or follower.op != "QuantizeLinear" or follower.input(0) != name:
            return None
        return self.quantisation(follower)

    def scales(self, node: Node, values: list[float]) -> Parameter:
        """Give the scales of a step as a parameter."""
        return Parameter(self.unique(f"{node.name}.scale"), np.array(values, np.float32))

    def activation(self, name: str) -> tuple[tuple[float, float], str]:
        """Take over the Relu and Clip nodes that alone read a value.

        Returns
        -------
        tuple
            The limits of all of them together, and the name of the value after the last.
        """
        clamp = (float("-inf"), float("inf"))
        follower = self.graph.only_consumer(name)
        while follower is not None and follower.op in ("Relu", "Clip") and follower.input(0) == name:
            low, high = self.clamp_of(follower)
            clamp = (min(max(clamp[0], low), high), min(max(clamp[1], low), high))
            self.absorb(follower)
            name = follower.outputs[0]
            follower = self.graph.only_consumer(name)
        return clamp, name
