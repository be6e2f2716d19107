"""onnxruntime as an injector, in four ways. Each runs the whole batch of inputs at once, on one thread."""

from __future__ import annotations

import ctypes

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.utils import Extractor

from benchmarks.injection.faults import Fault, Outputs
from benchmarks.injection.nets import Net

Words = NDArray[np.uint32]


def options() -> ort.SessionOptions:
    """Give options for one thread and no messages."""
    chosen = ort.SessionOptions()
    chosen.intra_op_num_threads = chosen.inter_op_num_threads = 1
    chosen.log_severity_level = 3
    return chosen


def opened(model: onnx.ModelProto, chosen: ort.SessionOptions | None = None) -> ort.InferenceSession:
    """Open a session for a model."""
    return ort.InferenceSession(model.SerializeToString(), chosen or options(), providers=["CPUExecutionProvider"])


def words(array: NDArray[np.float32]) -> Words:
    """See an array of floats as words, flat."""
    return array.reshape(-1).view(np.uint32)


class NewSession:
    """Edit the model and build a session for each fault."""

    def __init__(self, net: Net) -> None:
        self._model = net.of_batch(len(net.inputs))
        self._inputs = net.inputs
        self._weights = net.weights()
        self._tensors = {tensor.name: tensor for tensor in self._model.graph.initializer}

    def outputs(self, fault: Fault | None) -> Outputs:
        """Give the outputs [inputs, classes] under a fault, or without one."""
        self._flip(fault)
        found = opened(self._model).run(None, {"x": self._inputs})[0]
        self._flip(fault)
        return found

    def _flip(self, fault: Fault | None) -> None:
        if fault is not None:
            array = self._weights[fault.target]
            words(array)[fault.index] ^= np.uint32(1 << fault.bit)
            self._tensors[fault.target].CopyFrom(numpy_helper.from_array(array, fault.target))


class FedInitialiser:
    """One session whose weights may be overridden; the struck tensor is fed with the inputs."""

    def __init__(self, net: Net) -> None:
        model = net.of_batch(len(net.inputs))
        self._inputs = net.inputs
        self._weights = net.weights()
        for name, array in self._weights.items():
            model.graph.input.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, array.shape))
        self._session = opened(model)

    def outputs(self, fault: Fault | None) -> Outputs:
        """Give the outputs [inputs, classes] under a fault, or without one."""
        if fault is None:
            return self._session.run(None, {"x": self._inputs})[0]
        array = self._weights[fault.target]
        words(array)[fault.index] ^= np.uint32(1 << fault.bit)
        found = self._session.run(None, {"x": self._inputs, fault.target: array})[0]
        words(array)[fault.index] ^= np.uint32(1 << fault.bit)
        return found


class OwnMemory:
    """One session on weights that lie in memory of ours, struck in place.

    Parameters
    ----------
    net : Net
        What is run.
    level : GraphOptimizationLevel
        The default of onnxruntime lays weights of convolutions out anew, in memory that no flip reaches.
    """

    def __init__(self, net: Net, level: ort.GraphOptimizationLevel | None = None) -> None:
        model = net.of_batch(len(net.inputs))
        self._inputs = net.inputs
        chosen = options()
        chosen.graph_optimization_level = level or ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        chosen.add_session_config_entry("session.disable_prepacking", "1")
        # The session computes from these: they have to live as long as it does.
        self._values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in net.weights().items()}
        for name, value in self._values.items():
            chosen.add_initializer(name, value)
        self._memory = {name: self._words(value) for name, value in self._values.items()}
        self._session = opened(model, chosen)

    @staticmethod
    def _words(value: ort.OrtValue) -> Words:
        size = int(np.prod(value.shape()))
        return np.ctypeslib.as_array((ctypes.c_uint32 * size).from_address(value.data_ptr()))

    def outputs(self, fault: Fault | None) -> Outputs:
        """Give the outputs [inputs, classes] under a fault, or without one."""
        self._flip(fault)
        found = self._session.run(None, {"x": self._inputs})[0]
        self._flip(fault)
        return found

    def _flip(self, fault: Fault | None) -> None:
        if fault is not None:
            self._memory[fault.target][fault.index] ^= np.uint32(1 << fault.bit)


class Suffix:
    """Golden values are kept; the struck one is fed to a session that holds only what follows it."""

    def __init__(self, net: Net) -> None:
        model = onnx.shape_inference.infer_shapes(net.of_batch(len(net.inputs)))
        result = model.graph.output[0].name
        kept = {info.name: info for info in model.graph.value_info}
        everything = onnx.ModelProto()
        everything.CopyFrom(model)
        everything.graph.output.extend(kept.values())
        whole = opened(everything)
        names = [output.name for output in whole.get_outputs()]
        self._values = dict(zip(names, whole.run(None, {"x": net.inputs}), strict=True))
        self._golden = self._values[result]
        self._batch = len(net.inputs)
        self._suffixes = {}
        for name in net.neurons():
            fed = _fed(model, name)
            self._suffixes[name] = fed, opened(Extractor(model).extract_model(fed, [result]))

    def outputs(self, fault: Fault | None) -> Outputs:
        """Give the outputs [inputs, classes] under a fault in the same value of every input, or without one."""
        if fault is None:
            return self._golden
        struck = self._values[fault.target].reshape(self._batch, -1).view(np.uint32)
        fed, session = self._suffixes[fault.target]
        struck[:, fault.index] ^= np.uint32(1 << fault.bit)
        found = session.run(None, {name: self._values[name] for name in fed})[0]
        struck[:, fault.index] ^= np.uint32(1 << fault.bit)
        return found


def _fed(model: onnx.ModelProto, name: str) -> list[str]:
    """Give what the nodes after the maker of a value read from before: that value, and those of branches."""
    nodes = list(model.graph.node)
    first = next(i for i, node in enumerate(nodes) if name in node.output) + 1
    made = {output for node in nodes[:first] for output in node.output}
    return sorted({read for node in nodes[first:] for read in node.input if read in made})
