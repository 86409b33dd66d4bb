"""What is judged is checked first, and what does not belong is named."""

import gzip
import shutil

import numpy as np
import pytest
from stored import SUBSETS, StoredRuns

from fer_bench.analysis import Predictions
from fer_bench.analysis.predictions import split_of
from fer_bench.errors import FerBenchError


def load(runs: StoredRuns, records=None) -> Predictions:
    return Predictions.load(runs.folder, runs.split, runs.n_folds, records or runs.folder.records())


def run_of(predictions: Predictions, model: str):
    return next(run for run in predictions.runs if run.record.spec.model == model)


def test_labels_ids_and_probabilities_are_those_of_the_split(stored_runs):
    predictions = load(stored_runs)
    assert predictions.class_names == stored_runs.CLASS_NAMES and len(predictions.runs) == 3
    for subset in SUBSETS:
        assert predictions.ids[subset].tolist() == stored_runs.ids[subset]
        assert predictions.labels[subset].tolist() == stored_runs.labels[subset].tolist()
    rows = predictions.probabilities(run_of(predictions, "hog-svm"), "test")
    assert rows.dtype == np.float32 and np.array_equal(rows, stored_runs.predictions(2.0, seed=2)["test"])


def test_run_without_stored_probabilities_has_none(stored_runs):
    stored_runs.predictions_path(stored_runs.find("pca-svm")).unlink()
    stored_runs.add("mine", {"test": stored_runs.predictions(1.0)["test"]})
    predictions = load(stored_runs)
    assert predictions.stored(run_of(predictions, "pca-svm")) == {}
    assert {subset: rows.shape for subset, rows in predictions.stored(run_of(predictions, "mine")).items()} == {
        "test": (90, 3)
    }


def test_records_of_the_data_before_a_correction_are_left_out(stored_runs):
    """The ids are the same, and so the split, but the labels beside it are the new ones."""
    before = stored_runs.folder.records()
    new = stored_runs.add("cnn", stored_runs.predictions(1.0), data="e" * 16, started="2099-01-01T00:00:00Z")
    predictions = Predictions.newest(stored_runs.folder)
    assert [run.run_id for run in predictions.runs] == [new.run_id]
    assert {record.run_id for record in predictions.elsewhere} == {record.run_id for record in before}
    assert predictions.split == split_of(new) == ("e" * 16, stored_runs.split, 0)


def test_records_of_a_split_without_a_file_are_refused_by_name(stored_runs, tmp_path):
    other = StoredRuns(tmp_path / "results" / "other", prefix="image")
    stranger = other.add("cnn", other.predictions(1.0))
    shutil.copytree(other.folder.runs / stranger.run_id, stored_runs.folder.runs / stranger.run_id)
    with pytest.raises(FerBenchError, match=stranger.run_id):
        load(stored_runs)
    shutil.copy(other.split_path, stored_runs.folder.path)
    predictions = load(stored_runs)
    assert [record.run_id for record in predictions.elsewhere] == [stranger.run_id]
    with pytest.raises(FerBenchError, match=stranger.run_id):
        predictions.probabilities(load(other).runs[0], "test")


def test_records_of_other_classes_are_refused_by_name(stored_runs):
    record, names = stored_runs.find("majority"), ["top", "middle", "under"]
    scores = {}
    for subset in SUBSETS:
        own = getattr(record, subset)
        per_class = [one.model_copy(update={"name": name}) for one, name in zip(own.per_class, names, strict=True)]
        scores[subset] = own.model_copy(update={"per_class": per_class})
    stored_runs.rewrite(record, class_names=names, **scores)
    with pytest.raises(FerBenchError, match=record.run_id):
        load(stored_runs)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("row-200,test", "row-900,test"),
        ("row-200,test,bottom", "row-200,test,"),
        ("row-200,test,bottom", "row-200,test,bottle"),
        ("sample_id", "sample"),
    ],
)
def test_split_file_that_is_not_the_split_is_refused(stored_runs, old, new):
    text = gzip.decompress(stored_runs.split_path.read_bytes()).decode()
    assert old in text
    stored_runs.split_path.write_bytes(gzip.compress(text.replace(old, new).encode()))
    with pytest.raises(FerBenchError, match=stored_runs.split_path.name):
        load(stored_runs)


def test_missing_split_file_and_split_without_records_are_one_message(stored_runs):
    with pytest.raises(FerBenchError, match="nowhere"):
        Predictions.load(stored_runs.folder, "nowhere", 0, stored_runs.folder.records())
    stored_runs.split_path.unlink()
    with pytest.raises(FerBenchError, match=stored_runs.split_path.name):
        load(stored_runs)


DAMAGE = {
    "swapped ids": lambda arrays: {"test_ids": arrays["test_ids"][::-1]},
    "ids of two parts": lambda arrays: {"test_ids": np.zeros(90, [("subset", "U4"), ("row", int)])},
    "not a number": lambda arrays: {
        "test_probabilities": np.where(np.eye(90, 3) > 0, np.nan, arrays["test_probabilities"])
    },
    "pickled": lambda arrays: {"test_probabilities": arrays["test_probabilities"].astype(object)},
    "too short": lambda arrays: {"test_probabilities": arrays["test_probabilities"][:-1]},
    "text": lambda arrays: {"test_probabilities": arrays["test_probabilities"].astype(str)},
    "none": lambda arrays: {"test_probabilities": arrays["test_probabilities"][:0]},
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_probabilities_name_the_run(stored_runs, damage):
    record = stored_runs.find("pca-svm")
    path = stored_runs.predictions_path(record)
    with np.load(path) as arrays:
        np.savez(path, **(dict(arrays) | DAMAGE[damage](arrays)))
    predictions = load(stored_runs)
    with pytest.raises(FerBenchError, match=record.run_id):
        predictions.probabilities(run_of(predictions, "pca-svm"), "test")


def test_damaged_files_are_one_message_whatever_the_damage(stored_runs):
    record, rng = stored_runs.find("pca-svm"), np.random.default_rng(0)
    records = stored_runs.folder.records()

    def read() -> None:
        predictions = load(stored_runs, records)
        predictions.probabilities(run_of(predictions, "pca-svm"), "test")

    def damaged(content: bytes) -> bytes:
        """Cut off, or with thirty bytes changed."""
        if rng.random() < 0.3:
            return content[: rng.integers(len(content) - 20)]
        changed = np.frombuffer(content, np.uint8).copy()
        changed[rng.integers(len(content), size=30)] += 1
        return changed.tobytes()

    for path, name in ((stored_runs.predictions_path(record), record.run_id), (stored_runs.split_path, "split-")):
        content = path.read_bytes()
        for _ in range(60):
            path.write_bytes(damaged(content))
            with pytest.raises(FerBenchError, match=name):
                read()
        path.write_bytes(content)
    read()


def test_newest_is_the_split_of_the_newest_record(stored_runs):
    other = StoredRuns(stored_runs.folder.path, prefix="image")
    newer = other.add("cnn", other.predictions(1.0), started="2026-02-01T00:00:00+00:00")
    predictions = Predictions.newest(stored_runs.folder)
    assert [run.record for run in predictions.runs] == [newer]
    assert len(predictions.elsewhere) == 3


def test_folds_of_one_seed_are_one_run_over_all_images(tmp_path):
    parts = StoredRuns.folds(tmp_path / "faces")
    made = [part.predictions(1.0, seed=part.fold) for part in parts]
    for part, rows in zip(parts, made, strict=True):
        part.add("hog-svm", rows)
        if part.fold != 2:
            part.add("pca-svm", rows)
    predictions = load(parts[0])
    whole, partial = (run_of(predictions, model) for model in ("hog-svm", "pca-svm"))
    assert (whole.is_scored, whole.missing_folds) == (True, ())
    assert (partial.is_scored, partial.missing_folds) == (False, (2,))
    for subset in SUBSETS:
        assert predictions.ids[subset].tolist() == [one for part in parts for one in part.ids[subset]]
        expected = np.concatenate([rows[subset] for rows in made])
        assert np.array_equal(predictions.probabilities(whole, subset), expected)
