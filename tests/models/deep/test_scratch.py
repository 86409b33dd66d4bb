"""The networks trained from scratch: their sizes, their input, and that they learn."""

import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.models.deep import scratch
from fer_bench.models.deep.recipe import COMMON, Recipe
from fer_bench.models.registry import MODELS, Choice
from fer_bench.models.task import Task

NAMES = [card.name for card in MODELS if card.build.__module__ == scratch.__name__]
AFFORDABLE = [name for name in NAMES if name != "cnn-deep"]
MINIMUM = {"cnn": 12, "cnn-attention": 12, "cnn-small": 8, "cnn-deep": 128, "mini-xception": 20}


def bars(n, seed=0, side=48, channels=1):
    """Noisy horizontal stripes, vertical stripes, and none."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    images = rng.integers(0, 120, (n, side, side, channels))
    images[labels == 0, ::6] += 130
    images[labels == 1, :, ::6] += 130
    return images.astype(np.uint8).squeeze(axis=3 if channels == 1 else ()), labels


def a_task(n_classes=3, **changes):
    defaults = {"n_rows": 24, "image_shape": (48, 48), "validation": bars(12, seed=1), "steps": 4}
    return Task(tuple("abcdefgh"[:n_classes]), **{**defaults, **changes})


def built(name, task):
    """The network of `name` for `task`, not trained."""
    classifier = MODELS[name].build(task)
    classifier.create()
    return classifier.network.model


def test_all_networks_are_tested():
    assert set(NAMES) == set(MINIMUM)


@pytest.mark.parametrize("name", NAMES)
def test_cards_say_what_a_plan_and_a_search_need(name):
    card = MODELS[name]
    assert (card.features, card.family, card.pretrained) == ("images", "deep", None)
    assert set(card.losses) == {"cross-entropy", "focal", "logit-adjusted"}
    assert 0 < card.steps["quick"] < card.steps["standard"] < card.steps["full"]
    assert card.search["augmentation"].values[0] == COMMON["augmentation"]
    for parameter, space in card.search.items():
        for value in space.values if isinstance(space, Choice) else (space.low, space.high):
            Recipe.of({parameter: value})


@pytest.mark.parametrize("name", NAMES)
def test_the_card_tells_the_parameters_with_seven_classes(name):
    model = built(name, a_task(n_classes=7))
    assert model.count_params() == MODELS[name].n_parameters
    assert model.output_shape == (None, 7)
    assert model.layers[-1].name == "logits"


def test_the_deep_network_has_as_many_parameters_as_the_known_one():
    """27.9 million, with its six classes."""
    assert built("cnn-deep", a_task(n_classes=6)).count_params() == pytest.approx(27.9e6, rel=0.01)


def test_attention_adds_little_to_the_trunk():
    attentive, plain = MODELS["cnn-attention"].n_parameters, MODELS["cnn"].n_parameters
    assert 1 < attentive / plain < 1.02


@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_size_works_and_one_less_is_refused(name):
    smallest = MINIMUM[name]
    classifier = MODELS[name].build(a_task(parameters={"image_size": smallest}))
    classifier.create()
    assert classifier.network.whole().input_shape == (None, smallest, smallest, 1)
    with pytest.raises(FerBenchError, match=f"below the minimum of {smallest} of {name}"):
        MODELS[name].build(a_task(parameters={"image_size": smallest - 1}))


@pytest.mark.parametrize("name", AFFORDABLE)
def test_odd_sizes_and_colour_work(name):
    images, _ = bars(5, side=30, channels=3)
    classifier = MODELS[name].build(a_task(image_shape=(30, 30, 3), parameters={"image_size": 37}))
    classifier.create()
    probabilities = classifier.predict_proba(images)
    assert probabilities.shape == (5, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", ["cnn-attention", "cnn-small"])
def test_networks_learn_in_thirty_steps(name):
    task = a_task(steps=30, parameters={"image_size": 24}, validation=bars(12, seed=1, side=24))
    classifier, (images, labels) = MODELS[name].build(task).fit(*bars(90, side=24)), bars(60, seed=2, side=24)
    assert (classifier.predict_proba(images).argmax(axis=1) == labels).mean() > 0.8
    assert classifier.initial_weights_ == "random"


def test_mini_xception_can_be_trained_in_float32():
    """Its shortcuts, as strided 1x1 convolutions, end the process there (TensorFlow 2.21 on a CPU)."""
    images, labels = bars(24)
    classifier = MODELS["mini-xception"].build(a_task(steps=1, parameters={"precision": "float32"}))
    assert np.isfinite(classifier.fit(images, labels).predict_proba(images)).all()


@pytest.mark.parametrize("name", ["cnn", "cnn-attention", "cnn-small", "cnn-deep"])
def test_dropout_is_what_is_asked_for(name):
    for asked, expected in (({"dropout": 0.125}, 0.125), ({}, MODELS[name].search["dropout"].values[0])):
        model = built(name, a_task(parameters={**asked, "image_size": MINIMUM[name]}))
        rates = {layer.rate for layer in model.layers if layer.name.startswith("dropout")}
        assert rates == {expected}


def test_attention_scales_each_channel_of_each_image():
    from keras import Input, Model

    maps = np.random.default_rng(0).normal(size=(4, 5, 5, 32)).astype(np.float32)
    inputs = Input(maps.shape[1:])
    scaled = Model(inputs, scratch.squeeze_and_excitation(inputs)).predict_on_batch(maps)
    scale = scaled / maps
    np.testing.assert_allclose(scale, np.broadcast_to(scale[:, :1, :1], scale.shape), rtol=1e-3)
    assert 0 < scale.min() < scale.max() < 1
    assert len(np.unique(scale[:, 0, 0].round(6), axis=0)) == 4


@pytest.mark.parametrize(("name", "channels"), [("cnn", 1), ("cnn-attention", 3)])
def test_answers_are_the_mean_over_mirrors_and_zooms(name, channels):
    from scipy.ndimage import affine_transform

    shape = (48, 48) if channels == 1 else (48, 48, 3)
    classifier = MODELS[name].build(a_task(image_shape=shape, steps=1, parameters={"precision": "float32"}))
    classifier.create()
    images, _ = bars(8, channels=channels)
    views = []
    for zoom in (1.0, 0.9, 1.1):
        scale, offset = [1 / zoom, 1 / zoom, 1], [23.5 - 23.5 / zoom] * 2 + [0]
        zoomed = [
            affine_transform(image.astype(float), scale, offset, order=1, mode="nearest").round()
            for image in images.reshape(8, 48, 48, channels)
        ]
        views += [np.array(zoomed, np.uint8), np.array(zoomed, np.uint8)[:, :, ::-1]]
    logits = np.array([classifier.network.model.predict_on_batch(view) for view in views])
    expected = (np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)).mean(axis=0)
    assert np.ptp(logits, axis=0).max() > 0.02
    np.testing.assert_allclose(classifier.predict_proba(images), expected, atol=2e-3)


def test_a_dense_layer_on_the_mean_patch_is_the_mean_of_a_convolution():
    from keras import Input, Model, layers

    maps = np.random.default_rng(0).normal(size=(4, 5, 6, 8)).astype(np.float32)
    inputs = Input(maps.shape[1:])
    dense = Model(inputs, layers.Dense(7)(scratch.patch_mean(inputs)))
    convolution = Model(inputs, layers.GlobalAveragePooling2D()(layers.Conv2D(7, 3, padding="same")(inputs)))
    kernel, bias = convolution.get_weights()
    dense.set_weights([kernel.reshape(-1, 7), bias + 1])
    np.testing.assert_allclose(dense.predict_on_batch(maps), convolution.predict_on_batch(maps) + 1, atol=1e-5)


@pytest.mark.parametrize("card", [card for card in MODELS if card.is_network], ids=lambda card: card.name)
def test_a_search_starts_from_the_networks_own_values(card):
    """The learning rate and the weight decay of `KerasClassifier` itself, save where a builder has another."""
    assert card.search["learning_rate"].start == 1.0
    assert card.search["weight_decay"].start == (0.01 if card.name == "mini-xception" else Recipe().weight_decay)
    assert card.search["label_smoothing"].start == Recipe().label_smoothing
