"""Post-hoc logit adjustment: against Bayes' rule, and against its own edge cases."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from fer_bench.metrics import TAUS, adjust, choose_tau


def normal_density(x, mean):
    return np.exp(-((x[:, None] - mean) ** 2) / 2)


MEANS = np.array([-1.0, 0.5, 2.0])
PRIOR = np.array([0.80, 0.17, 0.03])


def posterior(x, prior):
    """Bayes' rule for three normal classes."""
    joint = normal_density(x, MEANS) * prior
    return joint / joint.sum(axis=1, keepdims=True)


def sample(n, prior, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, n, p=prior)
    return rng.normal(MEANS[labels]), labels


def test_tau_one_gives_the_posterior_of_equally_frequent_classes():
    x, _ = sample(500, PRIOR)
    adjusted = adjust(posterior(x, PRIOR), np.log(PRIOR), 1.0)
    assert adjusted.dtype == np.float32
    np.testing.assert_allclose(adjusted, posterior(x, np.full(3, 1 / 3)), rtol=1e-4, atol=1e-7)


def test_it_makes_the_balanced_recall_that_of_the_bayes_classifier():
    x, labels = sample(20_000, PRIOR)
    before, bayes = posterior(x, PRIOR), posterior(x, np.full(3, 1 / 3)).argmax(axis=1)
    after = adjust(before, np.log(PRIOR), 1.0).argmax(axis=1)

    def balanced_recall(predicted):
        return np.mean([(predicted[labels == label] == label).mean() for label in range(3)])

    assert balanced_recall(after) == pytest.approx(balanced_recall(bayes), abs=1e-3)
    assert balanced_recall(after) > balanced_recall(before.argmax(axis=1)) + 0.1


def test_tau_zero_changes_nothing():
    probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], 20)
    np.testing.assert_allclose(adjust(probabilities, np.log(PRIOR), 0.0), probabilities, rtol=1e-6)


def test_zeros_stay_zero_and_certainty_stays_certain():
    adjusted = adjust(np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]), np.log([0.98, 0.02, 1e-300]), 2.0)
    np.testing.assert_array_equal(adjusted[0], [1, 0, 0])
    np.testing.assert_allclose(adjusted.sum(axis=1), 1)
    assert adjusted[1, 2] == 0 and adjusted[1, 1] > 0.99


def test_extreme_shares_overflow_nothing():
    adjusted = adjust(np.full((1, 3), 1 / 3, np.float32), np.log([1.0, 1e-200, 1e-300]), 2.0)
    np.testing.assert_allclose(adjusted, [[0, 0, 1]])


def test_the_chosen_tau_has_the_best_macro_f1_of_the_grid():
    x, labels = sample(2000, PRIOR)
    probabilities, log_prior = posterior(x, PRIOR), np.log(PRIOR)
    scores = {
        tau: f1_score(labels, adjust(probabilities, log_prior, tau).argmax(axis=1), average="macro") for tau in TAUS
    }
    chosen = choose_tau(probabilities, labels, log_prior)
    assert scores[chosen] == max(scores.values()) > scores[0]
    assert isinstance(chosen, float) and chosen == choose_tau(probabilities, labels, log_prior)
    assert {0.0, 1.0} <= set(TAUS)


def test_of_equally_good_taus_the_smallest_is_chosen():
    assert choose_tau(np.eye(3), np.arange(3), np.log(PRIOR)) == 0.0  # certain and right, whatever tau


def test_classes_that_are_equally_frequent_need_no_adjustment():
    x, labels = sample(300, np.full(3, 1 / 3))
    assert choose_tau(posterior(x, np.full(3, 1 / 3)), labels, np.log(np.full(3, 1 / 3))) == 0.0
