"""What all networks share: the size of their input, its preprocessing, their own defaults."""

import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.models.deep.assembly import from_pixels, logits, preprocess, sized, with_defaults
from fer_bench.models.registry import ImageInput


def looks(image, channels):
    """What a network for `image` makes of random pixels with `channels` channels: (pixels, result)."""
    from keras import Input, Model, ops

    pixels = np.random.default_rng(0).integers(0, 256, (5, image.size, image.size, channels), dtype=np.uint8)
    inputs = Input(pixels.shape[1:], dtype="uint8")
    return pixels, ops.convert_to_numpy(Model(inputs, preprocess(inputs, image))(pixels))


@pytest.mark.parametrize(
    ("scaling", "application"),
    [
        ("caffe", "vgg16"),
        ("caffe", "resnet"),
        ("symmetric", "mobilenet_v2"),
        ("symmetric", "inception_v3"),
    ],
)
def test_scaling_is_that_of_keras_applications(scaling, application):
    import keras

    pixels, seen = looks(ImageInput(8, 3, scaling), channels=3)
    expected = getattr(keras.applications, application).preprocess_input(pixels.astype(np.float32))
    np.testing.assert_allclose(seen, expected, atol=1e-3)


@pytest.mark.parametrize(("scaling", "low", "high"), [("unit", 0, 1), ("symmetric", -1, 1), ("none", 0, 255)])
def test_scaling_of_gray_images(scaling, low, high):
    pixels, seen = looks(ImageInput(8, 1, scaling), channels=1)
    np.testing.assert_allclose(seen, low + pixels / 255 * (high - low), atol=1e-4)
    assert seen.dtype == np.float32


def test_gray_images_are_repeated_for_a_network_of_three_channels():
    pixels, seen = looks(ImageInput(8, 3, "unit"), channels=1)
    np.testing.assert_allclose(seen, np.repeat(pixels, 3, axis=3) / 255, atol=1e-6)


def test_colour_images_become_gray_for_a_network_of_one_channel():
    pixels, seen = looks(ImageInput(8, 1, "unit"), channels=3)
    np.testing.assert_allclose(seen[..., 0], pixels @ np.array([0.299, 0.587, 0.114]) / 255, atol=2e-3)


@pytest.mark.parametrize(("shape", "channels"), [((20, 30), 1), ((20, 30, 3), 3)])
def test_a_network_takes_pixels_as_the_dataset_has_them_to_float32_logits(tiny, shape, channels):
    """Under a lower precision too."""
    from keras import layers

    from fer_bench.models.deep.precision import dtype_policy

    task = tiny.task(image_shape=shape)
    with dtype_policy("mixed_bfloat16"):
        model = from_pixels(task, ImageInput(16), lambda x: logits(task)(layers.GlobalAveragePooling2D()(x)))
    assert model.input_shape == (None, 16, 16, channels)
    assert model.input.dtype == "uint8"
    assert model.output_shape == (None, 3)
    assert model.output.dtype == "float32"


def test_the_size_asked_for_replaces_that_of_the_card_and_nothing_else(tiny):
    image = ImageInput(64, 3, "caffe")
    assert sized(image, tiny.task(), 32, "vgg16") == image
    assert sized(image, tiny.task(parameters={"image_size": 32}), 32, "vgg16") == ImageInput(32, 3, "caffe")


def test_a_size_below_the_minimum_is_refused_by_name(tiny):
    with pytest.raises(FerBenchError, match="image size 31 is below the minimum of 32 of vgg16"):
        sized(ImageInput(64), tiny.task(parameters={"image_size": 31}), 32, "vgg16")


def test_what_is_asked_for_goes_before_the_defaults_of_a_network(tiny):
    task = with_defaults(tiny.task(parameters={"dropout": 0.1}), dropout=0.5, weight_decay=0.01)
    assert task.parameters == {"dropout": 0.1, "weight_decay": 0.01}
