"""The suite's augmentation against Keras' layers of the same kinds: the same images, so the ratio is what counts."""

import numpy as np
import pytest
from settings import QUICK

from fer_bench.models.deep.batches import MAX_ROTATION, MAX_SHIFT, MAX_ZOOM, augment
from fer_bench.models.deep.recipe import AUGMENTATIONS, DEFAULT_AUGMENTATION

N, ROUNDS = 64, 2 if QUICK else 40  # images of a batch, and batches
MEDIANS: dict[str, float] = {}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (N, 48, 48, 1), dtype=np.uint8)


def measured(benchmark, name, function):
    """The median seconds of a batch."""
    benchmark.group = f"augmentation of {N} images of 48x48"
    benchmark.pedantic(function, rounds=ROUNDS, warmup_rounds=3)
    MEDIANS[name] = benchmark.stats.stats.median


@pytest.mark.parametrize("names", [DEFAULT_AUGMENTATION, AUGMENTATIONS], ids=["default", "all"])
def test_suite(benchmark, tell, images, names):
    rng = np.random.default_rng(0)
    name = "suite" if names == DEFAULT_AUGMENTATION else "all"
    assert (augment(images, rng, names) != images).any()
    measured(benchmark, name, lambda: augment(images, rng, names))
    tell(f"augmentation on one core: {', '.join(names)}", images_per_second=N / MEDIANS[name])


def test_keras_layers(benchmark, tell, images):
    import tensorflow as tf
    from keras import Sequential, layers

    pipeline = Sequential(
        [
            layers.RandomFlip("horizontal", seed=0),
            layers.RandomRotation(MAX_ROTATION / 360, "nearest", seed=0),
            layers.RandomZoom(MAX_ZOOM, fill_mode="nearest", seed=0),
            layers.RandomTranslation(MAX_SHIFT, MAX_SHIFT, "nearest", seed=0),
        ]
    )
    graph = tf.function(lambda batch: pipeline(batch, training=True))
    batch = images.astype(np.float32)
    assert (graph(batch).numpy() != batch).any()
    measured(benchmark, "keras", lambda: graph(batch).numpy())
    tell(
        "augmentation: the time of Keras' layers, on all cores, over the suite's, on one",
        MEDIANS["keras"] / MEDIANS["suite"],
        keras_images_per_second=N / MEDIANS["keras"],
    )
    assert QUICK or MEDIANS["suite"] < MEDIANS["keras"]
