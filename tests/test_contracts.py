"""What every registered model must pass under every strategy, so that adding a model adds its tests."""

import dataclasses
import json

import numpy as np
import pytest

from fer_bench.data import Dataset, Split, make_split, stored_split
from fer_bench.execution.plan import Job
from fer_bench.execution.preparation import Prepared
from fer_bench.execution.worker import do_run
from fer_bench.models.deep.backend import Program
from fer_bench.models.registry import MODELS, STRATEGIES, why_not
from fer_bench.records.spec import RunSpec
from fer_bench.records.store import ResultsFolder

N = 300
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [150, 60, 90]))
SMALLEST_NETWORK = "cnn-small"
SMALL_IMAGES = {
    "cnn-small": 24, "cnn-deep": 128, "mini-xception": 32, "vgg16": 32, "resnet50": 32, "inception-v3": 75,
    "efficientnet-b0": 32, "mobilenet-v2": 32,
}  # fmt: skip
"""What a test can afford: a network's smallest size, or near it."""
TWICE_THE_BATCH = ("cnn", "cnn-attention")
"""Networks that make half the steps, on twice the batch."""
UNTRACED = ("resnet50", "inception-v3", "efficientnet-b0")
"""Networks whose gradient steps are made operation by operation: to trace and compile one of these takes a minute."""


def is_tried(model, strategy) -> bool:
    """Networks differ in how they are built, and treat strategies alike: each is built once, one meets them all.

    What starts from a finished run is tested with that run.
    """
    if why_not(model, strategy) is not None or strategy.starts_from:
        return False
    return not model.is_network or strategy.name == "none" or model.name == SMALLEST_NETWORK


PAIRS = [(model, strategy) for model in MODELS for strategy in STRATEGIES if is_tried(model, strategy)]


def make_dataset(labels: np.ndarray, subsets: np.ndarray | None = None) -> Dataset:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 100, (N, 48, 48))
    for row, label in enumerate(LABELS):
        images[row, 16 * label : 16 * label + 16, ::2] += 120
    classes = ("top", "middle", "bottom")
    return Dataset("made", images.astype(np.uint8), labels, classes, np.arange(N).astype(str), subsets)


def make_untraced_steps(patch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    def untraced(program, batches):
        tf.config.run_functions_eagerly(True)
        try:
            return call(program, batches)
        finally:
            tf.config.run_functions_eagerly(False)

    call = Program.__call__
    patch.setattr(Program, "__call__", untraced)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run a model under a strategy in this process with two gradient steps; returns record and test probabilities."""

    def make(model, strategy, labels=LABELS, subsets=None, seed=0, steps=2):
        folder = tmp_path_factory.mktemp("data")
        dataset = make_dataset(labels, subsets)
        dataset.save(folder)
        split_folder = stored_split(folder, 0)
        split = Split.load(split_folder)
        card = MODELS[model]
        spec = RunSpec(
            model, strategy, seed, dataset.fingerprint, split.fingerprint, "quick" if card.steps else "",
            "none" if card.pretrained else "",
            parameters=(("image_size", SMALL_IMAGES[model]),) if model in SMALL_IMAGES else (),
        )  # fmt: skip
        prepared = Prepared(
            "made", folder, split_folder, dataset.fingerprint, split.fingerprint, split.source, dataset.class_names,
            {0: tuple(len(rows) for rows in split.subsets().values())}, (), ResultsFolder(folder),
        )  # fmt: skip
        job = Job(spec, card.family, card.features, prepared, n_jobs=2, weights="none" if card.pretrained else "")
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(MODELS._cards, model, dataclasses.replace(card, steps=card.steps and {"quick": steps}))
            if model in UNTRACED:
                make_untraced_steps(patch)
            record = do_run(job, folder, lambda done, text: None)
        if record.status != "success":
            return record, None
        with np.load(folder / "predictions.npz") as stored:
            return record, stored["test_probabilities"]

    return make


@pytest.mark.parametrize(("model", "strategy"), PAIRS, ids=lambda card: card.name)
def test_every_model_under_every_strategy(run, model, strategy):
    record, probabilities = run(model.name, strategy.name)
    assert record.status == "success", record.traceback
    assert probabilities.shape == (record.n_test, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-3)
    assert record.test.accuracy == pytest.approx(np.trace(record.test.confusion) / record.n_test)
    if model.family == "deep":
        assert record.steps == (1 if model.name in TWICE_THE_BATCH else 2) and record.n_parameters > 0
    assert "NaN" not in json.dumps(record.model_dump())
    if strategy.name == "none" and (not model.is_network or model.name == SMALLEST_NETWORK):
        _, again = run(model.name, strategy.name)
        np.testing.assert_array_equal(again, probabilities, err_msg="the same seed")


@pytest.mark.parametrize("model", ["pca-svm", "hog-svm", "pca-forest", "hog-forest", "hog-mlp", "pca-logistic"])
def test_real_labels_are_learned_and_shuffled_labels_are_not(run, model):
    """A model that scores above chance on shuffled labels has seen what it must not see."""
    learned, _ = run(model, "none", steps=200)
    assert learned.test.balanced_accuracy > 0.85  # of 30 images: two of the rarest class may be missed
    shuffled = [
        run(model, "none", labels=np.random.default_rng(seed).permutation(LABELS), steps=200)[0].test.balanced_accuracy
        for seed in range(2)
    ]
    # balanced accuracy by chance: mean 1/3, standard deviation below .1 a run of 30 test images
    assert abs(np.mean(shuffled) - 1 / 3) < 0.2


@pytest.mark.parametrize("strategy", [card.name for card in STRATEGIES if not card.starts_from])
def test_strategies_see_training_labels_only(run, monkeypatch, strategy):
    """A strategy is handed exactly the labels of the training rows, and its rows point into them."""
    seen = []
    card = STRATEGIES[strategy]

    def spy(labels, n_classes, random_state):
        made = card.plan(labels, n_classes, random_state)
        seen.append((np.array(labels), made.rows))
        return made

    monkeypatch.setitem(STRATEGIES._cards, strategy, dataclasses.replace(card, plan=spy))
    models = (model.name for model in MODELS if why_not(model, card) is None and model.trainable)
    record, _ = run(next(models), strategy)
    ((labels, rows),) = seen
    np.testing.assert_array_equal(labels, LABELS[make_split(make_dataset(LABELS), 0).train])
    assert rows.max() < record.n_train
    assert record.n_rows >= len(rows) if card.makes_rows else record.n_rows == len(rows)


@pytest.mark.parametrize(("model", "views"), [(SMALLEST_NETWORK, 1), ("hog-mlp", 2)])
def test_what_chooses_while_training_are_the_validation_rows(run, monkeypatch, model, views):
    """The best weights of a network, say. Where a mirror image is a row too, it follows its image."""
    seen, card = [], MODELS[model]

    def spy(task):
        seen.append(task.validation)
        return card.build(task)

    monkeypatch.setitem(MODELS._cards, model, dataclasses.replace(card, build=spy))
    run(model, "none")
    data = make_dataset(LABELS)
    validation = make_split(data, 0).validation
    ((X, labels),) = seen
    np.testing.assert_array_equal(labels, np.repeat(LABELS[validation], views))
    if model == SMALLEST_NETWORK:
        np.testing.assert_array_equal(X, data.images[validation])


def test_training_never_sees_a_test_label(run):
    """Other labels on the test rows change the scores and not one probability."""
    split = make_split(make_dataset(LABELS), 0)
    subsets = np.empty(N, dtype="U10")
    for name, rows in split.subsets().items():
        subsets[rows] = name
    other = LABELS.copy()
    other[split.test] = (other[split.test] + 1) % 3
    (record, probabilities), (changed, same) = (
        run("pca-svm", "none", labels=labels, subsets=subsets) for labels in (LABELS, other)
    )
    assert np.array_equal(probabilities, same)
    assert record.validation == changed.validation
    assert record.test.accuracy > 0.9 > 0.1 > changed.test.accuracy
