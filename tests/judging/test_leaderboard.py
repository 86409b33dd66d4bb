import random
import statistics
import subprocess
import sys

import pytest

from fer_bench.judging import leaderboard
from fer_bench.judging.findings import picked
from fer_bench.judging.tables import Row, Statistic


def by_name(board: leaderboard.Leaderboard) -> dict[str, Row]:
    return {row.name: row for row in board.rows}


def cell(board: leaderboard.Leaderboard, label: str, strategy: str) -> Row | str:
    return board.grid.cells[board.grid.labels.index(label)][board.grid.strategies.index(strategy)]


def test_every_run_is_in_exactly_one_place(suite_records):
    board = leaderboard.build(suite_records)
    in_rows = sum(len(row.f1_by_run) for row in board.rows)
    not_applicable = sum(len(group.labels) * len(group.strategies) for group in board.not_applicable)
    assert in_rows + len(board.failures) + not_applicable == len(suite_records)
    assert in_rows == len(board.ranks) == sum(record.status == "success" for record in suite_records)


def test_rows_are_ranked_by_macro_f1_and_the_order_of_records_does_not_matter(suite_records):
    board = leaderboard.build(suite_records)
    assert [row.rank for row in board.rows] == sorted(row.rank for row in board.rows)
    assert [row.macro_f1 for row in board.rows] == sorted((row.macro_f1 for row in board.rows), reverse=True)
    shuffled = random.Random(1).sample(suite_records, len(suite_records))
    assert leaderboard.build(shuffled) == board


def test_scores_equal_to_four_decimals_share_a_rank(make_record):
    scores = {"a": 0.50004, "b": 0.5, "c": 0.5002, "d": 0.4}
    board = leaderboard.build([make_record(model, macro_f1=f1) for model, f1 in scores.items()])
    assert [(row.label, row.rank) for row in board.rows] == [("c", 1), ("a", 2), ("b", 2), ("d", 4)]


def test_seeds_are_averaged_with_their_standard_deviation_and_missing_ones_are_named(make_record):
    values = [0.5, 0.6, 0.64]
    records = [make_record("cnn", seed=seed, budget="quick", macro_f1=f1) for seed, f1 in enumerate(values)]
    records.append(make_record("cnn", seed=3, budget="quick", status="failed", reason="boom"))
    (row,) = leaderboard.build(records).rows
    assert row.macro_f1 == pytest.approx(statistics.fmean(values))
    assert row.scores["macro_f1"].sd == pytest.approx(statistics.stdev(values))
    assert row.missing == ("seed 3",)
    assert row.f1_by_run == {(seed, ""): value for seed, value in enumerate(values)}
    expected = [statistics.fmean(r.test.per_class[i].recall for r in records[:3]) for i in range(7)]
    assert row.recall == pytest.approx(expected)


def test_one_seed_has_no_standard_deviation(make_record):
    (row,) = leaderboard.build([make_record()]).rows
    assert row.scores["accuracy"].sd is None


def test_a_mean_with_a_missing_value_is_missing(make_record):
    records = [make_record("cnn", seed=0), make_record("cnn", seed=1, ms_per_image=None)]
    (row,) = leaderboard.build(records).rows
    assert row.ms_per_image is None
    assert row.fit_seconds == pytest.approx(12.5)


def test_budgets_and_weights_of_one_model_are_different_rows(make_record):
    digest = "sha256:" + "0123456789abcdef" * 4
    records = [
        make_record("vgg16", budget="quick", weights_asked="auto"),
        make_record("vgg16", budget="standard", weights_asked="auto"),
        make_record("vgg16", budget="standard", weights_asked=digest),
        make_record("cnn", budget="quick"),
        make_record("hog-svm"),
    ]
    labels = {row.label for row in leaderboard.build(records).rows}
    assert labels == {
        "vgg16 (quick, weights auto)", "vgg16 (standard, weights auto)", "vgg16 (standard, weights sha256:01234567)",
        "cnn (quick)", "hog-svm",
    }  # fmt: skip


def test_the_newest_split_is_shown_and_the_others_are_counted(make_record):
    old = [make_record("pca-svm", split="old", started="2025-01-01T00:00:00Z"), make_record("hog-svm", data="other")]
    new = [make_record("hog-svm", split="new", started="2025-03-01T00:00:00Z")]
    board = leaderboard.build(new + old)
    assert [row.label for row in board.rows] == ["hog-svm"]
    assert board.data
    assert board.data.split_fingerprint == "new"
    assert board.n_elsewhere == 2
    asked = leaderboard.build(new + old, split=("d" * 16, "old"))
    assert [row.label for row in asked.rows] == ["pca-svm"]


def test_the_grid_shows_why_a_cell_is_empty(suite_records, make_record):
    board = leaderboard.build([*suite_records, make_record("extra", "none", status="cancelled")])
    assert board.grid.strategies[0] == "none"
    assert cell(board, "hog-svm", "focal-loss") == "n/a"
    assert cell(board, "pca-mlp", "class-weights") == "failed"
    assert cell(board, "vgg16 (quick)", "over-sampling") == "out-of-memory"
    assert cell(board, "extra", "none") == "cancelled"
    assert cell(board, "extra", "focal-loss") == "-"
    partly = cell(board, "cnn (quick)", "focal-loss")
    assert isinstance(partly, Row)
    assert partly.missing == ("seed 1",)


def test_failures_keep_status_and_reason(suite_records):
    failures = {failure.run_id: failure for failure in leaderboard.build(suite_records).failures}
    assert {failure.status for failure in failures.values()} == {"failed", "timeout", "out-of-memory"}
    timeout = next(failure for failure in failures.values() if failure.status == "timeout")
    assert (timeout.label, timeout.strategy, timeout.seed) == ("cnn (quick)", "focal-loss", 1)
    assert timeout.reason == "stopped after 600 s"


def test_a_success_without_test_scores_is_no_row_but_is_not_lost(make_record):
    board = leaderboard.build([make_record(test=None), make_record("pca-svm")])
    assert [row.label for row in board.rows] == ["pca-svm"]
    assert [failure.label for failure in board.failures] == ["hog-svm"]


def test_reasons_that_repeat_are_grouped(suite_records):
    groups = {group.reason: group for group in leaderboard.build(suite_records).not_applicable}
    focal = groups["cannot be trained with focal loss (it knows cross-entropy)"]
    assert focal.strategies == ("focal-loss",)
    assert focal.labels == ("hog-forest", "hog-svm", "pca-forest", "pca-logistic", "pca-mlp", "pca-svm")
    guess = groups["guesses without looking at an image: there is nothing to rebalance"]
    assert guess.labels == ("majority",)
    assert guess.strategies == ("class-weights", "focal-loss", "over-sampling")


def test_effects_compare_a_model_with_itself_over_the_seeds_both_have(make_record):
    records = [
        make_record("cnn", "none", 0, macro_f1=0.50), make_record("cnn", "none", 1, macro_f1=0.90),
        make_record("cnn", "class-weights", 0, macro_f1=0.53),
        make_record("hog-svm", "none", macro_f1=0.50), make_record("hog-svm", "class-weights", macro_f1=0.49),
        make_record("pca-svm", "none", macro_f1=0.40), make_record("pca-svm", "class-weights", macro_f1=0.40),
        make_record("pca-mlp", "class-weights", macro_f1=0.99),
    ]  # fmt: skip
    (effect,) = leaderboard.build(records).effects
    assert (effect.strategy, effect.n_models, effect.n_higher, effect.n_lower) == ("class-weights", 3, 1, 1)
    assert effect.median_change == 0


def test_the_choice_by_validation_ignores_test_scores(make_record):
    lucky, steady = make_record("pca-svm", macro_f1=0.9, skill=0.2), make_record("hog-svm", macro_f1=0.5, skill=2.0)
    board = leaderboard.build([lucky, steady])
    assert board.rows[0].label == "pca-svm"
    assert picked(board.rows) is by_name(board)["hog-svm / none"]
    assert picked(leaderboard.build([make_record(validation=None)]).rows) is None


@pytest.mark.parametrize(
    ("asked", "weights", "unpretrained"),
    [
        ("auto", "random", True),
        ("none", "random", True),
        ("auto", "imagenet", False),
        ("", "random", False),
    ],
)
def test_rows_that_could_have_been_pretrained_are_marked(make_record, asked, weights, unpretrained):
    (row,) = leaderboard.build([make_record("vgg16", weights_asked=asked, initial_weights=weights)]).rows
    assert row.unpretrained is unpretrained


def test_differing_environments_and_repeated_notes_are_joined(make_record):
    first = make_record("hog-svm", notes=["did not converge"], data_notes=["2 bad rows dropped"])
    environment = first.environment.model_copy(update={"versions": {"numpy": "2.5.0"}, "git_revision": None})
    second = make_record(
        "pca-svm", notes=["did not converge"], data_notes=["2 bad rows dropped"], environment=environment
    )
    board = leaderboard.build([first, second])
    assert board.environment["numpy"] == ("2.4.0", "2.5.0")
    assert board.environment["git revision"] == ("abc1234",)
    assert board.notes == {"did not converge": ("hog-svm / none", "pca-svm / none")}
    assert board.data
    assert board.data.notes == ("2 bad rows dropped",)


def test_no_record_and_no_success_are_boards_too(make_record):
    empty = leaderboard.build([])
    assert (empty.data, empty.rows, empty.grid.labels) == (None, (), ())
    failed = leaderboard.build([make_record(status="failed", reason="boom")])
    assert failed.rows == ()
    assert failed.data
    assert failed.data.support == ()
    assert cell(failed, "hog-svm", "none") == "failed"


def test_reporting_imports_nothing_heavy():
    heavy = ("sklearn", "scipy", "tensorflow", "keras", "pandas", "cv2", "skimage", "matplotlib")
    code = (
        "import sys; import fer_bench.judging.leaderboard, fer_bench.judging.render;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def folds(make_record, model, done, n_folds=3, macro_f1=0.5):
    return [make_record(model, fold=number, n_folds=n_folds, macro_f1=macro_f1 + number / 100) for number in done]


def test_folds_are_one_row_and_an_incomplete_set_is_marked_and_ranked_below(make_record):
    records = folds(make_record, "hog-svm", [1, 2, 3]) + folds(make_record, "pca-svm", [1, 3], macro_f1=0.9)
    whole, part = leaderboard.build(records).rows
    assert (whole.label, whole.rank, whole.missing) == ("hog-svm", 1, ())
    assert (part.label, part.rank, part.missing) == ("pca-svm", 2, ("seed 0, fold 2/3",))
    assert part.macro_f1 > whole.macro_f1
    assert whole.scores["macro_f1"] == Statistic(pytest.approx(0.52), pytest.approx(0.01))


def test_variants_of_a_model_are_rows_of_their_own_and_tuned_ones_say_so(make_record):
    tuned = {"tuned": True, "parameters": (("C", 9.5),)}
    records = [make_record("hog-svm"), make_record("hog-svm", **tuned)]
    records.append(make_record("cnn", budget="quick", parameters=(("image_size", 64),)))
    labels = {row.label for row in leaderboard.build(records).rows}
    assert labels == {"hog-svm", "hog-svm (tuned)", "cnn (quick, image size 64)"}


def test_two_tunings_of_a_model_are_two_rows_that_name_what_they_differ_in(make_record):
    tunings = [(("C", 9.5), ("gamma", 0.3)), (("C", 2.0), ("gamma", 0.3)), (("C", 2.0), ("gamma", 0.3), ("mixup", 0.2))]
    records = [make_record("hog-svm", tuned=True, parameters=one, macro_f1=0.5) for one in tunings]
    board = leaderboard.build(records)
    labels = ["hog-svm (tuned, C 2.0)", "hog-svm (tuned, C 2.0, mixup 0.2)", "hog-svm (tuned, C 9.5)"]
    assert [row.label for row in board.rows] == labels
    assert all(len(row.f1_by_run) == 1 for row in board.rows)
    assert board.notes["tuned, with C 2.0, gamma 0.3, mixup 0.2"] == (f"{labels[1]} / none",)
    (alone,) = leaderboard.build(records[2:]).rows
    assert alone.label == "hog-svm (tuned)"
