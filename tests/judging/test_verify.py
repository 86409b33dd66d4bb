"""Verification: honest folders stand, and every tampering is found and named."""

import shutil

import numpy as np
import pytest

from fer_bench.judging import ensemble, metrics
from fer_bench.judging.evidence import Evidence
from fer_bench.judging.render import write_leaderboard
from fer_bench.judging.verify import Standing, report, verify


@pytest.fixture
def judged(stored_runs):
    """Three runs and their ensemble, and the leaderboard of all four."""
    ensemble.put_on_record(Evidence.newest(stored_runs.folder))
    write_leaderboard(stored_runs.folder.records(), stored_runs.folder.path, "a command of its own")
    return stored_runs


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


def edit_the_table(judged, record):
    path = judged.folder.path / "leaderboard.csv"
    path.write_text(path.read_text().replace(f"{record.test.macro_f1:.6f}".rstrip("0"), "0.999"))
    return f"leaderboard.csv: {record.run_id}: macro_f1 is '0.999'"


def drop_a_row_of_the_table(judged, record):
    path = judged.folder.path / "leaderboard.csv"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if record.run_id not in line))
    return f"leaderboard.csv: {record.run_id}: is not there"


def edit_the_page(judged, record):
    path = judged.folder.path / "leaderboard.md"
    path.write_text(path.read_text().replace(f"{record.test.macro_f1:.3f}", "0.999"))
    return "leaderboard.md: the records do not give the line"


def shift_the_ensemble_s_weights(judged, record):
    mixed = find(judged, "ensemble")
    judged.rewrite(mixed, parameters=mixed.parameters | {"weights": {record.run_id: 1.0}})
    return f"{mixed.run_id}: its test probabilities are not the mean of its members"


@pytest.mark.parametrize(
    "tamper",
    [
        raise_a_score, edit_the_confusion_matrix, edit_a_class, raise_validation, swap_the_probabilities,
        sharpen_the_probabilities, take_another_run_s_probabilities, drop_the_validation_figures, change_labels,
        rename_the_run, move_to_another_run_id, break_the_record, mix_in_other_data, claim_more_images,
        pass_for_a_model_of_the_suite, hide_a_run, edit_the_table,
        drop_a_row_of_the_table, edit_the_page, shift_the_ensemble_s_weights,
    ],
)  # fmt: skip
def test_tampering_is_found_and_named(judged, tamper):
    words = tamper(judged, find(judged, "pca-svm"))
    assert words in told(judged), told(judged)


def test_tampered_row_is_refuted_and_the_others_stand(judged):
    raise_a_score(judged, find(judged, "pca-svm"))
    assert standings(judged)["pca-svm"] == Standing.refuted
    assert standings(judged)["hog-svm"] == Standing.rescored


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
