"""judge, verify and ensemble as a user starts them, and bad input in one message."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stored import StoredRuns

from fer_bench.records import open_results


@pytest.fixture
def judged(command, stored_runs, tmp_path, tiny_npz):
    """The program in a folder with results and predictions of the test images.

    `perfect.csv` is right about all, `mine.csv` about nine in ten.
    """
    labels = stored_runs.labels["test"]
    wrong = np.arange(len(labels)) % 10 == 5
    for name, answers in (("perfect", labels), ("mine", (labels + wrong) % 3)):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            rows = zip(stored_runs.ids["test"], answers, strict=True)
            csv.writer(file).writerows([("sample_id", "label"), *((i, stored_runs.CLASS_NAMES[k]) for i, k in rows)])
    return command


def leaderboard(tmp_path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((tmp_path / "results" / "faces" / "leaderboard.csv").open()))


@pytest.mark.parametrize("name", ["judge", "verify", "ensemble", "publish", "unpack"])
def test_help_has_a_worked_example(judged, name):
    done = judged(name, "--help")
    assert done.returncode == 0 and f"Example: python -m fer_bench {name} " in " ".join(done.stdout.split())


def test_outside_predictions_are_ranked_beside_the_others_once(judged, tmp_path):
    done = judged("judge", "mine.csv", "--name", "faces")
    assert done.returncode == 0, done.stderr
    assert "macro-F1 0.900" in done.stdout and "put on record" in done.stdout
    mine, *others = leaderboard(tmp_path)
    assert (mine["model"], mine["strategy"], mine["family"], mine["rank"]) == ("mine", "external", "external", "1")
    assert len(others) == 3
    for unknown in ("log_loss", "brier", "ece", "pr_auc", "top2_accuracy"):
        assert mine[unknown] == "" and all(line[unknown] for line in others)
    again = judged("judge", "mine.csv", "--name", "faces")
    assert again.returncode == 0 and "nothing added" in again.stdout
    assert leaderboard(tmp_path) == [mine, *others]


def test_outside_predictions_are_ranked_beside_published_rows(judged, tmp_path):
    done = [
        judged("publish", "results/faces", "--to", "shelf"), judged("unpack", "shelf/faces", "--results", "own"),
        judged("judge", "mine.csv", "--name", "faces", "--results", "own"),
    ]  # fmt: skip
    assert [each.returncode for each in done] == [0, 0, 0], done[-1].stderr
    rows = list(csv.DictReader((tmp_path / "own" / "faces" / "leaderboard.csv").open()))
    assert len(rows) == 4 and rows[0]["model"] == "mine"
    for refused in ("own/faces", "nowhere"):
        again = judged("unpack", refused)
        assert (again.returncode, again.stderr.count("\n")) == (2, 1) and refused in again.stderr


def test_a_copy_of_the_labels_is_not_ranked(judged, tmp_path):
    done = judged("judge", "perfect.csv", "--name", "faces")
    assert done.returncode == 0 and "Not ranked: " in done.stdout
    (perfect,) = (row for row in leaderboard(tmp_path) if row["model"] == "perfect")
    assert (perfect["rank"], perfect["accuracy"]) == ("", "1.0")


def test_another_file_needs_replace(judged, tmp_path):
    judged("judge", "mine.csv", "--name", "faces", "--as", "model")
    text = (tmp_path / "mine.csv").read_text()
    (tmp_path / "other.csv").write_text(text.replace("row-180,top", "row-180,middle"))
    refused = judged("judge", "other.csv", "--name", "faces", "--as", "model")
    assert refused.returncode == 2 and "--replace" in refused.stderr
    done = judged("judge", "other.csv", "--name", "faces", "--as", "model", "--replace")
    assert done.returncode == 0 and "accuracy 88.9%" in done.stdout
    assert len(leaderboard(tmp_path)) == 4


def test_ensemble_is_ranked_and_all_is_verified(judged, tmp_path):
    done = judged("ensemble", "--name", "faces")
    assert done.returncode == 0, done.stderr
    assert " hog-svm.none.s0-" in done.stdout
    assert "ensemble" in {line["model"] for line in leaderboard(tmp_path)}
    assert "unchanged" in judged("ensemble", "--name", "faces").stdout
    verified = judged("verify", "results/faces")
    assert verified.returncode == 0, verified.stdout
    assert "3 rescored, 1 reproduced" in verified.stdout and "not checked:\n  - Labels" in verified.stdout
    other = judged("verify", "results/faces", "--data", "tiny.npz")
    assert other.returncode == 1 and "fingerprint dddddddddddddddd" in other.stdout


def test_tampering_is_exit_code_1_and_named(judged, stored_runs):
    record = stored_runs.folder.records()[0]
    stored_runs.rewrite(record, test=record.test.model_copy(update={"macro_f1": 0.9}))
    done = judged("verify", "results/faces")
    assert done.returncode == 1 and done.stderr == ""
    assert record.run_id in done.stdout and "test.macro_f1 is 0.9, and 0." in done.stdout


def test_reruns_are_compared(judged, stored_runs, tmp_path):
    again = type(stored_runs)(tmp_path / "again" / "faces")
    again.add("hog-svm", again.predictions(2.0, seed=5), started="2026-03-01T00:00:00+00:00")
    done = judged("verify", "results/faces", "--against", "again/faces")
    assert done.returncode == 0 and "2 rescored, 1 reproduced" in done.stdout


def other_split(stored_runs) -> None:
    """Make one run that of a split that nothing in the folder knows of."""
    record = stored_runs.folder.records()[0]
    spec = replace(record.spec, split_fingerprint="f" * 16)
    stored_runs.rewrite(record, spec=spec)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("judge", "nowhere.csv", "--name", "faces"), ["nowhere.csv", "cannot be read"]),
        (("judge", "tiny.npz", "--name", "faces"), ["tiny.npz", "not a CSV file"]),
        (("judge", "mine.csv", "--name", "../results/faces"), ["--name '../results/faces'", "letters"]),
        (("report", "--name", "faces", "--images", "no.csv"), ["--images no.csv: no such file"]),
        (("report", "--name", ""), ["--name ''", "letters"]),
        (("judge", "mine.csv", "--name", "nothing"), ["no results in results/nothing", "faces"]),
        (("judge", "mine.csv", "--name", "faces", "--as", "../up"), ["--as '../up'", "lower-case letters"]),
        (("judge", "mine.csv", "--name", "faces", "--as", "hog-svm"), ["hog-svm: is a model of this suite"]),
        (("judge", "mine.csv", "--name", "faces", "--as", "ensemble"), ["ensemble: is a model of this suite"]),
        (("verify", "results/nothing"), ["no results in results/nothing", "faces"]),
        (("verify", "results/faces", "--against", "nowhere"), ["no results in nowhere"]),
        (("ensemble", "--name", "nothing"), ["no results in results/nothing"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_message_and_exit_code_2(judged, arguments, words):
    done = judged(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def test_bad_predictions_are_listed_with_their_count(judged, tmp_path):
    lines = (tmp_path / "mine.csv").read_text().splitlines()
    (tmp_path / "bad.csv").write_text("\n".join([*lines[:-3], lines[1], "row-999,top", ""]))
    done = judged("judge", "bad.csv", "--name", "faces")
    assert done.returncode == 2 and "5 bad rows" in done.stderr
    for words in ("line 89: row-180 again", "line 90: 'row-999' is no", "missing: row-269, a test image"):
        assert words in done.stderr


@pytest.mark.parametrize("arguments", [("judge", "mine.csv"), ("ensemble",)], ids=" ".join)
def test_records_of_another_split_are_refused_by_name(judged, stored_runs, arguments):
    other_split(stored_runs)
    done = judged(*arguments, "--name", "faces")
    assert done.returncode == 2 and stored_runs.folder.records()[0].run_id in done.stderr


def test_runs_of_another_split_are_counted(judged, stored_runs):
    other = StoredRuns(stored_runs.folder.path, prefix="other")
    for model in ("cnn", "hog-svm"):
        other.add(model, other.predictions(1.0), started="2020-01-01T00:00:00")
    done = judged("judge", "mine.csv", "--name", "faces")
    assert done.returncode == 0 and "of another split, or of folds: 2 runs\n" in done.stdout


def test_published_runs_that_are_no_longer_there_are_not_lost(judged, stored_runs, tmp_path):
    first = stored_runs.folder.records()[0].run_id
    assert judged("publish", "results/faces", "--to", "shelf").returncode == 0
    shutil.rmtree(stored_runs.folder.runs / first)
    refused = judged("publish", "results/faces", "--to", "shelf")
    assert refused.returncode == 2 and "unpack" in refused.stderr and first in refused.stderr
    for again in (("unpack", "shelf/faces"), ("publish", "results/faces", "--to", "shelf")):
        assert judged(*again).returncode == 0
    assert first in {record.run_id for record in open_results(tmp_path / "shelf" / "faces").records()}
