"""Make the digits workload anew: train, write ONNX, quantise, measure.

``python -m hil.workloads.train_digits [DIRECTORY]`` needs the extra ``train`` (torch, scikit-learn,
onnxruntime) and takes about half a minute on one core. Seed and single thread make it repeatable on one
kind of CPU; another may round differently and give other, equally good weights, which is why the files are
committed.

The data are the 1,797 handwritten digits of 8 x 8 pixels in scikit-learn (E. Alpaydin and C. Kaynak,
Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998, CC BY 4.0). A quarter of
them, drawn with equal shares of each class, is the fixed test set.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from hil.workloads.quantise import quantise

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

SEED = 20
EPOCHS = 40
BATCH = 32
CALIBRATION_PICTURES = 256
OPSET = 17


def pictures() -> tuple[Floats, Floats, Labels, Labels]:
    """Give train images, test images [N, 1, 8, 8] scaled 0 to 1, train labels, test labels."""
    data = load_digits()
    images = (data.images / 16.0).astype(np.float32)[:, None]
    labels = data.target.astype(np.int64)
    parts = train_test_split(images, labels, test_size=0.25, random_state=SEED, stratify=labels)
    return parts[0], parts[1], parts[2], parts[3]


def train(images: Floats, labels: Labels) -> dict[str, Floats]:
    """Train the network and give its parameters by ONNX name: conv [out, in, 3, 3], dense [10, 32]."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    conv1, conv2, conv3 = (torch.nn.Conv2d(i, o, 3, padding=1) for i, o in ((1, 16), (16, 32), (32, 32)))
    relu, dense = torch.nn.ReLU(), torch.nn.Linear(32, 10)
    average = (torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    net = torch.nn.Sequential(conv1, relu, conv2, relu, torch.nn.MaxPool2d(2), conv3, relu, *average, dense)
    steps_per_epoch = -(-len(images) // BATCH)
    optimiser = torch.optim.Adam(net.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS * steps_per_epoch)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    for _ in range(EPOCHS):
        for picks in torch.randperm(len(x)).split(BATCH):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(net(x[picks]), y[picks], label_smoothing=0.05).backward()
            optimiser.step()
            schedule.step()
    layers = {"conv1": conv1, "conv2": conv2, "conv3": conv3, "dense": dense}
    return {
        f"{name}.{part}": getattr(layer, part).detach().numpy()
        for name, layer in layers.items()
        for part in ("weight", "bias")
    }


def graph(parameters: dict[str, Floats]) -> onnx.ModelProto:
    """Write the network down as ONNX: ``image`` [1, 1, 8, 8] to ``logits`` [1, 10], no softmax."""

    def node(op: str, name: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(op, inputs, [output], name=name, **attributes)

    def conv(name: str, source: str) -> list[onnx.NodeProto]:
        parts = [source, f"{name}.weight", f"{name}.bias"]
        relu, shape = name.replace("conv", "relu"), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
        return [
            node("Conv", name, parts, f"{name}_out", **shape),
            node("Relu", relu, [f"{name}_out"], f"{relu}_out"),
        ]

    nodes = [
        *conv("conv1", "image"),
        *conv("conv2", "relu1_out"),
        node("MaxPool", "pool", ["relu2_out"], "pool_out", kernel_shape=[2, 2], strides=[2, 2]),
        *conv("conv3", "pool_out"),
        node("GlobalAveragePool", "average", ["relu3_out"], "average_out"),
        node("Flatten", "flatten", ["average_out"], "features"),
        node("Gemm", "dense", ["features", "dense.weight", "dense.bias"], "logits", transB=1),
    ]
    body = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(value, name) for name, value in parameters.items()],
    )
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="flightnode"
    )
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def accuracy(path: Path, images: Floats, labels: Labels) -> float:
    """Give the share of the pictures that a model names rightly, as onnxruntime computes it."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    named = [session.run(None, {"image": image[None]})[0].argmax() for image in images]
    return float(np.mean(np.array(named) == labels))


def main(directory: Path) -> None:
    """Write ``digits_f32.onnx``, ``digits_int8.onnx`` and ``digits_test.npz`` into a directory."""
    train_images, test_images, train_labels, test_labels = pictures()
    float_path, int8_path = directory / "digits_f32.onnx", directory / "digits_int8.onnx"
    float_path.write_bytes(graph(train(train_images, train_labels)).SerializeToString())
    quantise(float_path, int8_path, {"image": train_images[:CALIBRATION_PICTURES]})
    np.savez_compressed(directory / "digits_test.npz", image=test_images, labels=test_labels)
    for path in (float_path, int8_path):
        share = accuracy(path, test_images, test_labels)
        print(f"{path}: {path.stat().st_size} bytes, {share:.2%} of {len(test_labels)} right")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
