"""Images, filters and maps of reports, as Pillow reads them."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chainrule.train.charts.pixels import filter_picture, map_over, map_picture, picture

RNG = np.random.default_rng(0)
DARK, BRIGHT = (68, 1, 84), (253, 231, 37)  # the ends of viridis


def read(uri: str) -> Any:
    kind, _, text = uri.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_what_it_is(channels: int) -> None:
    image = RNG.integers(0, 256, (5, 7, channels))
    found = read(picture(image.astype(np.uint8)))
    np.testing.assert_array_equal(found.reshape(image.shape), image)
    floats = image.astype(np.float32) * 1.5 - 60.4
    clipped = np.clip(np.rint(floats), 0, 255)
    np.testing.assert_array_equal(read(picture(floats)).reshape(image.shape), clipped)


def test_of_a_large_image_every_third_pixel_is_left() -> None:
    image = RNG.integers(0, 256, (100, 193, 3)).astype(np.uint8)
    np.testing.assert_array_equal(read(picture(image)), image[::3, ::3])
    values = RNG.random((100, 193))
    assert read(map_over(image, values)).shape == read(map_picture(values)).shape == (34, 65, 3)


def test_a_filter_is_scaled_around_mid_grey() -> None:
    grey = np.array([[0.0, 0.5], [-1.0, 2.0]])[..., None]
    np.testing.assert_array_equal(read(filter_picture(grey)), [[128, 159], [64, 255]])
    colours = np.array([[[0.0, -3.0, 3.0]]])
    np.testing.assert_array_equal(read(filter_picture(colours)), [[[128, 0, 255]]])
    assert (read(filter_picture(np.zeros((3, 3, 1)))) == 128).all()


def test_a_map_is_dark_at_zero_and_bright_at_its_maximum() -> None:
    found = read(map_picture(np.array([[0.0, 4.0], [2.0, 0.0]])))
    assert [tuple(c) for c in found.reshape(-1, 3)] == [DARK, BRIGHT, (33, 145, 140), DARK]
    assert (read(map_picture(np.zeros((2, 2)))) == DARK).all(), "nothing speaks for the class"


@pytest.mark.parametrize("colour", [(200,), (200, 200, 200)], ids=["grey", "colours"])
def test_a_map_over_an_image(colour: tuple[int, ...]) -> None:
    found = read(map_over(np.full((1, 2, len(colour)), colour), np.array([[0.0, 1.0]])))
    for pixel, end in zip(found[0], (DARK, BRIGHT), strict=True):
        np.testing.assert_allclose(pixel, 0.6 * np.array(end) + 0.4 * 200, atol=0.5001)
