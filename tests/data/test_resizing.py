"""One rule for another size, for all that look at images."""

import cv2
import numpy as np
import pytest

from fer_bench.data import audit
from fer_bench.data.resizing import fitted, gray_square, gray_squares, resized
from fer_bench.models.deep.batches import view
from fer_bench.models.registry import FEATURES

NOISE = np.random.default_rng(0).integers(0, 256, (3, 30, 20), dtype=np.uint8)


def linear(image, side):
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)


def test_images_shrink_by_area():
    image = np.array([[0, 200], [100, 20]], np.uint8).repeat(24, axis=0).repeat(24, axis=1)
    assert resized(image, (2, 2)).tolist() == [[0, 200], [100, 20]]
    assert resized(NOISE[0], (10, 5))[0, 0] == round(NOISE[0, :3, :4].mean())


def test_images_grow_linearly():
    """By area, neighbours would be equal."""
    assert np.array_equal(resized(NOISE[0], (48, 48)), linear(NOISE[0], 48))
    assert (np.diff(resized(np.array([[0, 240]], np.uint8), (1, 4))) > 0).all()


def test_an_image_of_that_size_is_not_touched():
    image = NOISE[0]
    assert resized(image, (30, 20)) is image
    assert np.array_equal(gray_squares(NOISE[:, :20], 20), NOISE[:, :20])


@pytest.mark.parametrize("size", [(30, 20), (24, 24)])
def test_squares_of_some_rows_are_those_of_the_images_there(size):
    images = NOISE[:, : size[0]] if size == (30, 20) else np.stack([linear(image, 24) for image in NOISE])
    assert np.array_equal(gray_squares(images, 24, np.array([2, 0])), gray_squares(images[[2, 0]], 24))


@pytest.mark.parametrize(("channel", "gray"), [(0, 76), (1, 150), (2, 29)])  # red, green, blue
def test_colour_is_rgb(channel, gray):
    image = np.zeros((60, 60, 3), np.uint8)
    image[..., channel] = 255
    assert (gray_square(image, 48) == gray).all()
    assert (gray_squares(image[None], 48) == gray).all()


def test_all_that_look_at_images_enlarge_them_alike():
    pixels, rows = FEATURES["pixels"], np.arange(len(NOISE))
    features = pixels.extractor().transform(NOISE)
    assert np.array_equal(features[0].reshape(48, 48), linear(NOISE[0], 48).astype("float32") / 255)
    assert np.array_equal(view(NOISE, 48)[0, ..., 0], linear(NOISE[0], 48))
    assert np.array_equal(audit._pixels(NOISE[:, :20], rows), audit._pixels(gray_squares(NOISE[:, :20], 24), rows))
    assert np.array_equal(fitted(NOISE[0], 48)[:, 8:40], cv2.resize(NOISE[0], (32, 48), interpolation=cv2.INTER_LINEAR))
