"""The mean and the standard deviation of each channel of images, summed by pieces in float64."""

from __future__ import annotations

import math

import numpy as np

from ...graph import Array

_PART = 1 << 17  # numbers at once


def moments_of_each(x: Array) -> tuple[Array, Array]:
    """The means and the variances of each channel of each image (N, H, W, C): float64 (N, C)."""
    means, variances = (np.empty((len(x), x.shape[3])) for _ in range(2))
    part = max(1, _PART // max(1, math.prod(x.shape[1:])))
    for first in range(0, len(x), part):
        some = slice(first, first + part)
        pixels = x[some].astype(np.float64).reshape(-1, math.prod(x.shape[1:3]), x.shape[3])
        means[some] = pixels.mean(1)
        pixels -= means[some][:, None]
        variances[some] = np.einsum("npc,npc->nc", pixels, pixels) / pixels.shape[1]
    return means, variances


def moments(means: Array, variances: Array) -> tuple[Array, Array]:
    """The mean and the standard deviation of each channel of all images: (C,) each.

    mean = E[mᵢ], std² = E[vᵢ] + E[(mᵢ - mean)²] for images of one size with means mᵢ, variances vᵢ
    """
    mean = means.mean(0)
    return mean, np.sqrt(variances.mean(0) + np.square(means - mean).mean(0))
