import pytest
from boards import board, row

from fer_bench.analysis import Verification
from fer_bench.analysis.evidence.verify import Standing, Verdict
from fer_bench.report import overview, verify_lines

STRATEGIES = ("none", "balanced-focal-loss", "classifier-retraining", "logit-adjusted-loss", "post-hoc-adjustment")


def words(lines):
    return {word.strip("-") for line in lines for word in line.split()}


@pytest.fixture
def made():
    rows = [row(f"network-{number} (standard, fine tune head)", strategy, 0.7 - number / 50, family="deep",
                in_best_set=number == 0)
            for number in range(8) for strategy in STRATEGIES]  # fmt: skip
    return board(*rows, row("alone", macro_f1=0.3, in_best_set=False))


@pytest.mark.parametrize("width", [60, 80, 140])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_cut(made, width):
    lines = overview(made, width)
    assert max(map(len, lines)) <= width
    assert {"adjustment", "retraining", "(standard,", "head)"} <= words(lines)
    assert sum(line.count("0.700*") for line in lines) == len(STRATEGIES)


def test_every_score_of_the_grid_is_there_once_or_under_the_models_of_one_strategy(made):
    lines = "\n".join(overview(made))
    assert all(lines.count(f"{0.7 - number / 50:.3f} ") >= 1 for number in range(1, 8))
    assert "alone 0.300" in lines


def test_what_matters_stands_last(made):
    lines = overview(made)
    assert [line for line in lines if line.startswith("- ")] and lines[-1].startswith(("- ", "  "))


def test_no_rows_are_said():
    assert overview(board())[0] == "Leaderboard: faces"
    assert overview(board(n_folds=5))[0] == "Leaderboard: faces, 5 folds"


def test_verify_counts_standings_and_lists_what_contradicts():
    verdicts = (Verdict("a", Standing.rescored), Verdict("b", Standing.refuted, ("accuracy is 1", "kappa is 1")))
    lines = verify_lines(Verification(verdicts, ("split.csv: damaged",)), ["leaderboard.md: line"])
    assert lines[:3] == ["b: DOES NOT FOLLOW: accuracy is 1", "b: DOES NOT FOLLOW: kappa is 1",
                         "1 rescored, 1 DOES NOT FOLLOW"]  # fmt: skip
    assert "2 faults" in lines[3] and "split.csv: damaged" in lines[3] and "leaderboard.md" in lines[3]
    assert lines[-1] == "NOT ALL FIGURES FOLLOW FROM WHAT IS STORED"


def test_verify_of_sound_results():
    assert verify_lines(Verification((Verdict("a", Standing.rescored),), ()))[-1] == "nothing contradicts"
