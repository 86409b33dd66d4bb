"""Every score, from labels and probabilities alone, and the calibration that turns scores into probabilities."""

from collections.abc import Sequence

import numpy as np

from fer_bench.records.schema import ClassScores, Scores

SUM_TOLERANCE = 1e-3
TEMPERATURE_RANGE = 100.0
CALIBRATION_BINS = 15


def score(labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]) -> Scores:
    """How well `probabilities`, float (n, k), predict `labels`, int (n,), indices into the k `class_names`.

    The prediction is the most probable class, the first of them where several are equally probable.
    Classes without images follow scikit-learn: macro averages run over all k classes, where a class that is
    absent or never predicted counts as 0 (zero_division=0); balanced accuracy and macro PR-AUC (average precision,
    each class against the rest) are means over the classes that are present. The Brier score is Brier's own (1950),
    summed over classes: 0 to 2.

    Raises ValueError on wrong shapes, labels outside 0..k-1, and rows that are no probabilities.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    check_probabilities(probabilities, n_classes=len(class_names))
    _check_labels(labels, *probabilities.shape)
    predicted = probabilities.argmax(axis=1)
    classes = list(range(len(class_names)))
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    columns = zip(class_names, precision, recall, f1, support, strict=True)
    return Scores(
        n_images=len(labels),
        accuracy=float(np.mean(predicted == labels)),
        balanced_accuracy=float(recall[support > 0].mean()),
        macro_precision=float(precision.mean()),
        macro_recall=float(recall.mean()),
        macro_f1=float(f1.mean()),
        per_class=[
            ClassScores(name=name, precision=float(p), recall=float(r), f1=float(f), support=int(s))
            for name, p, r, f, s in columns
        ],
        confusion=confusion_matrix(labels, predicted, labels=classes).tolist(),
        weighted_precision=float(np.average(precision, weights=support)),
        weighted_recall=float(np.average(recall, weights=support)),
        weighted_f1=float(np.average(f1, weights=support)),
        **_agreement(labels, predicted),
        **_of_probabilities(labels, probabilities),
    )


def _agreement(labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Both correlations; 0, no agreement beyond chance, where labels and predictions are all of one class."""
    from sklearn.metrics import cohen_kappa_score, matthews_corrcoef

    if (labels[0] == labels).all() and (labels[0] == predicted).all():
        return {"mcc": 0.0, "kappa": 0.0}
    return {"mcc": float(matthews_corrcoef(labels, predicted)), "kappa": float(cohen_kappa_score(labels, predicted))}


def _of_probabilities(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, brier_score_loss, log_loss

    rows = probabilities.astype(np.float64)
    rows /= rows.sum(axis=1, keepdims=True)
    classes = np.arange(rows.shape[1])
    truth = labels[:, None] == classes
    present = truth.any(axis=0)
    top2 = np.argsort(-rows, axis=1, kind="stable")[:, :2]
    return {
        "pr_auc": float(average_precision_score(truth[:, present], rows[:, present])),
        "log_loss": float(log_loss(labels, rows, labels=classes)),
        "brier": float(brier_score_loss(labels, rows, labels=classes, scale_by_half=False)),
        "ece": expected_calibration_error(labels, rows),
        "top2_accuracy": float((top2 == labels[:, None]).any(axis=1).mean()),
    }


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean gap between confidence and accuracy over 15 bins of equal width, each weighed by its images: 0 to 1.

    labels: int (n,); probabilities: float (n, k). Guo, Pleiss, Sun and Weinberger (2017), On Calibration of Modern
    Neural Networks, equation 3.
    """
    return float(np.abs(calibration_gaps(labels, probabilities).sum(axis=0)).sum() / len(labels))


def calibration_gaps(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Confidence minus correctness of each image, in the column of its confidence bin: float64 (n, 15)."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    column = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    gaps = np.zeros((len(labels), CALIBRATION_BINS))
    gaps[np.arange(len(labels)), column] = confidence - (probabilities.argmax(axis=1) == labels)
    return gaps


def temperature(scores: np.ndarray, labels: np.ndarray) -> float:
    """The T > 0 for which softmax(scores / T) has the least log loss on `labels`: temperature scaling.

    scores: float (n, k), or (n,) as a binary `decision_function` gives them; labels: int (n,). Use validation rows.
    T is searched within a factor of 100 of the scores' own spread, so that scores that separate the rows
    perfectly, or not at all, still give probabilities. Raises ValueError on wrong shapes or non-finite scores.

    Guo, Pleiss, Sun and Weinberger (2017), On Calibration of Modern Neural Networks, section 4.2.
    """
    from scipy.optimize import minimize_scalar

    columns, labels = _score_columns(scores), np.asarray(labels)
    _check_labels(labels, *columns.shape)
    spread = float(columns.std(axis=1).mean())
    if spread == 0:
        return 1.0

    def log_loss(log_temperature: float) -> float:
        return -float(_log_softmax(columns / np.exp(log_temperature))[np.arange(len(labels)), labels].mean())

    middle, reach = np.log(spread), np.log(TEMPERATURE_RANGE)
    return float(np.exp(minimize_scalar(log_loss, bounds=(middle - reach, middle + reach), method="bounded").x))


def probabilities_from_scores(scores: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(scores / temperature) as float32 (n, k); the classes of a row keep their order.

    scores: float (n, k), or (n,) as a binary `decision_function` gives them, large meaning class 1.
    Raises ValueError on wrong shapes, non-finite scores or a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, not above 0")
    return np.exp(_log_softmax(_score_columns(scores) / temperature)).astype(np.float32)


def _score_columns(scores: np.ndarray) -> np.ndarray:
    columns = np.asarray(scores, dtype=np.float64)
    if columns.ndim == 1:
        columns = np.column_stack([-columns / 2, columns / 2])
    if columns.ndim != 2 or columns.shape[1] < 2 or len(columns) == 0:
        raise ValueError(f"scores have shape {np.shape(scores)}, not (n,) or (n, k)")
    bad = np.flatnonzero(~np.isfinite(columns).all(axis=1))
    if len(bad):
        raise ValueError(f"scores are not finite in {len(bad):,} of {len(columns):,} rows, the first is row {bad[0]}")
    return columns


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores - scores.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _check_labels(labels: np.ndarray, n_rows: int, n_classes: int) -> None:
    if labels.shape != (n_rows,):
        raise ValueError(f"labels have shape {labels.shape}, not ({n_rows},)")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels are {labels.dtype}, not integers")
    if not 0 <= labels.min() <= labels.max() < n_classes:
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}, not within 0..{n_classes - 1}")


def check_probabilities(probabilities: np.ndarray, n_classes: int) -> None:
    """Raises ValueError unless `probabilities` is (n, n_classes), n > 0, each row finite, in 0..1, summing to 1."""
    if probabilities.ndim != 2 or probabilities.shape[1] != n_classes or len(probabilities) == 0:
        raise ValueError(f"probabilities have shape {probabilities.shape}, not (n, {n_classes}) with n > 0")
    finite = np.isfinite(probabilities)
    sums = probabilities.sum(axis=1, dtype=np.float64)
    checks = (
        (~finite.all(axis=1), "are not finite"),
        (((probabilities < 0) | (probabilities > 1)).any(axis=1), "are outside 0..1"),
        (np.abs(sums - 1) > SUM_TOLERANCE, "do not sum to 1"),
    )
    for wrong, what in checks:
        bad = np.flatnonzero(wrong)
        if len(bad):
            row = np.array2string(probabilities[bad[0]], precision=4, threshold=10)
            raise ValueError(
                f"probabilities {what} in {len(bad):,} of {len(probabilities):,} rows, the first is row {bad[0]}: {row}"
            )
