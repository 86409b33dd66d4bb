"""Classifiers that no graph is known for: they stay themselves, are loaded by skops, and answer as their runs did."""

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import NearestCentroid

from fer_bench import load_model
from fer_bench.deploy import export
from fer_bench.deploy.exporting import classical
from fer_bench.deploy.exporting.graph import Graph
from fer_bench.deploy.session import FEATURES, SKOPS, open_session
from fer_bench.errors import FerBenchError
from fer_bench.models.registry import MODELS


class Mine(ClassifierMixin, BaseEstimator):
    """No converter knows it, nor anybody who has the bundle alone."""

    def fit(self, X, y):
        self.inner_, self.classes_ = LogisticRegression().fit(X, y), np.unique(y)
        return self

    def predict_proba(self, X):
        return self.inner_.predict_proba(X)


KINDS = {
    "boosted": ("hog", HistGradientBoostingClassifier(max_iter=5)),
    "centroid": ("pca", NearestCentroid()),
    "mine": ("pca", Mine()),
}


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Models of a plug-in."""
    with pytest.MonkeyPatch.context() as patch:
        for name, (features, classifier) in KINDS.items():
            card = replace(MODELS["pca-svm"], name=name, features=features, build=lambda task, one=classifier: one)
            patch.setitem(MODELS._cards, name, card)
        yield


@pytest.mark.parametrize(("name", "strategy"), [("boosted", "post-hoc-adjustment"), ("centroid", "none")])
def test_it_answers_as_its_run_did_wherever_it_is_asked(runs, name, strategy, tmp_path, monkeypatch, capsys):
    runs.source(name)
    source, run_id = runs.source(name, strategy)
    card = export(source, run_id, tmp_path / "bundle")
    assert {FEATURES, SKOPS} < set(card["files"]) and card["parity"]["float32"]["largest_difference"] < 1e-3
    bundle = load_model(tmp_path / "bundle", trust=card["types_to_trust"])
    images = source.dataset.images[source.split.test]
    assert (bundle.predict(images).argmax(axis=1) == source.predictions.labels["test"]).mean() == pytest.approx(
        card["scores"]["test"]["accuracy"], abs=1e-4
    )
    photo = cv2.resize(images[0], (100, 100))
    Image.fromarray(photo).save(tmp_path / "face.png")
    monkeypatch.setattr(sys, "argv", ["example.py", str(tmp_path / "face.png")])
    runpy.run_path(str(tmp_path / "bundle" / "example.py"))
    told = {line.split()[-1]: float(line.split("%")[0]) / 100 for line in capsys.readouterr().out.splitlines()}
    np.testing.assert_allclose([told[name] for name in bundle.classes], bundle.predict(photo[None])[0], atol=6e-4)


def test_what_skops_does_not_trust_is_named_and_loaded_only_if_allowed(runs, command, tmp_path):
    source, run_id = runs.source("boosted")
    (strange,) = export(source, run_id, tmp_path / "bundle")["types_to_trust"]
    Image.fromarray(np.zeros((60, 60, 3), np.uint8)).save(tmp_path / "face.png")
    refused = command("predict", "bundle", "face.png")
    assert refused.returncode == 2 and f"--trust {strange}" in refused.stderr
    assert command("predict", "bundle", "face.png", "--trust", strange).returncode == 0
    card = json.loads((tmp_path / "bundle" / "model.json").read_text())
    card["versions"]["scikit-learn"] = "0.1"
    (tmp_path / "bundle" / "model.json").write_text(json.dumps(card))
    with pytest.raises(FerBenchError, match=r"scikit-learn 0\.1"):
        load_model(tmp_path / "bundle", trust=[strange])


def test_a_class_that_the_bundle_does_not_hold_is_refused_at_export(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(Mine, "__module__", "fer_bench_plugin_mine_0123")
    monkeypatch.setitem(sys.modules, "fer_bench_plugin_mine_0123", sys.modules[__name__])
    source, run_id = runs.source("mine")
    with pytest.raises(FerBenchError, match="Mine is of a file of yours"):
        export(source, run_id, tmp_path / "bundle")


def test_without_skops_the_extra_is_named(runs, tmp_path, monkeypatch):
    source, run_id = runs.source("centroid")
    export(source, run_id, tmp_path / "bundle")
    monkeypatch.setitem(sys.modules, "skops.io", None)
    with pytest.raises(FerBenchError, match=r"fer_bench\[predict\]"):
        load_model(tmp_path / "bundle")


@pytest.mark.parametrize("n_classes", [2, 3])
def test_several_may_be_asked_and_one_that_is_converted_wrongly_is(n_classes):
    """skl2onnx gives RidgeClassifier's answers of two classes as a list."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (70, 4, 4), dtype=np.uint8)
    rows, labels = images.reshape(70, -1).astype(np.float32), np.arange(70) % n_classes
    graph = Graph(4)
    given = graph.reshaped(graph.cast(graph.images), 0, -1)
    ridge, boosted = RidgeClassifier().fit(rows, labels), HistGradientBoostingClassifier(max_iter=2).fit(rows, labels)
    found = [classical.outputs(graph, one, given, rows) for one in (ridge, boosted)]
    models = graph.models(graph.add("Sum", *found), n_classes)
    content, types = classical.stored(graph.outside)
    files = {name: model.SerializeToString() for name, model in models.items()} | {SKOPS: content}
    scores = ridge.decision_function(rows)
    wanted = scores if n_classes > 2 else np.outer(scores, (-0.5, 0.5))
    told = open_session(files, Path(), types).answers(images)
    np.testing.assert_allclose(told, wanted + boosted.predict_proba(rows), atol=1e-4)
    assert len(graph.outside) == (2 if n_classes == 2 else 1)
