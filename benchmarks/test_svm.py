"""The suite's SVM and HOG against scikit-learn's and scikit-image's: the same rows, so the ratio is what counts."""

import time

import numpy as np
import pytest
from settings import DATA, QUICK, SVM_ROWS

from fer_bench.execution.environment import cores
from fer_bench.models.features import features_card, stored_features
from fer_bench.models.registry import FEATURES, MODELS
from fer_bench.models.task import Task

AGREEMENT = 0.003  # of accuracy
SIZES = [300] if QUICK else [2400, 5000, 10000, 28709]


@pytest.fixture(scope="module")
def hog(opened):
    """HOG rows and labels of train, and of test."""
    dataset, split = opened
    features = stored_features(features_card(FEATURES["hog"], {"hog.mirror": False}), dataset, split)
    suite().fit(features.train[:300], dataset.labels[split.train][:300])  # imports its library
    return features.train, dataset.labels[split.train], features.test, dataset.labels[split.test]


def scikit_learn():
    from sklearn.svm import SVC

    return SVC(C=5.0, gamma="scale", cache_size=1000)


def suite():
    rows = np.empty((0, 0))
    task = Task(("a", "b"), n_rows=0, image_shape=(48, 48), validation=(rows, rows), n_jobs=cores())
    return MODELS["hog-svm"].build(task)


def timed(function):
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


@pytest.mark.timeout(3600)  # scikit-learn needs 20 minutes for all of FER2013
@pytest.mark.parametrize("n_rows", SIZES)
def test_svm(benchmark, tell, hog, n_rows):
    train, labels, test, test_labels = hog
    if n_rows > min(SVM_ROWS, len(train)):
        pytest.skip(f"{DATA} is used up to {min(SVM_ROWS, len(train)):,} rows")
    rows, labels = np.ascontiguousarray(train[:n_rows]), labels[:n_rows]
    ours = benchmark.pedantic(lambda: suite().fit(rows, labels), rounds=1)
    fit = benchmark.stats.stats.min
    theirs, their_fit = timed(lambda: scikit_learn().fit(rows, labels))
    answers, predict = timed(lambda: ours.decision_function(test).argmax(axis=1))
    their_answers, their_predict = timed(lambda: theirs.predict(test))
    accuracy, their_accuracy = ((some == test_labels).mean() for some in (answers, their_answers))
    tell(
        f"SVM on {n_rows:,} HOG rows: scikit-learn's fit over the suite's",
        their_fit / fit,
        predict_ratio=their_predict / predict,
        scikit_learn_fit_s=their_fit, predict_s=predict, scikit_learn_predict_s=their_predict,
        accuracy=accuracy, scikit_learn_accuracy=their_accuracy,
    )  # fmt: skip
    assert abs(accuracy - their_accuracy) <= AGREEMENT


def test_hog(benchmark, tell, opened):
    from skimage.feature import hog as scikit_image

    dataset, split = opened
    images, card = dataset.images[split.train[: 64 if QUICK else 1000]], FEATURES["hog"]
    cells = {
        name: (card.parameters[key],) * 2 for name, key in (("pixels_per_cell", "cell"), ("cells_per_block", "block"))
    }
    rows = benchmark.pedantic(lambda: card.extractor().transform(images), rounds=3, warmup_rounds=1)
    seconds = benchmark.stats.stats.min
    theirs, their_seconds = timed(lambda: [scikit_image(image, **cells) for image in images])
    tell(
        "HOG of 48x48 images: scikit-image's time over the suite's",
        their_seconds / seconds,
        images_per_second=len(images) / seconds,
    )
    assert np.allclose(rows, theirs, atol=1e-6)
