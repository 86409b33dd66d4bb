"""The tables of a leaderboard: rows, ranks, grid, effects, what is picked, and what is not ranked and why."""

import random
import statistics

import numpy as np
import pytest
from stored import SUBSETS, StoredRuns, board_of

from fer_bench import metrics
from fer_bench.analysis import Predictions, load_leaderboard, scores
from fer_bench.analysis.bootstrap import Resamples, bca_interval, influence, score_draws
from fer_bench.errors import FerBenchError
from fer_bench.records import Timing

# Rows


def test_every_run_is_on_the_board(board, suite):
    in_rows = sum(len(runs) for runs in board.rows["runs"])
    not_applicable = board.runs["status"].eq("not-applicable").sum()
    assert in_rows + len(board.failures) + not_applicable == len(suite.folder.records()) == len(board.runs)
    assert board.unranked.empty


def test_rows_are_ranked_by_macro_f1_and_frames_agree(board):
    assert board.rows["macro_f1"].is_monotonic_decreasing and board.rows["rank"].is_monotonic_increasing
    for row, line in board.rows.iterrows():
        assert row == f"{line['model']} / {line['strategy']}"
        own = board.scores.loc[[(run, "test") for run in line["runs"]], "macro_f1"]
        assert line["macro_f1"] == pytest.approx(own.mean())
        assert line["macro_recall"] == pytest.approx(board.recall.loc[(row, "test")].mean())
        assert (line["macro_f1_low"] <= line["macro_f1"] <= line["macro_f1_high"]) and line["rank_low"] >= 1
        assert line["in_best_set"] == (line["rank_low"] == 1) and line["rank_low"] <= line["rank_high"]


def test_the_order_of_records_does_not_matter(suite, board):
    records = suite.folder.records()
    shuffled = Predictions.load(suite.folder, suite.split, 0, random.Random(1).sample(records, len(records)))
    assert [run.run_id for run in shuffled.runs] == board.runs.index.tolist()


def test_scores_and_intervals_are_those_of_the_probabilities(stored_runs):
    labels, rows = stored_runs.labels["test"], stored_runs.predictions(2.0, seed=2)["test"]
    record = stored_runs.find("hog-svm")
    stored_runs.rewrite(record, test=record.test.model_copy(update={"macro_f1": 0.99}))
    line = board_of(stored_runs).rows.loc["hog-svm / none"]
    expected, answers = metrics.score(labels, rows, "abc"), rows.argmax(axis=1)
    assert [line[name] for name in scores.SCORES] == pytest.approx([getattr(expected, name) for name in scores.SCORES])
    draws = score_draws(Resamples.of(labels, 3), answers[None])[0, :, 1]
    interval = bca_interval(draws[0], draws[1:], influence(labels, 3, answers)[:, 1])
    assert (line["macro_f1_low"], line["macro_f1_high"]) == pytest.approx(interval, abs=1e-6)
    assert line["ece_scaled"] > 0 and line["temperature"] > 0


def test_rows_that_differ_by_one_answer_are_not_told_apart_and_bad_ones_are(stored_runs):
    rows = stored_runs.predictions(2.0, seed=2)
    rows["test"][0] = np.eye(3)[(stored_runs.labels["test"][0] + 1) % 3]
    stored_runs.add("twin-svm", rows)
    best = board_of(stored_runs).rows
    assert best["in_best_set"].to_dict() == {
        "hog-svm / none": True, "twin-svm / none": True, "pca-svm / none": False, "majority / none": False,
    }  # fmt: skip
    assert best.loc["majority / none", ["rank_low", "rank_high"]].tolist() == [4, 4]


def test_equal_scores_share_a_rank(stored_runs):
    stored_runs.add("a-twin", stored_runs.predictions(1.0, seed=1))
    rows = board_of(stored_runs).rows
    assert rows["rank"].to_dict() == {
        "hog-svm / none": 1, "a-twin / none": 2, "pca-svm / none": 2, "majority / none": 4,
    }  # fmt: skip


def test_seeds_are_averaged_with_their_standard_deviation_and_failed_ones_are_named(stored_runs):
    made = [stored_runs.add("cnn", stored_runs.predictions(1.5, seed=40 + s), seed=s, family="deep") for s in range(3)]
    failed = stored_runs.add("cnn", status="failed", reason="boom", seed=3, family="deep")
    board = board_of(stored_runs)
    line, values = board.rows.loc["cnn / none"], [record.test.macro_f1 for record in made]
    assert line["macro_f1"] == pytest.approx(statistics.fmean(values))
    assert line["macro_f1_sd"] == pytest.approx(statistics.stdev(values))
    assert (line["n_seeds"], line["runs"]) == (3, tuple(record.run_id for record in made))
    assert board.failures["run_id"].tolist() == [failed.run_id]
    expected = np.mean([[one.recall for one in record.test.per_class] for record in made], axis=0)
    assert board.recall.loc[("cnn / none", "test")].to_numpy() == pytest.approx(expected)
    assert np.isnan(board.rows.loc["hog-svm / none", "macro_f1_sd"])


def test_a_mean_with_a_missing_value_is_missing(stored_runs):
    for seed, cost in enumerate((0.4, None)):
        stored_runs.add(
            "cnn", stored_runs.predictions(1.0, seed), seed=seed, ms_per_image=cost, seconds=Timing(fit=12.5)
        )
    line = board_of(stored_runs).rows.loc["cnn / none"]
    assert np.isnan(line["ms_per_image"]) and line["fit_seconds"] == 12.5


def test_seconds_are_those_off_a_gpu_where_some_are(stored_runs):
    for model, devices in {"cnn": ("gpu", "cpu"), "resnet": ("gpu", "gpu")}.items():
        for seed, device in enumerate(devices):
            seconds = Timing(fit=10 if device == "gpu" else 100)
            stored_runs.add(
                model, stored_runs.predictions(1.0, seed), seed=seed, device=device, seconds=seconds, family="deep"
            )
    rows = board_of(stored_runs).rows
    assert rows.loc[["cnn / none", "resnet / none"], "seconds"].tolist() == [100, 10]
    assert rows.loc[["cnn / none", "resnet / none"], "on_gpu"].tolist() == [False, True]


def test_variants_of_a_model_are_rows_of_their_own(stored_runs):
    digest = "sha256:" + "0123456789abcdef" * 4
    asked = {
        "vgg16": [
            {"budget": "quick", "weights": "auto"},
            {"budget": "standard", "weights": "auto"},
            {"budget": "standard", "weights": digest},
        ],
        "cnn": [{"budget": "quick", "parameters": (("image_size", 64),)}, {"budget": "quick", "recipe": 2}],
        "hog-svm": [{"tuned": True, "parameters": (("C", 9.5),)}],
        "pca-svm": [
            {"tuned": True, "parameters": (("C", 9.5), ("gamma", 0.3))},
            {"tuned": True, "parameters": (("C", 2.0), ("gamma", 0.3))},
            {"tuned": True, "parameters": (("C", 2.0), ("gamma", 0.3), ("mixup", 0.2))},
        ],
    }
    for model, variants in asked.items():
        for number, one in enumerate(variants):
            stored_runs.add(model, stored_runs.predictions(1.0, number), asked=one)
    assert set(board_of(stored_runs).rows["model"]) == {
        "vgg16 (quick, weights auto)", "vgg16 (standard, weights auto)", "vgg16 (standard, weights sha256:01234567)",
        "cnn (quick, recipe 1, image size 64)", "cnn (quick)", "hog-svm", "hog-svm (tuned)", "majority", "pca-svm",
        "pca-svm (tuned, C 9.5)", "pca-svm (tuned, C 2.0)", "pca-svm (tuned, C 2.0, mixup 0.2)",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "weights", "unpretrained"),
    [("auto", "random", True), ("none", "random", True), ("auto", "imagenet", False), ("", "random", False)],
)
def test_rows_that_could_have_been_pretrained_are_marked(stored_runs, asked, weights, unpretrained):
    rows = stored_runs.predictions(1.0)
    stored_runs.add("vgg16", rows, family="deep", asked={"weights": asked}, initial_weights=weights)
    assert board_of(stored_runs).rows.loc["vgg16 / none", "unpretrained"] == unpretrained


def test_rows_no_better_than_a_constant_answer_do_not_speak(stored_runs):
    stored_runs.add("cnn", stored_runs.predictions(-9.0, seed=9))
    assert board_of(stored_runs).rows["speaks"].to_dict() == {
        "hog-svm / none": True, "pca-svm / none": True, "cnn / none": False,
        "majority / none": stored_runs.find("majority").test.accuracy > 1 / 3,
    }  # fmt: skip


# What surrounds the rows


def test_the_grid_shows_why_a_cell_is_empty(board):
    assert board.grid.columns[0] == "none" and board.grid.shape == board.grid_status.shape
    status = board.grid_status
    assert status.at["hog-svm", "focal-loss"] == "n/a" and np.isnan(board.grid.at["hog-svm", "focal-loss"])
    assert status.at["vgg16 (quick)", "over-sampling"] == "out-of-memory"
    assert status.at["cnn (quick)", "focal-loss"] == ""  # one of two seeds ended
    for row, line in board.rows.iterrows():
        assert board.grid.at[line["model"], line["strategy"]] == line["macro_f1"], row
    assert (board.grid_status.eq("") == board.grid.notna()).all(axis=None)


def test_what_was_not_tried_is_not_run(stored_runs):
    stored_runs.add("extra", status="cancelled")
    stored_runs.add("hog-svm", stored_runs.predictions(1.0), strategy="over-sampling")
    status = board_of(stored_runs).grid_status
    assert status.loc["extra"].to_dict() == {"none": "cancelled", "over-sampling": "not run"}
    assert status.at["pca-svm", "over-sampling"] == "not run"


def test_failures_keep_status_and_reason(board):
    assert board.failures[["model", "strategy", "seed", "status", "reason"]].to_numpy().tolist() == [
        ["cnn (quick)", "focal-loss", 1, "timeout", "stopped after 600 s"],
        ["vgg16 (quick)", "over-sampling", 0, "out-of-memory", "killed at 4.0 GiB"],
    ]


def test_reasons_that_repeat_are_grouped(board):
    assert set(board.not_applicable.itertuples(index=False, name=None)) == {
        (("class-weights", "focal-loss", "over-sampling"), ("majority",), "guesses"),
        (("focal-loss",), ("hog-svm", "pca-svm"), "knows cross-entropy"),
    }


def test_data_and_environment_are_told(board, suite):
    data = board.data
    assert (data.name, data.split_fingerprint, data.n_folds) == ("faces", suite.split, 0)
    assert (data.n_train, data.n_validation, data.n_test) == (90, 90, 90)
    assert (data.support, data.clean_support, data.minority, data.vote_counts) == ((30, 30, 30), (), (), None)
    assert data.notes == ("2 bad rows dropped",) and data.n_choosers == 90
    assert board.environment["processor"] == ("Example CPU",) and board.environment["numpy"] == ("2.4.0",)
    assert board.timed_alike and board.command == "python -m fer_bench run" and board.audit is None
    assert board.findings and all(finding.code.isupper() for finding in board.findings)


def test_machines_that_differ_are_not_timed_alike(stored_runs, board, suite):
    environment = suite.find("cnn").environment.model_copy(update={"processor": "Another", "git_revision": None})
    for model, one in {"hog-svm": environment, "pca-svm": suite.find("cnn").environment}.items():
        stored_runs.rewrite(stored_runs.find(model), environment=one)
    other = board_of(stored_runs)
    assert not other.timed_alike
    assert other.environment["processor"] == ("Another", "Example CPU")
    assert other.environment["git revision"] == ("abc1234",)


def test_minority_classes_have_less_than_half_an_even_share(tmp_path):
    runs = StoredRuns(tmp_path / "faces")
    runs.labels = {name: np.minimum(np.arange(90) % 10, 2) for name in SUBSETS}
    runs.write_split(runs.labels)
    runs.add("hog-svm", runs.predictions(1.0))
    assert board_of(runs).data.minority == ("top", "middle")


def test_the_newest_split_is_judged_and_the_others_are_counted(stored_runs):
    other = StoredRuns(stored_runs.folder.path, prefix="image")
    other.add("cnn", other.predictions(1.0), started="2026-02-01T00:00:00+00:00")
    board = load_leaderboard(stored_runs.folder)
    assert (board.rows.index.tolist(), len(board.predictions.elsewhere)) == (["cnn / none"], 3)
    asked = load_leaderboard(stored_runs.folder, split=("d" * 16, stored_runs.split, 0))
    assert (len(asked.rows), len(asked.predictions.elsewhere)) == (3, 1)


def test_no_record_is_one_message_and_no_success_a_board(tmp_path):
    runs = StoredRuns(tmp_path / "faces")
    with pytest.raises(FerBenchError, match="faces"):
        board_of(runs)
    runs.add("hog-svm", status="failed", reason="boom")
    board = board_of(runs)
    assert (len(board.rows), len(board.failures), board.picks) == (0, 1, {})
    assert board.grid_status.at["hog-svm", "none"] == "failed"
    assert [finding.code for finding in board.findings if finding.code == "NOTHING_RANKED"]


# Test-clean and votes


def test_without_facts_test_clean_is_unknown_and_with_them_it_is_another_score(stored_runs):
    before = board_of(stored_runs)
    assert before.clean is None and "clean_macro_f1" not in before.rows.dropna(axis=1)
    clean = np.arange(90) % 3 != 1
    labels, n = stored_runs.labels["test"].copy(), 90
    labels[:] = np.arange(n) // 30  # so that every class keeps clean images
    stored_runs.labels = dict.fromkeys(SUBSETS, labels)
    stored_runs.write_split(stored_runs.labels)
    stored_runs.mark_copies(~clean)
    board = board_of(stored_runs)
    assert sum(board.data.clean_support) == board.clean.sum() == 60 and board.data.test_has_copies
    line = board.rows.loc["hog-svm / none"]
    rows = stored_runs.folder.predictions(stored_runs.find("hog-svm").run_id)["test_probabilities"]
    expected = metrics.score(labels[clean], rows[clean], "abc")
    assert line["clean_macro_f1"] == pytest.approx(expected.macro_f1)
    assert line["clean_accuracy_low"] <= expected.accuracy <= line["clean_accuracy_high"]
    assert board.rows["clean_in_best_set"].any() and board.draws["clean"].rows
    assert board.recall.loc[("hog-svm / none", "clean")].tolist() == pytest.approx(
        [one.recall for one in expected.per_class]
    )


def test_votes_are_scored_where_there_are_some(stored_runs):
    counted = 8 * np.eye(3, 4, dtype=np.int64)[stored_runs.labels["test"]]
    counted[::5] = (0, 0, 0, 9)
    stored_runs.mark_copies(np.zeros(90, dtype=bool), counted, (*stored_runs.CLASS_NAMES, "unknown"))
    board = board_of(stored_runs)
    assert board.data.vote_counts == (72, 18, 0, 0)
    assert (board.rows["votes_accuracy"].between(0, 1) & board.rows["votes_macro_f1"].between(0, 1)).all()
