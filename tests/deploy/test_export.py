"""Bundles answer as the runs did that they were made of, or are not made."""

import csv
import dataclasses
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from PIL import Image
from skimage.feature import hog, local_binary_pattern
from sklearn.svm import SVC

from fer_bench.analysis import Finding
from fer_bench.analysis.evidence import ensemble
from fer_bench.data import Dataset, Split
from fer_bench.data import resized as of_data
from fer_bench.deploy import Source, export, load_model
from fer_bench.deploy.exporting import classical, refitting
from fer_bench.deploy.exporting.features import features, has_graph, uniform_patterns
from fer_bench.deploy.exporting.graph import Graph, resized
from fer_bench.deploy.exporting.parity import Parity
from fer_bench.deploy.session import MODEL
from fer_bench.errors import FerBenchError
from fer_bench.models import FEATURES, OrientedGradients, Pixels, Together, fitted_extractor

EXPORTED = [("hog-svm", "over-sampling"), ("pca-logistic", "post-hoc-adjustment"), ("cnn-small", "class-weights")]


@pytest.mark.parametrize(("model", "strategy"), EXPORTED)
def test_a_bundle_answers_as_its_run_did(runs, model, strategy):
    if strategy == "post-hoc-adjustment":
        runs.source(model)
    bundle = runs.bundle(model, strategy)
    proof = bundle.card["parity"]["float32"]
    assert proof["holds"] and proof["largest_difference"] < 0.01 and proof["n_images"] == 24
    images = Dataset.load(runs.prepared.dataset_folder).images[Split.load(runs.prepared.split_folder).test]
    probabilities = bundle.predict(images)
    assert probabilities.shape == (24, 3) and probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert bundle.card["scores"]["test"]["n_images"] == 24 and bundle.classes == ("top", "middle", "bottom")


def test_int8_is_smaller_with_scores_of_its_own_and_litert_answers_as_the_run_did(runs):
    plain, small = (
        runs.bundle("cnn-small", "class-weights", **how) for how in ({}, {"quantize": True, "litert": True})
    )
    assert small.card["megabytes"] < plain.card["megabytes"] / 3
    assert set(small.card["parity"]) == {"float32", "litert", "int8"} and small.card["arithmetic"] == "int8"
    assert small.card["parity"]["litert"]["holds"] and (small.path / "model.tflite").exists()


def test_int8_that_answers_otherwise_is_refused_and_an_earlier_bundle_stays(runs, tmp_path, monkeypatch):
    def wrecked(models, images):
        largest = max(models[MODEL].graph.initializer, key=lambda one: len(one.raw_data))
        largest.raw_data = bytes(len(largest.raw_data))
        return models[MODEL].SerializeToString()

    source, run_id = runs.source("hog-svm", "over-sampling")
    export(source, run_id, tmp_path / "bundle")
    before = (tmp_path / "bundle" / "model.json").read_bytes()
    monkeypatch.setattr("fer_bench.deploy.exporting.export.quantized", wrecked)
    for target in ("bundle", "new"):
        with pytest.raises(FerBenchError, match=r"int8 .* same answer on .*macro-F1 .*without --quantize"):
            export(source, run_id, tmp_path / target, quantize=True)
    assert (tmp_path / "bundle" / "model.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_what_answers_otherwise_is_not_exported(runs, tmp_path):
    source, run_id = runs.source("pca-logistic", "class-weights")
    stored = source.predictions.folder.runs / run_id / "predictions.npz"
    with np.load(stored) as arrays:
        changed = {name: rows[::-1] if name == "test_probabilities" else rows for name, rows in arrays.items()}
    np.savez(stored, **changed)
    with pytest.raises(FerBenchError, match="does not answer"):
        export(Source.open(source.predictions.folder.path), run_id, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_network_without_its_weights_is_not_exported(runs, tmp_path):
    source, run_id = runs.source("cnn-small", "class-weights")
    weights = source.predictions.folder.runs / run_id / "model.weights.h5"
    hidden = weights.rename(tmp_path / "hidden")
    with pytest.raises(FerBenchError, match=r"model\.weights\.h5 is missing"):
        export(source, run_id, tmp_path / "bundle")
    hidden.rename(weights)


def test_nothing_but_a_bundle_is_written_over(runs, tmp_path):
    source, run_id = runs.source("pca-forest")
    (tmp_path / "model.json").write_text('{"mine": 1}')
    with pytest.raises(FerBenchError, match="is no bundle"):
        export(source, run_id, tmp_path)
    bundle = shutil.copytree(runs.bundle("pca-forest").path, tmp_path / "bundle")
    (bundle / "predictions.csv").write_text("mine")
    with pytest.raises(FerBenchError, match=r"more than a bundle.*\n.*predictions\.csv"):
        export(source, run_id, bundle)


def test_a_bundle_is_written_through_a_link_but_not_in_the_place_of_the_present_folder(runs, tmp_path, monkeypatch):
    source, run_id = runs.source("pca-forest")
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "v1")
    for _ in range(2):
        export(source, run_id, link)
    assert link.is_symlink() and load_model(tmp_path / "v1").card["run"] == run_id
    assert {path.name for path in tmp_path.iterdir()} == {"current", "v1"}
    monkeypatch.chdir(tmp_path / "v1")
    with pytest.raises(FerBenchError, match="the folder that you are in"):
        export(source, run_id, Path())


@pytest.mark.parametrize(
    ("model", "strategy", "word"), [("hog-swm", None, "hog-svm"), ("pca-forest", "focal-loss", "none")]
)
def test_an_unknown_run_is_answered_with_those_there_are(runs, model, strategy, word):
    source, _ = runs.source("pca-forest")
    runs.source("hog-svm", "over-sampling")
    with pytest.raises(FerBenchError, match=word):
        Source.open(source.predictions.folder.path).choose(model, strategy)


def test_what_did_not_succeed_is_not_suggested_and_the_same_model_and_strategy_come_first(stored_runs):
    stored_runs.add("vgg16", status="not-applicable", strategy="over-sampling", reason="no")
    there = stored_runs.add("cnn", stored_runs.predictions(1.0, seed=3), strategy="over-sampling").run_id
    source = Source.open(stored_runs.folder.path)
    for asked, meant in (("cnn.over-sampling.s0-1f0c8e5a7b", there), ("vgg1", "there are ")):
        with pytest.raises(FerBenchError, match=f"(did you mean '|; ){meant}"):
            source.choose(asked, None)


def test_the_command_that_reads_the_data_again_is_that_of_the_run(stored_runs):
    stored_runs.rewrite(stored_runs.find("hog-svm"), command="run --of-this-one")
    with pytest.raises(FerBenchError, match=r"no longer in the cache(.*\n)+.*--of-this-one"):
        Source.open(stored_runs.folder.path).choose("hog-svm", None)


def test_a_strategy_goes_with_the_name_of_a_model(runs):
    source, run_id = runs.source("pca-forest")
    for model in (None, run_id):
        with pytest.raises(FerBenchError, match="--strategy none: goes with the name of a model"):
            source.choose(model, "none")


def test_the_card_tells_what_is_suspicious_of_the_run(runs, tmp_path):
    source, run_id = runs.source("pca-logistic")
    row = source.board.runs.at[run_id, "row"]
    reasons = (Finding("TOO_GOOD", {"accuracy": 0.99, "n_images": 24, "ceiling": 0.95}),)
    unranked = pd.DataFrame({"suspect": [True], "reasons": [reasons]}, index=[row])
    suspect = dataclasses.replace(source, board=dataclasses.replace(source.board, unranked=unranked))
    export(suspect, run_id, tmp_path / "bundle")
    assert load_model(tmp_path / "bundle").card["data"]["leak_suspicions"] == ["TOO_GOOD"]
    assert "LEAK SUSPECT" in (tmp_path / "bundle" / "MODEL_CARD.md").read_text()


def test_of_several_recipes_the_newest_is_exported(runs):
    _, earlier = runs.source("pca-forest")
    source, newest = runs.source("pca-forest", recipe=2)
    assert source.choose("pca-forest", "none") == newest
    assert source.choose("pca-forest (recipe 1)", "none") == earlier


def test_of_folds_there_is_no_model_to_export(runs, tmp_path):
    source, run_id = runs.source("pca-forest")
    record = source.record(run_id)
    spec = dataclasses.replace(record.spec, fold=1, n_folds=2)
    of_fold = record.model_copy(update={"spec": spec, "run_id": spec.run_id})
    (tmp_path / "runs" / of_fold.run_id).mkdir(parents=True)
    (tmp_path / "runs" / of_fold.run_id / "record.json").write_text(of_fold.model_dump_json())
    with pytest.raises(FerBenchError, match="without --folds"):
        Source.open(tmp_path)
    both = dataclasses.replace(source.predictions, elsewhere=(of_fold,))
    with_both = dataclasses.replace(source, board=dataclasses.replace(source.board, predictions=both))
    with pytest.raises(FerBenchError, match="without --folds"):
        with_both.choose(of_fold.run_id, None)


def test_the_example_needs_no_fer_bench(runs, tmp_path, monkeypatch, capsys):
    bundle = runs.bundle("pca-forest")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90), dtype=np.uint8)).save(tmp_path / "face.png")
    monkeypatch.setattr(sys, "argv", ["example.py", str(tmp_path / "face.png")])
    runpy.run_path(str(bundle.path / "example.py"))
    assert sorted(line.split()[-1] for line in capsys.readouterr().out.splitlines()) == sorted(bundle.classes)
    assert "fer_bench" not in (bundle.path / "example.py").read_text()


def test_the_card_of_people_says_what_the_law_forbids(runs):
    bundle = runs.bundle("pca-forest")
    page = (bundle.path / "MODEL_CARD.md").read_text()
    assert "5(1)(f)" in page and all(name in page for name in bundle.classes)


def outcome(graph: Graph, output: str, images: np.ndarray, n: int) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph.models(output, n)[MODEL].SerializeToString())
    return session.run(None, {"images": images})[0]


@pytest.mark.parametrize(("orientations", "cell", "block"), [(9, 6, 2), (12, 8, 2), (6, 12, 1)])
def test_gradients_are_those_of_scikit_image(orientations, cell, block):
    images = np.random.default_rng(0).integers(0, 256, (5, 48, 48), dtype=np.uint8)
    images[0] = 7
    images[1] //= 128
    graph = Graph(48)
    found = features(graph, graph.cast(graph.images), OrientedGradients(48, orientations, cell, block))
    wanted = np.stack([hog(image, orientations, (cell, cell), (block, block)) for image in images])
    np.testing.assert_allclose(outcome(graph, found, images, wanted.shape[1]), wanted, atol=1e-6)


@pytest.mark.parametrize(("side", "to"), [(24, 48), (47, 48), (30, 112), (60, 48), (96, 48)])
@pytest.mark.parametrize("is_colour", [False, True])
def test_resizing_is_that_of_the_data_to_the_last_bit(side, to, is_colour):
    shape = (4, side, side, 3) if is_colour else (4, side, side)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    graph = Graph(side, is_colour)
    found = graph.reshaped(resized(graph, graph.cast(graph.images), to, is_colour), 0, -1)
    wanted = np.stack([of_data(image, (to, to)) for image in images]).reshape(4, -1)
    np.testing.assert_array_equal(outcome(graph, found, images, wanted.shape[1]), wanted)


@pytest.mark.parametrize(("name", "parameters"), [("bovw", {"words": 6, "grid": 3}), ("hog-lbp", {})])
def test_several_extractors_together_are_one_graph(name, parameters):
    images = np.random.default_rng(0).integers(0, 256, (24, 48, 48), dtype=np.uint8)
    images[0, :, :24] = 7
    images[1] //= 128
    extractor = FEATURES[name].build(side=48, n_components=10, **parameters).fit(images, np.zeros(24))
    graph = Graph(48)
    found = features(graph, graph.cast(graph.images), extractor)
    wanted = extractor.transform(images)
    np.testing.assert_allclose(outcome(graph, found, images, wanted.shape[1]), wanted, atol=1e-3)


def test_axes_point_as_in_the_features_of_the_run_whatever_the_number_of_threads(runs, tmp_path, monkeypatch):
    def other_way(*given):
        extractor = fitted_extractor(*given)
        extractor.pca.components_[::2] *= -1
        return extractor

    source, run_id = runs.source("pca-forest")
    monkeypatch.setattr(refitting, "fitted_extractor", other_way)
    assert export(source, run_id, tmp_path / "bundle")["parity"]["float32"]["same_answers"] == 1


def test_all_features_of_the_suite_have_a_graph_and_others_only_if_made_of_its_extractors():
    class Own(Pixels):
        """May do anything."""

    assert all(has_graph(card.extractor()) for card in FEATURES if card.build.__module__.startswith("fer_bench."))
    assert has_graph(Together([Pixels(8), Together([Pixels(4)], 2)], 2)) and not has_graph(Together([Own(4)], 2))


@pytest.mark.parametrize("side", [48, 60])
def test_binary_patterns_are_those_of_scikit_image_to_the_bit(side):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (4, side, side))
    flat = np.repeat(rng.integers(0, 256, (4, side // 12, side // 12)), 12, axis=1).repeat(12, axis=2)
    slopes = np.stack([np.add.outer(by * np.arange(side), np.arange(side)) / (1 + by) for by in range(4)])
    images = np.concatenate([noise, noise // 64, flat, slopes, slopes * 2]).astype(np.uint8)
    graph = Graph(side)
    found = uniform_patterns(graph, graph.cast(graph.images), side)
    told = outcome(graph, graph.cast(graph.reshaped(found, 0, -1)), images, side**2)
    wanted = np.stack([local_binary_pattern(image, 8, 1, "nri_uniform") for image in images])
    np.testing.assert_array_equal(told, wanted.reshape(len(images), -1))


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_support_vectors_vote_as_in_scikit_learn(n_classes):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (80, 4, 4), dtype=np.uint8)
    rows = images.reshape(80, -1) / 255
    svm = SVC(C=5).fit(rows, np.arange(80) % n_classes)
    graph = Graph(4)
    given = graph.add("Div", graph.reshaped(graph.cast("images"), 0, -1), graph.constant(255))
    found = outcome(graph, classical.support_vectors(graph, svm, given), images, n_classes)
    wanted = svm.decision_function(rows)
    np.testing.assert_allclose(found[:, 1] - found[:, 0] if n_classes == 2 else found, wanted, atol=1e-4)


def test_an_ensemble_is_one_graph(runs, tmp_path):
    members = {runs.source(model, "over-sampling")[1] for model in ("pca-forest", "pca-mlp", "hog-svm")}
    found = Source.open(runs.prepared.results.path).predictions
    found = dataclasses.replace(found, runs=tuple(run for run in found.runs if run.run_id in members))
    record, _ = ensemble.put_on_record(found, found.folder)
    card = export(Source.open(found.folder.path), record.run_id, tmp_path / "bundle")
    assert card["parity"]["float32"]["holds"] and card["training"]["members"] == record.members
    assert load_model(tmp_path / "bundle").predict(np.zeros((1, 60, 60, 3), np.uint8)).shape == (1, 3)


@pytest.mark.parametrize(
    ("same", "macro_f1", "limits", "holds"),
    [
        (0.995, 0.501, "float32", True), (0.985, 0.501, "float32", False), (0.995, 0.503, "float32", False),
        (0.985, 0.503, "bfloat16", True), (0.985, 0.506, "bfloat16", False), (0.999, 0.51, "float32", True),
        (0.975, 0.509, "int8", True), (0.965, 0.501, "int8", False), (0.975, 0.511, "int8", False),
    ],
)  # fmt: skip
def test_parity_is_a_matter_of_answers_and_macro_f1(same, macro_f1, limits, holds):
    assert Parity(1000, 0.01, same, macro_f1, 0.5, limits).holds == holds


def test_several_are_exported_and_compared(runs, command, tmp_path):
    ids = [runs.source(model, "over-sampling")[1] for model in ("pca-forest", "hog-svm")]
    given = ("--results", str(runs.prepared.results.path.parent), "--name", runs.prepared.results.path.name)
    refused = command("export", *ids, *given, "--to", "out")
    assert refused.returncode == 2 and "--compare" in refused.stderr
    done = command("export", *ids, *given, "--to", "out", "--compare")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "out" / "compare.csv").open()))
    assert {row["run"] for row in rows} == {*ids} and (tmp_path / "out" / "compare.png").exists()
    assert all(float(row["macro_f1_low"]) <= float(row["macro_f1"]) <= float(row["macro_f1_high"]) for row in rows)
    assert all(load_model(tmp_path / "out" / run_id).classes for run_id in ids)


def test_of_several_one_that_cannot_be_exported_costs_itself_only(runs, command, tmp_path):
    source, good = runs.source("pca-forest")
    _, bad = runs.source("cnn-small", "class-weights")
    given = ("--results", str(runs.prepared.results.path.parent), "--name", runs.prepared.results.path.name)
    weights = source.predictions.folder.runs / bad / "model.weights.h5"
    hidden = weights.rename(tmp_path / "hidden")
    done = command("export", bad, good, *given, "--to", "out", "--compare")
    alone = command("export", bad, *given, "--to", "alone", "--compare")
    hidden.rename(weights)
    assert done.returncode == 1 and "1 not exported" in done.stdout and f"{bad}: " in done.stdout
    assert [row["run"] for row in csv.DictReader((tmp_path / "out" / "compare.csv").open())] == [good]
    assert alone.returncode == 2 and "is missing" in alone.stderr and not (tmp_path / "alone").exists()
