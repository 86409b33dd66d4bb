"""Scores on slices, by hand and where the truth is known; who is worst, which family copes."""

import gzip

import numpy as np
import pandas as pd
import pytest
from stored import StoredRuns

from fer_bench.analysis import load_leaderboard
from fer_bench.analysis.comparisons import Pick
from fer_bench.analysis.slices import Sliced, families_by_slice, slices_frame
from fer_bench.records import ImageFacts

LABELS = np.array([0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1])
POSE = np.array(["left"] * 6 + ["right"] * 6 + [""])


def judged(slices, labels, families, predicted, n_classes=2):
    """Sliced and the frame, for one deterministic run a row."""
    about = {"row": list(predicted), "family": families, "stochastic": False}
    runs = pd.DataFrame(about, index=pd.Index(list(predicted), name="run_id"))
    rows = runs.set_index("row").assign(model="m", strategy="none")
    sliced = Sliced.of(slices, labels, n_classes, runs, predicted)
    return sliced, slices_frame(sliced, rows)


def test_scores_are_those_of_a_slice_and_differences_weigh_the_others_to_its_classes():
    answers = np.array([0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0])
    _, frame = judged({"pose": POSE, "same": np.full(13, "x")}, LABELS, ["deep"], {"a": answers})
    left, right = frame.to_dict("records")
    assert (left["value"], left["n_images"], right["n_images"]) == ("left", 6, 6)  # "same" tells nothing apart
    assert left["accuracy"] == pytest.approx(4 / 6) and right["accuracy"] == pytest.approx(4 / 6)
    # class 0: 3 of 4 found, 4 answers; class 1: 1 of 2 found, 2 answers
    assert left["macro_f1"] == pytest.approx((2 * 3 / 8 + 2 * 1 / 4) / 2)
    # on the right, recall is 1/2 and 3/4; at the mix of the left, 4 to 2
    assert left["difference"] == pytest.approx(4 / 6 - (4 * 1 / 2 + 2 * 3 / 4) / 6)
    assert right["difference"] == pytest.approx(4 / 6 - (2 * 3 / 4 + 4 * 1 / 2) / 6)
    assert frame["is_small"].all() and frame["has_few_of_a_class"].all() and not frame["is_worse"].any()
    assert all(left[f"{m}_low"] <= left[m] <= left[f"{m}_high"] for m in ("accuracy", "macro_f1", "difference"))


def test_macro_f1_is_over_the_classes_that_a_slice_has():
    labels = np.array([0, 0, 1, 1, 0, 0])
    only, both = judged(
        {"age": np.array([">= 9", ">= 9", "< 9", "< 9", "< 9", "< 9"])}, labels, ["deep"], {"a": labels}, 3
    )[1].to_dict("records")[::-1]
    assert (only["value"], both["value"]) == (">= 9", "< 9")  # ranges stand by size
    assert (only["macro_f1"], both["macro_f1"]) == (pytest.approx(1), pytest.approx(1))
    assert only["accuracy_low"] < 0.9  # two of two are not certainty


def test_few_images_are_not_the_worst_slice_by_chance_and_the_family_that_copes_is_found():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 900)
    light = np.where(np.arange(900) < 3, "night", np.where(np.arange(900) < 450, "dark", "bright"))
    is_hard = light == "dark"

    def answers(hard, easy):
        right = rng.random(900) < np.where(is_hard, hard, easy)
        right[:3] = False  # all three at night are wrong
        return np.where(right, labels, (labels + 1) % 3)

    predicted = {"classical": answers(0.5, 0.8), "deep": answers(0.8, 0.8)}
    sliced, frame = judged({"light": light}, labels, ["classical", "deep"], predicted, 3)
    own = frame.set_index(["row", "value"])
    worst = own.loc["classical"].query("is_worst")
    assert worst.index.tolist() == ["dark"] and worst["is_worse"].all()
    assert own.at[("classical", "night"), "accuracy"] == 0 and own.at[("classical", "night"), "is_small"]
    assert own.at[("classical", "dark"), "difference"] == pytest.approx(-0.3, abs=0.07)
    picks = {family: Pick(family, (family,), family) for family in ("classical", "deep")}
    families = families_by_slice(sliced, picks).set_index("value")
    for measure in ("change", "copes"):
        assert families.at["dark", f"{measure}_low"] > 0.1
        assert families.at["dark", measure] == pytest.approx(0.3, abs=0.08)
    assert families.at["bright", "change_low"] < 0 < families.at["bright", "change_high"]
    assert families_by_slice(sliced, {"deep": picks["deep"]}).empty


@pytest.mark.parametrize("n_folds", [0, 3])
def test_slices_beside_the_runs_are_found_by_the_leaderboard_also_of_folds(tmp_path, n_folds):
    parts = StoredRuns.folds(tmp_path / "faces", n_folds) if n_folds else [StoredRuns(tmp_path / "faces")]
    for part in parts:
        for model, family, skill in (("cnn", "deep", 2.0), ("hog-svm", "classical", 1.0)):
            part.add(model, part.predictions(skill), family=family, stochastic=False)
    plain = load_leaderboard(parts[0].folder)
    assert plain.slices.empty and not {"WORST_SLICE", "FAMILY_BY_SLICE"} & {one.code for one in plain.findings}
    ids = np.array([one for part in parts for subset in ("validation", "test") for one in part.ids[subset]])
    gender = np.where(np.arange(len(ids)) % 2, "f", "m")
    path = parts[0].folder.images_path(parts[0].split)
    ImageFacts(ids, np.full(len(ids), "test"), np.full(len(ids), ""), slices={"gender": gender}).write(path)
    board = load_leaderboard(parts[0].folder)
    assert board.slices.groupby("row")["n_images"].sum().eq(90).all()
    by_code = {one.code: one.values for one in board.findings}
    assert by_code["WORST_SLICE"]["slice"] == "gender" and by_code["FAMILY_BY_SLICE"]["deep"] == "cnn / none"
    assert b"slice:gender" in gzip.decompress(path.read_bytes()).splitlines()[0]
