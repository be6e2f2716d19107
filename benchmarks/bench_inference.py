"""One inference of the digits classifier against onnxruntime on one thread, inputs checked and outputs copied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

import hil
from benchmarks.contest import Contest
from hil.workloads import digits
from node.computer import Computer


def session(model):
    """Give an onnxruntime session on one thread, as a payload computer would use it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


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
}


def test_inference(benchmark, side):
    benchmark(side)
