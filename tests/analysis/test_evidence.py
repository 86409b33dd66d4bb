"""What verification says beyond figures: runs that are copies, and audits that the data do not give."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from stored import SUBSETS, StoredRuns, subset_audit

from fer_bench import metrics
from fer_bench.analysis import Predictions
from fer_bench.analysis.evidence.identical import identical
from fer_bench.analysis.evidence.verify import verify
from fer_bench.data import Dataset, make_audit, make_split, stored_copies
from fer_bench.data.audit import copies_in_train
from fer_bench.records import ImageFacts
from fer_bench.report.text import sentence


def test_copies_passed_off_as_seeds_or_models_are_named_and_what_is_alike_for_good_reason_is_not(stored_runs):
    counts = [60, 20, 10]  # of rare classes, so that strategies have something to do
    stored_runs.write_audit(subsets=dict.fromkeys(("train", *SUBSETS), subset_audit(counts)))
    rows, base = stored_runs.predictions(2.0, seed=2), stored_runs.find("hog-svm")
    constant = {name: np.full((90, 3), [0.5, 0.3, 0.2], np.float32) for name in SUBSETS}
    for seed in range(3):
        stored_runs.add("dummy", constant, seed=seed, stochastic=True)
        stored_runs.add("svm", stored_runs.predictions(1.5, seed=8), seed=seed, stochastic=False)
        knn = {"plugin_code": "c", "parameters": {"class": "sklearn.KNN", "n_neighbors": 5}, "stochastic": True}
        stored_runs.add("knn", stored_runs.predictions(1.4, seed=9), seed=seed, **knn)
    stored_runs.add("hog-svm", rows, "post-hoc-adjustment", adjusted_from=base.run_id, parameters={"tau": 0.0})
    stored_runs.add("ensemble", rows, "greedy-selection", family="ensemble", members={base.run_id: 1.0})
    predictions = Predictions.newest(stored_runs.folder)
    assert list(identical(predictions)) == []
    copied = stored_runs.add("cnn", stored_runs.predictions(1.0, seed=20), seed=0, stochastic=True)
    again = stored_runs.add("cnn", stored_runs.predictions(1.0, seed=20), seed=1, stochastic=True)
    sharper = {name: metrics.probabilities_from_scores(np.log(of), 0.5) for name, of in rows.items()}
    renamed = stored_runs.add("mine", sharper, "external", family="external")
    found = verify(stored_runs.folder)
    assert {(*one.values["runs"], one.values["are_seeds"]) for one in found.remarks} == {
        (copied.run_id, again.run_id, True), (base.run_id, renamed.run_id, False),
    }  # fmt: skip
    assert all(one.code == "IDENTICAL_PREDICTIONS" and sentence(one) for one in found.remarks)


@pytest.fixture(scope="module")
def photographed(tmp_path_factory):
    """Runs, split, audit and facts as they follow from noisy images, of which 20 test images are in train too."""
    runs = StoredRuns(tmp_path_factory.mktemp("photographed") / "faces")
    images = np.random.default_rng(0).integers(0, 256, (270, 24, 24), dtype=np.uint8)
    images[180:200] = images[:20]
    ids = np.array([one for subset in ("train", *SUBSETS) for one in runs.ids[subset]])
    subsets = np.repeat(["train", *SUBSETS], 90)
    dataset = Dataset("faces", images, np.arange(270) % 3, runs.CLASS_NAMES, ids, subsets=subsets)
    split, copies = make_split(dataset), stored_copies(dataset)
    runs.folder.audit_path().write_text(json.dumps(make_audit(dataset, (split,), copies)))
    facts = ImageFacts(ids[90:], subsets[90:], copies_in_train(split, copies)[90:])
    facts.write(runs.folder.images_path(runs.split))
    runs.add("hog-svm", runs.predictions(1.0), data=dataset.fingerprint, split_source=split.source)
    return runs, dataset


def clear_the_copies(runs, audit):
    audit["subsets"]["test"] |= {"exact_in_train": 0}
    audit["exact"] = {"groups": 0, "images": 0, "largest": 1, "across": 0, "conflicting": 0}
    audit["unique_images"] = 270
    facts = ImageFacts.load(runs.folder.images_path(runs.split))
    dataclasses.replace(facts, copy_in_train=np.full(180, "")).write(runs.folder.images_path(runs.split))


TAMPERED_AUDITS = {
    "the canary": (lambda runs, audit: audit["canary"].update(linear=0.95), "canary.linear is 0.95"),
    "copies": (clear_the_copies, "20 test images are marked otherwise"),
    "people": (lambda runs, audit: audit.update(grouped_by="person", n_groups=90), "grouped_by is 'person'"),
    "classes of train": (
        lambda runs, audit: audit["subsets"]["train"].update(class_counts=[31, 29, 30]),
        "[31, 29, 30]",
    ),
    "looks": (lambda runs, audit: audit.update(appearance={}), "appearance.test.brightness is None"),
}


@pytest.mark.parametrize("what", TAMPERED_AUDITS)
def test_a_changed_audit_is_seen_where_the_data_are_given_and_taken_on_its_word_elsewhere(photographed, tmp_path, what):
    honest, dataset = photographed
    shutil.copytree(honest.folder.path, tmp_path / "faces")
    runs = StoredRuns(tmp_path / "faces")
    found = verify(runs.folder, dataset=dataset)
    assert found.is_sound, found.faults
    assert "UNCHECKED_DATA" not in {one.code for one in found.unchecked}
    tamper, words = TAMPERED_AUDITS[what]
    audit = json.loads(runs.folder.audit_path().read_text())
    tamper(runs, audit)
    runs.folder.audit_path().write_text(json.dumps(audit))
    assert any(words in fault for fault in verify(runs.folder, dataset=dataset).faults)
    assert "UNCHECKED_DATA" in {one.code for one in verify(runs.folder).unchecked}


def test_labels_and_data_that_are_others_are_seen(photographed, tmp_path):
    honest, dataset = photographed
    others = dataclasses.replace(dataset, labels=(dataset.labels + 1) % 3)
    assert any(others.fingerprint in fault for fault in verify(honest.folder, dataset=others).faults)
    shutil.copytree(honest.folder.path, tmp_path / "faces")
    runs = StoredRuns(tmp_path / "faces")
    runs.labels["test"] = np.roll(runs.labels["test"], 3 * 5 + 1)
    runs.write_split(runs.labels)
    assert any("90 test labels" in fault for fault in verify(runs.folder, dataset=dataset).faults)
