"""The faults that all injectors carry out, and what has to hold before one of them is timed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.injection.nets import Net

Outputs = NDArray[np.float32]
NEAR = 1e-3
"""Share of the largest magnitude by which the winner must lead: sums in another order differ by far less."""
LARGEST = 1e30
"""Beyond it a sum may overflow in one order and not in another."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Bit ``bit`` of float ``index`` of a weight tensor, or of a value of every input, counted as ONNX lays it out."""

    target: str
    index: int
    bit: int


class Injector(Protocol):
    """Carries out one fault on all inputs and leaves nothing behind."""

    def outputs(self, fault: Fault | None) -> Outputs:
        """Give the outputs [inputs, classes] under a fault, or without one."""


def draw(sizes: dict[str, int], count: int) -> list[Fault]:
    """Draw faults uniformly over all bits of the targets; ``sizes`` are numbers of floats."""
    rng = np.random.default_rng(11)
    names, ends = list(sizes), np.cumsum(list(sizes.values()))
    faults = []
    for place in rng.integers(0, ends[-1], count):
        number = int(np.searchsorted(ends, place, side="right"))
        start = int(ends[number - 1]) if number else 0
        faults.append(Fault(target=names[number], index=int(place) - start, bit=int(rng.integers(32))))
    return faults


def prove_live(injector: Injector, sizes: dict[str, int]) -> None:
    """Strike some floats of each target and see the outputs change, and come back.

    Raises
    ------
    AssertionError
        A target whose bits the injector flips without any effect, as when a library computes from a copy.
    """
    golden = injector.outputs(None)
    for target, size in sizes.items():
        tried = [Fault(target=target, index=i, bit=30) for i in range(0, size, max(1, size // 24))]
        if not any(not np.array_equal(injector.outputs(fault), golden, equal_nan=True) for fault in tried):
            raise AssertionError(f"{type(injector).__name__} flips bits of {target} and no output changes")
        if not np.array_equal(injector.outputs(None), golden):
            raise AssertionError(f"{type(injector).__name__} leaves a fault in {target}")


def decided(outputs: Outputs) -> NDArray[np.bool_]:
    """Tell for which inputs the winner does not hang on the order of sums: finite values, a clear lead."""
    with np.errstate(invalid="ignore", over="ignore"):
        finite = (np.abs(outputs) < LARGEST).all(1)
        ordered = np.sort(outputs, axis=1)
        return finite & (ordered[:, -1] - ordered[:, -2] > NEAR * np.abs(outputs).max(1))


def prove_agreement(exact: Injector, peer: Injector, faults: list[Fault]) -> str:
    """Compare the winner of each output where arithmetic allows, and say how many pairs that were.

    Raises
    ------
    AssertionError
        Another winner where both outputs are finite and lead clearly.
    """
    compared = left = 0
    for fault in faults:
        ours, theirs = exact.outputs(fault), peer.outputs(fault)
        clear = decided(ours) & decided(theirs)
        compared, left = compared + int(clear.sum()), left + int((~clear).sum())
        if (ours[clear].argmax(1) != theirs[clear].argmax(1)).any():
            raise AssertionError(f"{fault}: {type(peer).__name__} gives another winner than the exact engine")
    return f"same winner in {compared} of {compared} pairs, {left} not finite or too close to call"


def weight_sizes(net: Net) -> dict[str, int]:
    """Give the floats of each weight tensor."""
    return {name: array.size for name, array in net.weights().items()}
