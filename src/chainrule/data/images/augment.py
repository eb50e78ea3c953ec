"""Random changes of images that do not change their class."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import ArgumentError, ShapeError, user_line
from ...graph import Array
from ..draws import Draws
from .resampling import shifted, turned

_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # brightness of red, green and blue (ITU-R 601)
# Brightness and two differences of colours, of which hue is the angle (YIQ).
_HUES = np.array([_GREY, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], np.float64)
_NUMBERS = 11  # random numbers for each image
_PART = 1 << 13  # pixels at once, which stay in a processor's cache


class Augment:
    """Images of a batch, each changed at random: for the `augment` of a DataLoader.

    flip        mirror half of the images left to right: for most photographs, not for digits,
                letters, or anything that differs from its mirror image
    shift       move by up to this number of pixels in each direction: a crop of the image after
                padding
    rotate      turn by up to this number of degrees to either side
    scale       enlarge by a factor from 1 - scale to 1 + scale
    brightness  multiply by a factor from 1 - brightness to 1 + brightness
    contrast    multiply the differences from the image's mean brightness, in the same way
    saturation  multiply the differences of the colours from grey, in the same way
    hue         turn the colours by up to this number of degrees
    cutout      put the image's mean colour on a square of this side, at a random place
    white       the value of white in images of fractions; bytes have 255

    Border pixels are repeated where an image is moved away from its border. Images are
    (N, H, W, C), bytes or float32, and stay so.
    """

    def __init__(
        self,
        *,
        flip: bool = False,
        shift: int = 0,
        rotate: float = 0.0,
        scale: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        cutout: int = 0,
        white: float = 255.0,
    ) -> None:
        self.flip, self.shift, self.cutout = flip, shift, cutout
        self.rotate, self.scale, self.hue, self.white = rotate, scale, hue, white
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation
        if not isinstance(flip, (bool, np.bool_)):
            raise ArgumentError(
                "Augment", f"got flip {flip!r}", "expected True or False", "flip=True", user_line()
            )
        if not (_is_number(white) and 0 < white < math.inf):
            raise ArgumentError(
                "Augment",
                f"got white {white!r}",
                "expected the value of white, above 0",
                "white=1.0",
                user_line(),
            )
        for names, most, whole, example in (
            (("shift", "cutout"), math.inf, True, 2),
            (("rotate", "hue"), 180, False, 10),
            (("scale",), 0.9, False, 0.1),
            (("brightness", "contrast", "saturation"), 1, False, 0.2),
        ):
            for name in names:
                value = getattr(self, name)
                number = _is_number(value) and (not whole or isinstance(value, (int, np.integer)))
                if not (number and 0 <= value <= most):
                    raise ArgumentError(
                        "Augment",
                        f"got {name} {value!r}",
                        "expected a whole number from 0" if whole else f"expected 0 to {most}",
                        f"{name}={example}",
                        user_line(),
                    )

    def __call__(self, x: Any, y: Any, draws: Draws) -> tuple[Array, Any]:
        """The images changed, and y as it is."""
        x = np.asarray(x)
        self._check(x)
        if not len(x):
            return x, y
        u = draws.uniform(_NUMBERS).T
        sides = 2 * u - 1
        if self.flip:
            x = x.copy()
            which = u[0] < 0.5
            x[which] = x[which].take(np.arange(x.shape[2])[::-1], axis=2)
        down, right = np.floor(u[1:3] * (2 * self.shift + 1)).astype(int) - self.shift
        if self.rotate or self.scale:
            angle, scale = sides[3] * math.radians(self.rotate), 1 + sides[4] * self.scale
            x = turned(x, angle, scale, down, right)
        elif self.shift:
            x = shifted(x, down, right, self.shift)
        if self.brightness or self.contrast or self.saturation or self.hue:
            x = self._coloured(x, sides[5:9])
        return (self._cut(x, u[9], u[10]) if self.cutout else x), y

    def _check(self, x: Array) -> None:
        if x.ndim != 4 or x.dtype not in (np.uint8, np.float32):
            raise ShapeError(
                "Augment",
                f"got inputs of {x.dtype} {x.shape}",
                "expected images (N, H, W, C), bytes or float32",
                "add the axis of channels: x[..., None]" if x.ndim == 3 else "x.astype('float32')",
            )
        if not math.prod(x.shape[1:]):
            raise ShapeError(
                "Augment",
                f"got images of shape {x.shape}",
                "expected one pixel or more in each",
                "check how they were cut",
            )
        if (self.saturation or self.hue) and x.shape[3] != 3:
            raise ShapeError(
                "Augment",
                f"got saturation or hue for images with {x.shape[3]} channels",
                "expected three colours",
                "leave out saturation and hue",
            )

    def _coloured(self, x: Array, sides: Array) -> Array:
        """b · (c · A x + (1 - c) · m): brightness b, contrast c about the mean brightness m.

        A   turns and stretches the colours about grey: T⁻¹ diag(1, s · R(hue)) T, saturation s
        """
        bright, contrast, saturation = (
            1 + sides[k] * most
            for k, most in enumerate((self.brightness, self.contrast, self.saturation))
        )
        top = 255 if x.dtype == np.uint8 else self.white
        colours = x.shape[3] == 3
        plain = self.saturation == self.hue == 0
        matrices = None if plain else _matrices(saturation, sides[3] * math.radians(self.hue))
        out = np.empty_like(x)
        part = max(1, _PART // math.prod(x.shape[1:3]))
        for first in range(0, len(x), part):
            some = slice(first, first + part)
            pixels = x[some].astype(np.float32)
            if self.contrast:
                means = _means(pixels)
                mean = (means @ _GREY if colours else means.mean(1))[:, None, None, None]
            if matrices is not None:
                flat = pixels.reshape(len(pixels), -1, 3)
                pixels = np.matmul(flat, matrices[some]).reshape(pixels.shape)
            if self.contrast:
                factor = contrast[some, None, None, None]
                pixels = pixels * factor + (1 - factor) * mean
            pixels *= bright[some, None, None, None]
            np.clip(pixels, 0, top, out=pixels)
            out[some] = np.rint(pixels, out=pixels) if x.dtype == np.uint8 else pixels
        return out

    def _cut(self, x: Array, down: Array, right: Array) -> Array:
        """A square with a centre anywhere in the image, so it may be cut at the border."""
        height, width = x.shape[1:3]
        centre = np.floor(np.stack([down * height, right * width], 1)).astype(int)
        starts, ends = centre - self.cutout // 2, centre - self.cutout // 2 + self.cutout
        means = _means(x)
        out = x.copy()
        for image, start, end, mean in zip(out, np.maximum(starts, 0), ends, means, strict=True):
            image[start[0] : end[0], start[1] : end[1]] = mean
        return out

    def __repr__(self) -> str:
        usual = vars(Augment())
        named = [f"{k}={v!r}" for k, v in vars(self).items() if v != usual[k]]
        return f"Augment({', '.join(named)})"


def _is_number(value: Any) -> bool:
    kinds = (int, float, np.integer, np.floating)
    return isinstance(value, kinds) and not isinstance(value, bool)


def _means(x: Array) -> Array:
    """The mean of each channel of each image: (N, C), bytes of bytes. Rows first, as is fastest."""
    n, height, width, channels = x.shape
    rows = x.reshape(n, height, -1).sum(1, dtype=np.float32).reshape(n, width, channels)
    means = rows.sum(1) / np.float32(height * width)
    return (np.rint(means) if x.dtype == np.uint8 else means).astype(x.dtype)


def _matrices(saturation: Array, hue: Array) -> Array:
    """A matrix (3, 3) for each image, for colours in rows."""
    turn = np.zeros((len(hue), 3, 3))
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = saturation * np.cos(hue)
    turn[:, 2, 1] = saturation * np.sin(hue)
    turn[:, 1, 2] = -turn[:, 2, 1]
    both = np.linalg.inv(_HUES) @ turn @ _HUES
    return np.ascontiguousarray(both.transpose(0, 2, 1)).astype(np.float32)
