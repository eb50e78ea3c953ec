"""Images of another size, channels last: interpolation, and blocks of pixels as channels."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dtypes import float32, float64
from ..errors import ArgumentError, ShapeError, user_line
from ..functions import indexing, reductions
from ..functions.contractions import each
from ..functions.shaping import permute_dims, reshape
from ..graph import Shape, spec_text
from ..hints import check_kinds, explain_arguments
from ..memory import expect_room
from ..tensor import Tensor, as_tensor
from .arguments import expect_integers, expect_number
from .module import Module

_FACTORS = 2.0**63  # scale factors are smaller
# How many sizes an image has, by mode.
_SIZES = {
    "nearest": (1, 2, 3),
    "nearest-exact": (1, 2, 3),
    "linear": (1, 2, 3),
    "bilinear": (2,),
    "trilinear": (3,),
    "bicubic": (2,),
}


@explain_arguments
@check_kinds
def interpolate(
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
) -> Tensor:
    """x (N, *size, C) with other sizes; channels and batch stay.

    size            the new sizes: a whole number, or one per size; or
    scale_factor    what the sizes are multiplied by, then rounded down: a number, or one per size
    mode            nearest         the element at ⌊i n / m⌋, of n elements for m
                    nearest-exact   the element whose centre is nearest
                    linear          between two centres, along each of 1 to 3 sizes; of 2 sizes it
                                    is also called bilinear, of 3 trilinear
                    bicubic         of 2 sizes: cubic convolution of four centres (Keys, 1981) with
                                    a = -3/4
    align_corners   True: the centres of the first and last elements stay in place. Else the outer
                    edges of the image do, and beyond the last centre its element continues
    recompute_scale_factor   True: a factor only decides the sizes, as if they were passed. Else the
                    elements are as far apart as it says, except with nearest along one of 2 sizes
                    that stays or doubles, as in PyTorch

    Whole numbers stay so in the nearest modes, and become float32 in the others.
    """
    x = as_tensor(x)
    _expect_settings("interpolate", size, scale_factor, mode, align_corners)
    n = x.ndim - 2
    if n not in _SIZES[mode]:
        known = _SIZES[mode]
        sizes = ", ".join("HWD"[: known[0]]) if len(known) == 1 else "*size"
        raise ShapeError(
            "interpolate",
            f"got {spec_text(x)} and mode {mode!r}",
            f"expected (N, {sizes}, C)",
            "add a batch axis, x[None]" if n + 1 in known else "mode='linear' takes 1 to 3 sizes",
            user_line(),
        )
    before = x.shape[1:-1]
    factors = None if scale_factor is None else _factors(scale_factor, n)
    if factors is None:
        after = each("interpolate", size, n, 1)
    else:
        after = tuple(math.floor(a * f) for a, f in zip(before, factors, strict=True))
    if 0 in (*before, *after):
        raise ShapeError(
            "interpolate",
            f"got {spec_text(x)} for the sizes {after}",
            "expected sizes above 0",
            "size=1 is the smallest",
            user_line(),
        )
    count = math.prod(after) * x.shape[0] * x.shape[-1]
    what = f"{spec_text(x)} for the sizes {after}, which needs"
    expect_room("interpolate", what, count * x.dtype.itemsize, "a smaller size or scale_factor")
    steps = [a / b for a, b in zip(before, after, strict=True)]
    if factors is not None and not recompute_scale_factor:
        copied = [mode == "nearest" and n == 2 and step in (1, 0.5) for step in steps]
        triples = zip(copied, steps, factors, strict=True)
        steps = [step if same else 1 / factor for same, step, factor in triples]
    places = [
        _places(n, m, step, mode, align_corners, float64 if x.dtype == float64 else float32)
        for n, m, step in zip(before, after, steps, strict=True)
    ]
    if mode.startswith("nearest"):
        for axis, place in enumerate(places, 1):
            x = indexing.take(x, _rows(place, x.shape[axis]), axis=axis)
        return x
    return _weighted(x, places, mode == "bicubic")


def _expect_settings(
    name: str, size: Any, scale_factor: Any, mode: str, align_corners: bool | None
) -> None:
    if mode not in _SIZES:
        raise ArgumentError(
            name,
            f"got mode {mode!r}",
            f"expected one of {', '.join(_SIZES)}",
            'mode="nearest" is the default',
            user_line(),
        )
    if (size is None) == (scale_factor is None):
        raise ArgumentError(
            name,
            f"got size={size} and scale_factor={scale_factor}",
            "expected one of them",
            "scale_factor=2 doubles each size",
            user_line(),
        )
    if align_corners is not None and mode.startswith("nearest"):
        raise ArgumentError(
            name,
            f"got align_corners={align_corners} and mode {mode!r}",
            "expected it for the modes that interpolate",
            'leave it out, or mode="linear"',
            user_line(),
        )


def _factors(scale_factor: Any, n: int) -> list[float]:
    """A factor for each of n sizes."""
    one = not isinstance(scale_factor, (tuple, list))
    factors = [scale_factor] * n if one else [*scale_factor]
    if len(factors) != n:
        raise ArgumentError(
            "interpolate",
            f"got scale_factor={scale_factor!r}",
            f"expected a number, or {n} of them",
            "scale_factor=2 doubles each size",
            user_line(),
        )
    for factor in factors:
        expect_number("interpolate", "scale_factor", factor, 2, above=0)
        if factor >= _FACTORS:
            raise ArgumentError(
                "interpolate",
                f"got scale_factor={factor}",
                "expected a number above 0, below 2⁶³",
                "scale_factor=2 doubles each size",
                user_line(),
            )
    return [float(factor) for factor in factors]


def _places(n: int, m: int, step: float, mode: str, align_corners: bool | None, dtype: Any) -> Any:
    """Where m elements lie among n, counted from 0, the step being about n / m."""
    if align_corners:
        return np.linspace(0, n - 1, m)
    centres = np.arange(m) + 0.5 * (mode != "nearest")
    if mode.startswith("nearest"):  # PyTorch rounds twice, so that 0.1 · 10 is 1
        return (centres.astype(dtype) * dtype.type(step)).astype(float32)
    return centres * step - 0.5


def _rows(places: Any, n: int) -> Tensor:
    """The elements at these places, of n; beyond the ends the first and the last."""
    return Tensor(np.clip(np.floor(places), 0, n - 1).astype(np.int64))


@reductions.in_float32
def _weighted(x: Tensor, /, places: Sequence[Any], cubic: bool) -> Tensor:
    """Along each size, the sum of the elements around each place, with weights by distance."""
    taps, kernel = (range(-1, 3), _cubic) if cubic else (range(2), _linear)
    for axis, place in enumerate(places, 1):
        n, low = x.shape[axis], np.floor(place)
        if len(place) == n and not (cubic and np.any(place - low)):
            continue  # linearly, a size that stays is left alone, as in PyTorch
        along = [-1 if k == axis else 1 for k in range(x.ndim)]
        weights = [kernel(np.abs(place - low - k)).reshape(along) for k in taps]
        parts = [
            indexing.take(x, _rows(low + k, n), axis=axis) * Tensor(weight, dtype=x.dtype)
            for k, weight in zip(taps, weights, strict=True)
        ]
        x = functools.reduce(operator.add, parts)
    return x


def _linear(distance: Any) -> Any:
    return 1 - distance


def _cubic(distance: Any, a: float = -0.75) -> Any:
    """Keys' kernel: 1 at 0, 0 at 1 and 2, smooth in between."""
    d = distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    return np.where(d <= 1, near, a * (((d - 5) * d + 8) * d - 4))


class Upsample(Module):
    """`functional.interpolate` as a layer: every size times `scale_factor`, or given by `size`."""

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        _expect_settings("Upsample", size, scale_factor, mode, align_corners)
        self.size, self.scale_factor = size, scale_factor
        self.mode, self.align_corners = mode, align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, x: Any) -> Tensor:
        return interpolate(
            x,
            self.size,
            self.scale_factor,
            self.mode,
            self.align_corners,
            self.recompute_scale_factor,
        )

    def extra_repr(self) -> str:
        what = "size" if self.scale_factor is None else "scale_factor"
        return f"{what}={getattr(self, what)}, mode={self.mode!r}"


# ── blocks of pixels as channels ─────────────────────────────────────────────────────────────────


def pixel_shuffle(x: Any, upscale_factor: int) -> Tensor:
    """Channels as blocks of r × r pixels: (N, H, W, C r²) -> (N, r H, r W, C) (Shi et al., 2016).

    Channel c r² + i r + j becomes channel c of the pixel (i, j) of a block, as in PyTorch.
    """
    expect_integers("pixel_shuffle", 1, upscale_factor=upscale_factor)
    r = upscale_factor
    x = _expect_image("pixel_shuffle", x, (1, 1, r * r))
    n, h, w, channels = x.shape
    blocks = reshape(x, (n, h, w, channels // (r * r), r, r))
    return reshape(permute_dims(blocks, (0, 1, 4, 2, 5, 3)), (n, h * r, w * r, channels // (r * r)))


def pixel_unshuffle(x: Any, downscale_factor: int) -> Tensor:
    """Blocks of r × r pixels as channels: (N, r H, r W, C) -> (N, H, W, C r²).

    The inverse of `pixel_shuffle`.
    """
    expect_integers("pixel_unshuffle", 1, downscale_factor=downscale_factor)
    r = downscale_factor
    x = _expect_image("pixel_unshuffle", x, (r, r, 1))
    n, h, w, channels = x.shape
    blocks = reshape(x, (n, h // r, r, w // r, r, channels))
    return reshape(permute_dims(blocks, (0, 1, 3, 5, 2, 4)), (n, h // r, w // r, channels * r * r))


def _expect_image(name: str, x: Any, multiples: Shape) -> Tensor:
    """x; an error unless it is (N, H, W, C) with multiples of these in H, W and C."""
    x = as_tensor(x)
    if x.ndim != 4 or any(n % m for n, m in zip(x.shape[1:], multiples, strict=True)):
        wanted = ", ".join(
            f"a multiple of {m}" if m > 1 else letter
            for m, letter in zip(multiples, "HWC", strict=True)
        )
        raise ShapeError(
            name,
            f"got {spec_text(x)}",
            f"expected (N, {wanted})",
            "add a batch axis, x[None], or crop or pad the image",
            user_line(),
        )
    return x


class PixelShuffle(Module):
    """Channels as blocks of pixels: (N, H, W, C r²) -> (N, r H, r W, C) (Shi et al., 2016)."""

    def __init__(self, upscale_factor: int) -> None:
        expect_integers("PixelShuffle", 1, upscale_factor=upscale_factor)
        self.upscale_factor = upscale_factor

    def forward(self, x: Any) -> Tensor:
        return pixel_shuffle(x, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """Blocks of pixels as channels: (N, r H, r W, C) -> (N, H, W, C r²)."""

    def __init__(self, downscale_factor: int) -> None:
        expect_integers("PixelUnshuffle", 1, downscale_factor=downscale_factor)
        self.downscale_factor = downscale_factor

    def forward(self, x: Any) -> Tensor:
        return pixel_unshuffle(x, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"
