"""What the page and its summary say of strategies, beyond single verdicts."""

import re
from dataclasses import replace

from fer_bench.judging import leaderboard, render


def board_of(runs) -> leaderboard.Leaderboard:
    return leaderboard.build(runs.folder.records(), "report", folder=runs.folder.path)


def test_a_run_that_no_seed_changes_is_compared_with_every_seed_of_a_strategy(stored_runs):
    stored_runs.add("cnn", stored_runs.predictions(1.0, seed=9), stochastic=False)
    for seed in range(3):
        stored_runs.add("cnn", stored_runs.predictions(1.5, seed=seed), strategy="over-sampling", seed=seed)
    (effect,) = board_of(stored_runs).strategy_effects
    assert effect.n_runs == 3
    base = next(run for run in stored_runs.folder.records() if (run.spec.model, run.spec.strategy) == ("cnn", "none"))
    stored_runs.rewrite(base, stochastic=None)  # a seed may matter
    (effect,) = board_of(stored_runs).strategy_effects
    assert effect.n_runs == 1


def test_a_weight_file_may_be_called_random(make_record):
    asked = {"weights_asked": "sha256:0123456789abcdef"}
    named = leaderboard.build(
        [make_record("vgg16", initial_weights="file", weights_note="file random-erasing.weights.h5", **asked)]
    )
    assert not named.rows[0].unpretrained
    assert leaderboard.build([make_record("vgg16", initial_weights="random", **asked)]).rows[0].unpretrained


def test_the_summary_says_what_is_behind_the_verdicts(stored_runs):
    stored_runs.add("hog-svm", stored_runs.predictions(0.0, seed=9), strategy="over-sampling")
    board = board_of(stored_runs)
    told = " ".join(render.summary(board))
    assert "Macro-F1 itself rose beyond chance in 0 of these 1 comparison and fell in 1." in told
    assert "1 of them compare one run with one" in told
    counts = render.markdown(board).split("## What the strategies do")[1].split("Each model under")[0]
    assert re.search(r"\| over-sampling \| +1 \| +0 \| +1 \| +0 \| +0 \| +0 \|", counts)


def test_classes_too_rare_for_a_star_are_told(stored_runs):
    stored_runs.add("hog-svm", stored_runs.predictions(0.0, seed=9), strategy="over-sampling")
    board = board_of(stored_runs)
    told = []
    for n in (4, 20):
        data = replace(board.data, support=(n, 60, 60))
        rare = replace(board, data=data)
        told.append(render.markdown(rare).split("## What the strategies do")[1].split("## Who pays")[0])
    assert "The 4 test images of them are too few for a star: even a perfect change of one run has none." in told[0]
    assert re.search(r"Of the 20 test images of them, one run has to find \d more, and lose none, for a star.", told[1])
    plain = render.markdown(board).split("## What the strategies do")[1].split("## Who pays")[0]
    assert "none here" in plain and "for a star" not in plain
