"""How hot a board gets: a network of heat capacities and resistances, and a plant that lives in it.

A board in air answers a step of power with a sum of exponentials; fits of measured curves give one resistance
and one time constant each. Such a sum holds for the place that is heated and measured, and for nothing else: it
cannot say what warm air around the board does. :func:`ladder` turns it into the chain of places (junction, ...,
board, air) that answers a power step in exactly the same way, and in which heat comes from outside inwards too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import ConfigError, DataError

Floats = npt.NDArray[np.float64]

AMBIENT = "ambient"


@dataclass(frozen=True, kw_only=True)
class ThermalNetwork:
    """Places with a temperature each, joined by resistances to each other and to the ambient.

    Power enters the first node, whose temperature is what a sensor on the chip shows.

    Parameters
    ----------
    name : str
        What it describes.
    nodes : tuple of str
        The places, the heated one first.
    capacities_j_per_k : tuple of float
        The heat capacity of each node.
    links : tuple of (str, str, float)
        Two nodes, or one and ``ambient``, and the resistance between them in K/W.

    Raises
    ------
    ConfigError
        For unknown nodes, values that are not positive, or a node without a way to the ambient.
    """

    name: str
    nodes: tuple[str, ...]
    capacities_j_per_k: tuple[float, ...]
    links: tuple[tuple[str, str, float], ...]

    def __post_init__(self) -> None:
        where = f"thermal network {self.name}"
        if not self.nodes or len(self.nodes) != len(self.capacities_j_per_k):
            raise ConfigError(f"{where}: give one node or more and one capacity each")
        for first, second, _ in self.links:
            unknown = {first, second} - {*self.nodes, AMBIENT}
            if unknown or first == second:
                raise ConfigError(f"{where}: link {first} - {second}: choose two of {self.nodes} and {AMBIENT}")
        values = (*self.capacities_j_per_k, *(resistance for _, _, resistance in self.links))
        if not all(0.0 < value < math.inf for value in values):
            raise ConfigError(f"{where}: give positive finite capacities and resistances")
        if self._modes[0][0] <= 1e-12 * self._modes[0][-1]:
            raise ConfigError(f"{where}: a node has no way to the {AMBIENT}: add a link")

    @cached_property
    def _conductances(self) -> tuple[Floats, Floats]:
        """Matrix between the nodes and vector to the ambient, in W/K."""
        between = np.zeros((len(self.nodes), len(self.nodes)))
        outwards = np.zeros(len(self.nodes))
        for first, second, resistance in self.links:
            inside = [self.nodes.index(name) for name in (first, second) if name != AMBIENT]
            between[inside, inside] += 1.0 / resistance
            if len(inside) == 2:
                between[inside, inside[::-1]] -= 1.0 / resistance
            else:
                outwards[inside] += 1.0 / resistance
        return between, outwards

    @cached_property
    def _modes(self) -> tuple[Floats, Floats, Floats]:
        """Decay rates (1/s, rising), mode shapes, and the root of the capacities that makes them orthogonal."""
        root = np.sqrt(np.array(self.capacities_j_per_k))
        rates, shapes = np.linalg.eigh(self._conductances[0] / np.outer(root, root))
        return rates, shapes, root

    def steady_state_c(self, power_w: float, ambient_c: float) -> Floats:
        """Give the temperatures of all nodes after a very long time at this power."""
        between, outwards = self._conductances
        heat = outwards * ambient_c
        heat[0] += power_w
        return np.linalg.solve(between, heat).astype(np.float64, copy=False)

    def step_c(self, temperatures_c: Floats, dt_s: float, power_w: float, ambient_c: float) -> Floats:
        """Give the temperatures ``dt_s`` later, exact for constant power and ambient (matrix exponential)."""
        rates, shapes, root = self._modes
        end_c = self.steady_state_c(power_w, ambient_c)
        excess = shapes.T @ (root * (temperatures_c - end_c))
        return end_c + (shapes @ (np.exp(-rates * dt_s) * excess)) / root


def ladder(
    name: str, nodes: tuple[str, ...], resistances_k_per_w: tuple[float, ...], taus_s: tuple[float, ...]
) -> ThermalNetwork:
    """Give the chain of nodes whose answer to a power step is a sum of exponentials.

    The sum is ``dT(t) = P * sum(R_i * (1 - exp(-t / tau_i)))``. In circuit terms it is a Foster network, and the
    chain is the Cauer network of the same impedance, found by dividing its polynomials again and again (continued
    fraction of the admittance, W. Cauer 1926).

    Parameters
    ----------
    name, nodes : str, tuple of str
        As in :class:`ThermalNetwork`; heat leaves the last node to the ambient.
    resistances_k_per_w, taus_s : tuple of float
        One of each per node; the time constants differ.
    """
    given = len(nodes) == len(resistances_k_per_w) == len(taus_s) == len(set(taus_s))
    if not given or not all(0.0 < value < math.inf for value in (*resistances_k_per_w, *taus_s)):
        raise ConfigError(f"thermal network {name}: give a resistance and a time constant of its own per node")
    poly = np.polynomial.Polynomial
    factors = [poly([1.0, tau]) for tau in taus_s]
    below = math.prod(factors, start=poly([1.0]))
    above = poly([0.0])
    for resistance, factor in zip(resistances_k_per_w, factors, strict=True):
        above = above + resistance * (below // factor)
    capacities, links = [], []
    for node, towards in zip(nodes, (*nodes[1:], AMBIENT), strict=True):
        degree = below.degree()
        capacities.append(float(below.coef[-1] / above.coef[-1]))
        below = (below - poly([0.0, capacities[-1]]) * above).cutdeg(degree - 1)
        links.append((node, towards, float(above.coef[-1] / below.coef[-1])))
        if degree > 1:
            above = (above - links[-1][2] * below).cutdeg(degree - 2)
    return ThermalNetwork(name=name, nodes=nodes, capacities_j_per_k=tuple(capacities), links=tuple(links))


@dataclass(frozen=True, kw_only=True)
class PowerModel:
    """What a board draws: idle power and, with all cores at work at full clock, full power.

    The dynamic part goes with the clock alone, which holds where the voltage stays the same (a Pi 4B: 0.84 V from
    600 to 1500 MHz).
    """

    idle_w: float
    full_w: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.idle_w <= self.full_w < math.inf:
            raise ConfigError(f"power from {self.idle_w} to {self.full_w} W: give 0 <= idle_w <= full_w")

    def watts(self, load: float, clock_ratio: float) -> float:
        """Give the power at a load (share of the allowed clock's cycles used) and a clock ratio, each 0 to 1."""
        if not (0.0 <= load <= 1.0 and 0.0 <= clock_ratio <= 1.0):
            raise DataError(f"load {load}, clock ratio {clock_ratio}: give shares from 0 to 1")
        return self.idle_w + load * clock_ratio * (self.full_w - self.idle_w)


PI4B_BARE = ladder("pi4b_bare", ("junction", "package", "board"), (1.6, 2.0, 4.9), (1.0, 13.0, 113.0))
"""A Raspberry Pi 4B without case or fan in air: 8.5 K/W in all.

Fit of the step from idle to four busy cores in the raw logs of nschloe/stressberry (rpi4b-stock): a jump within
2 s, then 13 s and 113 s. The jump's own time constant, taken as 1 s, is below what the log resolves.
"""

PI4B_POWER = PowerModel(idle_w=3.06, full_w=6.12)
"""A Raspberry Pi 4B at 5.1 V: 0.6 A idle, 1.2 A with all cores at work (Raspberry Pi documentation)."""


class ThermalPlant:
    """A board getting warmer and cooler: it starts at rest, idle in its ambient.

    Parameters
    ----------
    network, power : ThermalNetwork, PowerModel
        The board.
    ambient_c : float
        The temperature around it, degrees Celsius; may be set at any time.
    acceleration : float
        Seconds that pass for the plant in one second of the caller.

    Examples
    --------
    >>> plant = ThermalPlant(PI4B_BARE, PI4B_POWER, ambient_c=21.0)
    >>> round(plant.temperature_c, 1)
    47.0
    >>> round(plant.advance(300.0, load=1.0, clock_ratio=1.0), 1)
    72.0
    """

    def __init__(
        self, network: ThermalNetwork, power: PowerModel, *, ambient_c: float, acceleration: float = 1.0
    ) -> None:
        if not 0.0 < acceleration < math.inf:
            raise ConfigError(f"acceleration {acceleration}: give a positive number")
        self.network = network
        self.power = power
        self.ambient_c = ambient_c
        self.acceleration = acceleration
        self.time_s = 0.0
        self.nodes_c = network.steady_state_c(power.watts(0.0, 1.0), ambient_c)

    @property
    def temperature_c(self) -> float:
        """What the sensor on the chip shows."""
        return float(self.nodes_c[0])

    def advance(self, dt_s: float, load: float, clock_ratio: float) -> float:
        """Let ``dt_s`` seconds of the caller pass at this load and clock; give the new temperature.

        Raises
        ------
        DataError
            For a negative time or shares outside 0 to 1.
        """
        if not 0.0 <= dt_s < math.inf:
            raise DataError(f"time step {dt_s} s: give a finite number from 0 on")
        watts = self.power.watts(load, clock_ratio)
        plant_s = dt_s * self.acceleration
        self.nodes_c = self.network.step_c(self.nodes_c, plant_s, watts, self.ambient_c)
        self.time_s += plant_s
        return self.temperature_c
