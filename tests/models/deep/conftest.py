"""A training that a test can afford: tiny images, a tiny network, a task for it."""

from types import SimpleNamespace

import numpy as np
import pytest

from fer_bench.models.deep.training import KerasClassifier, Network, Phase
from fer_bench.models.registry import ImageInput
from fer_bench.models.task import Task

SIDE = 12
ONE_PHASE = (Phase("all layers", 1.0, 0.02),)


def bars(n, seed=0, classes=3):
    """Noisy horizontal stripes, vertical stripes and none: classes that a mirror image, turn or shift leaves alone."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
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


def classifier(task, build=network, batch_size=16):
    return KerasClassifier(task, ImageInput(SIDE), build, batch_size)


def fitted(task, build=network, sample_weight=None, rows=60):
    images, labels = bars(rows)
    return classifier(task, build).fit(images, labels, sample_weight)


@pytest.fixture(scope="session")
def tiny():
    """`tiny.fitted(tiny.task(steps=3))` is a trained classifier; `tiny.bars(5)` are images to predict."""
    return SimpleNamespace(
        side=SIDE, bars=bars, task=a_task, network=network, classifier=classifier, fitted=fitted, one_phase=ONE_PHASE
    )
