"""The exact engine as an injector, and where in an image the floats of an ONNX model lie."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

import hil
from benchmarks.injection.faults import Fault, Outputs
from benchmarks.injection.nets import Net
from node.model.effects import Faults, WholeRuns
from node.model.frames import Frames
from node.model.image import Image
from node.model.incremental import IncrementalEngine


class Exact:
    """Faults on a network by the exact engine.

    Parameters
    ----------
    net : Net
        Whose model is compiled, and whose inputs are all run.
    """

    def __init__(self, net: Net) -> None:
        self.net = net
        self.image = compiled(net.model)
        samples = [{"x": values[None]} for values in net.inputs]
        self.engine = IncrementalEngine(self.image, samples)
        self.whole = WholeRuns(self.image, samples)
        self._weights = _weight_bits(net, self.image)
        self._values = _value_bits(net, self.image)
        self.sizes = {name: len(bits) for name, (bits, _) in self._values.items()}

    def located(self, faults: list[Fault]) -> Faults:
        """Give faults, all on weights or all on values, as bits of the image."""
        if faults[0].target in self._weights:
            bits = [self._weights[fault.target][fault.index] + fault.bit for fault in faults]
            return Faults.at_start("weights", np.array(bits, np.int64))
        found = [self._values[fault.target] for fault in faults]
        bits = [values[fault.index] + fault.bit for (values, _), fault in zip(found, faults, strict=True)]
        return Faults(
            region="activations", bits=np.array(bits, np.int64), steps=np.array([step for _, step in found], np.int64)
        )

    def outputs(self, fault: Fault | None) -> Outputs:
        """Give the outputs [inputs, classes] under a fault, or without one."""
        found = [self.engine.golden_output(number) for number in range(self.engine.n_inputs)]
        if fault is not None:
            effects = self.engine.effects(self.located([fault]), keep_outputs=True)
            for (_, number), output in zip(effects.index, effects.outputs, strict=True):
                found[number] = output.tobytes()
        return np.frombuffer(b"".join(found), np.float32).reshape(len(found), -1)

    def prove_exact(self, faults: list[Fault]) -> None:
        """Repeat faults by whole runs; see :func:`prove_bytes`."""
        prove_bytes(self.engine, self.whole, self.located(faults))


def prove_bytes(engine: IncrementalEngine, whole: WholeRuns, faults: Faults) -> None:
    """Carry out faults by the exact engine and by whole runs, and demand the same outcomes and the same bytes.

    Raises
    ------
    AssertionError
        A byte differs.
    """
    fast, slow = (each.effects(faults, keep_outputs=True) for each in (engine, whole))
    delivered = [
        {tuple(place): output.tobytes() for place, output in zip(effects.index.tolist(), effects.outputs, strict=True)}
        for effects in (fast, slow)
    ]
    if delivered[0] != delivered[1] or not np.array_equal(fast.codes, slow.codes):
        raise AssertionError("the exact engine and whole runs give other bytes")


def compiled(model: onnx.ModelProto) -> Image:
    """Compile a model that lies in memory."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, str(path))
        return hil.compile_model(path)


def _weight_bits(net: Net, image: Image) -> dict[str, NDArray[np.int64]]:
    """Give the first bit of every weight in the image, found by compiling the net with its weights numbered."""
    numbered = onnx.ModelProto()
    numbered.CopyFrom(net.model)
    for tensor in numbered.graph.initializer:
        size = int(np.prod(tensor.dims))
        values = np.arange(1, size + 1, dtype=np.float32).reshape(tuple(tensor.dims))
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    counted = compiled(numbered)
    places = {}
    for name, array in net.weights().items():
        spec = next(spec for spec in counted.tensors if spec.name == name)
        numbers = np.frombuffer(counted.weights, np.float32, spec.size_bytes // 4, spec.offset).astype(np.int64)
        bits = np.zeros(array.size, np.int64)
        used = np.flatnonzero(numbers)
        bits[numbers[used] - 1] = 8 * (spec.offset + 4 * used)
        held = np.frombuffer(image.weights, np.uint8).view(np.float32)[bits // 32]
        assert np.array_equal(held, array.reshape(-1)), f"the weights of {name} lie elsewhere"
        places[name] = bits
    return places


def _value_bits(net: Net, image: Image) -> dict[str, tuple[NDArray[np.int64], int]]:
    """Give the first bit of every float of each Relu's output, and the step before which it is struck."""
    frames = Frames(image)
    makers = {node.output[0]: node for node in net.model.graph.node}
    shapes = _shapes(net.model)
    places = {}
    for name in net.neurons():
        step = image.step_names.index(makers[makers[name].input[0]].name)
        value = next(value for value in frames.values if value.first == step)
        shape = shapes[name]
        order = np.arange(np.prod(shape)).reshape(shape)
        if len(shape) == 3:
            order = np.argsort(order.transpose(1, 2, 0).reshape(-1))
        first = 8 * (value.arena.place - image.activation_offset)
        places[name] = (first + 32 * order.reshape(-1).astype(np.int64), step + 1)
    return places


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Give the shape of every value without the batch."""
    inferred = onnx.shape_inference.infer_shapes(model)
    return {
        info.name: tuple(dim.dim_value for dim in info.type.tensor_type.shape.dim[1:])
        for info in inferred.graph.value_info
    }
