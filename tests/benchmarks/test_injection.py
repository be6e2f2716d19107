"""Every injector strikes what it says, and outcomes agree; one that strikes nothing, or something else, is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest

from benchmarks.injection import by_onnxruntime, nets
from benchmarks.injection.contests import PEERS, exact_call, peer_call
from benchmarks.injection.exact import Exact
from benchmarks.injection.faults import Fault, decided, draw, prove_agreement, prove_live, weight_sizes

# One process compiles the kernels of the exact engine.
pytestmark = pytest.mark.xdist_group("exact engine")


@pytest.fixture(scope="module")
def exact() -> Exact:
    return Exact(nets.mlp(4))


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest, exact: Exact):
    module, name, kind = PEERS[request.param]
    if module == "by_torch":
        pytest.importorskip("torch")
        if "pytorchfi" in request.param or "mrfi" in request.param:
            pytest.importorskip(request.param.partition("-")[0])
        from benchmarks.injection import by_torch as found
    else:
        found = by_onnxruntime
    sizes = weight_sizes(exact.net) if kind == "weight" else exact.sizes
    return getattr(found, name)(exact.net), sizes


def test_every_peer_is_live_and_agrees(exact: Exact, peer) -> None:
    injector, sizes = peer
    prove_live(injector, sizes)
    faults = draw(sizes, 60)
    assert "pairs" in prove_agreement(exact, injector, faults)
    assert isinstance(peer_call(injector, faults)(), int)


@pytest.mark.parametrize("make", [nets.mlp, nets.resnet8])
def test_the_exact_engine_is_live_and_exact(make) -> None:
    exact = Exact(make(2))
    for sizes in (weight_sizes(exact.net), exact.sizes):
        prove_live(exact, sizes)
        faults = draw(sizes, 20)
        exact.prove_exact(faults)
        assert exact_call(exact, faults, 10)().codes.shape == (10, 2)


def test_flips_that_a_library_does_not_see_are_found() -> None:
    net = nets.resnet8(1)
    blind = by_onnxruntime.OwnMemory(net, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    with pytest.raises(AssertionError, match="flips bits of w0 and no output changes"):
        prove_live(blind, weight_sizes(net))
    prove_live(by_onnxruntime.OwnMemory(net), weight_sizes(net))


def test_another_fault_does_not_agree(exact: Exact) -> None:
    class Shifted(by_onnxruntime.FedInitialiser):
        def outputs(self, fault: Fault | None):
            return super().outputs(replace(fault, bit=fault.bit ^ 1) if fault else None)

    faults = [replace(fault, bit=30) for fault in draw(weight_sizes(exact.net), 60)]
    with pytest.raises(AssertionError, match="another winner"):
        prove_agreement(exact, Shifted(exact.net), faults)


def test_a_fault_that_stays_is_found(exact: Exact) -> None:
    class Leaves(by_onnxruntime.OwnMemory):
        def _flip(self, fault: Fault | None) -> None:
            if fault is not None:
                self._memory[fault.target][fault.index] |= np.uint32(1 << fault.bit)

    with pytest.raises(AssertionError, match="leaves a fault in"):
        prove_live(Leaves(exact.net), weight_sizes(exact.net))


def test_only_finite_outputs_with_a_clear_lead_are_compared() -> None:
    outputs = np.array([[1, 2, 3], [1, 3, 3], [np.nan, 2, 3], [1, np.inf, 3], [1, 2, 1e31]], np.float32)
    assert decided(outputs).tolist() == [True, False, False, False, False]
