import math

import pytest
from boards import board, row

from fer_bench.report.columns import COLUMNS, MISSING, columns, duration, show, values


def test_a_name_is_used_once_and_every_column_is_explained():
    parts = [part for column in COLUMNS for part in column.parts]
    assert len(set(parts)) == len(parts)
    assert all(column.sentence.endswith(".") and column.title for column in COLUMNS)


def test_values_are_those_of_the_rows_with_intervals_spreads_and_recall():
    found = values(board(row("cnn", macro_f1=0.7, n_seeds=2), row("hog-svm", macro_f1=0.5)))
    assert found.loc["cnn / none", ["macro_f1", "macro_f1_low", "macro_f1_high"]].tolist() == pytest.approx(
        [0.7, 0.68, 0.72]
    )
    assert found["macro_f1_sd"].tolist() == pytest.approx([0.01, math.nan], nan_ok=True)
    assert found.loc["hog-svm / none", "clean_rank"] == 2
    assert found.loc["cnn / none", "recall_happy"] == found.loc["cnn / none", "clean_recall_happy"] == 0.5


def test_columns_of_which_nothing_is_known_are_left_out():
    names = [column.name for column in columns(board(row("cnn")))]
    assert "macro_f1" in names
    assert not {"initial_weights", "votes_accuracy", "missing"} & set(names)


def test_no_rows_have_no_values():
    assert len(values(board())) == 0


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.12345, "fraction", "0.123"), (0.12345, "percent", "12.3"), (1234567, "count", "1,234,567"),
        (0.5, "number", "0.500"), (18776.4, "number", "18,776"), (True, "flag", "yes"), (False, "flag", "no"),
        (math.nan, "fraction", MISSING), (None, "count", MISSING), ("", "text", MISSING), ("svm", "text", "svm"),
        (0.0, "percent", "0.0"),
    ],
)  # fmt: skip
def test_a_value_as_a_person_reads_it(value, kind, text):
    assert show(value, kind) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.043, "0.04 s"), (4.24, "4.2 s"), (62, "62 s"), (100, "2 min"), (3927, "65 min"), (13648, "3.8 h")],
)
def test_durations_are_in_their_natural_unit(seconds, text):
    assert duration(seconds) == text
