"""Make the cloud mask anew: generate scenes, train a small U-Net, write ONNX, quantise, measure.

``python -m hil.workloads.train_cloud_mask [DIRECTORY]`` needs the extra ``train`` (torch, onnxruntime) and takes about
two minutes on one core. Seed and single thread make it repeatable on one kind of CPU; another may round differently
and give other, equally good weights, which is why the files are committed.
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
from torch import nn
from torch.nn import functional

from hil.workloads.cloud_scenes import SIZE, scenes
from hil.workloads.quantise import quantise

Floats = npt.NDArray[np.float32]

SEED = 11
SCENES, TEST_SCENES, CALIBRATION_SCENES = 4800, 24, 128
EPOCHS = 10
BATCH = 32
OPSET = 17
LAYERS = {
    "fine": (3, 12), "middle": (12, 24), "coarse1": (24, 28), "coarse2": (28, 28), "join_middle": (52, 24),
    "join_fine": (36, 12), "mask": (12, 1),
}  # fmt: skip
"""Channels in and out; ``mask`` is 1 x 1, the others 3 x 3."""


class CloudMask(nn.Module):  # type: ignore[misc]  # torch is not there where types are checked
    """Three resolutions: the coarse ones see further, the fine one keeps the edges."""

    def __init__(self) -> None:
        super().__init__()
        for name, (given, made) in LAYERS.items():
            size = 1 if name == "mask" else 3
            setattr(self, name, nn.Conv2d(given, made, size, padding=size // 2))

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """Give the logit of cloud for each pixel."""
        fine = functional.relu(self.fine(picture))
        middle = functional.relu(self.middle(functional.max_pool2d(fine, 2)))
        coarse = functional.relu(self.coarse1(functional.max_pool2d(middle, 2)))
        coarse = functional.relu(self.coarse2(coarse))
        for join, part in ((self.join_middle, middle), (self.join_fine, fine)):
            raised = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
            coarse = functional.relu(join(torch.cat([part, raised], 1)))
        return self.mask(coarse)


def train(pictures: Floats, masks: npt.NDArray[np.uint8]) -> dict[str, Floats]:
    """Train and give the parameters by ONNX name."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    net = CloudMask()
    x, y = torch.from_numpy(pictures), torch.from_numpy(masks.astype(np.float32))
    optimiser = torch.optim.Adam(net.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS * -(-len(x) // BATCH))
    for _ in range(EPOCHS):
        for picks in torch.randperm(len(x)).split(BATCH):
            optimiser.zero_grad()
            functional.binary_cross_entropy_with_logits(net(x[picks]), y[picks]).backward()
            optimiser.step()
            schedule.step()
    return {name: value.detach().numpy() for name, value in net.named_parameters()}


def graph(parameters: dict[str, Floats]) -> onnx.ModelProto:
    """Write the network down as ONNX: ``picture`` [1, 3, SIZE, SIZE] to ``cloud`` [1, 1, SIZE, SIZE], 0 to 1."""
    nodes: list[onnx.NodeProto] = []

    def add(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def conv(name: str, source: str, *, relu: bool = True) -> str:
        size = parameters[f"{name}.weight"].shape[-1]
        shape = {"kernel_shape": [size, size], "pads": [size // 2] * 4}
        result = add("Conv", [source, f"{name}.weight", f"{name}.bias"], f"{name}.sum", **shape)
        return add("Relu", [result], f"{name}.relu") if relu else result

    def halved(source: str) -> str:
        return add("MaxPool", [source], f"{source}.pool", kernel_shape=[2, 2], strides=[2, 2])

    def joined(part: str, source: str) -> str:
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        raised = add("Resize", [source, "", "twice"], f"{source}.raised", **how)
        return add("Concat", [part, raised], f"{source}.joined", axis=1)

    fine = conv("fine", "picture")
    middle = conv("middle", halved(fine))
    coarse = conv("coarse2", conv("coarse1", halved(middle)))
    coarse = conv("join_middle", joined(middle, coarse))
    logits = conv("mask", conv("join_fine", joined(fine, coarse)), relu=False)
    add("Sigmoid", [logits], "cloud")
    constants = [numpy_helper.from_array(value, name) for name, value in parameters.items()]
    constants.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice"))
    body = helper.make_graph(
        nodes,
        "cloud_mask",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("cloud", TensorProto.FLOAT, [1, 1, SIZE, SIZE])],
        constants,
    )
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="flightnode"
    )
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def scores(path: Path, pictures: Floats, masks: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Give intersection over union of cloud, and the share of pixels named rightly, as onnxruntime computes it."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = np.concatenate([session.run(None, {"picture": picture[None]})[0] for picture in pictures]) > 0.5
    cloud = masks > 0
    return float((found & cloud).sum() / (found | cloud).sum()), float((found == cloud).mean())


def main(directory: Path) -> None:
    """Write ``cloud_mask_f32.onnx``, ``cloud_mask_int8.onnx`` and ``cloud_mask_test.npz`` into a directory."""
    pictures, masks = scenes(SEED, SCENES)
    float_path, int8_path = directory / "cloud_mask_f32.onnx", directory / "cloud_mask_int8.onnx"
    float_path.write_bytes(graph(train(pictures, masks)).SerializeToString())
    quantise(float_path, int8_path, {"picture": pictures[:CALIBRATION_SCENES]})
    test_pictures, test_masks = scenes(SEED + 1, TEST_SCENES)
    test_pictures = (np.rint(255 * test_pictures) / 255).astype(np.float32)  # so that the file is small
    np.savez_compressed(directory / "cloud_mask_test.npz", picture=test_pictures, mask=test_masks)
    for path in (float_path, int8_path):
        union, share = scores(path, test_pictures, test_masks)
        print(f"{path}: {path.stat().st_size} bytes, intersection over union {union:.3f}, {share:.1%} of pixels right")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
