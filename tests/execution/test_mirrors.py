"""Features of images with their mirrors: what classifiers are fitted on, and what is made of their answers."""

from dataclasses import replace

import numpy as np
import pytest

from fer_bench.data import Dataset, make_split
from fer_bench.execution.fitting import built, fit, make_task, predict, training_rows
from fer_bench.execution.plan import Selection, make_plan
from fer_bench.models.features import features_card, model_features, stored_features
from fer_bench.models.registry import FEATURES, MODELS, STRATEGIES, FeaturesCard


@pytest.fixture
def dataset() -> Dataset:
    """90 images of three classes of different frequency, bright on the left, on the right, or below."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1, 2], [45, 15, 30]))
    images = rng.integers(0, 120, (len(labels), 48, 48))
    for row, label in enumerate(labels):
        images[row][
            (slice(None, 20), slice(None), slice(24, None))[label], [slice(12), slice(36, 48), slice(48)][label]
        ] += 90
    ids = np.array([f"id-{i}" for i in range(len(labels))])
    return Dataset("made", images.astype(np.uint8), labels, ("a", "b", "c"), ids)


def grays(side):
    return FEATURES["pixels"].build(side=side)


GRAYS = FeaturesCard(name="grays", build=grays, summary="", source="here.py:1", parameters={"side": 48, "mirror": True})


class Seen:
    """Remembers what it was given, and answers by the mean of a row's left half."""

    def fit(self, X, y, sample_weight=None):
        self.given = X, y, sample_weight

    def predict_proba(self, X):
        left = X.reshape(len(X), 48, 48)[:, :, :24].mean(axis=(1, 2))
        return np.stack([left, 1 - left, 0 * left], axis=1)


@pytest.fixture
def seen(dataset, monkeypatch):
    """seen(strategy) -> the classifier, its task, and the probabilities of test."""
    monkeypatch.setitem(FEATURES._cards, "grays", GRAYS)
    card = replace(MODELS["pca-logistic"], features="grays", build=lambda task: Seen())
    split = make_split(dataset)

    def do(strategy):
        features = model_features(card, {}, dataset, split)
        labels = dataset.labels[split.train]
        X, y, plan = training_rows(features, labels, STRATEGIES[strategy].plan(labels, 3, 0))
        task = make_task(dataset, features, dataset.labels[split.validation], plan)
        classifier = built(card, task)
        fit(classifier, X, y, plan)
        return classifier, task, predict(classifier, features, ["test"], np.array([]), 3)["test"]

    return do


def flipped(X):
    return X.reshape(len(X), 48, 48)[:, :, ::-1].reshape(len(X), -1)


@pytest.mark.parametrize("strategy", ["none", "class-weights", "over-sampling", "under-sampling", "smote"])
def test_classifiers_see_each_image_and_its_mirror(seen, dataset, strategy):
    """Those of plug-ins too: with one label and weight; rows that SMOTE makes are made of both."""
    classifier, task, answers = seen(strategy)
    X, y, weights = classifier.given
    np.testing.assert_allclose(flipped(X[::2]), X[1::2], atol=1e-6)
    assert (y[::2] == y[1::2]).all() and len(X) == len(y) == task.n_rows
    counts = np.bincount(dataset.labels[make_split(dataset).train])
    n = {"under-sampling": counts.min(), "over-sampling": counts.max(), "smote": counts.max()}.get(strategy, counts)
    assert (np.bincount(y) == 2 * n).all()
    assert (weights is None) == (strategy != "class-weights")
    assert weights is None or np.array_equal(weights[::2], weights[1::2])
    X, y = task.validation
    assert len(X) == len(y) == 2 * len(make_split(dataset).validation)
    rows = dataset.images[make_split(dataset).test].reshape(-1, 48 * 48).mean(axis=1) / 255
    np.testing.assert_allclose(answers[:, 0], rows, atol=1e-6)  # of the left half and the right


@pytest.mark.parametrize("model", ["hog-svm", "pca-svm"])
def test_mirrors_of_test_images_have_the_probabilities_of_the_images(dataset, model):
    card, split, found = MODELS[model], make_split(dataset), []
    other = dataset.images.copy()
    other[split.test] = other[split.test, :, ::-1]
    for data in (dataset, replace(dataset, images=other)):
        features, labels = model_features(card, {}, data, split), data.labels[split.train]
        X, y, plan = training_rows(features, labels, STRATEGIES["none"].plan(labels, 3, 0))
        wanted = data.labels[split.validation]
        classifier = built(card, make_task(data, features, wanted, plan))
        fit(classifier, X, y, plan)
        found.append(predict(classifier, features, ("validation", "test"), wanted, 3)["test"])
    np.testing.assert_allclose(*found, atol=1e-5)
    assert np.ptp(found[0], axis=0).max() > 0.1


def test_without_mirrors_features_are_of_the_images_alone(dataset):
    split, card = make_split(dataset), FEATURES["hog"]
    alone = stored_features(features_card(card, {"hog.mirror": False}), dataset, split)
    both = stored_features(card, dataset, split)
    assert (alone.views, both.views) == (1, 2)
    assert np.array_equal(alone.train, card.extractor().transform(dataset.images[split.train]))
    assert np.array_equal(alone.train, both.train[::2])


def test_one_switch_plans_runs_without_mirrors(facts, monkeypatch):
    never = replace(GRAYS, parameters={"side": 48, "mirror": False})  # another row of these would be the same
    monkeypatch.setitem(FEATURES._cards, "grays", never)
    monkeypatch.setitem(MODELS._cards, "pca-mlp", replace(MODELS["pca-mlp"], features="grays"))
    models = "majority,pca-logistic,pca-mlp,hog-svm,cnn"
    with_, without = (
        {run.spec.model: run.spec for run in make_plan(facts(), Selection(models=models, strategies="none", mirror=on))}
        for on in (True, False)
    )
    changed = {model: spec.parameters for model, spec in without.items() if spec.run_id != with_[model].run_id}
    assert changed == {"pca-logistic": (("pca.mirror", False),), "hog-svm": (("hog.mirror", False),)}
