"""Every score is scikit-learn's, or computed by hand; temperature scaling; predictions against taggers' votes."""

import numpy as np
import pytest
from sklearn import metrics as sklearn

from fer_bench import metrics
from fer_bench.metrics import NOT_AN_EMOTION, OTHER_EMOTION, TIED, majority, score_votes, vote_columns

NAMES = ["angry", "happy", "sad"]


def one_hot(predicted: list[int], k: int = 3) -> np.ndarray:
    return np.eye(k, dtype=np.float32)[predicted]


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return -float(np.log(probabilities[np.arange(len(labels)), labels]).mean())


def blurred_scores(n: int = 400, k: int = 5, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, k, n)
    return scale * (rng.normal(size=(n, k)) + 1.2 * np.eye(k)[labels]), labels


def test_scores_match_values_computed_by_hand():
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    scores = metrics.score(labels, one_hot([0, 0, 0, 1, 1, 2, 2, 0]), NAMES)
    # angry: 3 of 4 found, 3 of 4 claims right; happy: 1 of 2, 1 of 2; sad: 1 of 2, 1 of 2
    for name in ("precision", "recall", "f1"):
        assert [getattr(one, name) for one in scores.per_class] == pytest.approx([3 / 4, 1 / 2, 1 / 2])
    assert [(one.name, one.support) for one in scores.per_class] == [("angry", 4), ("happy", 2), ("sad", 2)]
    assert (scores.n_images, scores.accuracy) == (8, 5 / 8)
    assert scores.macro_f1 == scores.macro_precision == pytest.approx(7 / 12)
    assert scores.balanced_accuracy == scores.macro_recall == pytest.approx(7 / 12)
    assert scores.confusion == [[3, 1, 0], [0, 1, 1], [1, 0, 1]]


@pytest.mark.filterwarnings("error")
def test_absent_class_counts_in_macro_averages_but_not_in_balanced_accuracy():
    scores = metrics.score(np.array([0, 0, 1, 1]), one_hot([0, 0, 1, 2]), NAMES)
    assert scores.macro_recall == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert scores.balanced_accuracy == pytest.approx((1 + 1 / 2) / 2)
    assert scores.per_class[2].support == 0
    assert scores.macro_f1 == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_scores_agree_with_scikit_learn():
    logits, labels = blurred_scores()
    probabilities = metrics.probabilities_from_scores(logits, 1.0).astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    scores, predicted = metrics.score(labels, probabilities, list("abcde")), probabilities.argmax(axis=1)
    assert scores.macro_f1 == pytest.approx(sklearn.f1_score(labels, predicted, average="macro"))
    assert scores.balanced_accuracy == pytest.approx(sklearn.balanced_accuracy_score(labels, predicted))
    assert scores.weighted_f1 == pytest.approx(sklearn.f1_score(labels, predicted, average="weighted"))
    assert scores.weighted_precision == pytest.approx(sklearn.precision_score(labels, predicted, average="weighted"))
    assert scores.weighted_recall == pytest.approx(scores.accuracy)
    assert scores.top2_accuracy == pytest.approx(sklearn.top_k_accuracy_score(labels, probabilities, k=2))
    assert scores.mcc == pytest.approx(sklearn.matthews_corrcoef(labels, predicted))
    assert scores.kappa == pytest.approx(sklearn.cohen_kappa_score(labels, predicted))
    assert scores.confusion == sklearn.confusion_matrix(labels, predicted).tolist()
    parts = sklearn.precision_recall_fscore_support(labels, predicted)
    ours = [[one.precision, one.recall, one.f1, one.support] for one in scores.per_class]
    assert pytest.approx(np.array(parts)) == np.array(ours).T
    each = [sklearn.average_precision_score(labels == c, probabilities[:, c]) for c in range(5)]
    assert scores.pr_auc == pytest.approx(np.mean(each))
    assert scores.log_loss == pytest.approx(log_loss(probabilities, labels))
    assert scores.brier == pytest.approx(((probabilities - np.eye(5)[labels]) ** 2).sum(axis=1).mean())


def test_scores_with_ties_agree_with_scikit_learn():
    rng, labels = np.random.default_rng(0), np.arange(400) % 5
    tenths = rng.multinomial(10, 0.1 + 0.5 * np.eye(5)[labels]) / 10
    probabilities = tenths.astype(np.float32)  # rows do not sum to 1 exactly, and equal ones must stay equal
    scores = metrics.score(labels, probabilities, list("abcde"))
    assert scores.pr_auc == pytest.approx(sklearn.average_precision_score(np.eye(5)[labels], probabilities))
    assert scores.log_loss == pytest.approx(sklearn.log_loss(labels, tenths), rel=1e-6)
    certain = np.eye(5)[(labels + (labels == 2)) % 5]
    assert metrics.score(labels, certain, list("abcde")).log_loss == pytest.approx(sklearn.log_loss(labels, certain))


def test_correlations_of_a_small_table_computed_by_hand():
    scores = metrics.score(np.array([0, 0, 0, 1, 1, 1]), one_hot([0, 0, 1, 1, 1, 0], k=2), NAMES[:2])
    # 4 of 6 agree, 3 would by chance: kappa (4 - 3) / (6 - 3); 2 * 2 - 1 * 1 over 3 * 3
    assert scores.kappa == scores.mcc == pytest.approx(1 / 3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("answer", [[0, 0, 0], [1, 1, 1], [0, 1, 2]])
def test_one_class_alone_gives_numbers(answer):
    scores = metrics.score(np.array([0, 0, 0]), one_hot(answer), NAMES)
    assert (scores.mcc, scores.kappa, scores.pr_auc) == (0, 0, 1)
    assert np.isfinite(scores.log_loss)


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (np.full((2, 4), 0.25), r"\(2, 4\)"),
        (np.zeros((0, 3)), r"\(0, 3\)"),
        (np.array([0.5, 0.5]), r"\(2,\)"),
        (np.array([[1, 0, 0], [np.nan, 0, 1]]), "1 of 2 rows.* row 1"),
        (np.array([[1, 0, 0], [np.inf, 0, 0]]), "1 of 2 rows"),
        (np.array([[1, 0, 0], [1.5, -0.5, 0]]), "1 of 2 rows"),
        (np.array([[1, 0, 0], [0.5, 0.4, 0.05]]), "1 of 2 rows"),
    ],
)
def test_what_is_no_probability_is_refused(probabilities, message):
    with pytest.raises(ValueError, match=message):
        metrics.score(np.zeros(len(probabilities), dtype=int), probabilities, NAMES)


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0], [0, 1, 2], [0.0, 1.0]])
def test_labels_that_do_not_fit_are_refused(labels):
    with pytest.raises(ValueError, match="labels"):
        metrics.score(np.array(labels), one_hot([0, 1]), NAMES)


def test_rounding_of_float32_rows_is_tolerated():
    assert metrics.score(np.array([0]), np.array([[0.5004, 0.3, 0.2]]), NAMES).accuracy == 1


# Calibration


def test_calibration_error_by_hand():
    # two bins: 0.55 right once in two, 0.95 always right
    probabilities = np.array([[0.55, 0.45], [0.55, 0.45], [0.95, 0.05], [0.05, 0.95]])
    error = metrics.expected_calibration_error(np.array([0, 1, 0, 1]), probabilities)
    assert error == pytest.approx(0.5 * abs(0.55 - 0.5) + 0.5 * abs(0.95 - 1))
    assert metrics.expected_calibration_error(np.array([0, 1]), np.eye(2)) == 0
    bins = metrics.reliability(np.array([0, 1, 0, 1]), probabilities)
    assert bins.shape == (metrics.CALIBRATION_BINS, 3) and bins[:, 0].sum() == 4
    np.testing.assert_allclose(bins[bins[:, 0] > 0], [[2, 0.55, 0.5], [2, 0.95, 1]])


def drawn(n: int, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, k), and labels drawn from them."""
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(k), n)
    return probabilities, (rng.random(n)[:, None] > probabilities.cumsum(axis=1)).sum(axis=1).clip(max=k - 1)


def test_probabilities_that_were_drawn_from_are_calibrated():
    probabilities, labels = drawn(20_000)
    assert metrics.expected_calibration_error(labels, probabilities) < 0.02
    assert metrics.expected_calibration_error((labels + 1) % 4, probabilities) > 0.3


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_temperature_improves_log_loss_and_keeps_every_prediction(scale):
    scores, labels = blurred_scores(scale=scale)
    fitted = metrics.temperature(scores, labels)
    probabilities = metrics.probabilities_from_scores(scores, fitted)
    assert probabilities.dtype == np.float32
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (probabilities.argmax(axis=1) == scores.argmax(axis=1)).all()
    best = log_loss(probabilities, labels)
    for other in (fitted * 0.9, fitted * 1.1):
        assert best < log_loss(metrics.probabilities_from_scores(scores, other), labels)


def test_temperature_of_logits_made_too_sharp_recovers_the_factor():
    scores, labels = blurred_scores(n=4000)
    assert metrics.temperature(3 * scores, labels) == pytest.approx(3 * metrics.temperature(scores, labels), rel=1e-3)


@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_scaling_on_validation_undoes_what_made_test_too_sure_or_unsure(factor):
    probabilities, labels = drawn(4000)
    sharpened = probabilities**factor / (probabilities**factor).sum(axis=1, keepdims=True)
    test, validation = slice(2000), slice(2000, None)
    scaled, temperature = metrics.rescaled(sharpened[test], labels[validation], sharpened[validation])
    before = metrics.expected_calibration_error(labels[test], sharpened[test])
    assert temperature == pytest.approx(factor, rel=0.1)
    assert metrics.expected_calibration_error(labels[test], scaled) < 0.5 * before
    assert (scaled.argmax(axis=1) == sharpened[test].argmax(axis=1)).all()


def test_scores_that_separate_perfectly_or_not_at_all_still_give_probabilities():
    labels = np.arange(30) % 3
    for scores in (np.eye(3)[labels], -np.eye(3)[labels], np.zeros((30, 3))):
        probabilities = metrics.probabilities_from_scores(scores, metrics.temperature(scores, labels))
        assert metrics.score(labels, probabilities, NAMES).n_images == 30
    scaled, temperature = metrics.rescaled(np.eye(3), np.array([0, 1, 0]), np.eye(3))
    assert temperature > 0 and scaled.sum(axis=1) == pytest.approx(1)


def test_binary_decision_function_becomes_the_logistic_function():
    scores = np.array([-2.0, 0.0, 3.0])
    probabilities = metrics.probabilities_from_scores(scores, 1.0)
    assert probabilities[:, 1] == pytest.approx(1 / (1 + np.exp(-scores)))
    assert metrics.temperature(scores, np.array([0, 1, 1])) > 0


def test_scores_that_cannot_be_calibrated_are_refused():
    labels = np.array([0, 1])
    with pytest.raises(ValueError, match="1 of 2 rows"):
        metrics.temperature(np.array([[0.0, 1.0], [np.nan, 0.0]]), labels)
    with pytest.raises(ValueError, match=r"\(2, 1\)"):
        metrics.temperature(np.zeros((2, 1)), labels)
    with pytest.raises(ValueError, match="temperature"):
        metrics.probabilities_from_scores(np.zeros((2, 2)), 0.0)


# Votes

FER_PLUS = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF",
)  # fmt: skip
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def test_the_names_of_fer_plus_meet_those_of_fer2013():
    others = [OTHER_EMOTION, NOT_AN_EMOTION, NOT_AN_EMOTION]
    assert vote_columns(FER_PLUS, CLASSES) == [6, 3, 5, 4, 0, 1, 2, *others]
    assert vote_columns(["Angry", " HAPPY ", "no-face"], ["happy", "Angry"]) == [1, 0, NOT_AN_EMOTION]


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([6, 2, 0, 1, 1], 0),
        ([4, 4, 0, 1, 1], TIED),
        ([2, 1, 5, 1, 1], OTHER_EMOTION),
        ([4, 1, 4, 1, 0], OTHER_EMOTION),
        ([3, 1, 1, 5, 0], NOT_AN_EMOTION),
        ([4, 1, 1, 0, 4], NOT_AN_EMOTION),
        ([2, 0, 3, 0, 3], NOT_AN_EMOTION),
        ([0, 0, 0, 0, 0], NOT_AN_EMOTION),
    ],
)
def test_majority(votes, expected):
    columns = [0, 1, OTHER_EMOTION, NOT_AN_EMOTION, NOT_AN_EMOTION]
    assert majority(np.array([votes]), columns).tolist() == [expected]


def test_votes_for_one_class_under_two_names_count_together():
    votes = np.array([[3, 4, 3], [2, 4, 2], [0, 5, 1]])  # for happy, sad and happiness
    assert majority(votes, vote_columns(["happy", "sad", "happiness"], ["sad", "happy"])).tolist() == [1, TIED, 0]


def test_votes_are_scored_by_hand():
    votes = np.array([[8, 2, 0, 0], [1, 9, 0, 0], [6, 2, 2, 0], [5, 5, 0, 0], [0, 1, 9, 0], [1, 0, 0, 9]])
    labels = np.array([0, 0, 1, 0, 1, 0])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [1, 0], [1, 0], [1, 0]])
    scores = score_votes(labels, probabilities, votes, ("a", "b", "other", "unknown"), ("a", "b"))
    assert scores.accuracy == scores.macro_f1 == pytest.approx(2 / 3)  # majorities a, b, a; answers a, b, b
    assert scores.sided == 1  # row 1: labelled a, answered b, and taggers said b
    entropy = [
        -(0.8 * np.log(0.9) + 0.2 * np.log(0.1)),
        -(0.1 * np.log(0.2) + 0.9 * np.log(0.8)),
        -(0.75 * np.log(0.4) + 0.25 * np.log(0.6)),
    ]
    assert scores.cross_entropy == pytest.approx(np.mean(entropy))


def test_no_error_has_no_share_and_no_majority_no_scores():
    one = (np.array([0]), np.array([[1.0, 0.0]]))
    right = score_votes(*one, np.array([[9, 1]]), ("a", "b"), ("a", "b"))
    assert right.sided is None
    assert score_votes(*one, np.array([[5, 5]]), ("a", "b"), ("a", "b")) is None
