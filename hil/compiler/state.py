"""State: outputs that feed inputs of the same model in its next inference, and how a program keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from firmware_bridge.errors import ModelError
from hil.compiler.graph import Array, Graph, Port
from hil.compiler.lowering import Lowering
from hil.compiler.program import State, Tensor
from hil.compiler.views import copy_into, dense, view_of

OutputOf = Callable[[str], Tensor]
"""Gives a model output with its real values, in memory of its own."""

PAST, PRESENT = ("past_key_values", "past"), ("present_key_values", "present")
"""What exporters call a cache as it goes in, and as it comes out."""


def state_pairs(graph: Graph, low: Lowering, given: Mapping[str, str] | None) -> dict[str, str]:
    """Tell which output feeds which input of the next inference.

    Parameters
    ----------
    given : mapping of str to str or None
        Input by output. With None the names decide: each input with ``past`` in its name has to have one output of
        its shape and type that is called ``present`` instead, and no other input the same, or nothing is state.

    Raises
    ------
    ModelError
        A name that does not exist, or a pair that differs in shape or type.
    """
    ports = {port.name: port for port in graph.inputs}
    if given is None:
        return _recognised(graph, low, ports)
    for output, name in given.items():
        if output not in graph.outputs:
            raise _error(graph, f"no output {output!r}; the model gives {', '.join(graph.outputs)}")
        if name not in ports:
            raise _error(graph, f"no input {name!r}; the model takes {', '.join(ports)}")
        if _kind(low, output) != (ports[name].shape, ports[name].dtype):
            shape, dtype = _kind(low, output)
            raise _error(
                graph,
                f"output {output!r} is {dtype} {list(shape)}, input {name!r} {ports[name].dtype} "
                f"{list(ports[name].shape)}: state keeps its shape and type (export a cache of fixed size)",
            )
    if len(set(given.values())) != len(given):
        raise _error(graph, f"two outputs feed one input ({dict(given)}): name each input once")
    if len(given) == len(ports):
        raise _error(graph, "every input would be state: at least one has to be given from outside")
    return dict(given)


def _recognised(graph: Graph, low: Lowering, ports: Mapping[str, Port]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    past = [port for port in ports.values() if "past" in port.name]
    for port in past:
        names = {port.name.replace(old, new) for old in PAST if old in port.name for new in PRESENT}
        found = [name for name in graph.outputs if name in names and _kind(low, name) == (port.shape, port.dtype)]
        if len(found) != 1 or found[0] in pairs:
            return {}
        pairs[found[0]] = port.name
    return pairs if len(past) < len(ports) else {}


def _kind(low: Lowering, name: str) -> tuple[tuple[int, ...], str]:
    """Give shape and type of a model output."""
    if name not in low.values:
        constant = np.asarray(low.graph.constants[name])
        return constant.shape, str(constant.dtype)
    tensor = low.values[name]
    return tensor.shape, "float32" if tensor.quantisation is not None else tensor.buffer.dtype


def keep_state(
    low: Lowering, pairs: Mapping[str, str], output_of: OutputOf, initial: Mapping[str, Array]
) -> tuple[State, ...]:
    """Emit, after everything else, the copies that take each state over, and give the states.

    Parameters
    ----------
    pairs : mapping of str to str
        Input by output.
    output_of : callable
        See :data:`OutputOf`.
    initial : mapping of str to ndarray
        What an input holds in the first inference; zeros where it is not named.

    Raises
    ------
    ModelError
        An initial value belongs to no state, or has another shape or type.
    """
    unknown = set(initial) - set(pairs.values())
    if unknown:
        known = ", ".join(pairs.values()) or "none"
        raise _error(low.graph, f"initial_state names {sorted(unknown)}: inputs that are state: {known}")
    # All sources first: what one copy writes, another may have to read.
    sources = {name: output_of(output) for output, name in pairs.items()}
    states = []
    for name, source in sources.items():
        kept = low.values[name]
        copy_into(low, f"{name}.keep", view_of(source), kept.buffer, (dense(kept.shape), 0))
        states.append(State(name, kept, _initial(low.graph, name, kept, initial.get(name))))
    return tuple(states)


def _initial(graph: Graph, name: str, kept: Tensor, values: Array | None) -> Array:
    dtype = np.dtype(kept.buffer.dtype)
    if values is None:
        return np.zeros(kept.shape, dtype)
    array = np.asarray(values)
    if array.shape != kept.shape or not np.can_cast(array.dtype, dtype, "same_kind"):
        found = f"{array.dtype} {list(array.shape)}"
        raise _error(graph, f"initial_state of {name!r} is {found}: give {dtype} {list(kept.shape)}")
    return array.astype(dtype)


def _error(graph: Graph, problem: str) -> ModelError:
    return ModelError(f"{graph.source}: state: {problem}")
