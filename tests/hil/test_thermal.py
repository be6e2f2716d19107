"""The thermal network against published curves, closed forms and scipy."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from firmware_bridge.errors import ConfigError, DataError
from hil.environment.thermal import (
    AMBIENT,
    PI4B_BARE,
    PI4B_POWER,
    PowerModel,
    ThermalNetwork,
    ThermalPlant,
    ladder,
)

STAR = ThermalNetwork(
    name="star",
    nodes=("chip", "left", "right", "case"),
    capacities_j_per_k=(2.0, 5.0, 7.0, 40.0),
    links=(
        ("chip", "left", 1.5),
        ("chip", "right", 2.5),
        ("left", "case", 0.7),
        ("case", "right", 0.9),
        ("case", AMBIENT, 3.0),
        (AMBIENT, "left", 20.0),
    ),
)
NETWORKS = (PI4B_BARE, STAR)


def matrices(network: ThermalNetwork) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give A, b, g of ``dT/dt = A T + b P + g T_ambient``, written down the slow way."""
    size = len(network.nodes)
    a, g = np.zeros((size, size)), np.zeros(size)
    for first, second, resistance in network.links:
        for here, there in ((first, second), (second, first)):
            if here == AMBIENT:
                continue
            row = network.nodes.index(here)
            conductance = 1 / (resistance * network.capacities_j_per_k[row])
            a[row, row] -= conductance
            if there == AMBIENT:
                g[row] += conductance
            else:
                a[row, network.nodes.index(there)] += conductance
    b = np.zeros(size)
    b[0] = 1 / network.capacities_j_per_k[0]
    return a, b, g


# ---- published curves -----------------------------------------------------------------------------------------


def warmed_up() -> ThermalPlant:
    plant = ThermalPlant(PI4B_BARE, PI4B_POWER, ambient_c=21.0)
    plant.advance(300.0, 1.0, 1.0)
    return plant


def test_a_bare_4b_warms_as_logged():
    """nschloe/stressberry, rpi4b-stock: seconds after four cores began to work, C."""
    plant = ThermalPlant(PI4B_BARE, PI4B_POWER, ambient_c=21.0)
    before_s = 0.0
    for time_s, logged_c in ((0, 46.5), (3, 54), (7, 56), (18, 59), (47, 64), (107, 67), (147, 69), (247, 72)):
        assert plant.advance(time_s - before_s, 1.0, 1.0) == pytest.approx(logged_c, abs=2.0)
        before_s = time_s


def test_a_bare_4b_cools_as_logged():
    """The same log: seconds after 300 s of load ended, C."""
    plant, before_s = warmed_up(), 0.0
    for time_s, logged_c in ((5, 65), (9, 62), (20, 60), (40, 57), (69, 55), (110, 53), (146, 51)):
        assert plant.advance(time_s - before_s, 0.0, 1.0) == pytest.approx(logged_c, abs=2.0)
        before_s = time_s


def test_it_rests_at_the_logged_temperature_and_reaches_the_published_one():
    plant = ThermalPlant(PI4B_BARE, PI4B_POWER, ambient_c=21.0)
    assert plant.temperature_c == pytest.approx(47.0, abs=0.2)
    assert warmed_up().temperature_c == pytest.approx(72.0, abs=0.5)


# ---- the network ----------------------------------------------------------------------------------------------


@given(
    st.sampled_from(NETWORKS),
    st.lists(st.tuples(st.floats(0, 500), st.floats(0, 20), st.floats(-60, 90)), min_size=1, max_size=5),
)
def test_steps_are_the_matrix_exponential(network, path):
    a, b, g = matrices(network)
    ours = theirs = np.full(len(network.nodes), 20.0)
    for dt_s, power_w, ambient_c in path:
        ours = network.step_c(ours, dt_s, power_w, ambient_c)
        drive = b * power_w + g * ambient_c
        end = -np.linalg.solve(a, drive)
        theirs = end + expm(a * dt_s) @ (theirs - end)
    assert ours == pytest.approx(theirs, abs=1e-7)


def test_a_step_agrees_with_an_integrator_that_knows_no_closed_form():
    a, b, g = matrices(STAR)
    start = np.array([30.0, 25.0, 45.0, 10.0])
    wanted = solve_ivp(lambda _, t: a @ t + b * 7.0 + g * -5.0, (0, 60), start, method="LSODA", rtol=1e-9, atol=1e-9).y[
        :, -1
    ]
    assert STAR.step_c(start, 60.0, 7.0, -5.0) == pytest.approx(wanted, abs=1e-5)


@given(st.sampled_from(NETWORKS), st.floats(0, 300), st.floats(0, 1), st.floats(0, 10), st.floats(-50, 80))
def test_two_steps_are_one(network, whole_s, share, power_w, ambient_c):
    start = np.linspace(10.0, 60.0, len(network.nodes))
    half = network.step_c(start, whole_s * share, power_w, ambient_c)
    both = network.step_c(half, whole_s * (1 - share), power_w, ambient_c)
    assert both == pytest.approx(network.step_c(start, whole_s, power_w, ambient_c), abs=1e-8)


def test_the_steady_state_of_a_chain_is_ambient_plus_power_times_resistance():
    ends = PI4B_BARE.steady_state_c(5.0, 30.0)
    resistances = [link[2] for link in PI4B_BARE.links]
    assert ends == pytest.approx([30.0 + 5.0 * sum(resistances[place:]) for place in range(3)])
    assert sum(resistances) == pytest.approx(8.5)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_every_start_ends_in_the_steady_state(network):
    start = np.linspace(-40.0, 120.0, len(network.nodes))
    assert network.step_c(start, 1e5, 4.0, 18.0) == pytest.approx(network.steady_state_c(4.0, 18.0))


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_energy_in_is_energy_stored_and_energy_out(network):
    """Heat to the ambient is summed over small steps by Simpson's rule; the rest is in the capacities."""
    power_w, ambient_c, dt_s, steps = 6.0, 20.0, 0.05, 4000
    nodes_c = np.full(len(network.nodes), ambient_c)
    path = [nodes_c]
    for _ in range(steps):
        nodes_c = network.step_c(nodes_c, dt_s, power_w, ambient_c)
        path.append(nodes_c)
    weights = np.full(steps + 1, 2.0) + np.arange(steps + 1) % 2 * 2
    weights[[0, -1]] = 1.0
    integral_k_s = weights @ (np.array(path) - ambient_c) * dt_s / 3
    out_j = sum(
        integral_k_s[network.nodes.index(name)] / resistance
        for first, second, resistance in network.links
        for name in (first, second)
        if AMBIENT in (first, second) and name != AMBIENT
    )
    stored_j = np.dot(network.capacities_j_per_k, path[-1] - ambient_c)
    assert out_j + stored_j == pytest.approx(power_w * dt_s * steps, rel=1e-6)


@pytest.mark.parametrize(
    ("resistances", "taus"),
    [((1.6, 2.0, 4.9), (1.0, 13.0, 113.0)), ((3.0,), (40.0,)), ((0.2, 1.0, 2.0, 3.0), (90.0, 0.3, 5.0, 31.0))],
)
def test_a_ladder_answers_as_the_sum_of_exponentials_it_is_made_of(resistances, taus):
    nodes = tuple("abcd"[: len(taus)])
    network = ladder("fit", nodes, resistances, taus)
    assert [(first, second) for first, second, _ in network.links] == list(
        zip(nodes, (*nodes[1:], AMBIENT), strict=True)
    )
    for time_s in (0.1, 1.0, 4.0, 20.0, 100.0, 700.0):
        wanted_k = sum(r * (1 - math.exp(-time_s / tau)) for r, tau in zip(resistances, taus, strict=True))
        answer_c = network.step_c(np.zeros(len(nodes)), time_s, 1.0, 0.0)
        assert answer_c[0] == pytest.approx(wanted_k, rel=1e-7)


def test_warm_air_reaches_the_board_before_the_chip():
    rest_c = PI4B_BARE.steady_state_c(3.06, 20.0)
    rise_k = PI4B_BARE.step_c(rest_c, 10.0, 3.06, 60.0) - rest_c
    assert 0 < rise_k[0] < rise_k[1] < rise_k[2] < 40


def test_a_network_travels():
    again = pickle.loads(pickle.dumps(PI4B_BARE))
    assert again == PI4B_BARE
    assert json.dumps(again.links) == json.dumps(PI4B_BARE.links)


@pytest.mark.parametrize(
    ("nodes", "capacities", "links"),
    [
        ((), (), ()),
        (("a",), (1.0, 2.0), (("a", AMBIENT, 1.0),)),
        (("a",), (0.0,), (("a", AMBIENT, 1.0),)),
        (("a",), (1.0,), (("a", AMBIENT, -1.0),)),
        (("a",), (1.0,), (("a", AMBIENT, math.nan),)),
        (("a",), (1.0,), (("a", "b", 1.0),)),
        (("a",), (1.0,), (("a", "a", 1.0),)),
        (("a", "b"), (1.0, 1.0), (("a", AMBIENT, 1.0),)),
        (("a", "b"), (1.0, 1.0), (("a", "b", 1.0),)),
    ],
)
def test_a_network_that_is_none_is_refused(nodes, capacities, links):
    with pytest.raises(ConfigError, match="thermal network odd"):
        ThermalNetwork(name="odd", nodes=nodes, capacities_j_per_k=capacities, links=links)


@pytest.mark.parametrize(
    ("resistances", "taus"), [((1.0,), (1.0, 2.0)), ((1.0, 2.0), (3.0, 3.0)), ((1.0, -2.0), (3.0, 4.0))]
)
def test_a_fit_that_is_none_is_refused(resistances, taus):
    with pytest.raises(ConfigError, match="of its own"):
        ladder("odd", ("a", "b"), resistances, taus)


# ---- power and plant ------------------------------------------------------------------------------------------


def test_power_goes_from_idle_to_full_with_load_and_clock():
    assert PI4B_POWER.watts(0.0, 1.0) == PI4B_POWER.watts(1.0, 0.0) == 3.06
    assert PI4B_POWER.watts(1.0, 1.0) == pytest.approx(6.12)
    assert PI4B_POWER.watts(0.5, 0.4) == pytest.approx(3.06 + 0.2 * 3.06)


@pytest.mark.parametrize("shares", [(-0.1, 1.0), (1.1, 1.0), (1.0, 1.1), (math.nan, 1.0)])
def test_shares_outside_0_to_1_are_refused(shares):
    with pytest.raises(DataError, match="shares"):
        PI4B_POWER.watts(*shares)


@pytest.mark.parametrize("watts", [(-1.0, 2.0), (3.0, 2.0), (1.0, math.inf)])
def test_a_power_model_that_is_none_is_refused(watts):
    with pytest.raises(ConfigError, match="idle_w"):
        PowerModel(idle_w=watts[0], full_w=watts[1])


def test_a_plant_at_rest_stays_there():
    plant = ThermalPlant(PI4B_BARE, PI4B_POWER, ambient_c=20.0)
    rest_c = plant.temperature_c
    assert rest_c == pytest.approx(20.0 + 3.06 * 8.5)
    assert plant.advance(1000.0, 0.0, 1.0) == pytest.approx(rest_c)


def test_acceleration_is_more_time():
    slow = ThermalPlant(PI4B_BARE, PI4B_POWER, ambient_c=20.0)
    fast = ThermalPlant(PI4B_BARE, PI4B_POWER, ambient_c=20.0, acceleration=40.0)
    for _ in range(4):
        slow.advance(20.0, 0.8, 0.7)
        fast.advance(0.5, 0.8, 0.7)
    assert fast.temperature_c == pytest.approx(slow.temperature_c)
    assert fast.time_s == slow.time_s == 80.0


def test_the_ambient_can_be_changed_at_any_time():
    plant = ThermalPlant(PI4B_BARE, PI4B_POWER, ambient_c=20.0)
    plant.ambient_c = 50.0
    assert plant.advance(0.0, 0.0, 1.0) == pytest.approx(20.0 + 3.06 * 8.5)
    assert plant.advance(1e5, 0.0, 1.0) == pytest.approx(50.0 + 3.06 * 8.5)


def test_half_the_clock_ends_at_half_the_rise():
    plant = ThermalPlant(PI4B_BARE, PI4B_POWER, ambient_c=20.0)
    rest_c = plant.temperature_c
    assert plant.advance(1e5, 1.0, 0.5) - rest_c == pytest.approx(0.5 * 3.06 * 8.5)


def test_time_does_not_go_back():
    plant = ThermalPlant(PI4B_BARE, PI4B_POWER, ambient_c=20.0)
    for dt_s in (-1.0, math.nan, math.inf):
        with pytest.raises(DataError, match="time step"):
            plant.advance(dt_s, 0.0, 1.0)
    with pytest.raises(ConfigError, match="acceleration"):
        ThermalPlant(PI4B_BARE, PI4B_POWER, ambient_c=20.0, acceleration=0.0)
