"""The map of an exhaustive campaign: for each layer, how much every bit of every output channel hurts."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.campaign.exhaustive import OUTCOMES
from hil.campaign.exhaustive_run import Exhaustive
from hil.campaign.outcome import Outcome
from node.kernels.inference.incremental import tables
from node.model.fault_table import fault_table
from node.model.frames import Frames
from node.model.image import Image, TensorSpec

Shares = NDArray[np.float64]
PALE, DARK = np.array([245, 245, 240]), np.array([140, 0, 20])
"""Colours of no failure and of certain failure."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerMap:
    """One tensor of parameters.

    Parameters
    ----------
    name, layer : str
        The tensor and the step that reads it.
    critical, wrong : ndarray of float64, [bits of a value, channels]
        Share of faults and inputs that ended critically, and in any wrong output; NaN where no fault struck a
        value that is used.
    """

    name: str
    layer: str
    critical: Shares
    wrong: Shares

    @property
    def live(self) -> bool:
        """False when no fault of the tensor changed any output."""
        return bool(np.nansum(self.wrong) > 0)


def layer_maps(image: Image, result: Exhaustive) -> list[LayerMap]:
    """Give the map of each tensor of the weights region; an image with unknown operators has one channel a tensor."""
    return [_layer(image, spec, result) for spec in image.tensors]


def _layer(image: Image, spec: TensorSpec, result: Exhaustive) -> LayerMap:
    first, last = 8 * spec.offset, 8 * spec.end
    codes = np.moveaxis(result.codes[:, first:last], 0, 1).reshape(last - first, -1)
    width = 8 * np.dtype(spec.dtype).itemsize
    channels = _channels(image, spec)
    position = np.arange(last - first) % width
    count = max(int(channels.max(initial=0)) + 1, 1)
    cell = np.where(channels >= 0, position * count + channels, -1)
    used = cell >= 0
    struck = np.bincount(cell[used], minlength=width * count).astype(np.float64) * codes.shape[1]
    critical = codes == OUTCOMES.index(Outcome.SDC_CRITICAL)
    shares = []
    for hit in (critical, codes != 0):
        counted = np.bincount(cell[used], weights=hit.sum(axis=1)[used], minlength=width * count)
        with np.errstate(invalid="ignore"):
            shares.append((counted / struck).reshape(width, count))
    return LayerMap(name=spec.name, layer=image.step_names[spec.step], critical=shares[0], wrong=shares[1])


def _channels(image: Image, spec: TensorSpec) -> NDArray[np.int64]:
    """Give the output channel of every bit of a tensor, -1 for padding that is not used."""
    bits = np.arange(8 * spec.offset, 8 * spec.end)
    table = fault_table(Frames(image), "weights", bits, np.zeros(len(bits), np.int64))
    return np.where(table[:, tables.KIND] == tables.NOWHERE, -1, table[:, tables.OUT_CHANNEL])


def picture_url(shares: Shares) -> str:
    """Give a map as a PNG in a data URL, the most significant bit on top, one pixel a cell."""
    level = np.sqrt(np.nan_to_num(shares))[::-1, :, None]
    pixels = np.rint(PALE + (DARK - PALE) * level).astype(np.uint8)
    pixels[np.isnan(shares)[::-1]] = 255
    height, width, _ = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))]
    parts += [(b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return "data:image/png;base64," + base64.b64encode(png).decode()
