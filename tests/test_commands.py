"""Whole commands that succeed: recipes from options, tune and its values, folds, votes, bad rows."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from fer_bench.cli.options import PlanOptions, with_options

OPTIONS = (
    "--image-size 96 --augment erasing --mixup 0.2 --label-smoothing 0.3 --precision bfloat16 --schedule plateau "
    "--patience 3 --fine-tune head"
)
RECIPE = {
    "image_size": 96, "augmentation": "erasing", "mixup": 0.2, "label_smoothing": 0.3, "precision": "bfloat16",
    "schedule": "plateau", "patience": 3, "fine_tune": "head",
}  # fmt: skip
PLUGIN = """
from fer_bench import register_model
from fer_bench.models.registry import Choice


@register_model("switch", features="pixels", summary="a test", search={"on": Choice((False, True))})
def switch(task):
    from sklearn.dummy import DummyClassifier
    from sklearn.naive_bayes import GaussianNB

    return GaussianNB() if task.parameters.get("on") else DummyClassifier(strategy="prior")
"""


def leaderboard(folder: Path, name: str = "leaderboard") -> list[dict[str, str]]:
    with (folder / "results" / "tiny" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_options_become_a_recipe():
    """Values that are no network's own: what is the model's own anyway may be left out."""
    recipes = []
    program = typer.Typer()

    @program.command()
    @with_options
    def command(options: PlanOptions) -> None:
        recipes.append(options.recipe())

    assert CliRunner().invoke(program, OPTIONS.split()).exit_code == 0
    assert CliRunner().invoke(program, []).exit_code == 0
    assert recipes == [RECIPE, {}]


def test_tuned_values_are_used_by_run(program, tmp_path):
    """A model that is useless until it is tuned, and has one other value to find."""
    (tmp_path / "plugin.py").write_text(PLUGIN)
    data = ("--plugin", "plugin.py", "--data", "tiny.npz")
    tuned = program("tune", "switch", "--trials", "2", *data)
    assert tuned.returncode == 0, tuned.stdout + tuned.stderr
    assert "results/tiny/tuned/switch.json" in tuned.stdout
    done = program("run", "--models", "switch,majority", "--strategies", "none", "--tuned", *data)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = (tmp_path / "results" / "tiny" / "runs").glob("switch.*/record.json")
    spec = json.loads(record.read_text())["spec"]
    assert spec["tuned"] and spec["parameters"] == [["on", True]]
    best, worst = leaderboard(tmp_path)
    assert (best["tuned"], worst["model"]) == ("True", "majority")


def test_folds_have_a_leaderboard_that_verifies(program, tmp_path):
    done = program(
        "run", "--models", "pca-logistic,majority", "--strategies", "none", "--folds", "3", "--data", "tiny.npz"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "results" / "tiny"
    assert "leaderboard-3-folds.md" in done.stdout
    assert len(leaderboard(tmp_path, "leaderboard-3-folds")) == 2
    assert len(list(folder.glob("runs/*/record.json"))) == 6
    assert not (folder / "leaderboard.md").exists()
    verified = program("verify", "results/tiny")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "2 rescored" in verified.stdout  # the folds of a seed are one
    reported = program("report", "--name", "tiny", "--format", "html", "--images", "tiny.npz")
    assert reported.returncode == 0, reported.stdout + reported.stderr
    assert "data:image/jpeg" in (folder / "report-3-folds.html").read_text()


def test_predictions_are_held_against_votes(program, tmp_path, tiny_npz):
    """The most frequent class is right about half of the images, and has the votes of another third."""
    with np.load(tiny_npz) as stored:
        votes = np.eye(3, dtype=int)[(stored["labels"] + 1) % 3]
        names = stored["class_names"]
    with (tmp_path / "votes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([names, *votes])
    done = program("run", "--models", "majority", "--data", "tiny.npz", "--votes", "votes.csv")
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = leaderboard(tmp_path)
    assert float(row["accuracy"]) == 6 / 12
    assert float(row["votes_accuracy"]) == pytest.approx(4 / 12)


def test_bad_rows_are_dropped_and_the_leaderboard_says_so(program, records, tmp_path, tiny_npz):
    with np.load(tiny_npz) as stored:
        rows = zip(stored["labels"], stored["images"], strict=True)
        lines = [f"{label},{' '.join(map(str, image.ravel()))}" for label, image in rows]
    (tmp_path / "tiny.csv").write_text("\n".join(["emotion,pixels", *lines, "0,1 2 3"]))
    command = ("run", "--models", "majority", "--data", "tiny.csv")
    refused = program(*command)
    assert refused.returncode == 2 and "drop them with --skip-bad" in refused.stderr
    done = program(*command, "--skip-bad")
    assert done.returncode == 0, done.stdout + done.stderr
    record = records(tmp_path / "results" / "tiny")["majority", "none", 0]
    assert record["data_notes"][0].startswith("dropped 1 bad rows of 121: line 122")
