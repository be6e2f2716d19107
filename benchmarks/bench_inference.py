"""Inference against onnxruntime on one thread: digits with inputs checked and outputs copied, and whole networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np

import hil
from benchmarks.board_memory import board_memory
from benchmarks.contest import Contest
from benchmarks.lesser_processor import on_lesser_processor
from benchmarks.public_models import perceptron, public, public_on_two_threads, session
from hil.workloads import digits
from node.computer import Computer


def first_sample(kind: str) -> dict[str, np.ndarray]:
    """Give the first picture of the test set, as the model takes it."""
    with np.load(digits(kind).inputs_path) as held:
        return {"image": np.ascontiguousarray(held["image"][:1]).reshape(1, 1, 8, 8).astype(np.float32)}


@contextmanager
def against_onnxruntime(kind: str) -> Iterator[Contest]:
    inputs = first_sample(kind)
    peer = session(str(digits(kind).model_path))
    with Computer(hil.compile_model(digits(kind).model_path)) as computer:
        ours, theirs = computer.infer(inputs)["logits"], peer.run(None, inputs)[0]
        assert np.argmax(ours) == np.argmax(theirs)
        yield Contest(ours=lambda: computer.infer(inputs), reference=lambda: peer.run(None, inputs))


CONTESTS = {
    "digits-f32": lambda: against_onnxruntime("f32"),
    "digits-int8": lambda: against_onnxruntime("int8"),
    "mlp-f32": perceptron,
    "autoencoder-f32": public("mlp_ad01_fp32"),
    "resnet8-f32": public("resnet8_ic_fp32"),
    "dscnn-f32": public("dscnn_kws_fp32"),
    "mobilenet-f32": public("mobilenet_vww_fp32"),
    "unet-f32": public("unet_opssat_patch_fp32"),
    "resnet8-int8": public("resnet8_ic_int8"),
    "dscnn-int8": public("dscnn_kws_int8"),
    "mobilenet-int8": public("mobilenet_vww_int8"),
    "wakeword-int8": public("conv1d_wakeword_int8"),
    "resnet8-two-threads": public_on_two_threads("resnet8_ic_fp32"),
    "mobilenet-two-threads": public_on_two_threads("mobilenet_vww_fp32"),
    "unet-two-threads": public_on_two_threads("unet_opssat_patch_fp32"),
    "board-memory": lambda: board_memory("resnet8_ic_fp32"),
    "language-model": public("decoder_llama_step_fp32"),
}
CONTESTS |= {
    f"{name}-{processor}": partial(on_lesser_processor, __name__, name, processor)
    for name in ("resnet8-int8", "dscnn-int8", "mobilenet-int8", "wakeword-int8")
    for processor in ("avx512", "avx2", "sse4")
}


def test_inference(benchmark, side):
    benchmark(side)
