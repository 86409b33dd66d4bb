"""Records of schema 1 are read as those of schema 2: what was in notes and parameters is in fields."""

import json

import pytest
from pydantic import ValidationError

from fer_bench.records import Record, ResultsFolder, RunSpec

SPEC = {
    "model": "cnn", "strategy": "none", "seed": 0, "data_fingerprint": "9a2fc03b1dd5fef9",
    "split_fingerprint": "8a5a3b5c43eb15ab", "budget": "full", "weights": "", "fold": "", "tuned": False,
    "parameters": [],
}  # fmt: skip
OLD = {
    "schema_version": 1, "run_id": "cnn.none.s0-0123456789", "status": "success", "spec": SPEC, "dataset": "fer2013",
    "family": "deep", "features": "images", "class_names": ["angry", "happy"], "n_train": 28709,
    "n_validation": 3589, "n_test": 3589, "split_source": "official train, validation and test", "data_notes": [],
    "reason": None, "traceback": None, "weights": "random", "notes": ["bfloat16"], "n_rows": 28709, "steps": 22000,
    "n_parameters": 1234, "ms_per_image": 1.5, "parameters": {"class": "KerasClassifier"},
    "started": "2026-01-01T00:00:00+00:00", "command": "python -m fer_bench run",
}  # fmt: skip
BASE = "cnn-attention.none.s1-5f7c9f488d"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"device": "cpu", "initial_weights": "random", "weights_note": "random", "notes": []}),
        (
            {"notes": ["bfloat16", "on a GPU", "computed by jax"]},
            {"device": "gpu", "precision": "bfloat16", "notes": ["computed by jax"]},
        ),
        (
            {"weights": "file mobilenet_v2_1.0_imagenet_notop.weights.h5"},
            {"initial_weights": "file", "weights_note": "file mobilenet_v2_1.0_imagenet_notop.weights.h5"},
        ),
        ({"weights": "imagenet"}, {"initial_weights": "imagenet", "weights_note": "imagenet"}),
        (
            {"weights": "random (no network: ImageNet weights could not be had)"},
            {"initial_weights": "random", "weights_note": "random (no network: ImageNet weights could not be had)"},
        ),
        (
            {"family": "classical", "weights": "", "notes": []},
            {"device": None, "initial_weights": None, "weights_note": "", "members": {}, "adjusted_from": None},
        ),
        ({"status": "not-applicable", "weights": "", "notes": []}, {"device": None, "initial_weights": None}),
        (
            {
                "notes": ["bfloat16", f"probabilities of {BASE}, tau 0.2 chosen on 2,919 validation images"],
                "parameters": {"tau": 0.2, "base_predictions": "c10377b0"},
            },
            {"adjusted_from": BASE, "base_predictions": "c10377b0", "parameters": {"tau": 0.2}, "notes": []},
        ),
        ({"notes": [f"probabilities of {BASE}, tau chosen on validation"]}, {"adjusted_from": BASE, "notes": []}),
        (
            {
                "family": "ensemble", "weights": "", "notes": [f"mean of {BASE} (1.00)", "left out: none"],
                "parameters": {"weights": {BASE: 1.0}, "rounds": 1},
            },
            {"members": {BASE: 1.0}, "parameters": {"rounds": 1}, "notes": ["left out: none"], "device": None},
        ),
        (
            {"parameters": {"C": 1, "plugin_code": "abc"}},
            {"plugin_code": "abc", "base_predictions": None, "parameters": {"C": 1}},
        ),
        ({"family": "external", "weights": "", "parameters": {"file": "a.csv"}}, {"parameters": {"file": "a.csv"}}),
    ],
)  # fmt: skip
def test_words_become_fields(old, new):
    record = Record.model_validate(OLD | old)
    assert record.schema_version == 2
    assert {name: getattr(record, name) for name in new} == new
    assert Record.model_validate_json(json.dumps(OLD | old)) == record
    assert Record.model_validate_json(record.model_dump_json()) == record


def test_a_first_note_was_the_precision():
    record = Record.model_validate(OLD | {"notes": ["float32", "more"]})
    assert (record.precision, record.notes) == ("float32", ["more"])
    before = record.model_dump(exclude={"precision"}) | {"notes": ["float32", "more"]}
    assert Record.model_validate(before) == record


@pytest.mark.parametrize(
    ("fold", "numbers", "run_id"),
    [("", (0, 0), "cnn.none.s0-"), (None, (0, 0), "cnn.none.s0-"), ("2/5", (2, 5), "cnn.none.s0.f2-")],
)
def test_folds_become_numbers_and_run_ids_stay(fold, numbers, run_id):
    spec = {name: value for name, value in (SPEC | {"fold": fold}).items() if value is not None}
    record = Record.model_validate(OLD | {"spec": spec})
    assert (record.spec.fold, record.spec.n_folds) == numbers
    assert record.spec.run_id.startswith(run_id)


def test_run_ids_of_schema_1_are_those_of_today():
    spec = {"data_fingerprint": "data", "split_fingerprint": "split"}
    assert RunSpec("hog-svm", "none", 0, **spec).run_id == "hog-svm.none.s0-e2e545c4f9"
    assert RunSpec("hog-svm", "none", 0, **spec, fold=2, n_folds=5).run_id == "hog-svm.none.s0.f2-69167e7643"


@pytest.mark.parametrize(
    "spoilt",
    [
        {"spec": SPEC | {"fold": "1/x"}},
        {"spec": SPEC | {"fold": "6/5"}},
        {"spec": SPEC | {"fold": "1/99999999"}},
        {"spec": None},
        {"weights": 1},
        {"weights": "from somewhere"},
        {"notes": "on a GPU"},
        {"parameters": []},
        {"schema_version": 3},
    ],
)
def test_what_schema_1_does_not_allow_is_refused(spoilt):
    with pytest.raises(ValidationError):
        Record.model_validate(OLD | spoilt)


def test_planning_reads_both_schemas(tmp_path):
    folder, old = ResultsFolder(tmp_path), OLD | {"parameters": {"plugin_code": "abc", "base_predictions": "def"}}
    for run_id, content in (("old", json.dumps(old)), ("new", Record.model_validate(old).model_dump_json())):
        folder.record_path(run_id).parent.mkdir(parents=True)
        folder.record_path(run_id).write_text(content)
        state = folder.state(run_id)
        assert (state.status, state.plugin_code, state.base) == ("success", "abc", "def")
    assert [record["spec"]["n_folds"] for record in folder.raw_records()] == [0, 0]
