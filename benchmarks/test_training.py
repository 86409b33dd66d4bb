"""The suite's training loop against a bare Keras `fit`: the same network, arrays and steps, so the ratio counts.

Both are held against the arithmetic peak: a large matrix product in the same process, on the same threads, in float32
and in bfloat16. A step multiplies and adds three times what a prediction does: once forward, twice backward.

Augmentation is off and validation comes at the end only, as `fit` has neither. The loops take turns, and what is
compared is the median time from one gradient step to the next, so that tracing and a busy machine weigh little.
"""

import time

import numpy as np
import pytest
from settings import QUICK

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
    """The first steps trace and warm up."""
    INTERVALS[name].extend(np.diff(ends[5:]))


def suite(images, labels):
    ends = []
    with pytest.MonkeyPatch.context() as patch:
        note = watch.Watch.__call__
        patch.setattr(watch.Watch, "__call__", lambda self, logs: (note(self, logs), ends.append(time.perf_counter())))
        patch.setattr(watch, "evaluation_steps", lambda steps, *_: frozenset({steps}))
        classifier(images, labels).fit(images, labels)
    keep("suite", ends[:-1])  # the last one holds the validation


def keras(images, labels):
    from keras.callbacks import LambdaCallback

    ends = []
    bare = classifier(images, labels)
    bare.create()
    model = bare.network.model
    bare.compile(model, 1e-3, STEPS)
    one_hot = np.eye(CLASSES, dtype=np.float32)[labels]
    clock = LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()))
    model.fit(images[..., None], one_hot, batch_size=BATCH, epochs=1, verbose=0, callbacks=[clock])
    keep("keras", ends)


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
    operations = 3 * 2 * multiply_adds(network.network.model) * BATCH
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
