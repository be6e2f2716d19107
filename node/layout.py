"""The memory layout that an image and a protection ask for."""

from __future__ import annotations

import numpy as np

from firmware_bridge.errors import ConfigError, DataError
from node.arena import Layout, Region
from node.checks.ranges import REGION as RANGES_REGION
from node.checks.ranges import range_bytes
from node.ecc import CODES
from node.model.image import Image
from node.protection import Protection, Ranges

CHECKPOINT_SLOTS = 2


def layout_of(image: Image, protection: Protection) -> Layout:
    """Give every region of a computer that runs ``image`` under ``protection``.

    The shared regions come first and lie at the same offsets under every protection, so that one strike lands on
    the same bit of each.

    Raises
    ------
    ConfigError
        The protection names a code that does not exist, or one that cannot guard what the image holds.
    """
    shared = (
        Region(name="weights", kind="weights", size_bytes=len(image.weights)),
        Region(name="activations", kind="activations", size_bytes=image.activation_bytes),
        Region(name="steps", kind="steps", size_bytes=image.steps.nbytes),
    )
    if protection.code not in CODES:
        raise ConfigError(f"protection: unknown code {protection.code!r}: choose from {', '.join(CODES)}")
    _require_fit(image, protection)
    return Layout.place((*shared, *_own_regions(shared, protection), *_limits(image, protection)))


def _limits(image: Image, protection: Protection) -> list[Region]:
    """Give what the checks on the computation keep in memory."""
    size = range_bytes(image) if protection.ranges is not Ranges.OFF else 0
    return [Region(name=RANGES_REGION, kind="check", size_bytes=size, own=True)] if size else []


def _require_fit(image: Image, protection: Protection) -> None:
    contents = {"weights": np.frombuffer(image.weights, np.uint8), "steps": image.steps.reshape(-1).view(np.uint8)}
    for guarded in protection.regions:
        try:
            CODES[protection.code].require_fit(contents[guarded])
        except DataError as error:
            raise ConfigError(f"protection: region {guarded!r} of image {image.name!r}: {error}") from None


def _own_regions(shared: tuple[Region, ...], protection: Protection) -> list[Region]:
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
        stored = CHECKPOINT_SLOTS * sum(sizes[guarded] for guarded in protection.regions)
        own.append(Region(name="checkpoint", kind="checkpoint", size_bytes=stored, own=True, technology="flash"))
    return own
