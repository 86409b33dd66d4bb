"""Results in Python: frames, differences, predictions, and a face in notebooks that escapes what data are called."""

import math
import shutil

import numpy as np
import pandas as pd
import pytest
from stored import StoredRuns

from fer_bench.analysis import publish
from fer_bench.api import Results, load_results, run
from fer_bench.errors import FerBenchError


@pytest.fixture(scope="module")
def folder(stored_runs_folder, tmp_path_factory):
    """Three runs, one of them under a strategy too, and one that failed."""
    path = tmp_path_factory.mktemp("api") / "faces"
    shutil.copytree(stored_runs_folder, path)
    runs = StoredRuns(path)
    runs.add("pca-svm", runs.predictions(1.5, seed=9), strategy="class-weights")
    runs.add("cnn", status="failed", reason="boom")
    return path


@pytest.fixture(scope="module")
def results(folder):
    return load_results(folder)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("bugdet", "budget"),
        ("seed", "seeds"),
        ("group", "groups"),
        ("precision", r"parameters=\{'precision': \.\.\.\}"),
    ],
)
def test_an_option_that_there_is_not_is_told_with_what_was_meant_and_those_there_are(tmp_path, wrong, meant):
    said = (
        rf"no option {wrong}; did you mean {meant}\? There are budget, .*; of how data are read .* classes, .*, votes"
    )
    with pytest.raises(FerBenchError, match=said):
        run(results=tmp_path, **{wrong: "full"})
    with pytest.raises(FerBenchError, match=rf"no option {wrong}; .* no option zzz\. There are"):
        run(results=tmp_path, **{wrong: "full", "zzz": 1})


def test_frames_hold_rows_runs_and_effects(results):
    assert results.leaderboard.index.tolist() == [
        "hog-svm / none", "pca-svm / class-weights", "pca-svm / none", "majority / none",
    ]  # fmt: skip
    assert results.leaderboard["macro_f1"].is_monotonic_decreasing
    runs = results.runs
    assert len(runs) == 5 and runs.loc[runs["status"] == "failed", "macro_f1"].isna().all()
    for row, line in results.leaderboard.iterrows():
        assert runs.loc[runs["row"] == row, "macro_f1"].mean() == pytest.approx(line["macro_f1"])
    (effect,) = results.effects.to_dict("records")
    change = results.leaderboard.loc["pca-svm / class-weights", "macro_f1"]
    change -= results.leaderboard.loc["pca-svm / none", "macro_f1"]
    assert (effect["model"], effect["strategy"]) == ("pca-svm", "class-weights")
    assert effect["macro_f1"] == pytest.approx(change, abs=1e-6)


def test_two_rows_are_compared_with_intervals(results):
    changes, rows = results.compare("majority / none", "hog-svm / none"), results.leaderboard["macro_f1"]
    assert changes.index.tolist() == ["accuracy", "macro_f1", "top", "middle", "bottom"]
    change = rows["hog-svm / none"] - rows["majority / none"]
    assert changes.at["macro_f1", "value"] == pytest.approx(change, abs=1e-6) and changes.at["macro_f1", "low"] > 0
    back = results.compare("hog-svm / none", "majority / none")
    assert np.allclose(back["value"], -changes["value"]) and np.allclose(back["low"], -changes["high"])


@pytest.mark.parametrize(
    "pair", [("hog-svm / none", "nothing"), ("cnn / none", "hog-svm / none")], ids=["unknown", "failed"]
)
def test_names_that_are_no_rows_are_refused(results, pair):
    with pytest.raises(FerBenchError, match="hog-svm / none"):
        results.compare(*pair)
    with pytest.raises(FerBenchError, match="clean"):
        results.compare("hog-svm / none", "majority / none", subset="clean")
    for method in (results.predictions, results.confusion):
        with pytest.raises(FerBenchError, match="nothing"):
            method("nothing")


def test_predictions_and_confusion_are_those_of_the_run(results, folder):
    runs = StoredRuns(folder)
    rows = results.predictions("hog-svm / none")
    assert np.array_equal(rows.to_numpy(), runs.predictions(2.0, seed=2)["test"])
    assert rows.index.tolist() == runs.ids["test"] and tuple(rows.columns) == runs.CLASS_NAMES
    by_id = results.predictions(runs.find("hog-svm").run_id)
    pd.testing.assert_frame_equal(rows, by_id)
    confusion = results.confusion("hog-svm / none")
    assert confusion.to_numpy().tolist() == runs.find("hog-svm").test.confusion
    assert (confusion.index.name, confusion.columns.name) == ("true", "predicted")
    assert (tuple(confusion.index), tuple(confusion.columns)) == (runs.CLASS_NAMES, runs.CLASS_NAMES)


def test_a_report_is_written_where_it_is_asked_for(results, tmp_path):
    written = results.report(tmp_path / "mine.html")
    assert written == tmp_path / "mine.html" and "hog-svm" in written.read_text()


def test_notebooks_show_a_table_and_escape_names(stored_runs):
    hostile = "<img src=x onerror=alert(3)>"
    for record in stored_runs.folder.records():
        stored_runs.rewrite(record, dataset=hostile)
    stored_runs.add("<script>alert(1)", stored_runs.predictions(2.2, seed=9))
    shown = load_results(stored_runs.folder.path)._repr_html_()
    assert "<table" in shown and "hog-svm / none" in shown
    assert "<img" not in shown and "<script" not in shown
    assert "&lt;img" in shown and "&lt;script" in shown


def test_folds_have_results_of_their_own(stored_runs):
    parts = StoredRuns.folds(stored_runs.folder.path)
    for part in parts:
        part.add("cnn", part.predictions(1.0, seed=part.fold))
    path = stored_runs.folder.path
    assert "cnn / none" not in load_results(path).leaderboard.index
    folds = load_results(path, n_folds=3)
    assert folds.leaderboard.index.tolist() == ["cnn / none"]
    assert len(folds.predictions("cnn / none")) == 90 == folds.confusion("cnn / none").to_numpy().sum()
    with pytest.raises(FerBenchError, match="5"):
        _ = load_results(path, n_folds=5).leaderboard


def test_published_evidence_has_the_same_face(folder, results, tmp_path):
    publish(StoredRuns(folder).folder, tmp_path / "published")
    published = load_results(tmp_path / "published")
    pd.testing.assert_series_equal(published.leaderboard["macro_f1"], results.leaderboard["macro_f1"])
    pd.testing.assert_frame_equal(published.confusion("pca-svm / none"), results.confusion("pca-svm / none"))
    rounded = published.predictions("pca-svm / none").to_numpy()
    assert np.abs(rounded - results.predictions("pca-svm / none").to_numpy()).max() < 1e-3


def test_a_folder_without_results_is_one_message(tmp_path):
    for empty in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FerBenchError, match=empty.name):
            load_results(empty)


@pytest.mark.parametrize(
    "wrong",
    [
        {"budget": "huge"},
        {"rerun": "al"},
        {"jobs": 0},
        {"timeout": math.nan},
        {"copies": "some"},
        {"slices": "mood, age"},
    ],
    ids=str,
)
def test_options_that_there_are_not_are_refused_by_name(wrong):
    with pytest.raises(FerBenchError, match=f"--{next(iter(wrong))} "):
        run(models="majority", strategies="none", **wrong)


@pytest.mark.parametrize("seeds", [[], [-1], [0, 1.5], ["0"], "0,1", [2**32]], ids=str)
def test_seeds_that_there_are_not_are_refused_before_anything_is_read(seeds):
    with pytest.raises(FerBenchError, match=r"--seeds .*whole numbers, not negative, and at most"):
        run(data="nowhere.csv", models="majority", seeds=seeds)


def test_results_are_those_of_the_split_that_was_asked_for(stored_runs):
    path, other = stored_runs.folder.path, StoredRuns(stored_runs.folder.path, prefix="other")
    other.add("cnn", other.predictions(1.0), started="2030-01-01T00:00:00")
    assert load_results(path).leaderboard.index.tolist() == ["cnn / none"]
    assert "cnn / none" not in Results(path, split=stored_runs.split).leaderboard.index
