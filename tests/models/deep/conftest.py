"""A training that a test can afford: tiny images, a tiny network, a task for it."""

from types import SimpleNamespace

import numpy as np
import pytest

from fer_bench.models.deep.pretrained import Backbone
from fer_bench.models.deep.training import KerasClassifier, Network, Phase
from fer_bench.models.registry import ImageInput
from fer_bench.models.task import Task

SIDE = 12
ONE_PHASE = (Phase("all layers", 1.0, 0.02),)


def bars(n, seed=0):
    """Noisy horizontal stripes, vertical stripes and none: classes that a mirror image, turn or shift leaves alone."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    images = rng.integers(0, 120, (n, SIDE, SIDE))
    images[labels == 0, ::3] += 130
    images[labels == 1, :, ::3] += 130
    return images.astype(np.uint8), labels


def a_task(**changes):
    defaults = {"n_rows": 60, "image_shape": (SIDE, SIDE), "validation": bars(30, seed=1), "steps": 12}
    return Task(("rows", "columns", "flat"), **{**defaults, **changes})


def network(phases=ONE_PHASE, dropout=0.0):
    """One convolution, and dropout if asked for."""
    from keras import Input, Model, layers

    pixels = Input((SIDE, SIDE, 1), dtype="uint8")
    x = layers.Conv2D(12, 3, activation="relu", name="convolution")(layers.Rescaling(1 / 127.5, -1)(pixels))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x) if dropout else x
    return Network(Model(pixels, layers.Dense(3, dtype="float32", name="logits")(x)), phases)


def two_phases(dropout):
    """The network, at first trained as part of another model, with a dropout of its own."""
    from keras import Model, layers

    model = network(dropout=dropout).model
    *_, last = model.layers
    other = Model(model.input, last(layers.Dropout(0.4)(last.input)))
    return Network(model, (Phase("other", 0.4, 0.02, model=other), Phase("all layers", 0.6, 0.02)))


def classifier(task, build=network, batch_size=16):
    return KerasClassifier(task, ImageInput(SIDE), build, batch_size)


def fitted(task, build=network, sample_weight=None, rows=60):
    images, labels = bars(rows)
    return classifier(task, build).fit(images, labels, sample_weight)


@pytest.fixture(scope="session")
def tiny():
    """`tiny.fitted(tiny.task(steps=3))` is a trained classifier; `tiny.bars(5)` are images to predict."""
    return SimpleNamespace(
        side=SIDE,
        bars=bars,
        task=a_task,
        network=network,
        two_phases=two_phases,
        classifier=classifier,
        fitted=fitted,
        one_phase=ONE_PHASE,
    )


TINY_BACKBONE = Backbone("Tiny", ImageInput(16, 3, "symmetric"), "tiny_notop.h5", "cut", minimum=8, trained_size=16)


def build_tiny(include_top, weights, input_shape):
    """A backbone in the manner of keras.applications: a first part, a cut, a residual last block; 872 parameters."""
    from keras import Input, Model, layers

    assert not include_top
    pixels = Input(input_shape)
    x = layers.Conv2D(8, 3, 2, "same", name="first_conv")(pixels)
    x = layers.ReLU(name="cut")(layers.BatchNormalization(name="first_bn")(x))
    y = layers.BatchNormalization(name="last_bn")(layers.Conv2D(8, 3, 1, "same", name="last_conv")(x))
    model = Model(pixels, layers.ReLU()(layers.add([x, y])), name="tiny")
    if weights == "imagenet":
        model.set_weights([np.full_like(array, 0.25) for array in model.get_weights()])
    return model


@pytest.fixture
def tiny_backbone(tmp_path, monkeypatch):
    """A backbone of 872 parameters in keras.applications; what is stored of it goes to a cache of this test's own."""
    import keras

    monkeypatch.setenv("FER_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(keras.applications, TINY_BACKBONE.application, build_tiny, raising=False)
    return TINY_BACKBONE


@pytest.fixture
def tiny_weights(tmp_path):
    """A weight file of the tiny backbone, its statistics unlike those of any batch."""
    rng = np.random.default_rng(3)
    model = build_tiny(False, None, (24, 24, 3))
    model.set_weights([np.abs(rng.normal(0.3, 0.2, array.shape)) for array in model.get_weights()])
    path = tmp_path / "tiny.weights.h5"
    model.save_weights(path)
    return str(path)
