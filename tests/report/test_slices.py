"""Slices on the pages: who a row is bad for, in the report, in CSV and in Python; nothing where none are known."""

import csv

import numpy as np
import pytest
from stored import StoredRuns

import fer_bench
from fer_bench.api import Results
from fer_bench.data import make_synthetic
from fer_bench.records import ImageFacts
from fer_bench.report import page_faults, write

HOSTILE = "<b>=x"


def written(folder, slices):
    runs = StoredRuns(folder)
    runs.add("cnn", runs.predictions(2.0), family="deep", stochastic=False)
    runs.add("hog-svm", runs.predictions(1.0), family="classical", stochastic=False)
    ids = np.array(runs.ids["validation"] + runs.ids["test"])
    none = np.full(len(ids), "")
    ImageFacts(ids, np.repeat(["validation", "test"], 90), none, slices=slices).write(
        runs.folder.images_path(runs.split)
    )
    board, paths = write(runs.folder)
    return runs.folder, board, {path.name: path.read_text("utf-8") for path in paths if path.suffix != ".png"}


def test_slices_are_on_every_page_and_an_edit_of_their_table_is_found(tmp_path):
    values = np.where(np.arange(180) % 6 == 0, HOSTILE, "day")
    folder, board, texts = written(tmp_path / "faces", {"light": values})
    lines = list(csv.DictReader(texts["slices.csv"].splitlines()))
    assert [(line["row"], line["value"], line["n_images"]) for line in lines[:2]] == [
        ("cnn / none", HOSTILE, "15"), ("cnn / none", "day", "75")
    ]  # fmt: skip
    assert lines[0]["is_small"] == "True" and sum(line["is_worst"] == "True" for line in lines) == 2
    assert 'id="slices"' in texts["report.html"] and HOSTILE not in texts["report.html"]
    assert len(Results(folder.path).slices) == len(board.slices) == 4
    path = folder.path / "slices.csv"
    path.write_text(path.read_text().replace(",75,", ",76,", 1))
    assert len(page_faults(folder)) == 1


def test_without_slices_nothing_is_shown(tmp_path):
    _, _, texts = written(tmp_path / "faces", {})
    assert "slices.csv" not in texts and 'id="slices"' not in texts["report.html"]


def test_the_built_in_faces_say_who_a_model_is_bad_for(tmp_path, monkeypatch):
    faces = make_synthetic(400)
    monkeypatch.setenv("FER_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("fer_bench.data.synthetic.dataset.built_in", lambda: faces)
    models = ["majority", "pca-logistic"]
    results = fer_bench.run("synthetic", models=models, strategies="none", results=tmp_path / "results")
    counts = results.slices.groupby("row").size()
    assert counts.to_dict() == {f"{model} / none": 10 for model in models}
    by_id = dict(zip(faces.sample_ids.tolist(), faces.slices["light"].tolist(), strict=True))
    line = results.slices.set_index(["row", "slice", "value"]).loc[("pca-logistic / none", "light", "side")]
    answers = results.predictions("pca-logistic / none")
    side = [by_id[sample_id] == "side" for sample_id in answers.index]
    is_right = results.board.predicted[results.board.rows.at["pca-logistic / none", "runs"][0]] == results.board.labels
    assert line["n_images"] == sum(side) and line["accuracy"] == pytest.approx(is_right[side].mean())
