import numpy as np
import pandas as pd
import pytest

from fer_bench.analysis.bootstrap import Resamples, score_draws
from fer_bench.analysis.effects import (
    HELPS,
    HURTS,
    NO_EVIDENCE,
    SAME,
    TRADE_OFF,
    Changes,
    minority,
    pooled_effects,
    strategy_effects,
)

SIZES = (60, 300, 300)
MEASURES = ("accuracy", "macro_f1", "rare", "b", "c")


class Table:
    """Runs whose answers are given, as model, strategy and seed: answers."""

    def __init__(self, sizes=SIZES):
        self.labels, self.rng = np.repeat(np.arange(len(sizes)), sizes), np.random.default_rng(0)
        self.support, self.lines, self.answers = np.array(sizes), {}, []

    def guesses(self, right=0.6):
        """Answers of which the share `right` are right."""
        others = (self.labels + self.rng.integers(1, 3, len(self.labels))) % len(self.support)
        return np.where(self.rng.random(len(self.labels)) < right, self.labels, others)

    def add(self, model, strategy, answers, seed=0, stochastic=False, adjusted_from=None):
        line = (f"{model} / {strategy}", model, strategy, seed, "classical", stochastic, adjusted_from)
        self.lines[f"{model}.{strategy}.{seed}"] = line
        self.answers.append(answers)

    def changes(self):
        runs = pd.DataFrame.from_dict(self.lines, orient="index")
        runs.columns = ["row", "model", "strategy", "seed", "family", "stochastic", "adjusted_from"]
        draws = score_draws(Resamples.of(self.labels, len(self.support), 1000), np.array(self.answers))
        return Changes.of(dict(zip(runs.index, draws, strict=True)), runs, MEASURES, self.support)


@pytest.fixture
def table():
    return Table()


def test_minority_classes():
    assert minority([491, 55, 528, 879, 594, 416, 626]) == [1]
    assert minority([10, 10, 100, 100]) == [0, 1]
    assert minority([50, 40, 60]) == minority([0, 50, 40]) == []
    assert minority([0, 50, 10]) == [2]


def test_effects_that_are_there_are_found_and_named(table):
    plain, labels = table.guesses(), table.labels
    better, traded = plain.copy(), plain.copy()
    better[::3] = labels[::3]
    traded[labels == 0] = 0
    traded[(labels > 0) & (np.arange(len(labels)) % 4 == 0)] = 0
    for strategy, answers in {"none": plain, "up": better, "swap": traded, "same": plain}.items():
        table.add("m", strategy, answers)
    for strategy, answers in {"none": better, "worse": plain}.items():
        table.add("n", strategy, answers)
    effects = strategy_effects(table.changes()).set_index(["model", "strategy"])
    verdicts = effects["verdict"].to_dict()
    assert verdicts == {("m", "up"): HELPS, ("m", "swap"): TRADE_OFF, ("m", "same"): SAME, ("n", "worse"): HURTS}
    assert (effects.loc[("m", "swap"), "minority_recall_low"] > 0) and (effects.loc[("m", "swap"), "accuracy_high"] < 0)
    shown = [
        m + end for m in ("macro_f1", "accuracy", "minority_recall", *MEASURES[2:]) for end in ("", "_low", "_high")
    ]
    assert list(effects) == ["n_runs", "verdict", *shown]
    assert (effects.loc[("m", "same"), shown] == 0).all()


def test_values_are_differences_of_scores_and_intervals_hold_them(table):
    before, after = table.guesses(0.5), table.guesses(0.6)
    table.add("m", "none", before)
    table.add("m", "s", after)
    (effect,) = strategy_effects(table.changes()).to_dict("records")
    right = [(answers == table.labels) for answers in (before, after)]
    assert effect["accuracy"] == pytest.approx(right[1].mean() - right[0].mean(), abs=1e-6)
    assert effect["minority_recall"] == pytest.approx(right[1][:60].mean() - right[0][:60].mean(), abs=1e-6)
    assert effect["rare"] == pytest.approx(effect["minority_recall"], abs=1e-6)
    for measure in ("macro_f1", "accuracy", "minority_recall", "rare", "b", "c"):
        assert effect[f"{measure}_low"] < effect[measure] < effect[f"{measure}_high"]


def test_a_gain_with_lower_macro_f1_is_a_trade_off(table):
    """Every image of the rare class is found, at the price of a few too many."""
    plain = table.guesses(0.7)
    traded = np.where(table.labels == 0, 0, plain)
    traded[np.flatnonzero(table.labels > 0)[::9]] = 0
    table.add("m", "none", plain)
    table.add("m", "s", traded)
    (effect,) = strategy_effects(table.changes()).to_dict("records")
    assert effect["minority_recall_low"] > 0 and effect["macro_f1"] < 0
    assert effect["verdict"] == TRADE_OFF


def test_three_images_all_won_are_no_evidence():
    """Redraws of a class that was lost and is found show no spread at all."""
    table = Table((3, 100, 100))
    plain = table.guesses(0.6)
    plain[:3] = 1
    won = plain.copy()
    won[:3] = 0
    table.add("m", "none", plain)
    table.add("m", "s", won)
    (effect,) = strategy_effects(table.changes()).to_dict("records")
    assert effect["minority_recall"] == 1 and effect["minority_recall_low"] < 0
    assert effect["rare_low"] < 0


def test_runs_are_paired_by_seed_and_one_that_no_seed_changes_with_all(table):
    for seed in range(3):
        table.add("m", "none", table.guesses(), seed, True)
        table.add("fixed", "s", table.guesses(), seed, True)
    table.add("m", "s", table.guesses(), 2, True)
    table.add("m", "t", table.guesses(), 7, True)
    table.add("fixed", "none", table.guesses())
    table.add("alone", "s", table.guesses())
    effects = strategy_effects(table.changes()).set_index(["model", "strategy"])
    assert effects["n_runs"].to_dict() == {("fixed", "s"): 3, ("m", "s"): 1}
    right = [(table.answers[list(table.lines).index(run)] == table.labels).mean() for run in ("m.s.2", "m.none.2")]
    assert effects.loc[("m", "s"), "accuracy"] == pytest.approx(right[0] - right[1], abs=1e-6)


def test_seeds_that_disagree_widen_intervals(table):
    widths = []
    for shares in ((0.6, 0.6), (0.5, 0.7)):
        one = Table()
        for seed, share in enumerate(shares):
            for strategy in ("none", "s"):
                one.add("m", strategy, one.guesses(share), seed, True)
        (effect,) = strategy_effects(one.changes()).to_dict("records")
        widths.append(effect["macro_f1_high"] - effect["macro_f1_low"])
    assert widths[1] > 2 * widths[0]


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_what_training_changes_is_not_counted_where_the_same_training_is_adjusted(n_seeds):
    """Answers of three trainings differ much, what the adjustment changes of each does not."""
    widths = {}
    for is_adjusted in (False, True):
        one = Table()
        for seed, share in enumerate((0.5, 0.6, 0.7)):
            plain = one.guesses(share)
            better = np.where(one.rng.random(len(plain)) < 0.1, one.labels, plain)
            one.add("other", "none", plain, seed, True)
            if seed < n_seeds:
                one.add("m", "none", plain, seed, True)
                one.add("m", "s", better, seed, True, f"m.none.{seed}" if is_adjusted else None)
        (effect,) = strategy_effects(one.changes()).to_dict("records")
        widths[is_adjusted] = effect["macro_f1_high"] - effect["macro_f1_low"]
    assert widths[True] == widths[False] if n_seeds == 1 else widths[True] < 0.3 * widths[False]


def test_pooled_changes_are_means_over_the_models_that_speak(table):
    gains = {"x": 0.05, "y": 0.1, "z": 0.15, "deaf": 0.0}
    for model, gain in gains.items():
        plain = table.guesses(0.5)
        table.add(model, "none", plain)
        table.add(model, "s", np.where(table.rng.random(len(plain)) < 2 * gain, table.labels, plain))
        table.add(model, "same", plain)
    table.add("deaf", "t", table.guesses(0.9))
    changes = table.changes()
    effects = strategy_effects(changes)
    pooled = pooled_effects(changes, effects, {"x", "y", "z"}).set_index("strategy")
    assert pooled.index.tolist() == ["s", "same"]
    heard = effects[effects["model"].ne("deaf") & effects["strategy"].eq("s")]
    for measure in ("macro_f1", "accuracy", "minority_recall", "b"):
        assert pooled.loc["s", measure] == pytest.approx(heard[measure].mean())
    each, together = (heard["macro_f1_high"] - heard["macro_f1_low"]).mean(), pooled.loc["s"]
    assert together["macro_f1_high"] - together["macro_f1_low"] < 0.75 * each
    assert pooled.loc["s", "n_models"] == 3 == pooled.loc["same", "n_same"]
    counts = [f"n_{code}" for code in ("helps", "hurts", "trade_off", "no_evidence", "same")]
    assert (pooled[counts].sum(axis=1) == pooled["n_models"]).all()


def test_tables_without_comparisons_or_classes_that_are_rare(table):
    table.add("m", "none", table.guesses())
    changes = table.changes()
    effects = strategy_effects(changes)
    assert len(effects) == len(pooled_effects(changes, effects, {"m"})) == 0
    assert {"verdict", "macro_f1_low", "rare_high"} <= set(effects)
    even = Table((100, 0, 100))
    answers = np.where(even.rng.random(200) < 0.7, even.labels, 2 - even.labels)
    even.add("m", "none", answers)
    even.add("m", "s", np.where(np.arange(200) % 50, answers, even.labels))
    (effect,) = strategy_effects(even.changes()).to_dict("records")
    assert np.isnan([effect["minority_recall"], effect["minority_recall_low"], effect["b"]]).all()
    assert effect["verdict"] == NO_EVIDENCE
