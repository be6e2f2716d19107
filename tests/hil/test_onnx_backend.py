"""The node cases of the onnx package's own backend suite: what is supported agrees, the rest is refused by name.

Inputs that the compiler needs as constants (shapes, bounds, weights, scales) are given as initialisers; everything
else is given when the image runs.
"""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import pytest
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from firmware_bridge.errors import ModelError
from hil.compiler import compile_model
from node.model.engine import Engine
from node.model.image import Image
from tests.onnx_models import engine_of
from tests.proof import count

TYPES = {
    TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL
}  # fmt: skip

REASONS = {
    "another type": ("no supported type", "gives the type", "is float64", "is float16"),
    "no tensors": ("sequence",),
    "operator outside the supported set": ("is not supported; the node runs",),
    "training": ("training",),
    "an empty tensor": ("at least one element", "cannot lie in memory"),
    "scales that are computed": ("has to be constant",),
    "indices of a pool": ("second output",),
    "an operator that is no number's": ("is expected there",),
    "a subgraph": ("topologically sorted", "cannot be replaced by its definition"),
}
"""Why a case may be skipped: the reason, and words of the error that say so."""

CONSTANT = (
    "has to be constant",
    *(f"operator {name} is not supported" for name in ("ConstantOfShape", "Range", "Shape")),
)
"""Words of errors that say that an input has to be known when the model is compiled."""

LEAST = {"node": 980, "pytorch-converted": 82, "pytorch-operator": 30}
"""Cases that have to pass; one fewer is a regression."""

LIGHT = (
    "shufflenet", "densenet121", "squeezenet", "inception_v1", "inception_v2", "resnet50", "bvlc_alexnet", "zfnet512",
    "vgg19",
)  # fmt: skip

Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Case:
    name: str
    model: onnx.ModelProto
    data: list[tuple[Arrays, Arrays]]
    rtol: float
    atol: float


def skip_reason(text: str) -> str:
    for reason, words in REASONS.items():
        if any(word in text for word in words):
            return reason
    return ""


def is_plain(model: onnx.ModelProto) -> str:
    """Empty where all inputs and outputs are tensors of supported types, else why not."""
    for value in (*model.graph.input, *model.graph.output):
        if value.type.WhichOneof("value") != "tensor_type":
            return "sequence"
        if value.type.tensor_type.elem_type not in TYPES:
            return "no supported type"
    return ""


def compiled(case: Case, path: Path) -> tuple[Image, list[str]]:
    """The image with as few inputs frozen as the compiler accepts, and the names of all inputs."""
    constants = {tensor.name for tensor in case.model.graph.initializer}
    names = [value.name for value in case.model.graph.input if value.name not in constants]
    given = dict(zip(names, case.data[0][0], strict=False))
    empty = {name for name, value in given.items() if value.size == 0}
    for frozen in (empty, {*empty, *names[1:]}, set(names)):
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        kept = [value for value in model.graph.input if value.name not in frozen]
        del model.graph.input[:]
        model.graph.input.extend(kept)
        model.graph.initializer.extend(numpy_helper.from_array(given[name], name) for name in sorted(frozen))
        path.write_bytes(model.SerializeToString())
        try:
            shapes = {name: value.shape for name, value in given.items() if name not in frozen}
            return compile_model(path, shapes), names
        except ModelError as error:
            if frozen == set(names) or not any(words in str(error) for words in CONSTANT):
                raise
    raise AssertionError("unreachable")


def agrees(case: Case, engine: Engine, names: list[str]) -> None:
    for inputs, outputs in case.data:
        given = dict(zip(names, inputs, strict=False))
        for spec in engine.image.inputs:
            engine.write_input(spec.name, given[spec.name].reshape(spec.shape))
        engine.run()
        for value, want in zip(case.model.graph.output, outputs, strict=True):
            got = engine.read_output(value.name)
            assert got.shape == want.shape, f"{case.name}: {got.shape} is not {want.shape}"
            assert got.dtype == want.dtype, f"{case.name}: {got.dtype} is not {want.dtype}"
            np.testing.assert_allclose(
                got.astype(np.float64), want.astype(np.float64), rtol=case.rtol, atol=case.atol, err_msg=case.name
            )


def walk(cases: list[Case], path: Path) -> tuple[int, Counter[str]]:
    """Cases that pass, and how many are skipped for which reason; fails for an error of no known reason."""
    passed, skipped = 0, Counter[str]()
    for case in cases:
        problem = is_plain(case.model)
        if not problem:
            try:
                image, names = compiled(case, path)
            except ModelError as error:
                problem = str(error)
        if problem:
            assert skip_reason(problem), f"{case.name}: {problem}"
            skipped[skip_reason(problem)] += 1
            continue
        agrees(case, engine_of(image)[0], names)
        passed += bool(image.inputs)
        skipped["agrees, but is constant as a whole"] += not image.inputs
    return passed, skipped


@functools.cache
def node_cases() -> tuple[Case, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    return tuple(
        Case(
            case.name,
            case.model,
            [(list(map(np.asarray, inputs)), outputs) for inputs, outputs in case.data_sets],
            case.rtol,
            case.atol,
        )
        for case in found
        if not is_plain(case.model)
    )


def stored_cases(kind: str) -> list[Case]:
    cases = []
    for test in load_model_tests(kind=kind):
        folder = Path(test.model_dir)
        model = onnx.load(str(folder / "model.onnx"))
        if not is_plain(model):
            sets = [(tensors(place, "input"), tensors(place, "output")) for place in sorted(folder.glob("test_data*"))]
            cases.append(Case(test.name, model, sets, test.rtol, test.atol))
    return cases


def tensors(folder: Path, prefix: str) -> Arrays:
    files = sorted(folder.glob(f"{prefix}_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
    return [numpy_helper.to_array(TensorProto.FromString(path.read_bytes())) for path in files]


def light_cases(names: Iterable[str]) -> Iterator[Case]:
    """Image classifiers of full size whose weights are made by the graph, with the inputs of the package's runner."""
    place = Path(onnx.backend.test.__file__).parent / "data" / "light"
    for name in names:
        model = onnx.load(str(place / f"light_{name}.onnx"))
        constants = {tensor.name for tensor in model.graph.initializer}
        (given,) = (value for value in model.graph.input if value.name not in constants)
        answer = TensorProto.FromString((place / f"light_{name}_output_0.pb").read_bytes())
        inputs = [Runner.generate_dummy_data(given, name=name)]
        yield Case(name, model, [(inputs, [numpy_helper.to_array(answer)])], rtol=1e-3, atol=1e-6)


def test_node_cases(tmp_path: Path) -> None:
    passed, skipped = walk(list(node_cases()), tmp_path / "m.onnx")
    print(f"{passed} pass; skipped: {dict(skipped)}")
    assert passed >= LEAST["node"]


@pytest.mark.parametrize("kind", ["pytorch-converted", "pytorch-operator"])
def test_stored_cases(kind: str, tmp_path: Path) -> None:
    passed, skipped = walk(stored_cases(kind), tmp_path / "m.onnx")
    print(f"{passed} pass; skipped: {dict(skipped)}")
    assert passed >= LEAST[kind]


@pytest.mark.proof
def test_light_cases(tmp_path: Path) -> None:
    """All nine in a proof; the largest has 575 MB of weights."""
    for case in light_cases(LIGHT[: count(2, len(LIGHT))]):
        assert walk([case], tmp_path / "m.onnx") == (1, Counter())


def test_a_reason_that_nobody_knows_is_a_failure(tmp_path: Path) -> None:
    assert skip_reason("the compiler fell over") == ""
    case = next(case for case in node_cases() if case.name == "test_add")
    inputs, (want,) = case.data[0]
    wrong = Case(case.name, case.model, [(inputs, [want + 1])], case.rtol, case.atol)
    with pytest.raises(AssertionError):
        walk([wrong], tmp_path / "m.onnx")
