"""Generated scenes for the cloud mask: fractal land and sea under fractal cloud, and which pixels are cloud.

Nothing of a real picture is in them, so nobody's rights are; more can be made at will.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Arrays = Mapping[str, Floats]

SIZE = 32
"""Pixels of an edge."""
SEA = (0.05, 0.12, 0.25)
LAND = ((0.15, 0.30, 0.12), (0.42, 0.36, 0.26), (0.75, 0.77, 0.80))
"""Forest, desert, snow: red, green, blue."""
LAND_SHARES = (0.4, 0.4, 0.2)
CLOUD = (0.92, 0.93, 0.95)
EDGE = 4.0
"""How sharply cloud begins, per standard deviation of its field."""


def scenes(seed: int, count: int) -> tuple[Floats, NDArray[np.uint8]]:
    """Give pictures and their masks.

    Parameters
    ----------
    seed : int
        Equal seeds give equal scenes.
    count : int
        How many.

    Returns
    -------
    pictures : ndarray of float32, [count, 3, SIZE, SIZE]
        Red, green, blue, 0 to 1.
    masks : ndarray of uint8, [count, 1, SIZE, SIZE]
        1 where more cloud than ground is seen.

    Examples
    --------
    >>> pictures, masks = scenes(0, 2)
    >>> pictures.shape, masks.shape
    ((2, 3, 32, 32), (2, 1, 32, 32))
    """
    generator = np.random.default_rng(seed)
    each = (count, 1, 1)
    height = fractal(generator, count, base=2, decay=0.6)
    land = height > generator.uniform(-1.5, 1.5, each)
    texture = 0.06 * fractal(generator, count, base=8, decay=0.8)[:, None]
    colours = np.array(LAND)[generator.choice(len(LAND), count, p=LAND_SHARES)]
    ground = np.where(land[:, None], colours[:, :, None, None], np.array(SEA)[:, None, None]) + texture
    field = fractal(generator, count, base=2, decay=0.62)
    opacity = (1.0 / (1.0 + np.exp(-EDGE * (field - generator.uniform(-0.8, 1.8, each)))))[:, None]
    cloud = np.array(CLOUD)[:, None, None] + 0.4 * texture
    seen = (1.0 - opacity) * ground + opacity * cloud
    seen = seen * generator.uniform(0.75, 1.1, (count, 1, 1, 1)) + generator.normal(0.0, 0.015, seen.shape)
    return np.clip(seen, 0.0, 1.0).astype(np.float32), (opacity > 0.5).astype(np.uint8)


def fractal(generator: np.random.Generator, count: int, *, base: int, decay: float) -> NDArray[np.float64]:
    """Give random fields of mean 0 and deviation 1, [count, SIZE, SIZE]: the sum of ever finer grids.

    Parameters
    ----------
    base : int
        Points of an edge of the coarsest grid; each further one has twice as many.
    decay : float
        What each further grid counts, relative to the one before.
    """
    total = np.zeros((count, SIZE, SIZE))
    points, share = base, 1.0
    while points <= SIZE:
        matrix = interpolation(points)
        total += share * (matrix @ generator.standard_normal((count, points, points)) @ matrix.T)
        points, share = 2 * points, share * decay
    spread = total.std((1, 2), keepdims=True)
    return np.asarray((total - total.mean((1, 2), keepdims=True)) / spread)


def interpolation(points: int) -> NDArray[np.float64]:
    """Give the matrix [SIZE, points] that interpolates linearly between so many points of a line.

    Examples
    --------
    >>> bool(np.allclose(interpolation(4).sum(1), 1.0))
    True
    """
    place = np.clip((np.arange(SIZE) + 0.5) * points / SIZE - 0.5, 0.0, points - 1.0)
    return np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(points)))


def another_mask(golden: Arrays, delivered: Arrays, _sample: int) -> bool:
    """Tell whether a delivered mask would mislead: less than nine tenths of the cloud of both is in both.

    For a campaign: ``critical = "hil.workloads.cloud_scenes:another_mask"``.
    """
    right, given = golden["cloud"] > 0.5, delivered["cloud"] > 0.5
    either = int((right | given).sum())
    return either > 0 and int((right & given).sum()) < 0.9 * either
