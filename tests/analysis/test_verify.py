"""Verification: honest folders stand, and every tampering is found and named."""

import dataclasses
import functools
import json
import operator
import shutil

import numpy as np
import pytest
from stored import SUBSETS, StoredRuns, subset_audit

from fer_bench import metrics
from fer_bench.analysis import Predictions, Standing
from fer_bench.analysis.evidence import ensemble
from fer_bench.analysis.evidence.verify import Verdict, Verification, verify
from fer_bench.errors import FerBenchError

REPRODUCED, RESCORED, REFUTED = Standing.reproduced, Standing.rescored, Standing.refuted


@pytest.fixture(scope="module")
def ensemble_folder(stored_runs_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("ensemble") / "faces"
    shutil.copytree(stored_runs_folder, path)
    runs = StoredRuns(path)
    ensemble.put_on_record(Predictions.newest(runs.folder), runs.folder)
    return path


@pytest.fixture
def judged(ensemble_folder, tmp_path):
    """Three runs and their ensemble."""
    shutil.copytree(ensemble_folder, tmp_path / "results" / "faces")
    return StoredRuns(tmp_path / "results" / "faces")


def by_model(found: Verification) -> dict[str, Verdict]:
    return {verdict.run_id.partition(".")[0]: verdict for verdict in found.verdicts}


def standings(runs, against=None) -> dict[str, Standing]:
    return {model: verdict.standing for model, verdict in by_model(verify(runs.folder, against)).items()}


def test_honest_folder_stands(judged):
    found = verify(judged.folder)
    assert found.is_sound and found.faults == ()
    assert standings(judged) == {
        "ensemble": REPRODUCED, "hog-svm": RESCORED, "majority": RESCORED, "pca-svm": RESCORED,
    }  # fmt: skip


def test_row_without_probabilities_is_self_reported(stored_runs):
    stored_runs.predictions_path(stored_runs.find("pca-svm")).unlink()
    assert verify(stored_runs.folder).is_sound
    assert standings(stored_runs)["pca-svm"] == Standing.self_reported


# Each tampering returns what is refuted, None for the folder, and words that tell where.


def raise_a_score(judged, record):
    judged.rewrite(record, test=record.test.model_copy(update={"accuracy": 0.99}))
    return record.run_id, ["test.accuracy", "0.99"]


def edit_the_confusion_matrix(judged, record):
    confusion = [row[:] for row in record.test.confusion]
    confusion[0][1], confusion[0][0] = confusion[0][1] - 1, confusion[0][0] + 1
    judged.rewrite(record, test=record.test.model_copy(update={"confusion": confusion}))
    return record.run_id, ["test.confusion[0][0]", str(confusion[0][0]), str(confusion[0][0] - 1)]


def edit_a_class(judged, record):
    classes = [record.test.per_class[0].model_copy(update={"recall": 1.0}), *record.test.per_class[1:]]
    judged.rewrite(record, test=record.test.model_copy(update={"per_class": classes}))
    return record.run_id, ["test.per_class[0].recall"]


def raise_validation(judged, record):
    judged.rewrite(record, validation=record.validation.model_copy(update={"macro_f1": 0.99}))
    return record.run_id, ["validation.macro_f1", "0.99"]


def change_probabilities(judged, record, change):
    path = judged.predictions_path(record)
    with np.load(path) as arrays:
        np.savez(path, **{**arrays, "test_probabilities": change(arrays["test_probabilities"])})


def swap_the_probabilities(judged, record):
    better = metrics.probabilities_from_scores(9.0 * np.eye(3)[judged.labels["test"]], 1.0)
    change_probabilities(judged, record, lambda _: better)
    return record.run_id, ["test.accuracy"]


def sharpen_the_probabilities(judged, record):
    """The same answers, but surer of themselves."""
    change_probabilities(judged, record, lambda rows: metrics.probabilities_from_scores(np.log(rows), 0.1))
    return record.run_id, ["test.log_loss"]


def take_another_run_s_probabilities(judged, record):
    shutil.copy(judged.predictions_path(judged.find("hog-svm")), judged.predictions_path(record))
    return record.run_id, ["test.accuracy"]


def drop_the_validation_figures(judged, record):
    judged.rewrite(record, validation=None)
    return record.run_id, ["validation"]


def change_labels(judged, record):
    labels = judged.labels["test"].copy()
    labels[:30] = (labels[:30] + 1) % 3
    judged.write_split(judged.labels | {"test": labels})
    return None, [judged.split]


def rename_the_run(judged, record):
    judged.folder.record_path(record.run_id).parent.rename(judged.folder.runs / "cnn.none.s0-0123456789")
    return None, ["cnn.none.s0-0123456789", record.run_id]


def move_to_another_run_id(judged, record):
    judged.folder.record_path(record.run_id).parent.rename(judged.folder.runs / "cnn.none.s0-0123456789")
    path = judged.folder.record_path("cnn.none.s0-0123456789")
    path.write_text(path.read_text().replace(record.run_id, "cnn.none.s0-0123456789"))
    return "cnn.none.s0-0123456789", [record.run_id]


def break_the_record(judged, record):
    judged.folder.record_path(record.run_id).write_text("{")
    return None, [f"{record.run_id}/record.json"]


def claim_more_images(judged, record):
    judged.rewrite(record, n_train=60_000)
    return record.run_id, ["n_train", "60000"]


def pass_for_a_model_of_the_suite(judged, record):
    mine = judged.add("mine", judged.predictions(1.0), strategy="external", family="deep")
    return mine.run_id, ["deep", "external"]


def hide_a_run(judged, record):
    judged.rewrite(record, status="failed", test=None, validation=None)
    return None, [record.run_id, "failed"]


def strip(judged, record, subset):
    path = judged.predictions_path(record)
    with np.load(path) as arrays:
        np.savez(path, **{name: rows for name, rows in arrays.items() if not name.startswith(subset)})
    judged.rewrite(record, **{subset: getattr(record, subset).model_copy(update={"macro_f1": 0.99})})
    return record.run_id, [subset]


def strip_the_validation_probabilities(judged, record):
    return strip(judged, record, "validation")


def strip_the_test_probabilities(judged, record):
    return strip(judged, record, "test")


def shift_the_ensemble_s_weights(judged, record):
    mixed = judged.find("ensemble")
    judged.rewrite(mixed, members={record.run_id: 1.0})
    return mixed.run_id, ["test", "members"]


def mix(judged, weights, **selected):
    """Put an ensemble of these weights on record: its probabilities, and all that is scored on them, fit together."""
    predictions, honest = Predictions.newest(judged.folder), judged.find("ensemble")
    rows = {subset: ensemble.mixture(predictions, weights, subset) for subset in SUBSETS}
    return judged.add(
        "ensemble", rows, strategy="greedy-selection", family="ensemble", started=honest.started,
        members=weights, parameters=honest.parameters | selected, asked={"recipe": honest.spec.recipe},
    )  # fmt: skip


def tune_the_ensemble_s_weights(judged, record):
    mixed = mix(judged, {record.run_id: 0.3, judged.find("hog-svm").run_id: 0.7})
    return mixed.run_id, ["members"]


def raise_the_ensemble_s_gain(judged, record):
    mixed = judged.find("ensemble")
    gain = mixed.parameters["gain"] | {"macro_f1": [0.2, 0.1, 0.3]}
    judged.rewrite(mixed, parameters=mixed.parameters | {"gain": gain})
    return mixed.run_id, ["gain"]


def invent_bags_of_selection(judged, record):
    mixed = judged.find("ensemble")
    judged.rewrite(mixed, parameters=mixed.parameters | {"bags": 50})
    return mixed.run_id, ["bags"]


def choose_the_ensemble_on_copies(judged, record):
    """It was chosen on images that, as is known by now, have copies in train."""
    copied = np.arange(90) % 2 == 0
    labels, weak = judged.labels["validation"], judged.predictions(0.5, seed=3)
    right = 0.9 * np.eye(3)[labels] + 0.1 / 3
    judged.add("remembers", weak | {"validation": np.where(copied[:, None], right, weak["validation"])})
    mixed, _ = ensemble.put_on_record(Predictions.newest(judged.folder), judged.folder)
    assert verify(judged.folder).is_sound
    judged.mark_copies(copied)
    return mixed.run_id, ["log_loss"]


def unmark_copies_after_selection(judged, record):
    judged.mark_copies(np.arange(90) < 30)
    mixed, _ = ensemble.put_on_record(Predictions.newest(judged.folder), judged.folder)
    assert verify(judged.folder).is_sound
    judged.folder.images_path(judged.split).unlink()
    return mixed.run_id, ["log_loss"]


def make_the_ensemble_its_own_member(judged, record):
    mixed = judged.find("ensemble")
    judged.rewrite(mixed, members={mixed.run_id: 1.0})
    return mixed.run_id, ["members"]


def drop_the_ensemble_s_members(judged, record):
    mixed = judged.find("ensemble")
    judged.rewrite(mixed, members={})
    return mixed.run_id, ["members"]


def mark_more_copies_than_were_counted(judged, record):
    shutil.rmtree(judged.folder.runs / judged.find("ensemble").run_id)
    judged.write_audit(near_in_train=20)
    judged.mark_copies(np.arange(90) < 50)
    return None, [judged.folder.images_path(judged.split).name, "50", "20"]


def edit_audit(judged, **figures):
    """Write an honest audit, then change figures in it: `canary_linear` for "linear" of "canary"."""
    judged.write_audit(data_fingerprint=judged.find("pca-svm").spec.data_fingerprint)
    assert verify(judged.folder).is_sound
    path = judged.folder.audit_path()
    audit = json.loads(path.read_text())
    for figure, value in figures.items():
        *parents, name = figure.split("__")
        part = functools.reduce(operator.getitem, parents, audit)
        part[name] = value
    path.write_text(json.dumps(audit))
    return None, ["audit.json", *(figure.replace("__", ".") for figure in figures)]


def pass_for_fer2013(judged, record):
    return edit_audit(judged, fer2013=True)


def count_other_training_images(judged, record):
    where, _ = edit_audit(judged, subsets__train__class_counts=[60, 20, 10])
    return where, ["imbalance_ratio"]


def invent_a_majority(judged, record):
    return edit_audit(judged, canary__majority=0.9)


@pytest.mark.parametrize(
    "tamper",
    [
        pass_for_fer2013, count_other_training_images, invent_a_majority,
        raise_a_score, edit_the_confusion_matrix, edit_a_class, raise_validation, swap_the_probabilities,
        sharpen_the_probabilities, take_another_run_s_probabilities, drop_the_validation_figures, change_labels,
        rename_the_run, move_to_another_run_id, break_the_record, claim_more_images,
        pass_for_a_model_of_the_suite, hide_a_run, strip_the_validation_probabilities, strip_the_test_probabilities,
        shift_the_ensemble_s_weights, tune_the_ensemble_s_weights, raise_the_ensemble_s_gain,
        invent_bags_of_selection, choose_the_ensemble_on_copies, unmark_copies_after_selection,
        make_the_ensemble_its_own_member, drop_the_ensemble_s_members, mark_more_copies_than_were_counted,
    ],
)  # fmt: skip
def test_tampering_is_found_and_named(judged, tamper):
    where, words = tamper(judged, judged.find("pca-svm"))
    found = verify(judged.folder)
    assert not found.is_sound
    refuted = {verdict.run_id: verdict.remarks for verdict in found.verdicts if verdict.standing == REFUTED}
    said = "\n".join(refuted.get(where, ()) if where else found.faults)
    assert said and all(word in said for word in words), (refuted, found.faults)


def test_tampered_row_is_refuted_and_the_others_stand(judged):
    edit_a_class(judged, judged.find("pca-svm"))
    assert standings(judged) == {
        "ensemble": REPRODUCED, "hog-svm": RESCORED, "majority": RESCORED, "pca-svm": REFUTED,
    }  # fmt: skip


def test_runs_of_other_data_do_not_pass_for_rescored(judged):
    """The labels here are those of the newest data: the figures of the others cannot be followed."""
    stranger = judged.add("cnn", judged.predictions(1.0), data="e" * 16)
    found = verify(judged.folder)
    verdict = next(one for one in found.verdicts if one.run_id == stranger.run_id)
    assert verdict.standing == Standing.self_reported and verdict.remarks


def test_folds_are_verified_each_on_its_images(tmp_path):
    parts = StoredRuns.folds(tmp_path / "faces")
    records = [part.add("hog-svm", part.predictions(1.0, seed=part.fold)) for part in parts]
    assert [one.standing for one in verify(parts[0].folder).verdicts] == [RESCORED]
    parts[1].rewrite(records[1], test=records[1].test.model_copy(update={"accuracy": 0.99}))
    (verdict,) = verify(parts[0].folder).verdicts
    assert verdict.standing == REFUTED and "test.accuracy" in verdict.remarks[0]


def test_marks_that_the_audit_counts_are_no_fault_nor_is_the_audit_of_other_data(stored_runs):
    stored_runs.mark_copies(np.arange(90) < 20)
    stored_runs.write_audit(near_in_train=20)
    assert verify(stored_runs.folder).is_sound
    stored_runs.write_audit(near_in_train=50, data_fingerprint="e" * 16)
    assert verify(stored_runs.folder).is_sound


def test_runs_after_an_ensemble_do_not_contradict_it(judged):
    judged.add("later", judged.predictions(2.5, seed=11), started="2099-01-01T00:00:00+00:00")
    assert verify(judged.folder).is_sound
    assert standings(judged)["ensemble"] == REPRODUCED


def test_ensemble_of_hand_picked_members_is_not_reproduced(judged):
    """Chosen by the rule, but among runs that someone chose before: nothing in it is wrong."""
    predictions = Predictions.newest(judged.folder)
    few = tuple(run for run in predictions.runs if run.record.spec.model in ("majority", "pca-svm"))
    selection = ensemble.select(dataclasses.replace(predictions, runs=few))
    mix(judged, selection.weights, **selection.parameters)
    assert verify(judged.folder).is_sound
    assert standings(judged)["ensemble"] == RESCORED


@pytest.fixture
def rerun(stored_runs, tmp_path):
    """The same specs run again elsewhere: the SVM on HOG alike, that on PCA worse by far, `majority` a mere copy."""
    again = StoredRuns(tmp_path / "again" / "faces")
    when = {"started": "2026-03-01T00:00:00+00:00"}
    again.add("hog-svm", again.predictions(2.0, seed=77), **when)
    again.add("pca-svm", again.predictions(-2.0, seed=77), **when)
    again.add("majority", again.predictions(0.0, seed=0))
    return again


def test_reproduced_is_a_rerun_within_noise(stored_runs, rerun):
    assert standings(stored_runs, rerun.folder) == {"hog-svm": REPRODUCED, "pca-svm": RESCORED, "majority": RESCORED}


def test_rerun_must_itself_follow_from_its_probabilities(stored_runs, rerun):
    record = rerun.find("hog-svm")
    rerun.rewrite(record, test=record.test.model_copy(update={"accuracy": 0.5}))
    assert standings(stored_runs, rerun.folder)["hog-svm"] == RESCORED


def test_row_that_was_not_run_again_is_rescored(stored_runs, rerun):
    shutil.rmtree(rerun.folder.runs / rerun.find("hog-svm").run_id)
    assert standings(stored_runs, rerun.folder)["hog-svm"] == RESCORED
    shutil.rmtree(rerun.folder.runs)
    rerun.folder.prepare()
    with pytest.raises(FerBenchError, match="no run of the same data, split and spec"):
        verify(stored_runs.folder, rerun.folder)


def test_an_adjusted_run_follows_from_its_base_and_labels_from_the_audit(stored_runs):
    base, train = stored_runs.find("hog-svm"), np.bincount(stored_runs.labels["test"])
    stored_runs.write_audit(data_fingerprint=base.spec.data_fingerprint)
    before, share = stored_runs.folder.predictions(base.run_id), np.log(train / train.sum())
    rows = {name: metrics.adjust(before[f"{name}_probabilities"], share, 0.5) for name in SUBSETS}
    facts = {"adjusted_from": base.run_id, "strategy": "logit-adjustment"}
    honest = stored_runs.add("hog-svm", rows, **facts, parameters={"tau": 0.5})
    assert verify(stored_runs.folder).is_sound
    stored_runs.rewrite(honest, parameters={"tau": 0.5}, adjusted_from=stored_runs.find("pca-svm").run_id)
    refuted = [one.run_id for one in verify(stored_runs.folder).verdicts if one.standing == REFUTED]
    assert refuted == [honest.run_id]
    wrong = subset_audit([1, 1, 1])
    stored_runs.write_audit(
        data_fingerprint=base.spec.data_fingerprint, subsets=dict.fromkeys(("train", *SUBSETS), wrong)
    )
    assert sum("[1, 1, 1]" in fault for fault in verify(stored_runs.folder).faults) == 2
