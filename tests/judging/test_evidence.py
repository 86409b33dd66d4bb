"""Evidence: what is judged is checked first, and what does not belong is named."""

import gzip
import shutil

import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.judging.evidence import Evidence
from fer_bench.records.schema import Scores


def first(stored_runs):
    return stored_runs.folder.records()[0]


def test_labels_ids_and_probabilities_are_those_of_the_split(stored_runs):
    evidence = Evidence.load(stored_runs.folder, stored_runs.split)
    assert evidence.class_names == stored_runs.CLASS_NAMES and len(evidence.records) == 3
    for subset in ("validation", "test"):
        assert evidence.ids[subset].tolist() == stored_runs.ids[subset]
        assert evidence.labels[subset].tolist() == stored_runs.labels[subset].tolist()
    rows = evidence.probabilities(first(stored_runs), "test")
    with np.load(stored_runs.predictions_path(first(stored_runs))) as arrays:
        assert rows.dtype == np.float32 and np.array_equal(rows, arrays["test_probabilities"])


def test_run_without_stored_probabilities_has_none(stored_runs):
    stored_runs.predictions_path(first(stored_runs)).unlink()
    only_test = stored_runs.add("mine", {"test": stored_runs.predictions(1.0)["test"]})
    evidence = Evidence.load(stored_runs.folder, stored_runs.split)
    assert evidence.probabilities(first(stored_runs), "test") is None
    assert evidence.probabilities(only_test, "validation") is None
    assert evidence.probabilities(only_test, "test").shape == (90, 3)


def test_records_of_the_data_before_a_correction_are_left_out(stored_runs):
    """The ids are the same, and so the split, but the labels beside it are the new ones."""
    before = stored_runs.folder.records()
    new = stored_runs.add("cnn", stored_runs.predictions(1.0), data="e" * 16, started="2099-01-01T00:00:00Z")
    evidence = Evidence.newest(stored_runs.folder)
    assert [record.run_id for record in evidence.records] == [new.run_id]
    assert {record.run_id for record in evidence.elsewhere} == {record.run_id for record in before}
    assert evidence.data_fingerprint == "e" * 16


def test_records_of_a_split_without_a_file_are_refused_by_name(stored_runs, tmp_path):
    other = type(stored_runs)(tmp_path / "results" / "other", prefix="image")
    stranger = other.add("cnn", other.predictions(1.0))
    shutil.copytree(other.folder.runs / stranger.run_id, stored_runs.folder.runs / stranger.run_id)
    with pytest.raises(FerBenchError, match=stranger.run_id):
        Evidence.load(stored_runs.folder, stored_runs.split)
    shutil.copy(other.split_path, stored_runs.folder.path)
    evidence = Evidence.load(stored_runs.folder, stored_runs.split)
    assert [record.run_id for record in evidence.elsewhere] == [stranger.run_id]
    with pytest.raises(FerBenchError, match=f"{stranger.run_id}: is of split {other.split}"):
        evidence.probabilities(stranger, "test")


def test_records_of_other_classes_are_refused_by_name(stored_runs):
    names = ["top", "middle", "under"]

    def renamed(scores: Scores) -> Scores:
        per_class = [one.model_copy(update={"name": name}) for one, name in zip(scores.per_class, names, strict=True)]
        return scores.model_copy(update={"per_class": per_class})

    record = first(stored_runs)
    stored_runs.rewrite(record, class_names=names, validation=renamed(record.validation), test=renamed(record.test))
    with pytest.raises(FerBenchError, match=f"{first(stored_runs).run_id}: of classes top, middle, under"):
        Evidence.load(stored_runs.folder, stored_runs.split)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda text: text.replace("row-200,test", "row-900,test"), "ids or labels were changed"),
        (lambda text: text.replace("row-200,test,bottom", "row-200,test,"), "ids or labels were changed"),
        (lambda text: text.replace("row-200,test,bottom", "row-200,test,bottle"), "damaged.*bottle"),
        (lambda text: text.replace("sample_id", "sample"), "damaged"),
    ],
    ids=["id", "no label", "label", "header"],
)
def test_split_file_that_is_not_the_split_is_refused(stored_runs, edit, words):
    text = gzip.decompress(stored_runs.split_path.read_bytes()).decode()
    assert edit(text) != text
    stored_runs.split_path.write_bytes(gzip.compress(edit(text).encode()))
    with pytest.raises(FerBenchError, match=words):
        Evidence.load(stored_runs.folder, stored_runs.split)


def test_missing_or_broken_split_file_is_one_message(stored_runs):
    stored_runs.split_path.write_bytes(stored_runs.split_path.read_bytes()[:-20])
    with pytest.raises(FerBenchError, match="damaged"):
        Evidence.load(stored_runs.folder, stored_runs.split)
    stored_runs.split_path.unlink()
    with pytest.raises(FerBenchError, match="missing"):
        Evidence.load(stored_runs.folder, stored_runs.split)
    with pytest.raises(FerBenchError, match="no records of split nowhere"):
        Evidence.load(stored_runs.folder, "nowhere")


def swapped_ids(arrays: dict) -> dict:
    return arrays | {"test_ids": arrays["test_ids"][::-1]}


def ids_of_two_parts(arrays: dict) -> dict:
    return arrays | {"test_ids": np.zeros(90, [("subset", "U4"), ("row", int)])}


def not_a_number(arrays: dict) -> dict:
    return arrays | {"test_probabilities": np.where(np.eye(90, 3) > 0, np.nan, arrays["test_probabilities"])}


def pickled(arrays: dict) -> dict:
    return arrays | {"test_probabilities": arrays["test_probabilities"].astype(object)}


def too_short(arrays: dict) -> dict:
    return arrays | {"test_probabilities": arrays["test_probabilities"][:-1]}


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (swapped_ids, "test ids are not those of split"),
        (ids_of_two_parts, "test ids are not those of split"),
        (not_a_number, "not finite in 3 of 90 rows"),
        (pickled, "cannot be read"),
        (too_short, "89 test probabilities for 90 images"),
    ],
)
def test_damaged_probabilities_name_the_run(stored_runs, edit, words):
    path = stored_runs.predictions_path(first(stored_runs))
    with np.load(path) as arrays:
        np.savez(path, **edit(dict(arrays)))
    evidence = Evidence.load(stored_runs.folder, stored_runs.split)
    with pytest.raises(FerBenchError, match=words) as error:
        evidence.probabilities(first(stored_runs), "test")
    assert first(stored_runs).run_id in str(error.value)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """`content` cut off, or with thirty bytes of it changed."""
    if rng.random() < 0.3:
        return content[: rng.integers(len(content) - 20)]
    changed = np.frombuffer(content, np.uint8).copy()
    changed[rng.integers(len(content), size=30)] += 1
    return changed.tobytes()


def test_damaged_files_are_one_message_whatever_the_damage(stored_runs):
    record, rng = first(stored_runs), np.random.default_rng(0)
    records = stored_runs.folder.records()

    def read() -> None:
        Evidence.load(stored_runs.folder, stored_runs.split, records).probabilities(record, "test")

    for path, name in ((stored_runs.predictions_path(record), record.run_id), (stored_runs.split_path, "split-")):
        content = path.read_bytes()
        for _ in range(60):
            path.write_bytes(damaged(content, rng))
            with pytest.raises(FerBenchError, match=name):
                read()
        path.write_bytes(content)
    read()


def test_newest_is_the_split_of_the_newest_record(stored_runs, tmp_path):
    other = type(stored_runs)(stored_runs.folder.path, prefix="image")
    newer = other.add("cnn", other.predictions(1.0), started="2026-02-01T00:00:00+00:00")
    evidence = Evidence.newest(stored_runs.folder)
    assert evidence.split_fingerprint == other.split and evidence.records == (newer,)
    assert len(evidence.elsewhere) == 3
