"""The suite's training against a bare Keras `fit`: time per step, and time to accuracy.

The loops have the same network, arrays and steps, so the ratio counts. Both are held against the arithmetic peak: a
large matrix product in the same process, on the same threads, in float32 and in bfloat16. A step multiplies and adds
three times what a prediction does: once forward, twice backward.

Augmentation is off and validation comes at the end only, as `fit` has neither. The loops take turns, and what is
compared is the median time of a gradient step, so that tracing and a busy machine weigh little.

Time to accuracy is held against what a notebook does with the same network: Keras' own layers for mirrors, turns, zoom
and shifts, Adam at 1e-3, batches of 64, the rate lowered on a plateau. It may train for as long as the suite did; both
are judged on validation. Built-in faces, and the suite's quick steps; its standard ones on data that are given.
"""

import time
from itertools import pairwise

import numpy as np
import pytest
from settings import DATA, QUICK

from fer_bench.execution.environment import cores
from fer_bench.models.deep import watch
from fer_bench.models.deep.backend import resolve_precision
from fer_bench.models.registry import MODELS
from fer_bench.models.task import Task

STEPS, BATCH, TURNS, CLASSES = 8 if QUICK else 60, 32, 1 if QUICK else 3, 7
SIDE, PRODUCTS = (128, 2) if QUICK else (2048, 5)  # of the matrices, and how many products
MODEL = "cnn-small" if QUICK else "cnn"
MOST = 1.05
INTERVALS: dict[str, list[float]] = {"suite": [], "keras": []}


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (STEPS * BATCH, 48, 48), dtype=np.uint8), rng.integers(0, CLASSES, STEPS * BATCH)


def classifier(images, labels):
    task = Task(
        tuple("abcdefg"), len(images), (48, 48), (images[:BATCH], labels[:BATCH]), n_jobs=1, steps=STEPS,
        parameters={"augmentation": "none", "batch_size": BATCH},
    )  # fmt: skip
    return MODELS[MODEL].build(task)


def keep(name, ends):
    """Seconds of each step of those that `ends`, (seconds, step), are the ends of; the first ones trace and warm up."""
    for (start, first), (end, last) in pairwise(ends[1:]):
        INTERVALS[name].extend([(end - start) / (last - first)] * (last - first))


def suite(images, labels):
    ends = []

    def noted(self, logs):
        ends.append((time.perf_counter(), self.state.step + len(logs)))
        note(self, logs)

    with pytest.MonkeyPatch.context() as patch:
        note = watch.Watch.__call__
        patch.setattr(watch.Watch, "__call__", noted)
        patch.setattr(watch, "evaluation_steps", lambda steps, *_: frozenset({STEPS // 4, steps}))
        classifier(images, labels).fit(images, labels)
    keep("suite", ends)


def keras(images, labels):
    from keras.callbacks import LambdaCallback

    ends = []
    bare = classifier(images, labels)
    bare.create()
    model = bare.network.model
    bare.compile(model, 1e-3, STEPS)
    one_hot = np.eye(CLASSES, dtype=np.float32)[labels]
    clock = LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append((time.perf_counter(), batch + 1)))
    model.fit(images[..., None], one_hot, batch_size=BATCH, epochs=1, verbose=0, callbacks=[clock])
    keep("keras", ends)


def at_its_size(model, images):
    """`model`, which may take images of any size, for such `images`: its layers know the shapes of what they make."""
    import keras

    pixels = keras.Input((*images.shape[1:], 1), dtype="uint8")
    return keras.models.clone_model(model, input_tensors=pixels)


def multiply_adds(model):
    """Of one image's way through a Keras model: what convolutions and dense layers multiply."""
    total = 0
    for layer in model.layers:
        if hasattr(layer, "layers"):
            total += multiply_adds(layer)
        else:
            kernels = sum(int(np.prod(weight.shape)) for weight in layer.trainable_weights if len(weight.shape) > 1)
            total += kernels * int(np.prod(layer.output.shape[1:-1]))  # once per place of the output
    return total


def peak(dtype):
    """Floating-point operations per second of a large matrix product in TensorFlow."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.stateless_normal((SIDE, SIDE), (0, 0)), dtype)
    product = tf.function(lambda: tf.reduce_sum(tf.linalg.matmul(matrix, matrix)))
    seconds = []
    for _ in range(1 + PRODUCTS):
        start = time.perf_counter()
        product().numpy()
        seconds.append(time.perf_counter() - start)
    return 2 * SIDE**3 / min(seconds[1:])


def test_training_loop(benchmark, tell, arrays):
    for _ in range(TURNS - 1):
        suite(*arrays)
        keras(*arrays)
    benchmark.pedantic(lambda: suite(*arrays), rounds=1)
    keras(*arrays)
    seconds = {name: float(np.median(intervals)) for name, intervals in INTERVALS.items()}
    network = classifier(*arrays)
    network.create()
    operations = 3 * 2 * multiply_adds(at_its_size(network.network.model, arrays[0])) * BATCH
    peaks = {dtype: peak(dtype) for dtype in ("float32", "bfloat16")}
    ratio = seconds["suite"] / seconds["keras"]
    tell(
        f"training of {MODEL}: the suite's time per gradient step over bare Keras fit's", ratio, f"at most {MOST}",
        ratio <= MOST, precision=resolve_precision("auto"), giga_operations_per_step=operations / 1e9,
        **{f"{name}_ms_per_step": 1000 * s for name, s in seconds.items()},
        **{f"{dtype}_peak_gflops": flops / 1e9 for dtype, flops in peaks.items()},
        **{f"{name}_percent_of_{dtype}_peak": 100 * operations / s / flops
           for name, s in seconds.items() for dtype, flops in peaks.items()},
    )  # fmt: skip
    assert operations > 0
    assert QUICK or ratio <= MOST


def notebook(images, labels, validation, n_classes, seconds):
    """Validation accuracy after each epoch, with the seconds since the start, of a notebook's training."""
    import keras
    from keras import layers

    pixels = keras.Input((*images.shape[1:3], 1), dtype="uint8")
    x = layers.RandomFlip("horizontal")(keras.ops.cast(pixels, "float32"))
    x = layers.RandomTranslation(0.08, 0.08)(layers.RandomZoom(0.12)(layers.RandomRotation(12 / 360)(x)))
    task = Task(tuple(map(str, range(n_classes))), len(images), (48, 48), validation, n_jobs=1, steps=1)
    network = MODELS[MODEL].build(task)
    network.create()
    model = keras.Model(pixels, network.network.model(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    start, reached = time.perf_counter(), []

    def note(epoch, logs):
        reached.append((time.perf_counter() - start, logs["val_accuracy"]))
        model.stop_training = reached[-1][0] > seconds

    plateau = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.3, patience=3)
    callbacks = [keras.callbacks.LambdaCallback(on_epoch_end=note), plateau]
    model.fit(
        images[..., None], labels, 64, epochs=10_000, verbose=0, callbacks=callbacks,
        validation_data=(validation[0][..., None], validation[1]),
    )  # fmt: skip
    return reached


def seconds_to(accuracy, reached):
    """The first of the seconds after which the accuracy was as good."""
    return next(seconds for seconds, found in reached if found >= accuracy)


@pytest.mark.timeout(3 * 3600)
def test_time_to_accuracy(benchmark, tell, opened):
    dataset, split = opened
    train, validation = ((dataset.images[rows], dataset.labels[rows]) for rows in (split.train, split.validation))
    steps = 20 if QUICK else MODELS[MODEL].steps["quick" if DATA == "synthetic" else "standard"]
    task = Task(
        dataset.class_names, len(train[0]), dataset.images.shape[1:], validation, n_jobs=cores(), steps=steps
    )  # fmt: skip
    trained = benchmark.pedantic(lambda: MODELS[MODEL].build(task).fit(*train), rounds=1)
    ours = [(row["seconds"], row["val_accuracy"]) for row in trained.history_]
    theirs = notebook(*train, validation, len(dataset.class_names), ours[-1][0])
    within = [accuracy for seconds, accuracy in theirs if seconds <= ours[-1][0]] or [theirs[0][1]]
    best = max(accuracy for _, accuracy in ours), max(within)
    both = min(best)
    tell(
        f"training of {MODEL}: a notebook's seconds over the suite's until both are as accurate",
        seconds_to(both, theirs) / seconds_to(both, ours), steps=steps, seconds_of_both=ours[-1][0], accuracy=best[0],
        notebook_accuracy=best[1], accuracy_of_both=both,
        macro_f1=max(row["val_macro_f1"] for row in trained.history_),
    )  # fmt: skip
    assert QUICK or best[0] > best[1]
