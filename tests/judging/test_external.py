"""Anyone's predictions: on record beside the others, and every bad row named with a count."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.judging.evidence import Evidence
from fer_bench.judging.external import LABELS_ONLY, put_on_record, read_predictions

CLASSES = ("top", "middle", "bottom")


@pytest.fixture
def evidence(stored_runs):
    return Evidence.newest(stored_runs.folder)


@pytest.fixture
def write(stored_runs, tmp_path):
    """write(lines, name): a CSV of the given lines; write(): good predictions of the test images."""

    def make(lines: list | None = None, name: str = "mine.csv") -> Path:
        path = tmp_path / name
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(good(stored_runs) if lines is None else lines)
        return path

    return make


def good(stored_runs, subsets: tuple[str, ...] = ("test",), skill: float = 3.0) -> list[list]:
    """Header and rows of valid predictions."""
    predictions = stored_runs.predictions(skill, seed=9)
    rows = [
        [sample_id, *map(float, row)]
        for subset in subsets
        for sample_id, row in zip(stored_runs.ids[subset], predictions[subset], strict=True)
    ]
    return [["sample_id", *CLASSES], *rows]


def test_probabilities_are_scored_as_given_whatever_the_order_of_rows_and_columns(stored_runs, evidence, write):
    header, *rows = good(stored_runs, ("test", "validation"))
    shuffled = [[row[3], row[0], row[1], row[2]] for row in [header, *reversed(rows)]]
    record, is_new = put_on_record(evidence, write(shuffled), "mine")
    expected = stored_runs.predictions(3.0, seed=9)
    assert is_new and record.family == "external" and record.spec.model == "mine"
    assert record.run_id.startswith("mine.external.s0-")
    for subset in ("validation", "test"):
        right = expected[subset].argmax(axis=1) == stored_runs.labels[subset]
        assert getattr(record, subset).accuracy == pytest.approx(right.mean())
    again = Evidence.newest(stored_runs.folder)
    np.testing.assert_allclose(again.probabilities(record, "test"), expected["test"], atol=1e-6)


def test_labels_will_do_and_say_that_they_are_no_probabilities(stored_runs, evidence, write):
    labels = stored_runs.labels["test"]
    rows = [[i, CLASSES[label]] for i, label in zip(stored_runs.ids["test"], labels, strict=True)]
    record, _ = put_on_record(evidence, write([["sample_id", "label"], *rows]))
    assert record.test.accuracy == 1 and record.validation is None and record.notes == [LABELS_ONLY]


def test_rows_may_sum_to_one_but_for_rounding(stored_runs, evidence, write):
    header, *rows = good(stored_runs)
    rounded = [[row[0], *(f"{value:.4f}" for value in row[1:])] for row in rows]
    probabilities = read_predictions(write([header, *rounded]), evidence).probabilities["test"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def edited(row: int, *fields):
    """A fault: other fields from some column of a row on."""

    def edit(lines: list[list]) -> None:
        lines[row][len(lines[row]) - len(fields) :] = fields

    return edit


FAULTS = {
    "unknown id": (lambda lines: lines[5].__setitem__(0, "row-999"), ["line 6: 'row-999' is no", "missing: row-184"]),
    "train id": (lambda lines: lines.append(["row-003", 1, 0, 0]), ["line 92: 'row-003' is no", "1 bad row:"]),
    "missing id": (lambda lines: lines.pop(5), ["missing: row-184, a test image", "1 bad row:"]),
    "repeated id": (lambda lines: lines.append(lines[1]), ["line 92: row-180 again, first on line 2"]),
    "not summing to one": (edited(3, 0.5, 0.2, 0.2), ["line 4: row-182: sums to 0.9000, not 1"]),
    "above one": (edited(3, 1.2, 0, 0), ["line 4: row-182: sums to 1.2000"]),
    "nan": (edited(3, "nan", 0.5, 0.5), ["line 4: row-182: not finite: nan, 0.5, 0.5"]),
    "infinite": (edited(3, "inf", 0, 0), ["line 4: row-182: not finite"]),
    "negative": (edited(3, -0.5, 1, 0.5), ["line 4: row-182: negative: -0.5, 1, 0.5"]),
    "empty": (edited(3, "", 0.5, 0.5), ["line 4: row-182: not numbers"]),
    "text": (edited(3, "high", 0.5, 0.5), ["line 4: row-182: not numbers: high"]),
    "too few fields": (lambda lines: lines[3].pop(), ["line 4: 3 fields, not 4"]),
    "too many fields": (lambda lines: lines[3].append(0), ["line 4: 5 fields, not 4"]),
    "some validation rows": (lambda lines: lines.append(["row-090", 1, 0, 0]), ["89 bad rows", "a validation image"]),
    "wrong class name": (lambda lines: lines[0].__setitem__(1, "up"), ["sample_id and either each of the 3", "'up'"]),
    "class missing": (lambda lines: [line.pop() for line in lines], ["it has 3 columns"]),
    "one class more": (lambda lines: [line.append(0) for line in lines], ["it has 5 columns"]),
    "class twice": (lambda lines: lines[0].__setitem__(1, "middle"), ["'middle', 'middle', 'bottom'"]),
    "no ids": (lambda lines: lines[0].__setitem__(0, "image"), ["'image', 'top'"]),
    "no header": (lambda lines: lines.pop(0), ["the first line must name sample_id"]),
    "nothing": (lambda lines: lines.clear(), ["the first line must name sample_id", "it has 0 columns"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_predictions_are_refused_in_one_message_and_leave_nothing(stored_runs, evidence, write, fault):
    edit, words = FAULTS[fault]
    lines = good(stored_runs)
    edit(lines)
    before = sorted(stored_runs.folder.runs.iterdir())
    with pytest.raises(FerBenchError) as error:
        put_on_record(evidence, write(lines), "mine")
    for word in ["mine.csv", *words]:
        assert word in str(error.value), str(error.value)
    assert sorted(stored_runs.folder.runs.iterdir()) == before


def test_all_bad_rows_are_told_at_once_with_their_count(stored_runs, evidence, write):
    lines = good(stored_runs)
    for row in range(1, 41):
        lines[row][1] = "nan"
    with pytest.raises(FerBenchError) as error:
        read_predictions(write(lines), evidence)
    assert "40 bad rows" in str(error.value) and "line 2: row-180" in str(error.value)
    assert "and 20 more" in str(error.value)


def test_spaces_that_belong_to_a_name_are_kept_and_others_are_not(stored_runs, evidence, write):
    ids = {subset: [f" {known}" for known in stored_runs.ids[subset]] for subset in stored_runs.ids}
    spaced = dataclasses.replace(
        evidence, class_names=(" top", *evidence.class_names[1:]),
        ids={subset: np.array(ids[subset]) for subset in ("validation", "test")},
    )  # fmt: skip
    lines = [["sample_id", " label "], *([known, " top"] for known in ids["test"][:-1]), [ids["test"][-1], "middle "]]
    path = write(lines)
    predictions = read_predictions(path, spaced)
    assert predictions.probabilities["test"].argmax(axis=1).tolist() == [0] * (len(ids["test"]) - 1) + [1]


def test_unknown_labels_are_named(stored_runs, evidence, write):
    rows = [[sample_id, "top"] for sample_id in stored_runs.ids["test"]]
    rows[4][1] = "3"
    with pytest.raises(FerBenchError, match="line 6: row-184: label '3' is none of top, middle, bottom"):
        read_predictions(write([["sample_id", "label"], *rows]), evidence)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\xff\xfe", None], ids=["binary", "folder"])
def test_unreadable_files_are_one_message(evidence, tmp_path, content):
    path = tmp_path / "bad.csv"
    path.mkdir() if content is None else path.write_bytes(content)
    for unreadable in (path, tmp_path / "nowhere.csv"):
        with pytest.raises(FerBenchError, match=unreadable.name):
            read_predictions(unreadable, evidence)


def test_same_file_again_adds_nothing(stored_runs, evidence, write):
    record, _ = put_on_record(evidence, write(), "mine")
    stamp = stored_runs.predictions_path(record).stat().st_mtime_ns
    again = Evidence.newest(stored_runs.folder)
    assert put_on_record(again, write(), "mine") == (record, False)
    assert stored_runs.predictions_path(record).stat().st_mtime_ns == stamp
    with pytest.raises(FerBenchError, match="is on record as mine already"):
        put_on_record(again, write(name="copy.csv"), "other")
    assert len(stored_runs.folder.records()) == 4


def test_another_file_under_the_same_name_needs_replace(stored_runs, evidence, write):
    first, _ = put_on_record(evidence, write(), "mine")
    better = write(good(stored_runs, skill=9.0), "better.csv")
    again = Evidence.newest(stored_runs.folder)
    with pytest.raises(FerBenchError, match=r"mine is on record from another file \(mine.csv\); `--replace`"):
        put_on_record(again, better, "mine")
    second, is_new = put_on_record(again, better, "mine", replace=True)
    assert is_new and second.run_id == first.run_id and second.test.accuracy > first.test.accuracy
    assert [r for r in stored_runs.folder.records() if r.family == "external"] == [second]


@pytest.mark.parametrize("name", ["../up", "My Model", "", "-", "a--b", "a/b", "x.y", "x" * 81])
def test_names_that_are_no_file_names_are_refused(evidence, write, name):
    with pytest.raises(FerBenchError, match="80 lower-case letters, digits and single dashes"):
        put_on_record(evidence, write(), name)


def test_name_of_a_model_of_the_suite_is_refused(evidence, write):
    with pytest.raises(FerBenchError, match="hog-svm: is a model of this suite"):
        put_on_record(evidence, write(), "hog-svm")


def test_name_comes_from_the_file_unless_given(evidence, write):
    record, _ = put_on_record(evidence, write(name="My Net_v2.csv"))
    assert record.spec.model == "my-net-v2"
    assert set(record.parameters) == {"file", "sha256"} and record.parameters["file"] == "My Net_v2.csv"
