import numpy as np
import pytest

from fer_bench.metrics import majority, score_votes, vote_columns

FER_PLUS = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF",
)  # fmt: skip
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def test_the_names_of_fer_plus_meet_those_of_fer2013():
    assert vote_columns(FER_PLUS, CLASSES) == [6, 3, 5, 4, 0, 1, 2, -1, -2, -2]
    assert vote_columns(["Angry", " HAPPY "], ["happy", "Angry"]) == [1, 0]


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([6, 2, 0, 1, 1], 0),
        ([4, 4, 0, 1, 1], -3),
        ([2, 1, 5, 1, 1], -1),
        ([4, 1, 4, 1, 0], -1),
        ([3, 1, 1, 5, 0], -2),
        ([4, 1, 1, 0, 4], -2),
        ([2, 0, 3, 0, 3], -2),
        ([0, 0, 0, 0, 0], -2),
    ],
)
def test_majority(votes: list[int], expected: int):
    assert majority(np.array([votes]), [0, 1, -1, -2, -2]).tolist() == [expected]


def test_scores_by_hand():
    names, classes = ("a", "b", "other", "unknown"), ("a", "b")
    votes = np.array([[8, 2, 0, 0], [1, 9, 0, 0], [6, 2, 2, 0], [5, 5, 0, 0], [0, 1, 9, 0], [1, 0, 0, 9]])
    labels = np.array([0, 0, 1, 0, 1, 0])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [1, 0], [1, 0], [1, 0]])
    scores = score_votes(labels, probabilities, votes, names, classes)
    assert scores is not None
    assert (scores.n_images, scores.n_tied, scores.n_other_class, scores.n_unusable) == (3, 1, 1, 1)
    assert scores.accuracy == pytest.approx(2 / 3)  # majorities a, b, a; answers a, b, b
    assert scores.macro_f1 == pytest.approx(2 / 3)
    assert (scores.n_errors, scores.sided) == (1, 1)  # row 1: labelled a, answered b, and taggers said b
    entropy = [
        -(0.8 * np.log(0.9) + 0.2 * np.log(0.1)),
        -(0.1 * np.log(0.2) + 0.9 * np.log(0.8)),
        -(0.75 * np.log(0.4) + 0.25 * np.log(0.6)),
    ]
    assert scores.cross_entropy == pytest.approx(np.mean(entropy))


def test_no_error_has_no_share_and_no_majority_no_scores():
    names, classes = ("a", "b"), ("a", "b")
    right = score_votes(np.array([0]), np.array([[1.0, 0.0]]), np.array([[9, 1]]), names, classes)
    assert right is not None
    assert (right.n_errors, right.sided) == (0, None)
    assert score_votes(np.array([0]), np.array([[1.0, 0.0]]), np.array([[5, 5]]), names, classes) is None
