import numpy as np
import pytest

from fer_bench import metrics

NAMES = ["angry", "happy", "sad"]


def one_hot(predicted: list[int], k: int = 3) -> np.ndarray:
    return np.eye(k, dtype=np.float32)[predicted]


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return -float(np.log(probabilities[np.arange(len(labels)), labels]).mean())


def blurred_scores(n: int = 400, k: int = 5, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, k, n)
    scores = rng.normal(size=(n, k))
    scores[np.arange(n), labels] += 1.2
    return scale * scores, labels


def test_scores_match_values_computed_by_hand():
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    scores = metrics.score(labels, one_hot([0, 0, 0, 1, 1, 2, 2, 0]), NAMES)
    # angry: 3 of 4 found, 3 of 4 claims right; happy: 1 of 2, 1 of 2; sad: 1 of 2, 1 of 2
    assert scores.n_images == 8
    assert scores.accuracy == pytest.approx(5 / 8)
    assert [c.precision for c in scores.per_class] == pytest.approx([3 / 4, 1 / 2, 1 / 2])
    assert [c.recall for c in scores.per_class] == pytest.approx([3 / 4, 1 / 2, 1 / 2])
    assert [c.f1 for c in scores.per_class] == pytest.approx([3 / 4, 1 / 2, 1 / 2])
    assert [c.support for c in scores.per_class] == [4, 2, 2]
    assert [c.name for c in scores.per_class] == NAMES
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
    from sklearn.metrics import balanced_accuracy_score, f1_score

    logits, labels = blurred_scores()
    probabilities = metrics.probabilities_from_scores(logits, 1.0)
    scores = metrics.score(labels, probabilities, list("abcde"))
    predicted = probabilities.argmax(axis=1)
    assert scores.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert scores.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert np.sum(scores.confusion) == scores.n_images


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (np.full((2, 4), 0.25), r"shape \(2, 4\)"),
        (np.zeros((0, 3)), r"shape \(0, 3\)"),
        (np.array([0.5, 0.5]), r"shape \(2,\)"),
        (np.array([[1, 0, 0], [np.nan, 0, 1]]), "not finite in 1 of 2 rows, the first is row 1"),
        (np.array([[1, 0, 0], [np.inf, 0, 0]]), "not finite"),
        (np.array([[1, 0, 0], [1.5, -0.5, 0]]), r"outside 0\.\.1 in 1 of 2 rows"),
        (np.array([[1, 0, 0], [0.5, 0.4, 0.05]]), "do not sum to 1"),
    ],
)
def test_what_is_no_probability_is_refused(probabilities: np.ndarray, message: str):
    with pytest.raises(ValueError, match=message):
        metrics.score(np.zeros(len(probabilities), dtype=int), probabilities, NAMES)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 3]), r"from 0 to 3, not within 0\.\.2"),
        (np.array([-1, 0]), "from -1"),
        (np.array([0, 1, 2]), r"shape \(3,\)"),
        (np.array([0.0, 1.0]), "float64, not integers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray, message: str):
    with pytest.raises(ValueError, match=message):
        metrics.score(labels, one_hot([0, 1]), NAMES)


def test_rounding_of_float32_rows_is_tolerated():
    assert metrics.score(np.array([0]), np.array([[0.5004, 0.3, 0.2]]), NAMES).accuracy == 1


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_temperature_improves_log_loss_and_keeps_every_prediction(scale: float):
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


def test_scores_that_separate_perfectly_or_not_at_all_still_give_probabilities():
    labels = np.arange(30) % 3
    for scores in (np.eye(3)[labels], -np.eye(3)[labels], np.zeros((30, 3))):
        probabilities = metrics.probabilities_from_scores(scores, metrics.temperature(scores, labels))
        assert metrics.score(labels, probabilities, NAMES).n_images == 30


def test_binary_decision_function_becomes_the_logistic_function():
    scores = np.array([-2.0, 0.0, 3.0])
    probabilities = metrics.probabilities_from_scores(scores, 1.0)
    assert probabilities[:, 1] == pytest.approx(1 / (1 + np.exp(-scores)))
    assert metrics.temperature(scores, np.array([0, 1, 1])) > 0


def test_scores_that_cannot_be_calibrated_are_refused():
    labels = np.array([0, 1])
    with pytest.raises(ValueError, match="not finite in 1 of 2 rows"):
        metrics.temperature(np.array([[0.0, 1.0], [np.nan, 0.0]]), labels)
    with pytest.raises(ValueError, match=r"shape \(2, 1\)"):
        metrics.temperature(np.zeros((2, 1)), labels)
    with pytest.raises(ValueError, match="not above 0"):
        metrics.probabilities_from_scores(np.zeros((2, 2)), 0.0)


def test_what_scikit_learn_computes_is_what_it_says():
    from sklearn import metrics as sklearn

    logits, labels = blurred_scores()
    probabilities = metrics.probabilities_from_scores(logits, 1.0).astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    scores, predicted = metrics.score(labels, probabilities, list("abcde")), probabilities.argmax(axis=1)
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
    from sklearn import metrics as sklearn

    rng, labels = np.random.default_rng(0), np.arange(400) % 5
    tenths = rng.multinomial(10, 0.1 + 0.5 * np.eye(5)[labels]) / 10
    probabilities = tenths.astype(np.float32)  # rows do not sum to 1 exactly, and equal ones must stay equal
    scores = metrics.score(labels, probabilities, list("abcde"))
    assert scores.pr_auc == pytest.approx(sklearn.average_precision_score(np.eye(5)[labels], probabilities))
    assert scores.log_loss == pytest.approx(sklearn.log_loss(labels, tenths), rel=1e-6)
    certain = np.eye(5)[(labels + (labels == 2)) % 5]
    assert metrics.score(labels, certain, list("abcde")).log_loss == pytest.approx(sklearn.log_loss(labels, certain))


def test_correlations_of_a_small_table_computed_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 1])
    scores = metrics.score(labels, one_hot([0, 0, 1, 1, 1, 0], k=2), NAMES[:2])
    # 4 of 6 agree, 3 would by chance: kappa (4 - 3) / (6 - 3); 2 * 2 - 1 * 1 over 3 * 3
    assert scores.kappa == pytest.approx(1 / 3)
    assert scores.mcc == pytest.approx(1 / 3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("answer", [[0, 0, 0], [1, 1, 1], [0, 1, 2]])
def test_one_class_alone_gives_numbers(answer: list[int]):
    scores = metrics.score(np.array([0, 0, 0]), one_hot(answer), NAMES)
    assert (scores.mcc, scores.kappa) == (0, 0)
    assert scores.pr_auc == 1
    assert np.isfinite(scores.log_loss)


def test_calibration_error_by_hand():
    # two bins: 0.55 right once in two, 0.95 always right
    probabilities = np.array([[0.55, 0.45], [0.55, 0.45], [0.95, 0.05], [0.05, 0.95]])
    error = metrics.expected_calibration_error(np.array([0, 1, 0, 1]), probabilities)
    assert error == pytest.approx(0.5 * abs(0.55 - 0.5) + 0.5 * abs(0.95 - 1))
    assert metrics.expected_calibration_error(np.array([0, 1]), np.eye(2)) == 0


def test_probabilities_that_were_drawn_from_are_calibrated():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 20_000)
    labels = (rng.random(20_000)[:, None] > probabilities.cumsum(axis=1)).sum(axis=1)
    assert metrics.expected_calibration_error(labels, probabilities) < 0.02
    assert metrics.expected_calibration_error((labels + 1) % 4, probabilities) > 0.3
