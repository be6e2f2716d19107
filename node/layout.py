"""The memory layout that an image and a protection ask for."""

from __future__ import annotations

import numpy as np

from firmware_bridge.errors import ConfigError, DataError
from node.arena import Layout, Region
from node.checks.abft import REGION as ABFT_REGION
from node.checks.abft import abft_bytes
from node.checks.ranges import REGION as RANGES_REGION
from node.checks.ranges import range_bytes
from node.ecc import CODES
from node.model.accumulators import ACCUMULATOR_BITS, accumulator_bytes, accumulator_counts
from node.model.accumulators import REGION as ACCUMULATORS
from node.model.image import Image
from node.protection import Protection, Ranges
from node.state_copies import REGION as COPIES_REGION

CHECKPOINT_SLOTS = 2


def layout_of(image: Image, protection: Protection) -> Layout:
    """Give every region of a computer that runs ``image`` under ``protection``.

    The shared regions come first and lie at the same offsets under every protection, so that one strike lands on
    the same bit of each.

    Raises
    ------
    ConfigError
        The protection names a code that does not exist, or one that cannot guard what the image holds; it guards
        state that the model does not have, or by a code that cannot.
    """
    if protection.code not in CODES:
        raise ConfigError(f"protection: unknown code {protection.code!r}: choose from {', '.join(CODES)}")
    _check_state(image, protection)
    _require_fit(image, protection)
    state = (Region(name="state", kind="state", size_bytes=image.state_bytes),) if image.states else ()
    shared = (
        Region(name="weights", kind="weights", size_bytes=len(image.weights)),
        Region(name="activations", kind="activations", size_bytes=image.activation_bytes),
        *state,
        Region(name="steps", kind="steps", size_bytes=image.steps.nbytes),
    )
    own = (*_own_regions(image, shared, protection), *_limits(image, protection))
    return Layout.place((*shared, *_registers(image), *own))


def saved_regions(image: Image, protection: Protection) -> tuple[str, ...]:
    """Give what a checkpoint saves, in its order: the guarded regions, and state whether it is guarded or not.

    Work that is done again has to begin with the state of that moment, or its results are those of another moment.
    """
    state = ("state",) if image.states and "state" not in protection.regions else ()
    return (*protection.regions, *state)


def _registers(image: Image) -> tuple[Region, ...]:
    """Give what is struck outside of memory."""
    size = accumulator_bytes(image)
    if not size:
        return ()
    ends = tuple(int(end) for end in ACCUMULATOR_BITS * accumulator_counts(image).cumsum())
    accumulators = Region(name=ACCUMULATORS, kind=ACCUMULATORS, size_bytes=size, technology="register", step_ends=ends)
    return (accumulators,)


def _limits(image: Image, protection: Protection) -> list[Region]:
    """Give what the checks on the computation keep in memory."""
    sizes = {
        ABFT_REGION: abft_bytes(image) if protection.abft else 0,
        RANGES_REGION: range_bytes(image) if protection.ranges is not Ranges.OFF else 0,
        COPIES_REGION: image.state_bytes * protection.redundancy if protection.redundancy > 1 else 0,
    }
    return [Region(name=name, kind="check", size_bytes=size, own=True) for name, size in sizes.items() if size]


def _check_state(image: Image, protection: Protection) -> None:
    named = f"model {image.name!r}"
    if not image.states:
        if "state" in protection.regions:
            raise ConfigError(
                f"protection: regions: {named} keeps no state between inferences; name weights, steps or both"
            )
        return
    if "state" in protection.regions and CODES[protection.code].in_place:
        raise ConfigError(
            f"protection: {protection.code} lies in the bits of values that never change: it cannot guard the state "
            f"of {named}; choose another code"
        )


def _require_fit(image: Image, protection: Protection) -> None:
    contents = {
        "weights": np.frombuffer(image.weights, np.uint8),
        "state": np.frombuffer(image.initial_state, np.uint8),
        "steps": image.steps.reshape(-1).view(np.uint8),
    }
    for guarded in protection.regions:
        try:
            CODES[protection.code].require_fit(contents[guarded])
        except DataError as error:
            raise ConfigError(f"protection: region {guarded!r} of image {image.name!r}: {error}") from None


def _own_regions(image: Image, shared: tuple[Region, ...], protection: Protection) -> list[Region]:
    code = CODES[protection.code]
    sizes = {region.name: region.size_bytes for region in shared}
    own = []
    for guarded in protection.regions:
        check_bytes = code.check_bytes(sizes[guarded])
        if check_bytes:
            own.append(Region(name=f"check.{guarded}", kind="check", size_bytes=check_bytes, own=True))
    if protection.padding_bytes:
        own.append(Region(name="padding", kind="padding", size_bytes=protection.padding_bytes, own=True))
    if protection.checkpoint_period:
        stored = CHECKPOINT_SLOTS * sum(sizes[name] for name in saved_regions(image, protection))
        own.append(Region(name="checkpoint", kind="checkpoint", size_bytes=stored, own=True, technology="flash"))
    return own
