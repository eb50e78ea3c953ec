"""Images as data URIs: pixels, filters of a convolution, maps over an image."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .drawing import VIRIDIS, Floats

Pixels = NDArray[np.uint8]
LONGEST = 96  # pixels of a side; of longer ones every second, third … is left
GREY = np.array([0.299, 0.587, 0.114])  # brightness of red, green and blue (ITU-R BT.601)
SHOWN = 0.6  # share of the map in a picture of a map over an image


def png(pixels: Pixels) -> str:
    """An image of bytes (H, W, 1 or 3) as the data URI of a PNG file."""
    height, width, depth = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", width, height, 8, 0 if depth == 1 else 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b"")
    data = b"\x89PNG\r\n\x1a\n" + b"".join(parts)
    return "data:image/png;base64," + base64.b64encode(data).decode()


def picture(image: NDArray[Any]) -> str:
    """An image (H, W, 1 or 3) of values from 0 to 255."""
    pixels = np.asarray(_small(image), np.float64)
    return png(np.rint(np.clip(pixels, 0, 255)).astype(np.uint8))


def filter_picture(weights: Floats) -> str:
    """The weights (h, w, 1 or 3) of a filter: 0 is mid-grey, the largest black or white."""
    most = float(np.abs(weights).max()) or 1.0
    return png(np.rint(127.5 + 127.5 * weights / most).astype(np.uint8))


def map_picture(values: Floats) -> str:
    """Values (H, W) from 0 on: 0 is dark, the largest bright, in the colours of heatmaps."""
    return png(np.rint(_coloured(_small(values))).astype(np.uint8))


def map_over(image: NDArray[Any], values: Floats) -> str:
    """The same, over an image (H, W, 1 or 3) of values from 0 to 255, which is grey then."""
    pixels = np.asarray(_small(image), np.float64)
    grey = pixels @ GREY[:, None] if pixels.shape[-1] == 3 else pixels
    mixed = SHOWN * _coloured(_small(values)) + (1 - SHOWN) * grey
    return png(np.rint(np.clip(mixed, 0, 255)).astype(np.uint8))


def _coloured(values: Floats) -> Floats:
    """Viridis (H, W, 3), 0 to 255."""
    share = values / (float(values.max()) or 1.0) * (len(VIRIDIS) - 1)
    places = np.arange(len(VIRIDIS))
    return np.stack([np.interp(share, places, VIRIDIS[:, k]) for k in range(3)], axis=-1)


def _small(image: NDArray[Any]) -> NDArray[Any]:
    every = -(-max(image.shape[:2]) // LONGEST)
    return image[::every, ::every]
