"""What all networks share: the size of their input, its preprocessing, their own defaults; the papers' losses."""

import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.models.deep.assembly import from_pixels, logits, loss_function, preprocess, sized, with_defaults
from fer_bench.models.registry import ImageInput
from fer_bench.models.task import FOCAL, LOGIT_ADJUSTED, Loss


def looks(image, channels):
    """What a network for `image` makes of random pixels with `channels` channels: (pixels, result)."""
    from keras import Input, Model, ops

    pixels = np.random.default_rng(0).integers(0, 256, (5, image.size, image.size, channels), dtype=np.uint8)
    inputs = Input(pixels.shape[1:], dtype="uint8")
    return pixels, ops.convert_to_numpy(Model(inputs, preprocess(inputs, image))(pixels))


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

    from fer_bench.models.deep.backend import dtype_policy

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


SHARES = np.array([0.6, 0.25, 0.1, 0.05])


def logits_and_labels():
    rng = np.random.default_rng(0)
    return rng.normal(0, 3, (50, 4)).astype(np.float32), np.eye(4, dtype=np.float32)[rng.integers(0, 4, 50)]


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def values(loss, labels, logits, label_smoothing=0.0):
    import keras

    return keras.ops.convert_to_numpy(loss_function(loss, label_smoothing)(labels, logits))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [None, (0.5, 0.9, 1.6, 4.0)])
def test_focal_loss_is_that_of_the_paper_for_a_softmax(gamma, alpha):
    logits, labels = logits_and_labels()
    p_true = (softmax(logits) * labels).sum(axis=1)
    alpha_true = 1.0 if alpha is None else labels @ np.array(alpha)
    expected = -alpha_true * (1 - p_true) ** gamma * np.log(p_true)
    made = values(Loss(FOCAL, gamma=gamma, alpha=alpha), labels, logits)
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-6)


def test_focal_loss_without_gamma_and_alpha_is_cross_entropy():
    logits, labels = logits_and_labels()
    cross_entropy = values(Loss(), labels, logits)
    np.testing.assert_allclose(values(Loss(FOCAL, gamma=0.0), labels, logits), cross_entropy, rtol=1e-4, atol=1e-6)


def test_focal_loss_is_finite_where_the_network_is_certain():
    logits = np.array([[80.0, -80.0], [80.0, -80.0]], np.float32)
    made = values(Loss(FOCAL, gamma=0.5), np.eye(2, dtype=np.float32), logits)
    np.testing.assert_allclose(made, [0, 160], atol=1e-4)


def test_a_step_of_focal_loss_is_finite_where_the_network_is_certain():
    """Its gradient would not be, without the guard, where gamma is below 1."""
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, kernel_initializer="identity")])
    model.compile(keras.optimizers.SGD(0.1), loss_function(Loss(FOCAL, gamma=0.5), 0.0))
    model.train_on_batch(np.array([[80.0, -80.0]], np.float32), np.array([[1.0, 0.0]], np.float32))
    assert all(np.isfinite(weights).all() for weights in model.get_weights())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_smooths_labels(smoothing):
    logits, labels = logits_and_labels()
    expected = -(((1 - smoothing) * labels + smoothing / 4) * np.log(softmax(logits))).sum(axis=1)
    made = values(Loss(), labels, logits, label_smoothing=smoothing)
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-6)


def test_logit_adjusted_loss_is_balanced_softmax_at_tau_one():
    """Ren et al. 2020: the softmax of exp(logit) times the number of rows of the class."""
    logits, labels = logits_and_labels()
    counts = 1000 * SHARES
    balanced = counts * np.exp(logits) / (counts * np.exp(logits)).sum(axis=1, keepdims=True)
    expected = -np.log((balanced * labels).sum(axis=1))
    made = values(Loss(LOGIT_ADJUSTED, log_prior=tuple(np.log(SHARES))), labels, logits)
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tau", [0.5, 2.0])
def test_logit_adjusted_loss_is_that_of_the_paper(tau):
    """Menon et al. 2021, eq. 10: log(1 + sum over y' of (share_y' / share_y)^tau exp(f_y' - f_y))."""
    logits, labels = logits_and_labels()
    true = labels.argmax(axis=1)
    margins = (SHARES / SHARES[true][:, None]) ** tau * np.exp(logits - logits[np.arange(50), true][:, None])
    expected = np.log(1 + (margins * (1 - labels)).sum(axis=1))
    made = values(Loss(LOGIT_ADJUSTED, log_prior=tuple(tau * np.log(SHARES))), labels, logits)
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_smoothing_leaves_the_best_logits_of_the_adjusted_loss_in_the_order_of_the_paper(smoothing):
    """They rank classes by p / share, and a step of any logit away from them costs."""
    import keras

    p = np.array([[0.62, 0.2, 0.12, 0.06]], np.float32)
    best = np.log(((1 - smoothing) * p + smoothing * SHARES) / SHARES).astype(np.float32)
    assert (best.argsort() == (p / SHARES).argsort()).all()
    loss = loss_function(Loss(LOGIT_ADJUSTED, log_prior=tuple(np.log(SHARES))), label_smoothing=smoothing)

    def expected(logits):
        each = [keras.ops.convert_to_numpy(loss(row[None], logits))[0] for row in np.eye(4, dtype=np.float32)]
        return float(p[0] @ np.array(each))

    steps = [0.3 * sign * row[None] for row in np.eye(4, dtype=np.float32) for sign in (1, -1)]
    assert all(expected(best + step) > expected(best) for step in steps)


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="no loss 'hinge' for networks: cross-entropy, focal, logit-adjusted"):
        loss_function(Loss("hinge"), 0.0)
