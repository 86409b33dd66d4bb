"""Verification: honest folders stand, and every tampering is found and named."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from fer_bench import metrics
from fer_bench.judging import ensemble
from fer_bench.judging.evidence import Evidence
from fer_bench.judging.render import write_leaderboard
from fer_bench.judging.verify import Standing, report, verify
from fer_bench.records.images import ImageFacts, images_path, write_images


@pytest.fixture
def judged(stored_runs):
    """Three runs and their ensemble, and the leaderboard of all four."""
    ensemble.put_on_record(Evidence.newest(stored_runs.folder))
    write_leaderboard(stored_runs.folder.records(), stored_runs.folder.path, "a command of its own")
    return stored_runs


def mark_copies(judged, n_near):
    """Say of the first images of validation and test that they have near copies in train."""
    n = len(judged.labels["test"])
    ids = np.array(judged.ids["validation"] + judged.ids["test"])
    copies = np.tile(np.where(np.arange(n) < n_near, "near", ""), 2)
    facts = ImageFacts(ids, np.repeat(["validation", "test"], n), copies)
    write_images(images_path(judged.folder.path, judged.split), facts)


def audit_copies(judged, n_near, data="d" * 16):
    """The audit of a split that has so many near copies in validation and in test."""
    nothing = {"groups": 0, "images": 0, "largest": 0, "across": 0, "conflicting": 0}
    subset = {
        "drawn": False, "images": 90, "class_counts": [30, 30, 30], "blank": 0, "exact_in_train": 0,
        "near_in_train": n_near, "exact_in_validation": 0,
    }  # fmt: skip
    audit = {
        "dataset": "faces", "data_fingerprint": data, "split_fingerprint": judged.split, "split_source": "official",
        "class_names": ["top", "middle", "bottom"], "images": 270, "unique_images": 270, "imbalance_ratio": 1.0,
        "class_sorted": False, "fer2013": False, "fer2013_differences": [], "exact": nothing, "near": nothing,
        "subsets": {"train": subset | {"near_in_train": 0}, "validation": subset, "test": subset},
        "near_pairs": n_near, "mirrored_pairs": 0, "near_threshold": 0.9, "straddling_groups": None, "blank_ids": [],
        "canary": {"images": 90, "nearest_neighbour": 0.4, "linear": 0.4, "majority": 0.3},
    }  # fmt: skip
    (judged.folder.path / "audit.json").write_text(json.dumps(audit))


def find(judged, model):
    return next(record for record in judged.folder.records() if record.spec.model == model)


def standings(judged, against=None) -> dict[str, Standing]:
    return {v.run_id.partition(".")[0]: v.standing for v in verify(judged.folder, against).verdicts}


def told(judged) -> str:
    found = verify(judged.folder)
    assert not found.is_sound
    return "\n".join([*found.faults, *(f"{v.run_id}: {r}" for v in found.verdicts for r in v.remarks)])


def test_honest_folder_stands(judged):
    found = verify(judged.folder)
    assert found.is_sound and found.faults == ()
    assert standings(judged) == {
        "ensemble": Standing.reproduced, "hog-svm": Standing.rescored,
        "majority": Standing.rescored, "pca-svm": Standing.rescored,
    }  # fmt: skip
    assert report(found)[-2:] == ["3 rescored, 1 reproduced", "nothing contradicts"]


def test_row_without_probabilities_is_self_reported(stored_runs):
    stored_runs.predictions_path(find(stored_runs, "pca-svm")).unlink()
    assert verify(stored_runs.folder).is_sound
    assert standings(stored_runs)["pca-svm"] == Standing.self_reported


def raise_a_score(judged, record):
    judged.rewrite(record, test=record.test.model_copy(update={"accuracy": 0.99}))
    return f"{record.run_id}: test.accuracy is 0.99, and "


def edit_the_confusion_matrix(judged, record):
    confusion = [row[:] for row in record.test.confusion]
    confusion[0][1], confusion[0][0] = confusion[0][1] - 1, confusion[0][0] + 1
    judged.rewrite(record, test=record.test.model_copy(update={"confusion": confusion}))
    return f"{record.run_id}: test.confusion[0][0] is {confusion[0][0]}, and {confusion[0][0] - 1}"


def edit_a_class(judged, record):
    classes = [record.test.per_class[0].model_copy(update={"recall": 1.0}), *record.test.per_class[1:]]
    judged.rewrite(record, test=record.test.model_copy(update={"per_class": classes}))
    return f"{record.run_id}: test.per_class[0].recall is 1, and "


def raise_validation(judged, record):
    judged.rewrite(record, validation=record.validation.model_copy(update={"macro_f1": 0.99}))
    return f"{record.run_id}: validation.macro_f1 is 0.99"


def swap_the_probabilities(judged, record):
    path = judged.predictions_path(record)
    with np.load(path) as arrays:
        better = metrics.probabilities_from_scores(9.0 * np.eye(3)[judged.labels["test"]], 1.0)
        np.savez(path, **{**arrays, "test_probabilities": better})
    return f"{record.run_id}: test.accuracy is "


def sharpen_the_probabilities(judged, record):
    """The same answers, but surer of themselves."""
    path = judged.predictions_path(record)
    with np.load(path) as arrays:
        sharper = metrics.probabilities_from_scores(np.log(arrays["test_probabilities"]), 0.1)
        np.savez(path, **{**arrays, "test_probabilities": sharper})
    return f"{record.run_id}: test.log_loss is "


def take_another_run_s_probabilities(judged, record):
    shutil.copy(judged.predictions_path(find(judged, "hog-svm")), judged.predictions_path(record))
    return f"{record.run_id}: test.accuracy is "


def drop_the_validation_figures(judged, record):
    judged.rewrite(record, validation=None)
    return f"{record.run_id}: validation probabilities are stored, but no validation figures"


def change_labels(judged, record):
    labels = judged.labels["test"].copy()
    labels[:30] = (labels[:30] + 1) % 3
    judged.write_split(judged.labels | {"test": labels})
    return f"no record follows from the labels in split-{judged.split}.csv.gz"


def rename_the_run(judged, record):
    judged.folder.record_path(record.run_id).parent.rename(judged.folder.runs / "cnn.none.s0-0123456789")
    return f"cnn.none.s0-0123456789/record.json: is the record of {record.run_id}"


def move_to_another_run_id(judged, record):
    judged.folder.record_path(record.run_id).parent.rename(judged.folder.runs / "cnn.none.s0-0123456789")
    path = judged.folder.record_path("cnn.none.s0-0123456789")
    path.write_text(path.read_text().replace(record.run_id, "cnn.none.s0-0123456789"))
    return f"cnn.none.s0-0123456789: its spec is that of {record.run_id}"


def break_the_record(judged, record):
    judged.folder.record_path(record.run_id).write_text("{")
    return f"{record.run_id}/record.json"


def mix_in_other_data(judged, record):
    stranger = judged.add("cnn", judged.predictions(1.0), data="e" * 16)
    return f"{stranger.run_id}: of other data"


def claim_more_images(judged, record):
    judged.rewrite(record, n_train=60_000)
    return f"{record.run_id}: n_train is 60000, and the split has"


def pass_for_a_model_of_the_suite(judged, record):
    mine = judged.add("mine", judged.predictions(1.0), strategy="external", family="deep")
    return f"{mine.run_id}: its family is deep, and its strategy external"


def hide_a_run(judged, record):
    judged.rewrite(record, status="failed", test=None, validation=None)
    return f"{record.run_id}: is on record as failed, and has stored predictions"


def strip(judged, record, subset):
    path = judged.predictions_path(record)
    with np.load(path) as arrays:
        np.savez(path, **{name: rows for name, rows in arrays.items() if not name.startswith(subset)})


def strip_the_validation_probabilities(judged, record):
    strip(judged, record, "validation")
    judged.rewrite(record, validation=record.validation.model_copy(update={"macro_f1": 0.99}))
    return f"{record.run_id}: validation figures are reported, and only test probabilities are stored"


def strip_the_test_probabilities(judged, record):
    strip(judged, record, "test")
    judged.rewrite(record, test=record.test.model_copy(update={"macro_f1": 0.99}))
    return f"{record.run_id}: test figures are reported, and only validation probabilities are stored"


def shift_the_ensemble_s_weights(judged, record):
    mixed = find(judged, "ensemble")
    judged.rewrite(mixed, members={record.run_id: 1.0})
    return f"{mixed.run_id}: its test probabilities are not the mean of its members"


def mix(judged, weights, **selected):
    """Put an ensemble of these weights on record: its probabilities, and all that is scored on them, fit together."""
    evidence = Evidence.newest(judged.folder)
    honest = find(judged, "ensemble")
    rows = {subset: ensemble.mixture(evidence, weights, subset) for subset in ("validation", "test")}
    return judged.add(
        "ensemble", rows, strategy="greedy-selection", family="ensemble", started=honest.started,
        members=weights, parameters=honest.parameters | selected,
    )  # fmt: skip


def tune_the_ensemble_s_weights(judged, record):
    mixed = mix(judged, {record.run_id: 0.3, find(judged, "hog-svm").run_id: 0.7})
    return f"{mixed.run_id}: members is not what greedy selection among its members gives"


def raise_the_ensemble_s_selection(judged, record):
    mixed = find(judged, "ensemble")
    path = [*mixed.parameters["validation_macro_f1"][:-1], 0.99]
    judged.rewrite(mixed, parameters=mixed.parameters | {"validation_macro_f1": path})
    return f"{mixed.run_id}: parameters.validation_macro_f1 is not what greedy selection among its members gives"


def invent_rounds_of_selection(judged, record):
    mixed = find(judged, "ensemble")
    judged.rewrite(mixed, parameters=mixed.parameters | {"rounds": 50})
    return f"{mixed.run_id}: parameters.rounds is not what greedy selection among its members gives"


def invent_what_the_ensemble_was_chosen_on(judged, record):
    mixed = find(judged, "ensemble")
    judged.rewrite(mixed, notes=[*mixed.notes, "chosen on the 60 validation images without a copy in train"])
    return f"{mixed.run_id}: its notes do not say that it was chosen on the 90 validation images that choose"


def hide_what_the_ensemble_was_chosen_on(judged, record):
    mark_copies(judged, n_near=30)
    mixed, _ = ensemble.put_on_record(Evidence.newest(judged.folder))
    assert verify(judged.folder).verdicts[0].standing == Standing.reproduced
    judged.rewrite(mixed, notes=[])
    return f"{mixed.run_id}: its notes do not say that it was chosen on the 60 validation images that choose"


def make_the_ensemble_its_own_member(judged, record):
    mixed = find(judged, "ensemble")
    path = {"rounds": 1, "validation_macro_f1": [mixed.validation.macro_f1]}
    judged.rewrite(mixed, members={mixed.run_id: 1.0}, parameters=path)
    return f"{mixed.run_id}: its members cannot be read: not on record as finished runs: {mixed.run_id}"


@pytest.mark.parametrize(
    "tamper",
    [
        raise_a_score, edit_the_confusion_matrix, edit_a_class, raise_validation, swap_the_probabilities,
        sharpen_the_probabilities, take_another_run_s_probabilities, drop_the_validation_figures, change_labels,
        rename_the_run, move_to_another_run_id, break_the_record, mix_in_other_data, claim_more_images,
        pass_for_a_model_of_the_suite, hide_a_run, strip_the_validation_probabilities, strip_the_test_probabilities,
        shift_the_ensemble_s_weights, tune_the_ensemble_s_weights, raise_the_ensemble_s_selection,
        invent_rounds_of_selection, invent_what_the_ensemble_was_chosen_on, hide_what_the_ensemble_was_chosen_on,
        make_the_ensemble_its_own_member,
    ],
)  # fmt: skip
def test_tampering_is_found_and_named(judged, tamper):
    words = tamper(judged, find(judged, "pca-svm"))
    assert words in told(judged), told(judged)


def test_tampered_row_is_refuted_and_the_others_stand(judged):
    raise_a_score(judged, find(judged, "pca-svm"))
    assert standings(judged)["pca-svm"] == Standing.refuted
    assert standings(judged)["hog-svm"] == Standing.rescored


def test_copies_that_the_audit_does_not_count_are_found(stored_runs):
    mark_copies(stored_runs, 20)
    audit_copies(stored_runs, 20)
    assert verify(stored_runs.folder).is_sound
    mark_copies(stored_runs, 50)
    images = images_path(stored_runs.folder.path, stored_runs.split).name
    assert verify(stored_runs.folder).faults == tuple(
        f"{images}: marks 50 {subset} images as near copies, and audit.json counts 20"
        for subset in ("validation", "test")
    )
    audit_copies(stored_runs, 20, data="e" * 16)  # says nothing of these images
    assert verify(stored_runs.folder).is_sound


def test_runs_after_an_ensemble_do_not_contradict_it(judged):
    judged.add("later", judged.predictions(2.5, seed=11), started="2099-01-01T00:00:00+00:00")
    write_leaderboard(judged.folder.records(), judged.folder.path)
    assert verify(judged.folder).is_sound
    assert standings(judged)["ensemble"] == Standing.reproduced


def test_ensemble_of_hand_picked_members_is_not_reproduced(judged):
    """Chosen by the rule, but among runs that someone chose before: nothing in it is wrong."""
    evidence = Evidence.newest(judged.folder)
    few = tuple(record for record in evidence.records if record.spec.model in ("majority", "pca-svm"))
    selection = ensemble.select(dataclasses.replace(evidence, records=few))
    path = list(selection.validation_macro_f1)
    mix(judged, selection.weights, rounds=len(path), validation_macro_f1=path)
    write_leaderboard(judged.folder.records(), judged.folder.path)
    found = verify(judged.folder)
    assert found.is_sound
    verdict = next(v for v in found.verdicts if v.run_id.startswith("ensemble"))
    assert verdict.standing == Standing.rescored and "picks others" in verdict.remarks[0]


@pytest.fixture
def rerun(stored_runs, tmp_path):
    """The same specs run again elsewhere: the SVM on HOG alike, that on PCA worse by far, `majority` a mere copy."""
    again = type(stored_runs)(tmp_path / "again" / "faces")
    when = {"started": "2026-03-01T00:00:00+00:00"}
    again.add("hog-svm", again.predictions(2.0, seed=77), **when)
    again.add("pca-svm", again.predictions(-2.0, seed=77), **when)
    again.add("majority", again.predictions(0.0, seed=0))
    return again


def test_reproduced_is_a_rerun_within_noise(stored_runs, rerun):
    found = {v.run_id.partition(".")[0]: v for v in verify(stored_runs.folder, rerun.folder).verdicts}
    assert found["hog-svm"].standing == Standing.reproduced
    assert found["pca-svm"].standing == Standing.rescored
    assert "beyond noise: accuracy, macro-F1" in found["pca-svm"].remarks[0]
    assert found["majority"].standing == Standing.rescored
    assert "a copy of this run" in found["majority"].remarks[0]


def test_rerun_must_itself_follow_from_its_probabilities(stored_runs, rerun):
    record = find(rerun, "hog-svm")
    rerun.rewrite(record, test=record.test.model_copy(update={"accuracy": 0.5}))
    found = verify(stored_runs.folder, rerun.folder)
    verdict = next(v for v in found.verdicts if v.run_id == record.run_id)
    assert verdict.standing == Standing.rescored and "do not follow" in verdict.remarks[0]


def test_row_that_was_not_run_again_is_rescored(stored_runs, rerun):
    shutil.rmtree(rerun.folder.runs)
    rerun.folder.prepare()
    found = verify(stored_runs.folder, rerun.folder)
    assert {v.standing for v in found.verdicts} == {Standing.rescored}
    assert all("no other run of the same spec" in v.remarks[0] for v in found.verdicts)
