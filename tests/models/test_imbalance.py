"""Strategies: what they return follows from training labels alone."""

import numpy as np
import pytest

from fer_bench.models.registry import STRATEGIES

LABELS = np.repeat([0, 1, 2], [60, 10, 30])


def plan(name, labels=LABELS, seed=0):
    return STRATEGIES[name].plan(labels, 3, seed)


@pytest.mark.parametrize("name", [card.name for card in STRATEGIES])
def test_contract_of_every_strategy(name):
    made = plan(name)
    assert made.rows.dtype.kind == "i" and made.rows.min() >= 0 and made.rows.max() < len(LABELS)
    assert set(LABELS[made.rows]) == {0, 1, 2}
    if made.sample_weight is not None:
        assert made.sample_weight.shape == made.rows.shape
        assert made.sample_weight.min() > 0 and made.sample_weight.mean() == pytest.approx(1)
        assert STRATEGIES[name].needs_sample_weight
    assert made.loss == STRATEGIES[name].loss
    again = plan(name)
    assert np.array_equal(again.rows, made.rows)
    if not STRATEGIES[name].stochastic:
        assert np.array_equal(plan(name, seed=1).rows, made.rows)


def test_weights_and_another_loss_are_never_stacked():
    for card in STRATEGIES:
        assert not (card.needs_sample_weight and card.loss != "cross-entropy")


def test_class_weights_give_every_class_the_same_total():
    weights = plan("class-weights").sample_weight
    totals = [weights[label == LABELS].sum() for label in range(3)]
    assert totals == pytest.approx([100 / 3] * 3)


def test_over_sampling_fills_up_and_keeps_every_row():
    made = plan("over-sampling")
    assert np.bincount(LABELS[made.rows]).tolist() == [60, 60, 60]
    assert set(made.rows) == set(range(100))


def test_under_sampling_cuts_down_and_repeats_none():
    made = plan("under-sampling")
    assert np.bincount(LABELS[made.rows]).tolist() == [10, 10, 10]
    assert len(set(made.rows)) == 30
    assert not np.array_equal(np.sort(plan("under-sampling", seed=1).rows), np.sort(made.rows))
