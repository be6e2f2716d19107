"""torch as an injector: flipped in place, by a hook, by two published tools. One thread, the whole batch at once."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from benchmarks.injection.faults import Fault, Outputs
from benchmarks.injection.nets import Net

LAYERS = [nn.Conv2d, nn.Linear]


class Activation(nn.ReLU):
    """A ReLU with an empty weight: PyTorchFI asks every layer that it strikes for one."""

    weight = torch.zeros(0)


class TorchNet(nn.Module):
    """A network of :mod:`benchmarks.injection.nets` with the same parameters; layers in the order of their calls."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in net.model.graph.initializer}
        self.layers = nn.ModuleDict()
        self._plan: list[tuple[str, list[str], str]] = []
        for node in net.model.graph.node:
            layer = _layer(node, arrays)
            if layer is not None:
                self.layers[node.output[0]] = layer
            reads = [name for name in node.input if name not in arrays]
            self._plan.append((node.op_type, reads, node.output[0]))
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give the outputs [inputs, classes]."""
        values = {"x": x}
        for op, reads, name in self._plan:
            if op == "Add":
                values[name] = values[reads[0]] + values[reads[1]]
            elif op == "GlobalAveragePool":
                values[name] = values[reads[0]].mean((2, 3))
            elif op == "Flatten":
                values[name] = values[reads[0]].flatten(1)
            else:
                values[name] = self.layers[name](values[reads[0]])
        return values[name]


def _layer(node: onnx.NodeProto, arrays: dict[str, NDArray[np.float32]]) -> nn.Module | None:
    if node.op_type == "Relu":
        return Activation()
    if node.op_type not in ("Conv", "Gemm"):
        return None
    weight, bias = (torch.from_numpy(np.array(arrays[name])) for name in node.input[1:])
    if node.op_type == "Gemm":
        layer: nn.Module = nn.Linear(weight.shape[1], weight.shape[0])
    else:
        given = {attribute.name: list(attribute.ints) for attribute in node.attribute}
        layer = nn.Conv2d(
            weight.shape[1], weight.shape[0], weight.shape[2:], stride=given["strides"], padding=given["pads"][:2]
        )
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


class TorchInjector:
    """What the injectors of this file share: one thread, the network, the inputs, the names of its parts."""

    def __init__(self, net: Net) -> None:
        torch.set_num_threads(1)
        self.model = TorchNet(net)
        self.inputs = torch.from_numpy(net.inputs)
        nodes = [node for node in net.model.graph.node if node.op_type in ("Conv", "Gemm")]
        self.owners = {node.input[1]: node.output[0] for node in nodes}
        self.neurons = net.neurons()

    def run(self, model: Callable[[torch.Tensor], torch.Tensor]) -> Outputs:
        """Give the outputs of a model on all inputs."""
        with torch.inference_mode():
            return model(self.inputs).numpy()


class InPlace(TorchInjector):
    """Flip a bit of a weight in place, run, flip it back."""

    def __init__(self, net: Net) -> None:
        super().__init__(net)
        layers = self.model.layers
        self._words = {
            name: layers[owner].weight.data.numpy().reshape(-1).view(np.uint32) for name, owner in self.owners.items()
        }

    def outputs(self, fault: Fault | None) -> Outputs:
        """Give the outputs [inputs, classes] under a fault, or without one."""
        if fault is None:
            return self.run(self.model)
        mask = np.uint32(1 << fault.bit)
        self._words[fault.target][fault.index] ^= mask
        found = self.run(self.model)
        self._words[fault.target][fault.index] ^= mask
        return found


class Hook(TorchInjector):
    """Flip a bit of a value of every input as it is made."""

    def __init__(self, net: Net) -> None:
        super().__init__(net)
        self._fault: Fault | None = None
        for name in self.neurons:
            self.model.layers[name].register_forward_hook(self._hook(name))

    def _hook(self, name: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
        def strike(_layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
            if self._fault is not None and self._fault.target == name:
                mask = int(np.uint32(1 << self._fault.bit).view(np.int32))
                output.view(torch.int32).reshape(len(output), -1)[:, self._fault.index] ^= mask

        return strike

    def outputs(self, fault: Fault | None) -> Outputs:
        """Give the outputs [inputs, classes] under a fault, or without one."""
        self._fault = fault
        return self.run(self.model)


def _flipped(value: float, bit: int) -> float:
    return float((np.float32(value).view(np.uint32) ^ np.uint32(1 << bit)).view(np.float32))


class PyTorchFIWeights(TorchInjector):
    """``declare_weight_fi`` of PyTorchFI and a forward pass."""

    def __init__(self, net: Net) -> None:
        super().__init__(net)
        self._tool = _pytorchfi(self, net, LAYERS)
        self._shapes = {name: array.shape for name, array in net.weights().items()}
        self._numbers = {name: number for number, name in enumerate(self.owners)}

    def outputs(self, fault: Fault | None) -> Outputs:
        """Give the outputs [inputs, classes] under a fault, or without one."""
        if fault is None:
            return self.run(self.model)
        place = [int(i) for i in np.unravel_index(fault.index, self._shapes[fault.target])]
        place += [None] * (4 - len(place))
        struck = self._tool.declare_weight_fi(
            function=lambda weight, index: _flipped(weight[index].item(), fault.bit),
            layer_num=[self._numbers[fault.target]], k=place[:1], dim1=place[1:2], dim2=place[2:3], dim3=place[3:],
        )  # fmt: skip
        return self.run(struck)


class PyTorchFINeurons(TorchInjector):
    """``declare_neuron_fi`` of PyTorchFI with the flipped golden value of each input, and a forward pass."""

    def __init__(self, net: Net) -> None:
        super().__init__(net)
        self._golden: dict[str, torch.Tensor] = {}
        self._keep_golden()
        self._tool = _pytorchfi(self, net, [Activation])

    def _keep_golden(self) -> None:
        watched = copy.deepcopy(self.model)
        for name in self.neurons:
            watched.layers[name].register_forward_hook(
                lambda _layer, _inputs, output, name=name: self._golden.__setitem__(name, output.clone())
            )
        self.run(watched)

    def outputs(self, fault: Fault | None) -> Outputs:
        """Give the outputs [inputs, classes] under a fault, or without one."""
        if fault is None:
            return self.run(self.model)
        golden = self._golden[fault.target]
        batch, shape = len(golden), golden.shape[1:]
        place = [int(i) for i in np.unravel_index(fault.index, shape)] + [None] * (3 - len(shape))
        values = golden.numpy().reshape(batch, -1)[:, fault.index]
        struck = self._tool.declare_neuron_fi(
            batch=list(range(batch)), layer_num=[self.neurons.index(fault.target)] * batch,
            dim1=place[:1] * batch, dim2=place[1:2] * batch, dim3=place[2:] * batch,
            value=[_flipped(value, fault.bit) for value in values],
        )  # fmt: skip
        return self.run(struck)


def _pytorchfi(injector: TorchInjector, net: Net, layers: list[type]) -> object:
    from pytorchfi.core import fault_injection

    handlers = list(logging.getLogger().handlers)
    tool = fault_injection(injector.model, len(net.inputs), input_shape=list(net.inputs.shape[1:]), layer_types=layers)
    # It installs a format for messages that no other message can fill.
    logging.getLogger().handlers[:] = handlers
    return tool


class MRFIWeights(TorchInjector):
    """MRFI with a fixed position and a fixed bit in the struck layer and no position in the others."""

    def __init__(self, net: Net) -> None:
        super().__init__(net)
        from mrfi import MRFI, EasyConfig

        config = EasyConfig.load_preset("float_weight_fi")
        config.set_selector(0, {"method": "FixPositions", "positions": []})
        config.set_error_mode(0, {"method": "FloatFixedBitFlip", "bit": 0})
        self._tool = MRFI(self.model, config)
        self._configs = {name: self.model.layers[owner].FI_config.weights[0] for name, owner in self.owners.items()}

    def outputs(self, fault: Fault | None) -> Outputs:
        """Give the outputs [inputs, classes] under a fault, or without one."""
        if fault is None:
            return self.run(self._tool)
        config = self._configs[fault.target]
        config.selector.args.positions = [fault.index]
        config.error_mode.args.bit = fault.bit
        found = self.run(self._tool)
        config.selector.args.positions = []
        return found
