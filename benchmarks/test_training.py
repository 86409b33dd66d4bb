"""The suite's training loop against a bare Keras `fit`: the same network, arrays and steps, so the ratio counts.

Augmentation is off and validation comes at the end only, as `fit` has neither. The loops take turns, and what is
compared is the median time from one gradient step to the next, so that tracing and a busy machine weigh little.
"""

import time

import numpy as np
import pytest

from fer_bench.models.deep import training
from fer_bench.models.deep.watch import Watch
from fer_bench.models.registry import MODELS
from fer_bench.models.task import Task

STEPS, BATCH, TURNS, CLASSES = 60, 32, 3, 7
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
    return MODELS["cnn"].build(task)


def keep(name, ends):
    """The first steps trace and warm up."""
    INTERVALS[name].extend(np.diff(ends[5:]))


def suite(images, labels):
    ends = []
    with pytest.MonkeyPatch.context() as patch:
        note = Watch.__call__
        patch.setattr(Watch, "__call__", lambda watch, logs: (note(watch, logs), ends.append(time.perf_counter())))
        patch.setattr(training, "evaluation_steps", lambda steps, *_: frozenset({steps}))
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


def test_training_loop(benchmark, arrays):
    for _ in range(TURNS - 1):
        suite(*arrays)
        keras(*arrays)
    benchmark.pedantic(lambda: suite(*arrays), rounds=1)
    keras(*arrays)
    seconds = {name: float(np.median(intervals)) for name, intervals in INTERVALS.items()}
    benchmark.extra_info.update({f"{name}_ms_per_step": round(1000 * s, 2) for name, s in seconds.items()})
    benchmark.extra_info["ratio"] = ratio = round(seconds["suite"] / seconds["keras"], 3)
    assert ratio <= MOST
