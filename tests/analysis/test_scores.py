"""What was judged is kept, and judged anew where something changed; published evidence gives the same."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from stored import board_of

from fer_bench import cache, metrics
from fer_bench.analysis import load_leaderboard, publish, scores


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.ENVIRONMENT_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_was_judged_is_not_computed_again(stored_runs, own_cache, monkeypatch):
    first = board_of(stored_runs)
    monkeypatch.setattr(metrics, "score", None)
    again = board_of(stored_runs)
    pd.testing.assert_frame_equal(first.rows, again.rows)
    with pytest.raises(TypeError):  # who believes nothing computes
        board_of(stored_runs, cached=False)


def test_redraws_are_computed_once_too_and_the_last_are_kept(stored_runs, own_cache, monkeypatch):
    monkeypatch.setattr(scores, "KEPT", 4)
    for seed in range(4):
        stored_runs.add("more", stored_runs.predictions(1.0, seed=seed), seed=seed)
        first = board_of(stored_runs)
    assert len([entry for entry in (own_cache / "draws").iterdir() if entry.is_dir()]) == 4
    monkeypatch.setattr(scores.bootstrap, "score_draws", None)
    pd.testing.assert_frame_equal(board_of(stored_runs).rows, first.rows)
    with pytest.raises(TypeError):
        board_of(stored_runs, cached=False)


def test_without_validation_answers_nothing_is_rescaled(stored_runs):
    whole = stored_runs.predictions(1.0, seed=5)
    ids = [stored_runs.add(name, own).run_id for name, own in (("all", whole), ("bare", {"test": whole["test"]}))]
    assert [len(board_of(stored_runs).reliability[run_id]) for run_id in ids] == [2, 1]


def test_other_labels_copies_and_votes_are_judged_anew(stored_runs, own_cache):
    before = board_of(stored_runs).rows.loc["hog-svm / none"]
    votes = np.eye(3, dtype=np.int64)[stored_runs.labels["test"]]
    stored_runs.mark_copies(np.arange(90) < 9, votes, stored_runs.CLASS_NAMES)
    marked = board_of(stored_runs).rows.loc["hog-svm / none"]
    assert marked["macro_f1"] == before["macro_f1"] and 0 < marked["votes_accuracy"] < 1 and marked["clean_accuracy"]
    labels = stored_runs.labels["test"].copy()
    labels[:30] = (labels[:30] + 1) % 3
    stored_runs.write_split(stored_runs.labels | {"test": labels})
    assert board_of(stored_runs).rows.loc["hog-svm / none", "accuracy"] < before["accuracy"]


def test_a_damaged_file_of_evaluations_is_computed_again(stored_runs, own_cache):
    found = board_of(stored_runs)
    (damaged,) = (own_cache / "judged").glob("*.npz")
    content = damaged.read_bytes()
    for left in (content[:60], b""):
        damaged.write_bytes(left)
        pd.testing.assert_frame_equal(board_of(stored_runs).rows, found.rows)
        assert len(damaged.read_bytes()) == len(content)


# Published evidence


def test_published_evidence_gives_the_rows_of_its_source(suite, board, tmp_path):
    """Probabilities are rounded to be published, and no answer changes."""
    published = load_leaderboard(publish(suite.folder, tmp_path / "published"))
    counted = [
        "rank", "n_seeds", "accuracy", "macro_precision", "macro_recall", "macro_f1", "mcc", "macro_f1_low",
        "macro_f1_high", "in_best_set", "rank_low", "rank_high", "validation_macro_f1", "seconds", "speaks",
    ]  # fmt: skip
    pd.testing.assert_frame_equal(published.rows[counted], board.rows[counted])
    for name in ("effects", "pooled"):
        pd.testing.assert_frame_equal(getattr(published, name)["test"], getattr(board, name)["test"])
    close = ["log_loss", "brier", "ece", "pr_auc"]
    np.testing.assert_allclose(published.rows[close], board.rows[close], atol=2e-3)
    assert published.picks == board.picks


def test_what_is_cached_is_judged_without_tensorflow_scikit_learn_and_matplotlib(suite, board):
    code = (
        "import sys; from pathlib import Path; from fer_bench.records import open_results;"
        "from fer_bench.analysis import load_leaderboard; load_leaderboard(open_results(Path(sys.argv[1])));"
        "print([name for name in ('tensorflow', 'keras', 'sklearn', 'matplotlib', 'cv2') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, suite.folder.path]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
