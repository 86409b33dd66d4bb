"""What is not ranked and why, and folds, which are pooled or lack one."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import f1_score
from stored import StoredRuns, board_of

from fer_bench.analysis import Standing, load_leaderboard, newest_splits, verify
from fer_bench.records import Audit


def codes(board, row: str) -> list[str]:
    return [finding.code for finding in board.unranked.at[row, "reasons"]]


def test_suspects_are_not_ranked_and_say_why(stored_runs):
    perfect = {name: np.eye(3, dtype=np.float32)[rows] for name, rows in stored_runs.labels.items()}
    stored_runs.add("too-good", perfect)
    board = board_of(stored_runs)
    assert board.unranked["suspect"].to_dict() == {"too-good / none": True}
    assert codes(board, "too-good / none") == ["TOO_GOOD"] and "too-good / none" not in board.rows.index
    assert board.unranked.at["too-good / none", "macro_f1"] == 1
    assert board.grid_status.at["too-good", "none"] == "suspect"


def test_runs_that_cannot_be_compared_say_why_and_stop_nobody(stored_runs):
    bare = stored_runs.add("bare", stored_runs.predictions(1.0, seed=5))
    stored_runs.predictions_path(bare).unlink()
    torn = stored_runs.add("torn", stored_runs.predictions(1.0, seed=6))
    stored_runs.predictions_path(torn).write_bytes(b"PK\x03\x04 torn")
    board = board_of(stored_runs)
    assert board.unranked["suspect"].to_dict() == {"bare / none": False, "torn / none": False}
    for record in (bare, torn):
        (finding,) = board.unranked.at[f"{record.spec.model} / none", "reasons"]
        assert (finding.code, finding.values["run_id"]) == ("NOT_COMPARABLE", record.run_id)
    assert len(board.rows) == 3
    assert board.grid_status.at["bare", "none"] == "not comparable"


def test_a_run_that_selected_on_the_test_images_is_suspect(stored_runs):
    predicted = stored_runs.predictions(1.0, seed=5)
    record, ids = stored_runs.add("peeking", predicted), np.array(stored_runs.ids["test"])
    arrays = {"validation_ids": ids, "test_ids": ids}
    arrays |= {f"{name}_probabilities": rows for name, rows in predicted.items()}
    np.savez(stored_runs.predictions_path(record), **arrays)
    board = board_of(stored_runs)
    assert board.unranked["suspect"].to_dict() == {"peeking / none": True}
    assert "SELECTED_ON_TEST" in codes(board, "peeking / none")


def test_suspect_data_leave_no_row_ranked(stored_runs):
    stored_runs.write_audit(straddling_groups=4)
    board = board_of(stored_runs)
    assert isinstance(board.audit, Audit) and board.rows.empty and board.picks == {}
    assert board.unranked["suspect"].tolist() == [True] * 3
    assert all(codes(board, row) == ["GROUPS_ACROSS_SUBSETS"] for row in board.unranked.index)
    assert board.findings[0].code == "UNTRUSTED_DATA"


def test_a_record_with_the_spec_of_another_stands_alone(stored_runs):
    first = stored_runs.folder.records()[0]
    stored_runs.rewrite(first, spec=dataclasses.replace(first.spec, seed=1))
    other = stored_runs.add(first.spec.model, stored_runs.predictions(1.0, seed=9), seed=1)
    assert {first.run_id, other.run_id} <= set(load_leaderboard(stored_runs.folder).runs.index)
    found = {one.run_id: one.standing for one in verify(stored_runs.folder).verdicts}
    assert (found[first.run_id], found[other.run_id]) == (Standing.refuted, Standing.rescored)


# Folds


@pytest.fixture
def folds(tmp_path) -> list[StoredRuns]:
    """Two models over three folds; `pca-svm`, which is better, lacks the second."""
    parts = StoredRuns.folds(tmp_path / "faces")
    for part in parts:
        part.add("hog-svm", part.predictions(1.0, seed=part.fold))
        if part.fold != 2:
            part.add("pca-svm", part.predictions(3.0, seed=part.fold))
    return parts


def test_folds_are_pooled_and_scored_as_one_run_over_all_images(folds):
    board = load_leaderboard(folds[0].folder)
    labels = np.concatenate([part.labels["test"] for part in folds])
    rows = np.concatenate([part.predictions(1.0, seed=part.fold)["test"] for part in folds])
    line, answers = board.rows.loc["hog-svm / none"], rows.argmax(axis=1)
    assert (line["n_seeds"], len(line["runs"]), board.data.n_folds, board.data.n_test) == (1, 1, 3, len(labels))
    assert line["accuracy"] == pytest.approx((answers == labels).mean())
    assert line["macro_f1"] == pytest.approx(f1_score(labels, answers, average="macro"))
    assert board.recall.loc[("hog-svm / none", "test")].tolist() == pytest.approx(
        [(answers[labels == c] == c).mean() for c in range(3)]
    )
    assert np.array_equal(board.labels, labels) and np.array_equal(board.predicted[line["runs"][0]], answers)
    assert board.suffix == "-3-folds" and board.audit is None


def test_a_missing_fold_leaves_a_row_unranked(folds):
    board = load_leaderboard(folds[0].folder)
    assert board.rows.index.tolist() == ["hog-svm / none"]
    (finding,) = board.unranked.at["pca-svm / none", "reasons"]
    assert (finding.code, finding.values["folds"]) == ("FOLDS_MISSING", [2])
    assert not board.unranked.at["pca-svm / none", "suspect"]


def test_a_seed_that_lacks_a_fold_costs_itself_only(folds):
    for part in folds[1:]:
        part.add("hog-svm", part.predictions(1.0, seed=part.fold), seed=1)
    board = load_leaderboard(folds[0].folder)
    assert board.rows["n_seeds"].to_dict() == {"hog-svm / none": 1} and "hog-svm / none" not in board.unranked.index
    lacking = board.failures.set_index(["model", "seed"])
    assert lacking["status"].to_dict() == {("hog-svm", 1): "unfinished", ("pca-svm", 0): "unfinished"}
    assert lacking.at[("hog-svm", 1), "reason"] == "lacks fold 1"


def test_folds_have_a_leaderboard_of_their_own(stored_runs):
    parts = StoredRuns.folds(stored_runs.folder.path)
    for part in parts:
        part.add("hog-svm", part.predictions(1.0, seed=part.fold))
    splits = newest_splits(stored_runs.folder.records())
    assert [n_folds for *_, n_folds in splits] == [0, 3]
    assert [len(load_leaderboard(stored_runs.folder, split=split).rows) for split in splits] == [3, 1]
