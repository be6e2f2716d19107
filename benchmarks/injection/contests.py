"""The exact engine against other injectors: the same net, faults, inputs and one thread, proved before it is timed."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from itertools import count

from benchmarks.contest import Contest, NotMeasurable, OpenContest, Work
from benchmarks.injection import nets
from benchmarks.injection.exact import Exact
from benchmarks.injection.faults import Fault, Injector, draw, prove_agreement, prove_live, weight_sizes

POOL = 20_000
CHECKED = 30
NETS = {"mlp": nets.mlp, "resnet8": nets.resnet8}
OURS_AT_ONCE = {("mlp", 1): 20_000, ("mlp", 100): 2_000, ("resnet8", 1): 500, ("resnet8", 100): 60}
"""Faults in one call of the exact engine."""

PEERS = {
    "onnxruntime-new-session": ("by_onnxruntime", "NewSession", "weight"),
    "onnxruntime-fed": ("by_onnxruntime", "FedInitialiser", "weight"),
    "onnxruntime-own-memory": ("by_onnxruntime", "OwnMemory", "weight"),
    "onnxruntime-suffix": ("by_onnxruntime", "Suffix", "neuron"),
    "torch-in-place": ("by_torch", "InPlace", "weight"),
    "torch-hook": ("by_torch", "Hook", "neuron"),
    "pytorchfi-weight": ("by_torch", "PyTorchFIWeights", "weight"),
    "pytorchfi-neuron": ("by_torch", "PyTorchFINeurons", "neuron"),
    "mrfi-weight": ("by_torch", "MRFIWeights", "weight"),
}
NEEDED = {"by_torch": "torch", "by_onnxruntime": "onnxruntime", "pytorchfi": "pytorchfi", "mrfi": "mrfi"}


@cache
def proved(name: str, inputs: int, kind: str) -> tuple[Exact, list[Fault]]:
    """Give the exact engine and faults; every target of it is live, and its bytes are those of whole runs."""
    exact = Exact(NETS[name](inputs))
    sizes = weight_sizes(exact.net) if kind == "weight" else exact.sizes
    faults = draw(sizes, POOL)
    prove_live(exact, sizes)
    exact.prove_exact(faults[:CHECKED])
    return exact, faults


def exact_call(exact: Exact, faults: Sequence[Fault], at_once: int) -> Callable[[], object]:
    """Give a call that has the exact engine carry out the next faults of a list, again from its start at its end."""
    parts = [exact.located(list(faults[first : first + at_once])) for first in range(0, len(faults), at_once)]
    calls = count()
    return lambda: exact.engine.effects(parts[next(calls) % len(parts)])


def peer_call(peer: Injector, faults: Sequence[Fault]) -> Callable[[], object]:
    """Give a call that has a peer carry out the next fault of a list and count the inputs with another winner."""
    golden = peer.outputs(None).argmax(1)
    calls = count()
    return lambda: int((peer.outputs(faults[next(calls) % len(faults)]).argmax(1) != golden).sum())


@contextmanager
def against(name: str, inputs: int, peer: str) -> Iterator[Contest]:
    """Open the contest of the exact engine and a peer."""
    module, kind_of_peer, kind = PEERS[peer]
    for needed in {NEEDED[module], NEEDED.get(peer.partition("-")[0], NEEDED[module])}:
        if importlib.util.find_spec(needed) is None:
            raise NotMeasurable(f"{needed} absent (pip install 'flightnode[peers]')")
    exact, faults = proved(name, inputs, kind)
    injector = getattr(importlib.import_module(f"benchmarks.injection.{module}"), kind_of_peer)(exact.net)
    prove_live(injector, weight_sizes(exact.net) if kind == "weight" else exact.sizes)
    note = prove_agreement(exact, injector, faults[:CHECKED])
    at_once = OURS_AT_ONCE[name, inputs]
    yield Contest(
        ours=exact_call(exact, faults, at_once),
        reference=peer_call(injector, faults),
        work=at_once,
        counted=Work(unit="faults", ours=at_once, reference=1, times=inputs, of_each="evaluations", note=note),
    )


@contextmanager
def within(name: str, inputs: int, kind: str, evaluations_per_s: float) -> Iterator[Contest]:
    """Open the contest of the exact engine and a rate."""
    exact, faults = proved(name, inputs, kind)
    at_once = OURS_AT_ONCE[name, inputs]
    yield Contest(
        ours=exact_call(exact, faults, at_once),
        reference=at_once * inputs / evaluations_per_s,
        counted=Work(unit="faults", ours=at_once, reference=at_once, times=inputs, of_each="evaluations"),
    )


def _contests() -> dict[str, OpenContest]:
    found: dict[str, OpenContest] = {}
    for name, inputs in OURS_AT_ONCE:
        for peer in PEERS:
            found[f"{name}-{inputs}-{peer}"] = lambda n=name, i=inputs, p=peer: against(n, i, p)
    rates = {
        ("mlp", 100, "weight"): 100e3 * 100, ("resnet8", 1, "neuron"): 30e3, ("resnet8", 1, "weight"): 12e3,
        ("resnet8", 100, "neuron"): 30e3, ("resnet8", 100, "weight"): 12e3,
    }  # fmt: skip
    for (name, inputs, kind), rate in rates.items():
        found[f"{name}-{inputs}-{kind}-rate"] = lambda n=name, i=inputs, k=kind, r=rate: within(n, i, k, r)
    found["resnet8-int8-weight-rate"] = _int8_rate
    return found


def _int8_rate() -> AbstractContextManager[Contest]:
    from benchmarks.injection.quantised import int8_rate

    return int8_rate()


CONTESTS = _contests()
