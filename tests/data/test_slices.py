"""Columns as slices: what becomes of text, numbers, gaps, and columns that tell nothing apart."""

import numpy as np
import pytest

from fer_bench.data import ReadOptions, make_synthetic, open_dataset
from fer_bench.data.readers.attributes.slices import levels, with_slices
from fer_bench.data.readers.decoded import Decoded
from fer_bench.errors import FerBenchError


def decoded(**columns) -> Decoded:
    n = len(next(iter(columns.values())))
    return Decoded(
        np.zeros((n, 8, 8), np.uint8), np.arange(n) % 2, ("a", "b"), np.arange(n).astype(str),
        columns={name: np.array(values, dtype=np.str_) for name, values in columns.items()},
    )  # fmt: skip


def test_columns_become_slices_whatever_their_case_and_what_is_not_named_stays():
    read = with_slices(decoded(Gender=[" f", "m\u0000", "nan", ""], age=["1", "2", "3", "4"]), ["gender"])
    assert {name: values.tolist() for name, values in read.slices.items()} == {"Gender": ["f", "m", "", ""]}
    assert list(read.columns) == ["age"]
    with pytest.raises(FerBenchError, match=r"--slices pose,x: no such column .*; there are Gender, age"):
        with_slices(decoded(Gender=["f"], age=["1"]), ["pose", "age", "x"])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (range(1, 41), [("< 11", 10), ("11-20", 10), ("21-30", 10), (">= 31", 10)]),
        (np.linspace(0, 1, 41), [("0.25 to 0.5", 10), ("0.5 to 0.75", 10), ("< 0.25", 10), (">= 0.75", 11)]),
        ([1] * 30 + list(range(1, 14)), [("< 3", 32), (">= 3", 11)]),  # one of the quartiles cuts
        (["1.0", "2", "2.0"], [("1", 1), ("2", 2)]),  # few numbers are themselves
        ([*"ab" * 20, *map(chr, range(99, 120))], None),
        (["e\u0301", "é"], [("é", 2)]),
    ],
)
def test_many_numbers_are_cut_at_quartiles_and_rare_texts_are_others(values, expected):
    cut = levels("x", np.array([str(value) for value in values]))
    found = dict(zip(*np.unique(cut, return_counts=True), strict=True))
    if expected is None:
        assert (len(found), found["a"], found["b"], found["other"]) == (12, 20, 20, 12)
    else:
        assert found == dict(expected)


@pytest.mark.parametrize(
    ("values", "said"), [([""] * 3, "the column is empty"), (list("abcdefghijklmnopqrstuvwxyz"), "26 different values")]
)
def test_columns_that_tell_nothing_apart_are_refused_by_name(values, said):
    with pytest.raises(FerBenchError, match=f"--slices who: {said}"):
        levels("who", np.array(values))


def test_built_in_faces_know_their_difficulties_and_keep_those_that_are_named():
    levels = {"pose": {"frontal", "turned"}, "light": {"even", "side"}, "noise": {"low", "high"},
              "occlusion": {"none", "partial"}, "intensity": {"", "faint", "strong"}}  # fmt: skip
    faces = make_synthetic(120)
    assert {name: set(values.tolist()) for name, values in faces.slices.items()} == levels
    assert (faces.slices["intensity"] == "").sum() == pytest.approx(21, abs=8)  # the neutral ones
    kept = open_dataset("synthetic", options=ReadOptions(slices=("light",))).load()
    assert list(kept.slices) == ["light"] and (kept.slices["light"][:120] == faces.slices["light"]).all()
    with pytest.raises(FerBenchError, match="--slices age: the built-in faces know pose, light"):
        open_dataset("synthetic", options=ReadOptions(slices=("age",)))
