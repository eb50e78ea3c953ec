"""Images (N, H, W, C) at other places: shifted by pixels, or resampled between them."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...graph import Array

_PART = 1 << 13  # pixels at once, which stay in a processor's cache


def shifted(x: Array, down: Array, right: Array, most: int) -> Array:
    """Each image moved by its numbers of pixels; border pixels are repeated behind it.

    down, right   whole numbers (N,) from -most to most
    """
    n, height, width, channels = x.shape
    wide = np.pad(x, [(0, 0), (most, most), (most, most), (0, 0)], mode="edge")
    rows = wide.reshape(n, height + 2 * most, -1)
    windows = sliding_window_view(rows, (height, width * channels), (1, 2))
    return windows[np.arange(n), most - down, (most - right) * channels].reshape(x.shape)


def turned(x: Array, angle: Array, scale: Array, down: Array, right: Array) -> Array:
    """Each image turned to the right about its centre and enlarged, then moved; bilinear.

    angle         radians (N,)
    scale         factors (N,) above 0
    down, right   pixels (N,)
    """
    out = np.empty_like(x)
    height, width = x.shape[1:3]
    centre_row, centre_column = (height - 1) / 2, (width - 1) / 2
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    part = max(1, _PART // (height * width))
    for first in range(0, len(x), part):
        some = slice(first, first + part)
        c, s = (v[some, None, None].astype(np.float32) for v in (cos, sin))
        i = np.arange(height)[None, :, None] - centre_row - down[some, None, None]
        j = np.arange(width)[None, None, :] - centre_column - right[some, None, None]
        i, j = i.astype(np.float32), j.astype(np.float32)
        out[some] = _between(x[some], c * i - s * j + centre_row, s * i + c * j + centre_column)
    return out


def _between(x: Array, rows: Array, columns: Array) -> Array:
    """The images at rows and columns (N, H, W), outside of them those of the nearest pixel."""
    n, height, width, channels = x.shape
    wide = np.empty((n, height + 1, width + 1, channels), np.float32)  # each pixel has neighbours
    wide[:, :height, :width] = x
    wide[:, height], wide[:, :, width] = wide[:, height - 1], wide[:, :, width - 1]
    pixels = wide.reshape(-1) if channels == 1 else wide.reshape(-1, channels)
    np.clip(rows, 0, height - 1, out=rows)
    np.clip(columns, 0, width - 1, out=columns)
    top, left = np.floor(rows), np.floor(columns)
    down, right = rows - top, columns - left
    if channels > 1:
        down, right = down[..., None], right[..., None]
    place = (top * (width + 1) + left).astype(np.intp)
    place += np.arange(n)[:, None, None] * ((height + 1) * (width + 1))

    def row(at: Array) -> Array:
        here, beside = pixels.take(at, axis=0), pixels.take(at + 1, axis=0)
        beside -= here
        beside *= right
        here += beside
        return here

    upper, lower = row(place), row(place + (width + 1))
    lower -= upper
    lower *= down
    upper += lower
    if x.dtype == np.uint8:
        np.rint(upper, out=upper)
    return upper.reshape(x.shape).astype(x.dtype)
