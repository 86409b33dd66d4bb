"""Anyone's predictions: on record beside the others, and every bad row named with its line and a count."""

import csv
import dataclasses
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from fer_bench.analysis import Predictions
from fer_bench.analysis.evidence import external
from fer_bench.analysis.evidence.external import LABELS_ONLY
from fer_bench.analysis.evidence.prediction_files import read_predictions
from fer_bench.errors import FerBenchError
from fer_bench.metrics import OF_PROBABILITIES

CLASSES = ("top", "middle", "bottom")


@pytest.fixture
def predictions(stored_runs) -> Predictions:
    return Predictions.newest(stored_runs.folder)


@pytest.fixture
def write(stored_runs, tmp_path):
    """write(lines, name): a CSV of the given lines; write(): good predictions of the test images."""

    def make(lines: list | None = None, name: str = "mine.csv") -> Path:
        path = tmp_path / name
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(good(stored_runs) if lines is None else lines)
        return path

    return make


@pytest.fixture
def put_on_record(stored_runs):
    """put_on_record(path, name, ...) beside what is on record then."""

    def put(path: Path, *given, **more):
        newest = Predictions.newest(stored_runs.folder)
        return external.put_on_record(newest, stored_runs.folder, path, *given, **more)

    return put


def good(stored_runs, subsets: tuple[str, ...] = ("test",), skill: float = 3.0) -> list[list]:
    """Header and rows of valid predictions."""
    predicted = stored_runs.predictions(skill, seed=9)
    rows = [
        [sample_id, *map(float, row)]
        for subset in subsets
        for sample_id, row in zip(stored_runs.ids[subset], predicted[subset], strict=True)
    ]
    return [["sample_id", *CLASSES], *rows]


def test_probabilities_are_scored_as_given_whatever_the_order_of_rows_and_columns(stored_runs, put_on_record, write):
    header, *rows = good(stored_runs, ("test", "validation"))
    shuffled = [[row[3], row[0], row[1], row[2]] for row in [header, *reversed(rows)]]
    record, is_new = put_on_record(write(shuffled), "mine")
    expected = stored_runs.predictions(3.0, seed=9)
    assert is_new and (record.family, record.spec.model) == ("external", "mine")
    for subset in ("validation", "test"):
        right = expected[subset].argmax(axis=1) == stored_runs.labels[subset]
        assert getattr(record, subset).accuracy == pytest.approx(right.mean())
    stored = stored_runs.folder.predictions(record.run_id)["test_probabilities"]
    np.testing.assert_allclose(stored, expected["test"], atol=1e-6)


def test_labels_will_do_and_say_that_they_are_no_probabilities(stored_runs, put_on_record, write):
    rows = [[i, CLASSES[k]] for i, k in zip(stored_runs.ids["test"], stored_runs.labels["test"], strict=True)]
    record, _ = put_on_record(write([["sample_id", "label"], *rows]))
    assert record.test.accuracy == 1 and record.validation is None
    assert record.is_labels_only and record.notes == [LABELS_ONLY]
    assert [getattr(record.test, name) for name in OF_PROBABILITIES] == [None] * 5


def test_rows_may_sum_to_one_but_for_rounding(stored_runs, predictions, write):
    header, *rows = good(stored_runs)
    rounded = [[row[0], *(f"{value:.4f}" for value in row[1:])] for row in rows]
    probabilities = read_predictions(write([header, *rounded]), predictions).probabilities["test"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("index", ["", "Unnamed: 0", "index"])
def test_percent_rounded_to_whole_numbers_and_an_index_of_pandas_are_understood(stored_runs, predictions, write, index):
    ids = stored_runs.ids["test"]
    percent = [[index, "sample_id", *CLASSES], *([at, known, 33, 33, 33] for at, known in enumerate(ids))]
    shares = [["sample_id", *CLASSES], *([known, "0.33", "0.33", "0.33"] for known in ids)]
    both = [read_predictions(write(lines), predictions) for lines in (percent, shares)]
    np.testing.assert_allclose(both[0].probabilities["test"], 1 / 3, atol=1e-6)
    np.testing.assert_array_equal(both[0].probabilities["test"], both[1].probabilities["test"])
    with pytest.raises(FerBenchError, match=f"{len(ids)} bad rows"):
        read_predictions(write([shares[0], *([known, "0.33", "0.33", "0.30"] for known in ids)]), predictions)


def rounded(lines: list[list], digits: int) -> list[list]:
    return [lines[0], *([row[0], *(f"{value:.{digits}f}" for value in row[1:])] for row in lines[1:])]


def as_labels(lines: list[list]) -> list[list]:
    return [["sample_id", "label"], *([row[0], CLASSES[int(np.argmax(row[1:]))]] for row in lines[1:])]


@pytest.mark.parametrize("known_digits", [2, 17])
def test_the_same_answers_are_known_in_other_order_rounded_otherwise_and_as_labels(
    stored_runs, put_on_record, write, known_digits
):
    lines = good(stored_runs)
    record, _ = put_on_record(write(rounded(lines, known_digits)), "mine")
    stored_runs.rewrite(record, parameters={"sha256": "0", "answers": "0"})
    record = stored_runs.find("mine")
    others = [[lines[0], *reversed(lines[1:])], rounded(lines, 1), rounded(lines, 3), as_labels(rounded(lines, 2))]
    for at, same in enumerate(others):
        path = write(same, f"{at}.csv")
        assert put_on_record(path, "mine") == (record, False), at
        with pytest.raises(FerBenchError, match="on record as mine"):
            put_on_record(path, "other")
    near = [row[:1] + [0.97 * value + 0.01 for value in row[1:]] for row in lines[1:]]
    assert put_on_record(write([lines[0], *near], "near.csv"), "other")[1]


@pytest.mark.parametrize(("mark", "digits"), [(";", 4), ("\t", 2), (";", 17)])
def test_spreadsheets_semicolons_tabs_and_decimal_commas_are_read(stored_runs, predictions, write, mark, digits):
    lines = good(stored_runs)
    wanted = read_predictions(write(rounded(lines, digits)), predictions).probabilities["test"]
    path = write([[]], "sheet.csv")
    path.write_text("\ufeff" + "\n".join(mark.join(row).replace(".", ",") for row in rounded(lines, digits)))
    np.testing.assert_array_equal(read_predictions(path, predictions).probabilities["test"], wanted)


def test_names_are_compared_as_readers_of_data_do(stored_runs, predictions, write):
    ids = [f"fröhlich/{row}.png" for row in range(len(stored_runs.ids["test"]))]
    named = dataclasses.replace(
        predictions, class_names=("fröhlich", "sad", "Straße"), ids=predictions.ids | {"test": np.array(ids)}
    )
    rows = [row[1:] for row in good(stored_runs)[1:]]
    apart = [unicodedata.normalize("NFD", known) for known in ids]
    lines = [["Sample_ID", unicodedata.normalize("NFD", "FRÖHLICH"), "Sad", " STRASSE"]]
    lines += [[known, *row] for known, row in zip(apart, rows, strict=True)]
    found = read_predictions(write(lines), named).probabilities["test"]
    np.testing.assert_allclose(found, rows, atol=1e-6)
    labels = [["sample_id", "Label"], *([known, "STRASSE"] for known in apart)]
    assert read_predictions(write(labels), named).probabilities["test"][:, 2].all()
    with pytest.raises(FerBenchError, match="the first line must name"):
        read_predictions(write([["sample_id", "sad", "SAD", "Straße"], *lines[1:]]), named)


def edited(row: int, *fields):
    """A fault: other fields from some column of a row on."""

    def edit(lines: list[list]) -> None:
        lines[row][len(lines[row]) - len(fields) :] = fields

    return edit


FAULTS = {
    "unknown id": (lambda lines: lines[5].__setitem__(0, "row-999"), ["line 6", "row-999", "row-184", "like row-180"]),
    "train id": (lambda lines: lines.append(["row-003", 1, 0, 0]), ["line 92", "row-003", "1 bad row"]),
    "missing id": (lambda lines: lines.pop(5), ["row-184", "1 bad row"]),
    "repeated id": (lambda lines: lines.append(lines[1]), ["line 92", "row-180", "line 2"]),
    "not summing to one": (edited(3, 0.5, 0.2, 0.2), ["line 4", "row-182", "0.9000"]),
    "above one": (edited(3, 1.2, 0, 0), ["line 4", "row-182", "1.2000"]),
    "nan": (edited(3, "nan", 0.5, 0.5), ["line 4", "row-182", "nan, 0.5, 0.5"]),
    "infinite": (edited(3, "inf", 0, 0), ["line 4", "row-182", "inf"]),
    "negative": (edited(3, -0.5, 1, 0.5), ["line 4", "row-182", "-0.5, 1, 0.5", "logits"]),
    "empty": (edited(3, "", 0.5, 0.5), ["line 4", "row-182"]),
    "text": (edited(3, "high", 0.5, 0.5), ["line 4", "row-182", "high"]),
    "too few fields": (lambda lines: lines[3].pop(), ["line 4", "3 fields"]),
    "too many fields": (lambda lines: lines[3].append(0), ["line 4", "5 fields"]),
    "some validation rows": (lambda lines: lines.append(["row-090", 1, 0, 0]), ["89 bad rows", "row-091"]),
    "wrong class name": (lambda lines: lines[0].__setitem__(1, "up"), ["sample_id", "top", "'up'"]),
    "class missing": (lambda lines: [line.pop() for line in lines], ["3 columns"]),
    "one class more": (lambda lines: [line.append(0) for line in lines], ["5 columns"]),
    "class twice": (lambda lines: lines[0].__setitem__(1, "middle"), ["'middle', 'middle', 'bottom'"]),
    "no ids": (lambda lines: lines[0].__setitem__(0, "image"), ["'image', 'top'"]),
    "no header": (lambda lines: lines.pop(0), ["sample_id"]),
    "nothing": (lambda lines: lines.clear(), ["sample_id", "0 columns"]),
    "unknown label": (
        lambda lines: [
            line.__setitem__(slice(1, None), ["label" if at == 0 else "3"]) for at, line in enumerate(lines)
        ],
        ["90 bad rows", "line 6", "row-184", "'3'"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_predictions_are_refused_in_one_message_and_leave_nothing(stored_runs, put_on_record, write, fault):
    edit, words = FAULTS[fault]
    lines = good(stored_runs)
    edit(lines)
    before = sorted(stored_runs.folder.runs.iterdir())
    with pytest.raises(FerBenchError) as error:
        put_on_record(write(lines), "mine")
    for word in ["mine.csv", *words]:
        assert word in str(error.value), str(error.value)
    assert sorted(stored_runs.folder.runs.iterdir()) == before


def test_all_bad_rows_are_counted_and_the_first_named(stored_runs, predictions, write):
    lines = good(stored_runs)
    for row in range(1, 41):
        lines[row][1] = "nan"
    with pytest.raises(FerBenchError, match="40 bad rows") as error:
        read_predictions(write(lines), predictions)
    assert "line 2: row-180" in str(error.value) and "line 41:" not in str(error.value)


def test_spaces_that_belong_to_a_name_are_kept_and_others_are_not(stored_runs, predictions, write):
    ids = {subset: [f" {known}" for known in stored_runs.ids[subset]] for subset in stored_runs.ids}
    spaced = dataclasses.replace(
        predictions, class_names=(" top", *predictions.class_names[1:]),
        ids={subset: np.array(ids[subset]) for subset in ("validation", "test")},
    )  # fmt: skip
    lines = [["sample_id", " label "], *([known, " top"] for known in ids["test"][:-1]), [ids["test"][-1], "middle "]]
    answers = read_predictions(write(lines), spaced).probabilities["test"].argmax(axis=1)
    assert answers.tolist() == [0] * (len(ids["test"]) - 1) + [1]


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\xff\xfe", None], ids=["binary", "folder"])
def test_unreadable_files_are_one_message(predictions, tmp_path, content):
    path = tmp_path / "bad.csv"
    path.mkdir() if content is None else path.write_bytes(content)
    for unreadable in (path, tmp_path / "nowhere.csv"):
        with pytest.raises(FerBenchError, match=unreadable.name):
            read_predictions(unreadable, predictions)


def test_same_file_again_adds_nothing(stored_runs, put_on_record, write):
    record, _ = put_on_record(write(), "mine")
    stamp = stored_runs.predictions_path(record).stat().st_mtime_ns
    assert put_on_record(write(), "mine") == (record, False)
    assert stored_runs.predictions_path(record).stat().st_mtime_ns == stamp
    with pytest.raises(FerBenchError, match="mine"):
        put_on_record(write(name="copy.csv"), "other")
    assert len(stored_runs.folder.records()) == 4


def test_another_file_under_the_same_name_needs_replace(stored_runs, put_on_record, write):
    first, _ = put_on_record(write(), "mine")
    better = write(good(stored_runs, skill=9.0), "better.csv")
    with pytest.raises(FerBenchError, match="--replace"):
        put_on_record(better, "mine")
    second, is_new = put_on_record(better, "mine", replace=True)
    assert is_new and second.run_id == first.run_id and second.test.accuracy > first.test.accuracy
    assert [r for r in stored_runs.folder.records() if r.family == "external"] == [second]


@pytest.mark.parametrize("name", ["../up", "My Model", "", "-", "a--b", "a/b", "x.y", "x" * 81, "hog-svm"])
def test_names_that_are_no_file_names_or_taken_are_refused(put_on_record, write, name):
    with pytest.raises(FerBenchError, match=f"--as '?{name}"):
        put_on_record(write(), name)


def test_name_comes_from_the_file_unless_given(put_on_record, write):
    record, _ = put_on_record(write(name="My Net_v2.csv"))
    assert record.spec.model == "my-net-v2" and record.parameters["file"] == "My Net_v2.csv"
