"""Pictures as PNG files (W3C, Portable Network Graphics, second edition), for pages that need nothing else."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RGB, EIGHT_BITS = 2, 8


def png(picture: NDArray[np.uint8]) -> bytes:
    """Give the file of a picture, uint8 [height, width, 3], red, green, blue.

    Examples
    --------
    >>> png(np.zeros((1, 1, 3), np.uint8))[1:4]
    b'PNG'
    """
    height, width, _ = picture.shape
    header = struct.pack(">IIBBBBB", width, height, EIGHT_BITS, RGB, 0, 0, 0)
    unfiltered = np.zeros((height, 1), np.uint8)  # filter type 0 before each line
    lines = np.concatenate([unfiltered, picture.reshape(height, 3 * width)], axis=1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def png_address(picture: NDArray[np.uint8]) -> str:
    """Give a picture as an address that holds it (``data:image/png;base64,...``)."""
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode("ascii")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
