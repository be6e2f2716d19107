"""A share of faults from some of them, classified exactly: drawn plainly, by strata, or where events are expected.

The event is that a fault, one flipped bit of a parameter, does harm on at least one of the inputs. The fault is the
unit: its outcomes on several inputs are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import ConfigError
from hil.stats import Estimate, clopper_pearson
from hil.stats.weighted import DrawnStratum, defensive_mixture, importance_share, neyman_allocation, stratified_share
from node.model.image import Image

METHODS = ("stratified", "importance", "plain")
PILOT_SHARE = 0.2
"""Of the draws; they choose how the others are drawn, and are not counted."""
NATURAL_SHARE = 0.25
"""Of the steered draws: so many are drawn as nature does, and no weight exceeds its inverse."""

Bits = NDArray[np.int64]
Harms = Callable[[Bits], NDArray[np.bool_]]
"""Tells of each bit of the weights region whether its flip does harm."""

BIT_CLASSES = {
    "float32": (("mantissa, low", 0, 16), ("mantissa, high", 16, 23), ("exponent", 23, 31), ("sign", 31, 32)),
    "int8": (("low", 0, 5), ("high", 5, 7), ("sign", 7, 8)),
}
"""Names, first bits and ends of the classes of an element; other types have an upper and a lower half."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Bits of one class of one tensor: a stratum of the population."""

    tensor: str
    bit_class: str
    bits: Bits


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What was drawn from a part and how often it did harm; ``pilot`` draws are not among the others."""

    tensor: str
    bit_class: str
    weight: float
    pilot: int
    draws: int
    events: int


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """The share of faults that do harm, and what it rests on.

    Parameters
    ----------
    share : Estimate
        At 95 %.
    population : int
        Faults that exist.
    parts : tuple of Drawn
        The strata.
    effective_draws, largest_weight : float
        How many plain draws the weights are worth, and the largest of them; for steered draws only.
    """

    method: str
    share: Estimate
    population: int
    parts: tuple[Drawn, ...]
    effective_draws: float | None = None
    largest_weight: float | None = None

    @property
    def draws(self) -> int:
        """Faults classified, those of the pilot among them."""
        return sum(part.pilot + part.draws for part in self.parts)


def parts_of(image: Image) -> list[Part]:
    """Give the strata of the parameters of an image: tensor by tensor, class of bits by class."""
    found = []
    for spec in image.tensors:
        width = 8 * np.dtype(spec.dtype).itemsize
        halves = (("lower half", 0, width // 2), ("upper half", width // 2, width))
        starts = np.arange(8 * spec.offset, 8 * spec.end, width)
        for name, first, end in BIT_CLASSES.get(spec.dtype, halves):
            bits = (starts[:, None] + np.arange(first, end)).reshape(-1)
            found.append(Part(tensor=spec.name, bit_class=name, bits=bits))
    return found


def sample(parts: Sequence[Part], harms: Harms, draws: int, *, method: str, seed: int) -> Sampled:
    """Estimate the share of bits whose flip does harm.

    Draws are independent, with replacement; the same seed draws the same bits.

    Parameters
    ----------
    parts : sequence of Part
        The population.
    harms : callable
        Classifies bits.
    draws : int
        How many; a pilot of a fifth of them is among these for every method but ``plain``.
    method : str
        One of :data:`METHODS`.

    Raises
    ------
    ConfigError
        Too few draws for that many strata, or no such method.
    """
    if method not in METHODS:
        raise ConfigError(f"method {method!r}: choose from {', '.join(METHODS)}")
    least = 1 if method == "plain" else 5 * len(parts)
    if draws < least:
        raise ConfigError(f"{draws} faults for {len(parts)} strata: give {least} or more, or another method")
    rng = np.random.default_rng(seed)
    sizes = np.array([len(part.bits) for part in parts], np.float64)
    weights = sizes / sizes.sum()
    if method == "plain":
        return _plain(parts, weights, harms, draws, rng)
    pilot = rng.multinomial(max(0, int(PILOT_SHARE * draws) - len(parts)), weights) + 1
    seen = _events(parts, pilot, harms, rng)
    rest = draws - int(pilot.sum())
    if method == "importance":
        return _steered(parts, weights, harms, (pilot, seen, rest), rng)
    guesses = [
        DrawnStratum(weight=float(w), events=int(k), draws=int(n)) for w, k, n in zip(weights, seen, pilot, strict=True)
    ]
    counts = np.array(neyman_allocation(guesses, rest))
    events = _events(parts, counts, harms, rng)
    drawn = _drawn(parts, weights, pilot, counts, events)
    strata = [DrawnStratum(weight=part.weight, events=part.events, draws=part.draws) for part in drawn]
    return Sampled(method=method, share=stratified_share(strata), population=int(sizes.sum()), parts=drawn)


def _plain(
    parts: Sequence[Part], weights: NDArray[np.float64], harms: Harms, draws: int, rng: np.random.Generator
) -> Sampled:
    counts = rng.multinomial(draws, weights)
    events = _events(parts, counts, harms, rng)
    drawn = _drawn(parts, weights, np.zeros(len(parts), np.int64), counts, events)
    population = sum(len(part.bits) for part in parts)
    return Sampled(method="plain", share=clopper_pearson(int(events.sum()), draws), population=population, parts=drawn)


def _steered(
    parts: Sequence[Part],
    weights: NDArray[np.float64],
    harms: Harms,
    pilot: tuple[NDArray[np.int64], NDArray[np.int64], int],
    rng: np.random.Generator,
) -> Sampled:
    """Draw parts by how much the pilot makes of them, and bits within a part alike."""
    before, seen, rest = pilot
    guess = weights * np.sqrt((seen + 1) / (before + 2))
    chances = defensive_mixture(weights, guess, NATURAL_SHARE)
    chosen = rng.choice(len(parts), rest, p=chances / chances.sum())
    counts = np.bincount(chosen, minlength=len(parts))
    hits = np.zeros(rest, bool)
    bits = _bits(parts, counts, rng)
    # Bits come part by part; each draw keeps its place in the order drawn, on which the limits depend.
    hits[np.argsort(chosen, kind="stable")] = harms(bits)
    found = importance_share(hits, (weights / chances)[chosen], 1.0 / NATURAL_SHARE)
    events = np.bincount(chosen, weights=hits, minlength=len(parts)).astype(np.int64)
    return Sampled(
        method="importance",
        share=found.share,
        population=sum(len(part.bits) for part in parts),
        parts=_drawn(parts, weights, before, counts, events),
        effective_draws=found.effective_draws,
        largest_weight=found.largest_weight,
    )


def _bits(parts: Sequence[Part], counts: NDArray[np.int64], rng: np.random.Generator) -> Bits:
    return np.concatenate([rng.choice(part.bits, count) for part, count in zip(parts, counts, strict=True)])


def _events(
    parts: Sequence[Part], counts: NDArray[np.int64], harms: Harms, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw so many bits of each part and give how many of each do harm."""
    hits = harms(_bits(parts, counts, rng))
    return np.array([part.sum() for part in np.split(hits, np.cumsum(counts)[:-1])], np.int64)


def _drawn(
    parts: Sequence[Part],
    weights: NDArray[np.float64],
    pilot: NDArray[np.int64],
    counts: NDArray[np.int64],
    events: NDArray[np.int64],
) -> tuple[Drawn, ...]:
    return tuple(
        Drawn(
            tensor=part.tensor, bit_class=part.bit_class, weight=float(weight), pilot=int(before), draws=int(count),
            events=int(hits),
        )
        for part, weight, before, count, hits in zip(parts, weights, pilot, counts, events, strict=True)
    )  # fmt: skip
