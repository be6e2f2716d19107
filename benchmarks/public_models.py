"""Whole networks against onnxruntime with its inputs and outputs bound, on one thread; public ones where at hand."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

import hil
from benchmarks.contest import Contest, NotMeasurable
from benchmarks.injection.nets import mlp
from node.model.effects import engine_of

ROOT = Path(__file__).resolve().parent.parent
MODELS = Path(os.environ.get("FLIGHTNODE_MODELS", ROOT.parent / "shared" / "models"))

Values = Mapping[str, NDArray[np.generic]]


def session(model):
    """Give an onnxruntime session on one thread, as a payload computer would use it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def bound(model, inputs: Values):
    """Give a call of onnxruntime that copies nothing: inputs and outputs are bound beforehand."""
    peer = session(model)
    binding = peer.io_binding()
    for name, values in inputs.items():
        binding.bind_cpu_input(name, values)
    for output in peer.get_outputs():
        binding.bind_output(output.name)
    return lambda: peer.run_with_iobinding(binding)


def some_inputs(model) -> Values:
    """Give random floats, and zeros for whole numbers, in the shapes of a model; open sizes are 1."""
    rng = np.random.default_rng(0)
    inputs = {}
    for entry in session(model).get_inputs():
        shape = [size if isinstance(size, int) else 1 for size in entry.shape]
        floats = entry.type == "tensor(float)"
        inputs[entry.name] = rng.normal(size=shape).astype(np.float32) if floats else np.zeros(shape, np.int64)
    return inputs


@contextmanager
def perceptron() -> Iterator[Contest]:
    """Give the contest of the small perceptron that the exact engine is measured with, too: 64-128-64-10."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlp.onnx"
        onnx.save(mlp(inputs=1).model, path)
        with plain_run(path) as contest:
            yield contest


@contextmanager
def plain_run(path: Path) -> Iterator[Contest]:
    """Hold one run of all steps against one of onnxruntime, the inputs in place on both sides."""
    if not path.is_file():
        raise NotMeasurable(f"{path} is not there: set FLIGHTNODE_MODELS")
    inputs = some_inputs(str(path))
    engine, _ = engine_of(hil.compile_model(path, {name: values.shape for name, values in inputs.items()}))
    for name, values in inputs.items():
        engine.write_input(name, values)
    # Later activations take over the memory of an input. Another number is as good, but another index is none.
    indices = {name: values for name, values in inputs.items() if values.dtype == np.int64}

    def run() -> None:
        for name, values in indices.items():
            engine.write_input(name, values)
        engine.run()

    yield Contest(ours=run if indices else engine.run, reference=bound(str(path), inputs))


@contextmanager
def two_threads(path: Path) -> Iterator[Contest]:
    """Hold two threads against one, by the clock on the wall."""
    if not path.is_file():
        raise NotMeasurable(f"{path} is not there: set FLIGHTNODE_MODELS")
    if len(os.sched_getaffinity(0)) < 2:
        raise NotMeasurable("this process may use one processor only")
    inputs = some_inputs(str(path))
    image = hil.compile_model(path, {name: values.shape for name, values in inputs.items()})
    (one, alone), (two, shared) = engine_of(image), engine_of(image, threads=2)
    for engine in (one, two):
        for name, values in inputs.items():
            engine.write_input(name, values)
        engine.run()
    assert (alone.u8 == shared.u8).all()
    try:
        yield Contest(ours=two.run, reference=one.run, clock=time.perf_counter)
    finally:
        two.close()


def public_on_two_threads(name: str):
    """Give the contest of two threads on a public model by the name of its folder."""
    return lambda: two_threads(MODELS / name / "model.onnx")


def public(name: str):
    """Give the contest of a public model by the name of its folder."""
    return lambda: plain_run(MODELS / name / "model.onnx")
