"""What a leaderboard says to somebody who has to choose."""

from dataclasses import replace

import pytest

from fer_bench.judging import findings, leaderboard
from fer_bench.judging.effects import StrategyEffect
from fer_bench.judging.inference import Change, Standing
from fer_bench.judging.references import REFERENCES, Reference
from fer_bench.judging.resampling import Interval
from fer_bench.judging.summary import summary
from fer_bench.judging.tables import Statistic
from fer_bench.records.schema import Timing


def board_of(*records):
    return leaderboard.build(records)


@pytest.fixture
def quick(make_record):
    return make_record("hog-svm", validation=make_record(skill=1.0).validation, seconds=Timing(fit=599))


@pytest.fixture
def slow(make_record):
    return make_record("cnn", validation=make_record(skill=3.0).validation, seconds=Timing(fit=3601))


def test_minutes_and_hours_have_a_row_each(quick, slow):
    told, gpu = findings.by_time(board_of(quick, slow))
    assert "use hog-svm / none with macro-F1" in told and ", about 10 minutes; with more, cnn / none" in told
    assert told.endswith("60 minutes. Both are picked by the validation images.")
    assert gpu.startswith("No network was trained on a GPU")


def test_features_count_as_training(quick, slow):
    whole = quick.model_copy(update={"seconds": Timing(fit=599, features=2)})
    assert [text for text in findings.by_time(board_of(whole, slow)) if "with more" in text] == []


def test_longer_training_that_is_no_better_is_not_advised(quick, slow):
    worse = slow.model_copy(update={"validation": quick.validation})
    assert [text for text in findings.by_time(board_of(quick, worse)) if "with more" in text] == []


def test_rows_of_a_gpu_are_told(quick, slow):
    *_, told = findings.by_time(board_of(quick, slow.model_copy(update={"device": "gpu"})))
    assert told.startswith("With a GPU, use cnn / none")


def test_minutes_of_a_gpu_are_not_those_of_a_processor(quick, slow):
    fast = slow.model_copy(update={"device": "gpu", "seconds": Timing(fit=60)})
    (told,) = findings.by_time(board_of(quick, fast))
    assert told.startswith("With a GPU, use cnn / none") and told.endswith("about 60 seconds.")


def test_a_row_of_both_has_the_seconds_of_the_processor(quick, slow, make_record):
    fast = make_record("cnn", seed=1).model_copy(update={"device": "gpu", "seconds": Timing(fit=60)})
    board = board_of(quick, slow, fast)
    (row,) = [row for row in board.rows if row.label == "cnn"]
    assert row.fit_seconds == 3601 and not row.on_gpu and row.scores["macro_f1"].sd
    assert not any("GPU" in told for told in findings.by_time(board))  # some of it was: "no network" would be wrong


def test_advice_tells_what_is_left_without_copies(quick, slow):
    board = board_of(quick, slow)
    clean = {"macro_f1": Statistic(0.408), "accuracy": Statistic(0.508)}
    board = replace(board, rows=tuple(replace(row, clean=clean) for row in board.rows))
    assert "test-clean" not in next(findings.by_time(board))  # no image has a copy: the scores are the same
    board = replace(board, facts=replace(board.facts, clean_support=(5,) * 7))
    assert next(findings.by_time(board)).count("% (on test-clean 0.408 and 50.8 %), about") == 2
    worse = replace(board, rows=tuple(sorted(board.rows, key=lambda row: row.label == "cnn")))
    (picked,) = [text for text in summary(worse) if text.startswith("Picked")]
    assert picked.endswith("% (on test-clean 0.408 and 50.8 %).")


def test_rows_fitted_to_the_validation_images_are_not_picked(make_record, quick):
    best = make_record(skill=3.0).validation
    adjusted = make_record("hog-svm", "post-hoc-adjustment", validation=best, adjusted_from="hog-svm.none.s0")
    ensemble = make_record("ensemble", "greedy-selection", validation=best, family="ensemble")
    board = board_of(quick, adjusted, ensemble)
    assert findings.picked(board.rows).name == "hog-svm / none"
    assert {row.strategy for row in board.rows if row.fitted} == {"greedy-selection", "post-hoc-adjustment"}
    (why,) = [text for text in summary(board) if "choosing_macro_f1" in text]
    assert why.endswith("of all rows trained here, but for those fitted to them: ensembles, post-hoc-adjustment.")


def change(value, p):
    return Change(value, value - 0.1, value + 0.1, p)


def test_who_gains_and_who_pays_is_counted_beyond_chance(quick):
    rows = [(0.2, 0.01), (0.3, 0.01), (-0.1, 0.01)], [(0.2, 0.04), (-0.3, 0.2), (-0.1, 0.01)], [(0.1, 0.3)] * 3
    effects = tuple(
        StrategyEffect("hog-svm", "s", 1, {}, (*(change(*one) for one in row), *[None] * 4)) for row in rows
    )  # fmt: skip
    learned_nothing = replace(effects[0], label="majority")
    board = replace(board_of(quick), strategy_effects=(*effects, learned_nothing))
    names = board.data.class_names
    (told,) = findings.who_pays(board)
    assert told == (
        f"Who pays: in 3 comparisons of these models with none, recall of {names[0]} rose beyond chance in 2 and "
        f"fell in 0; that of {names[2]} fell in 2 and rose in 0."
    )
    facts = replace(board.facts, clean_support=(5,) * 7)
    _, clean = findings.who_pays(replace(board, facts=facts, clean_effects=(*effects[1:], learned_nothing)))
    assert clean == (
        f"On test-clean recall of {names[0]} rose beyond chance in 1 of the 2 comparisons, where 5 images of it are "
        f"left to show a change, and that of {names[2]} fell in 1."
    )
    assert not list(findings.who_pays(board_of(quick)))


def test_copies_are_told_by_the_median_fall_of_rows_that_beat_a_constant_answer(quick, slow):
    board = board_of(quick, slow)
    facts = replace(board.facts, clean_support=(1,) * 7)  # whatever the mix there, classes count as on all images
    falls = {"cnn": 0.05, "hog-svm": 0.03}
    rows = tuple(
        replace(
            row,
            clean={"accuracy": Statistic(0.5), "macro_f1": Statistic(row.macro_f1 - 0.1)},
            clean_recall=tuple(recall - falls[row.label] for recall in row.recall),
        )
        for row in board.rows
    )
    (told,) = findings.inflation(replace(board, facts=facts, rows=rows))
    assert told == (
        "Without copies scores are lower: accuracy by 4.0 points, at the same mix of classes, and macro-F1, at the mix "
        "that is left, by 0.100, in the median of the 2 rows better than a constant answer (most: 5.0 points, cnn / "
        "none; 5.0 points, cnn / none)."
    )


def test_published_accuracies_are_placed_by_the_interval(quick):
    board = board_of(quick)
    row = replace(
        board.rows[0], scores=board.rows[0].scores | {"accuracy": Statistic(0.7)},
        intervals={"accuracy": Interval(0.69, 0.72)},
    )  # fmt: skip
    references = tuple(Reference(f"r{text}", text, "", "") for text in ("65 ± 5", "71", "73.28"))
    (told,) = findings.published(replace(board, rows=(row,), references=references))
    assert "70.0 (69.0–72.0) %, which" in told
    assert ": below it r65 ± 5 65 ± 5 %; within it r71 71 %; above it r73.28 73.28 %. Why" in told


def test_references_are_in_order_and_name_their_sources():
    for references in REFERENCES.values():
        values = [one.percent for one in references]
        assert values == sorted(values)
        assert all(one.source and one.caveat for one in references)


def test_rows_of_one_training_run_are_counted(make_record, quick):
    seeds = [make_record("pca-svm", seed=seed) for seed in (0, 1)]
    assert any(text.startswith("Trained once: 1 of 2 rows,") for text in summary(board_of(quick, *seeds)))
    assert any(text.startswith("Trained once: all rows,") for text in summary(board_of(quick)))


def test_known_weight_files_are_named(make_record):
    asked = "sha256:e0ca52214c83f862"
    board = board_of(make_record("vgg16", weights_asked=asked, initial_weights="file", weights_note="file a.h5"))
    assert board.rows[0].weights == "ImageNet (8-bit origin), file a.h5"


def test_a_faster_row_of_the_same_band_is_told(quick, slow, make_record):
    soon = make_record("pca-svm", validation=make_record(skill=2.0).validation, seconds=Timing(fit=1200))
    board = board_of(quick, slow, soon)

    def in_bands(**bands):
        still = Change(0.0, 0.0, 0.0, 1.0)
        standing = {row.label: Standing(bands.get(row.label, 1), still, 0.0, 1.0) for row in board.rows}
        return [
            *findings.by_time(replace(board, rows=tuple(replace(r, standing=standing[r.label]) for r in board.rows)))
        ]

    faster = "In less than half of that time, in the same band: "
    (told,) = [text for text in in_bands(**{"hog-svm": 2}) if text.startswith(faster)]
    assert told.startswith(f"{faster}pca-svm / none") and told.endswith("about 20 minutes.")
    assert not any(text.startswith(faster) for text in in_bands(**{"hog-svm": 2, "pca-svm": 2}))
