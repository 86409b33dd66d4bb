"""What is picked by which rule, classical against deep, and what strategies do: on boards of stored runs."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score
from stored import SUBSETS, board_of, without

from fer_bench.analysis import difference
from fer_bench.records import Timing
from fer_bench.report.page import page

# What is picked


def test_rows_are_picked_by_validation_images_without_a_copy_in_train(stored_runs):
    """Those left have little skill, and remember no copy."""
    labels = stored_runs.labels["validation"]
    copied = np.arange(len(labels)) % 3 == 1
    labels = np.arange(90) // 30
    stored_runs.labels = dict.fromkeys(SUBSETS, labels)
    stored_runs.write_split(stored_runs.labels)
    without(stored_runs, "hog-svm", "pca-svm", "majority")
    weak = stored_runs.predictions(0.1, seed=4)
    right = 0.98 * np.eye(3)[labels] + 0.02 / 3
    stored_runs.add("remembers", weak | {"validation": np.where(copied[:, None], right, weak["validation"])})
    honest = stored_runs.predictions(0.8, seed=5)
    stored_runs.add("honest", honest)
    assert board_of(stored_runs).picks["all"].best == "remembers / none"
    stored_runs.mark_copies(copied)
    board = board_of(stored_runs)
    assert board.picks["all"].row == board.picks["all"].best == "honest / none"
    answers = honest["validation"].argmax(axis=1)
    score = f1_score(labels[~copied], answers[~copied], average="macro")
    assert board.rows.loc["honest / none", "validation_macro_f1"] == pytest.approx(score)
    assert board.data.n_choosers == 60


def test_the_choice_ignores_test_scores(stored_runs):
    without(stored_runs, "hog-svm", "pca-svm", "majority")
    poor, good = stored_runs.predictions(0.8, seed=3), stored_runs.predictions(2.0, seed=4)
    stored_runs.add("lucky", {"validation": poor["validation"], "test": good["test"]})
    stored_runs.add("steady", {"validation": good["validation"], "test": poor["test"]})
    board = board_of(stored_runs)
    assert board.rows.index[0] == "lucky / none" and board.picks["all"].row == "steady / none"


def test_picks_go_by_family_and_by_what_there_is_to_train_with(stored_runs):
    for model, device, seconds, skill in (
        ("cnn", "cpu", 7200, 2.6), ("resnet", "gpu", 30, 3.0), ("tiny", "cpu", 60, 0.8),
    ):  # fmt: skip
        rows = stored_runs.predictions(skill, seed=sum(map(ord, model)))
        stored_runs.add(model, rows, family="deep", device=device, seconds=Timing(fit=seconds))
    for model in ("hog-svm", "pca-svm"):
        stored_runs.rewrite(stored_runs.find(model), seconds=Timing(fit=5))
    board = board_of(stored_runs)
    rows, found = board.rows, board.picks
    assert found["gpu"].row == "resnet / none" == found["deep"].best == found["all"].best
    assert found["hours"].row == "cnn / none"
    assert found["classical"].row == "hog-svm / none"
    assert rows.at[found["minutes"].row, "seconds"] <= 600 and not rows.at[found["minutes"].row, "on_gpu"]
    for one in found.values():
        assert {one.row, one.best} <= set(one.within) <= set(rows.index)
    without(stored_runs, "cnn")
    assert "hours" not in board_of(stored_runs).picks


def test_what_a_later_recipe_has_replaced_is_ranked_and_neither_picked_nor_compared(stored_runs):
    stored_runs.add("cnn", stored_runs.predictions(1.5, seed=3), asked={"recipe": 2}, family="deep")
    stored_runs.add("cnn", stored_runs.predictions(3.0, seed=4), asked={"recipe": 1}, family="deep", device="gpu")
    board = board_of(stored_runs)
    assert board.rows.index[0] == "cnn (recipe 1) / none"
    assert board.picks["deep"].row == board.picks["deep"].best == "cnn / none" and "gpu" not in board.picks
    assert set(board.versus.query("how == 'picked'")["deep"]) == {"cnn / none"}
    assert {"cnn", "cnn (recipe 1)"} <= set(board.best_of_model["model"])


def test_rows_from_elsewhere_and_rows_fitted_to_validation_images_are_ranked_and_never_picked(stored_runs):
    stored_runs.add("mine", stored_runs.predictions(2.2, seed=7), strategy="external", family="external")
    stored_runs.add("greedy", stored_runs.predictions(2.2, seed=8), strategy="greedy-selection", family="ensemble")
    base = stored_runs.find("hog-svm").run_id
    stored_runs.add("hog-svm", stored_runs.predictions(2.2, seed=9), strategy="logit-adjustment", adjusted_from=base)
    board = board_of(stored_runs)
    others = {"mine / external", "greedy / greedy-selection", "hog-svm / logit-adjustment"}
    assert others <= set(board.rows.index)
    assert not any(others & {one.row, *one.within} for one in board.picks.values())
    assert board.rows.loc["hog-svm / logit-adjustment", "fitted"]
    assert set(board.grid.index) == {"hog-svm", "pca-svm", "majority"}
    assert "hog-svm / none" in board.best_of_model.index


def test_what_guesses_is_ranked_and_never_picked(stored_runs):
    without(stored_runs, "hog-svm", "pca-svm")
    stored_runs.rewrite(stored_runs.find("majority"), family="baseline")
    board = board_of(stored_runs)
    assert list(board.rows.index) == ["majority / none"] and not board.picks
    assert "USE" not in {finding.code for finding in board.findings} and page(board)
    stored_runs.add("pca-logistic", stored_runs.predictions(-2.0), family="baseline", n_parameters=1057)
    assert board_of(stored_runs).picks["all"].within == ("pca-logistic / none",)


def test_each_model_stands_once_at_the_strategy_picked_on_validation(board):
    best = board.best_of_model
    assert sorted(best["model"]) == sorted(set(board.rows["model"]))
    pd.testing.assert_frame_equal(best, board.rows.loc[best.index])
    assert best["macro_f1"].is_monotonic_decreasing


def test_classical_against_deep(board):
    versus = board.versus.set_index(["how", "subset", "measure"])
    assert set(versus.index) == {("picked", "test", measure) for measure in ("accuracy", "macro_f1")}
    for (_, subset, measure), line in versus.iterrows():
        assert line["value"] == pytest.approx(line["deep_value"] - line["classical_value"], abs=1e-6)
        change = difference(board.draws[subset], line["classical"], line["deep"], measure)
        assert (line["low"], line["high"]) == (change.low, change.high)
        assert line["low"] <= line["value"] <= line["high"]
        for family in ("classical", "deep"):
            assert line[family] == board.picks[family].row
            assert line[f"{family}_seconds"] == board.rows.at[line[family], "seconds"]


def test_what_trains_in_minutes_is_compared_apart(stored_runs):
    """Where the network picked takes an hour, that of minutes meets the same classical row."""
    for name, skill, seconds in (("cnn", 2.0, 3600.0), ("cnn-small", 1.2, 300.0)):
        timing = Timing(fit=seconds, features=0.0)
        stored_runs.add(name, stored_runs.predictions(skill, seed=4), family="deep", seconds=timing)
    for record in stored_runs.folder.records():
        if record.family == "classical":
            stored_runs.rewrite(record, seconds=Timing(fit=60.0, features=0.0))
    versus = board_of(stored_runs).versus.drop_duplicates("how").set_index("how")
    assert versus["deep"].to_dict() == {"picked": "cnn / none", "minutes": "cnn-small / none"}
    assert versus.at["minutes", "classical"] == versus.at["picked", "classical"]


def test_one_family_alone_has_no_opponent(stored_runs):
    assert board_of(stored_runs).versus.empty


# Strategies


def test_effects_compare_a_model_with_itself(board):
    effects = board.effects["test"].set_index(["model", "strategy"])
    assert set(effects.index) == {
        (line["model"], line["strategy"]) for _, line in board.rows.iterrows() if line["strategy"] != "none"
    }
    for (model, strategy), line in effects.iterrows():
        if model != "cnn (quick)":  # whose seeds are paired
            change = board.rows.at[f"{model} / {strategy}", "macro_f1"] - board.rows.at[f"{model} / none", "macro_f1"]
            assert line["macro_f1"] == pytest.approx(change, abs=1e-6)
    assert set(board.pooled["test"]["strategy"]) == {"class-weights", "focal-loss", "over-sampling"}
    assert (board.pooled["test"]["n_models"] <= 4).all()


def test_effects_have_verdicts_by_subset(stored_runs):
    """A strategy that is right about copies alone helps, and on test-clean does nothing."""
    labels = np.arange(90) // 30
    clean = np.arange(90) % 3 != 1
    stored_runs.labels = dict.fromkeys(SUBSETS, labels)
    stored_runs.write_split(stored_runs.labels)
    stored_runs.mark_copies(~clean)
    plain = stored_runs.predictions(0.3, seed=9)
    right = 0.98 * np.eye(3, dtype=np.float32)[labels] + np.float32(0.02 / 3)
    stored_runs.add("cnn", plain)
    stored_runs.add("cnn", plain | {"test": np.where(clean[:, None], plain["test"], right)}, strategy="over-sampling")
    board = board_of(stored_runs)
    assert board.effects["test"]["verdict"].tolist() == ["helps"]
    assert board.effects["clean"]["verdict"].tolist() == ["same-answers"]


def test_models_that_learned_nothing_do_not_speak_for_a_strategy(stored_runs):
    stored_runs.add("cnn", stored_runs.predictions(-9.0, seed=9))
    stored_runs.add("cnn", stored_runs.predictions(2.0, seed=9), strategy="over-sampling")
    board = board_of(stored_runs)
    assert board.effects["test"]["verdict"].tolist() == ["helps"] and board.pooled["test"].empty
