"""The suite's SVM against scikit-learn's: the same problem on the same HOG rows, so the ratio is what counts."""

import os

import numpy as np
import pytest

from fer_bench.data.readers import open_dataset
from fer_bench.data.splits import Split, stored_split
from fer_bench.models.features import stored_features
from fer_bench.models.registry import FEATURES, MODELS
from fer_bench.models.task import Task

DATA = os.environ.get("FER_BENCH_BENCHMARK_DATA", "synthetic")
MOST_ROWS = int(os.environ.get("FER_BENCH_BENCHMARK_ROWS", "10000"))
AGREEMENT = 0.003  # of accuracy


@pytest.fixture(scope="module")
def hog():
    """HOG rows and labels of train, and of test."""
    opened = open_dataset(DATA)
    dataset, split = opened.load(), Split.load(stored_split(opened.folder, 0))
    features = stored_features(FEATURES["hog"], dataset, split)
    return features.train, dataset.labels[split.train], features.test, dataset.labels[split.test]


def scikit_learn():
    from sklearn.svm import SVC

    return SVC(C=5.0, gamma="scale", cache_size=1000)


def suite():
    rows = np.empty((0, 0))
    task = Task(("a", "b"), n_rows=0, image_shape=(48, 48), validation=(rows, rows), n_jobs=os.cpu_count() or 1)
    return MODELS["hog-svm"].build(task)


ACCURACY: dict[tuple[int, str], float] = {}


@pytest.mark.parametrize("n_rows", [2400, 5000, 10000, 28709])
@pytest.mark.parametrize("make", [suite, scikit_learn], ids=lambda make: make.__name__)
def test_svm_fit(benchmark, hog, n_rows, make):
    train, labels, test, test_labels = hog
    if n_rows > min(MOST_ROWS, len(train)):
        pytest.skip(f"{DATA} is used up to {min(MOST_ROWS, len(train)):,} rows")
    benchmark.group = f"fit on {n_rows:,} HOG rows"
    rows = np.ascontiguousarray(train[:n_rows])
    classifier = benchmark.pedantic(lambda: make().fit(rows, labels[:n_rows]), rounds=1)
    ACCURACY[n_rows, make.__name__] = accuracy = float((classifier.predict(test) == test_labels).mean())
    benchmark.extra_info["accuracy"] = accuracy
    assert abs(accuracy - ACCURACY.get((n_rows, "suite"), accuracy)) <= AGREEMENT
