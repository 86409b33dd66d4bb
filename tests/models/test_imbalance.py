"""Strategies: what they return follows from training labels alone."""

import dataclasses
import inspect

import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.models.deep.batches import Batches, Pixels
from fer_bench.models.imbalance import BETA
from fer_bench.models.registry import STRATEGIES
from fer_bench.models.task import FOCAL, Loss, TrainingPlan

COUNTS = np.array([60, 10, 30])
LABELS = np.repeat([0, 1, 2], COUNTS)
NAMES = [card.name for card in STRATEGIES]


def plan(name, labels=LABELS, seed=0):
    return STRATEGIES[name].plan(labels, 3, seed)


@pytest.mark.parametrize("name", NAMES)
def test_contract_of_every_strategy(name):
    made, card = plan(name), STRATEGIES[name]
    assert made.rows.dtype.kind == "i" and made.rows.min() >= 0 and made.rows.max() < len(LABELS)
    assert set(LABELS[made.rows]) == {0, 1, 2}
    if made.sample_weight is not None:
        assert made.sample_weight.shape == made.rows.shape
        assert made.sample_weight.min() > 0 and made.sample_weight.mean() == pytest.approx(1)
    assert (made.sample_weight is not None) == card.needs_sample_weight
    assert made.loss.name == card.loss
    assert (made.resample is not None) == card.makes_rows
    assert (made.log_prior is not None) == (card.starts_from == "probabilities")
    assert made.balanced_bootstrap == card.balanced_bootstrap
    assert len(card.summary) <= 50, "`fer_bench list` shows it on one line of a terminal"


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_follows_from_labels_and_seed(name):
    def content(made):
        return {**dataclasses.asdict(made), "resample": None}

    again = plan(name, labels=LABELS.copy())
    for field, value in content(plan(name)).items():
        np.testing.assert_equal(content(again)[field], value)
    other = plan(name, seed=1)
    if not STRATEGIES[name].stochastic:
        assert np.array_equal(other.rows, plan(name).rows)
    assert list(inspect.signature(STRATEGIES[name].plan).parameters) == ["labels", "n_classes", "random_state"]


@pytest.mark.parametrize("name", [card.name for card in STRATEGIES if not card.makes_rows])
def test_a_class_without_a_training_row_leaves_every_number_finite(name):
    made = STRATEGIES[name].plan(LABELS, 4, 0)
    for numbers in (made.sample_weight, made.loss.alpha, made.loss.log_prior, made.log_prior):
        assert numbers is None or np.isfinite(numbers).all()


def test_a_plan_with_weights_and_focal_loss_cannot_be_made():
    with pytest.raises(ValueError, match="stacked on focal loss"):
        TrainingPlan(np.arange(3), sample_weight=np.ones(3), loss=Loss(FOCAL))


def per_class(name):
    weights = plan(name).sample_weight
    return np.array([weights[label == LABELS][0] for label in range(3)])


def test_class_weights_give_every_class_the_same_total():
    np.testing.assert_allclose(per_class("class-weights") * COUNTS, 100 / 3)


def test_sqrt_weights_are_those_computed_by_hand():
    """1/sqrt(60), 1/sqrt(10), 1/sqrt(30), times 100 / (sqrt(60) + sqrt(10) + sqrt(30))."""
    np.testing.assert_allclose(per_class("sqrt-weights"), [0.787890, 1.929928, 1.114244], rtol=1e-5)


def test_effective_number_weights_are_those_of_the_paper():
    labels = np.repeat([0, 1, 2], [7215, 436, 4965])
    weights = STRATEGIES["effective-number"].plan(labels, 3, 0).sample_weight
    effective = (1 - BETA ** np.array([7215, 436, 4965])) / (1 - BETA)
    np.testing.assert_allclose(effective, [5139.95, 426.65, 3913.58], rtol=1e-4)
    first = weights[np.searchsorted(labels, range(3))]
    np.testing.assert_allclose(first / first[0], effective[0] / effective, rtol=1e-9)
    assert weights.mean() == pytest.approx(1)


def test_focal_loss_has_gamma_and_its_balanced_form_an_alpha_per_class():
    assert plan("focal-loss").loss == Loss(FOCAL, gamma=2.0, alpha=None)
    loss = plan("balanced-focal-loss").loss
    assert loss.gamma == 2.0
    np.testing.assert_allclose(loss.alpha, per_class("effective-number"))


def test_priors_are_logarithms_of_class_shares():
    shares = np.log([0.6, 0.1, 0.3])
    np.testing.assert_allclose(plan("logit-adjusted-loss").loss.log_prior, shares)
    np.testing.assert_allclose(plan("post-hoc-adjustment").log_prior, shares)


@pytest.mark.parametrize("name", ["over-sampling", "classifier-retraining"])
def test_over_sampling_fills_up_and_keeps_every_row(name):
    made = plan(name)
    assert np.bincount(LABELS[made.rows]).tolist() == [60, 60, 60]
    assert set(made.rows) == set(range(100))
    assert not np.array_equal(plan(name, seed=1).rows, made.rows)


def test_under_sampling_cuts_down_and_repeats_none():
    made = plan("under-sampling")
    assert np.bincount(LABELS[made.rows]).tolist() == [10, 10, 10]
    assert len(set(made.rows)) == 30
    assert not np.array_equal(np.sort(plan("under-sampling", seed=1).rows), np.sort(made.rows))


def test_repeated_rows_of_images_are_augmented_copies():
    """One image of the rare class, repeated sixty times: sixty different inputs, none of them with another label."""
    labels = np.repeat([0, 1, 2], [60, 1, 30])
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 16, 16), dtype=np.uint8)
    rows = plan("over-sampling", labels).rows
    batches = Batches(rows, labels[rows], None, 3, steps=1, batch_size=len(rows), seed=0)
    inputs, targets, _ = batches.make(Pixels(images, 16), 0)
    rare = inputs[targets.argmax(axis=1) == 1]
    assert len(rare) == 60 and (rows == 60).sum() == 60
    assert len(np.unique(rare.reshape(60, -1), axis=0)) == 60


def blobs(labels):
    return np.random.default_rng(0).normal(3.0 * labels[:, None], 1.0, (len(labels), 4)).astype(np.float32)


def test_smote_makes_rows_between_neighbours_of_their_class():
    features = blobs(LABELS)
    X, y = plan("smote").resample(features, LABELS)
    assert np.bincount(y).tolist() == [60, 60, 60]
    np.testing.assert_array_equal(X[:100], features)
    assert X.dtype == features.dtype
    for row, label in zip(X[100:], y[100:], strict=True):
        own = features[label == LABELS]
        to_row, between = np.linalg.norm(own - row, axis=1), np.linalg.norm(own[:, None] - own[None], axis=2)
        detour = to_row[:, None] + to_row[None] - between  # 0 for the two rows that it lies between
        nearest = between.argsort(axis=1)[:, 1:6]
        assert np.take_along_axis(detour, nearest, axis=1).min() < 1e-4


def test_smote_looks_at_fewer_neighbours_where_a_class_is_small():
    labels = np.repeat([0, 1, 2], [20, 2, 9])
    features = blobs(labels)
    X, y = plan("smote", labels).resample(features, labels)
    assert np.bincount(y).tolist() == [20, 20, 20]
    low, high = features[labels == 1].min(axis=0), features[labels == 1].max(axis=0)
    assert ((X[y == 1] >= low - 1e-5) & (X[y == 1] <= high + 1e-5)).all()


def test_smote_names_the_class_of_a_single_row():
    with pytest.raises(FerBenchError, match=r"a single one of class 1 .*over-sampling"):
        plan("smote", np.repeat([0, 1, 2], [20, 1, 9]))


def test_smote_differs_by_seed():
    features = blobs(LABELS)
    first, again, other = (plan("smote", seed=seed).resample(features, LABELS)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
