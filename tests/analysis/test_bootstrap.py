import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from fer_bench.analysis import bootstrap
from fer_bench.analysis.bootstrap import Resamples, bca_interval, influence, score_draws, share_interval

SIZES = (30, 90, 60)


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(0).permutation(np.repeat(np.arange(3), SIZES))


@pytest.fixture(scope="module")
def predicted(labels):
    rng = np.random.default_rng(1)
    guesses = rng.integers(0, 3, (5, len(labels)))
    return np.where(rng.random(guesses.shape) < 0.6, labels, guesses)


def test_scores_are_those_of_scikit_learn_on_the_images_and_on_a_redraw(labels, predicted):
    resamples = Resamples.of(labels, 3, 20)
    values, weights = score_draws(resamples, predicted), np.empty(len(labels))
    assert (values.dtype, values.shape) == (np.float32, (5, 21, 5))
    for members, drawn in zip(resamples.rows, resamples.times, strict=True):
        weights[members] = drawn[7] * len(members) / (len(members) - 1)
    for draw, weight in ((0, None), (7, weights)):
        for run, answers in enumerate(predicted):
            known = {"y_true": labels, "y_pred": answers, "sample_weight": weight}
            expected = [accuracy_score(**known), f1_score(**known, average="macro")]
            assert values[run, draw] == pytest.approx([*expected, *recall_score(**known, average=None)], abs=1e-6)


def test_scores_do_not_depend_on_which_runs_are_scored_together(labels, predicted, monkeypatch):
    resamples = Resamples.of(labels, 3, 50)
    together = score_draws(resamples, predicted)
    monkeypatch.setattr(bootstrap, "BLOCK", 2)
    assert (score_draws(resamples, predicted) == together).all()
    assert (score_draws(resamples, predicted[3:4]) == together[3]).all()


def test_redraws_keep_the_class_counts_and_repeat():
    labels = np.array([2, 0, 0, 1, 2, 2, 0])
    first, again = Resamples.of(labels, 4, 20), Resamples.of(labels, 4, 20)
    assert all((one == other).all() for one, other in zip(first.times, again.times, strict=True))
    confusion = list(first.confusion(labels[None]))
    for label, (counts, n) in enumerate(zip(confusion, [3, 1, 3, 0], strict=True)):
        assert counts.shape == (21, 4, 1)
        assert counts[:, label] == pytest.approx(n)
        assert (first.times[label][0] == 1).all()
    assert len(np.unique(first.times[0], axis=0)) > 2


def test_redraws_are_those_of_earlier_releases():
    """Published intervals can be made again."""
    times = Resamples.of(np.repeat([0, 1], [5, 4]), 2, 3).times
    assert times[0][1:].tolist() == [[0, 1, 1, 1, 1], [3, 1, 0, 0, 0], [1, 0, 0, 1, 2]]
    assert times[1][1:].tolist() == [[0, 0, 2, 1], [0, 0, 3, 0], [0, 1, 1, 1]]


def test_the_spread_of_draws_is_that_of_the_influence(labels, predicted):
    values = score_draws(Resamples.of(labels, 3), predicted[:1])[0]
    effects = influence(labels, 3, predicted[0])
    assert (effects.dtype, effects.shape) == (np.float32, (len(labels), 2))
    assert values[1:, :2].std(axis=0) == pytest.approx(np.linalg.norm(effects, axis=0), rel=0.1)


def test_an_interval_holds_its_estimate():
    rng, none = np.random.default_rng(2), np.zeros(10)
    for shift in (-9, -3, 0, 3, 9):
        low, high = bca_interval(0.5, 0.5 + 0.01 * (shift + rng.standard_normal(500)), rng.standard_normal(10))
        assert low <= 0.5 <= high and low < high
    assert bca_interval(0.25, np.full(100, 0.25), none) == (0.25, 0.25)


def test_without_bias_and_skewness_an_interval_is_that_of_percentiles():
    draws = np.linspace(-1, 1, 2001)
    assert bca_interval(0.0, draws, np.zeros(5)) == pytest.approx((-0.95, 0.95), abs=0.002)


def test_whole_people_are_redrawn_with_each_class_at_its_weight():
    labels, people = np.array([0, 1, 0, 1, 0, 1, 1, 2]), np.array([7, 7, 3, 3, 5, 5, 5, 3])
    resamples = Resamples.of(labels, 3, 40, people)
    weights = np.empty((41, len(labels)))
    for members, drawn, scale in zip(resamples.rows, resamples.times, resamples.scales, strict=True):
        weights[:, members] = drawn
        assert (drawn * scale[:, None]).sum(axis=1) == pytest.approx(len(members))
    for person in (7, 3, 5):
        of_person = weights[:, (people == person) & (labels < 2)]
        assert (of_person == of_person[:, :1]).all()
    assert (weights[:, 7] >= 1).all()  # the only one of its class: where its person is not drawn it stays
    assert resamples.widening == pytest.approx(4.303 / 1.96, rel=0.001)


def test_one_person_alone_is_redrawn_by_images():
    labels = np.repeat([0, 1], 10)
    alone = Resamples.of(labels, 2, 20, np.zeros(20, dtype=int))
    assert all((one == other).all() for one, other in zip(alone.times, Resamples.of(labels, 2, 20).times, strict=True))


def test_the_spread_of_draws_of_people_is_that_of_their_influence(labels, predicted):
    people = np.random.default_rng(3).integers(0, 60, len(labels))
    resamples = Resamples.of(labels, 3, groups=people)
    values = score_draws(resamples, predicted[:1])[0]
    effects = influence(labels, 3, predicted[0], people)
    assert effects.shape == (len(np.unique(people)), 2)
    spread = values[1:, :2].std(axis=0) / resamples.widening
    assert spread == pytest.approx(np.linalg.norm(effects, axis=0), rel=0.12)


def test_intervals_of_shares_stay_shares():
    draws = np.linspace(-0.2, 1.3, 101)
    assert bca_interval(0.5, draws, np.zeros(5))[0] < 0
    assert share_interval(0.5, draws, np.zeros(5)) == (0, 1)
