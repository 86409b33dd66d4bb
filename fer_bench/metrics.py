"""Every score, from labels and probabilities alone; temperature scaling; predictions against taggers' votes.

The figures are scikit-learn's (tests/test_metrics.py compares all of them), computed from one table of counts:
its own functions check their input again for each of them, which over a thousand records is most of the time.
"""

from collections.abc import Sequence

import numpy as np

from fer_bench.data import emotion
from fer_bench.records.schema import ClassScores, Scores, VoteScores

SUM_TOLERANCE = 1e-3
OF_PROBABILITIES = ("pr_auc", "log_loss", "brier", "ece", "top2_accuracy")
"""The scores that answers alone do not have."""
TEMPERATURE_RANGE, ITERATIONS = 100.0, 60
CALIBRATION_BINS = 15
TAUS = tuple(step / 10 for step in range(21))
"""By how much frequent classes are divided by their shares: 0, 0.1, ..., 2."""
SMALLEST = 1e-12
"""What a probability counts as at least where its logarithm is taken."""
NOT_AN_EMOTION, OTHER_EMOTION, TIED = -2, -1, -3
"""What `majority` says of images that no class of the dataset has won."""
UNUSABLE = ("unknown", "nf", "no-face", "not a face")


def score(labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]) -> Scores:
    """How well `probabilities`, float (n, k), predict `labels`, int (n,), indices into the k `class_names`.

    The prediction is the most probable class, the first of them where several are equally probable.
    Classes without images follow scikit-learn: macro averages run over all k classes, where a class that is
    absent or never predicted counts as 0 (zero_division=0); balanced accuracy and macro PR-AUC (average precision,
    each class against the rest) are means over the classes that are present. The Brier score is Brier's own (1950),
    summed over classes: 0 to 2.

    Raises ValueError on wrong shapes, labels outside 0..k-1, and rows that are no probabilities.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    check_probabilities(probabilities, n_classes=len(class_names))
    _check_labels(labels, *probabilities.shape)
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, len(class_names))
    hits, support, answers = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall, f1 = _share(hits, answers), _share(hits, support), f1_scores(confusion)
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
        confusion=confusion.tolist(),
        weighted_precision=float(np.average(precision, weights=support)),
        weighted_recall=float(np.average(recall, weights=support)),
        weighted_f1=float(np.average(f1, weights=support)),
        **_agreement(confusion),
        **_of_probabilities(labels, probabilities),
    )


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Images of class i predicted as class j, int64 (k, k), from two int (n,)."""
    cells = labels.astype(np.int64) * n_classes + predicted
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def f1_scores(confusion: np.ndarray) -> np.ndarray:
    """F1 of each class, float (k,), from a confusion matrix (k, k); 0 for one that is absent and never predicted."""
    return _share(2 * np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1))


def macro_f1(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> float:
    """Unweighted mean of the F1 of all classes, from two int (n,); 0 for one that is neither present nor predicted."""
    return float(f1_scores(confusion_matrix(labels, predicted, n_classes)).mean())


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part / whole`, 0 where `whole` is."""
    return part / np.maximum(whole, 1)


def _agreement(confusion: np.ndarray) -> dict[str, float]:
    """Matthews' and Cohen's coefficients; 0, no agreement beyond chance, where all labels or answers are of one class.

    Gorodkin (2004), Comparing Two K-Category Assignments by a K-Category Correlation Coefficient.
    """
    support, answers = confusion.sum(axis=1), confusion.sum(axis=0)
    n = int(confusion.sum())
    beyond_chance = n * int(np.trace(confusion)) - int(support @ answers)
    spread = (n**2 - int(support @ support)) * (n**2 - int(answers @ answers))
    room = n**2 - int(support @ answers)
    return {"mcc": beyond_chance / spread**0.5 if spread else 0.0, "kappa": beyond_chance / room if room else 0.0}


def _of_probabilities(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    columns = np.ascontiguousarray(probabilities.T)  # a class a row: sums over classes are fast
    shares = columns / columns.sum(axis=0, dtype=np.float64)  # not for scores that rank images: ties would end
    classes, n = np.arange(len(columns))[:, None], len(labels)
    truth = classes == labels
    own, smallest = shares[labels, np.arange(n)], np.finfo(np.float64).eps
    before = (shares > own) | ((shares == own) & (classes < labels))
    present = np.flatnonzero(truth.any(axis=1))
    return {
        "pr_auc": float(np.mean([average_precision(truth[c], columns[c]) for c in present])),
        "log_loss": -float(np.log(np.clip(own, smallest, 1 - smallest)).mean()),
        "brier": float(np.square(shares - truth).sum(axis=0).mean()),
        "ece": expected_calibration_error(labels, probabilities),
        "top2_accuracy": float((before.sum(axis=0) < 2).mean()),
    }


def average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Precision at the score of each positive, averaged over them; truth: bool (n,), scores: float (n,)."""
    everyone, positives = np.sort(-scores), np.sort(-scores[truth])
    at_least = [np.searchsorted(those, positives, side="right") for those in (positives, everyone)]
    return float((at_least[0] / at_least[1]).mean())


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean gap between confidence and accuracy over 15 bins of equal width, each weighed by its images: 0 to 1.

    labels: int (n,); probabilities: float (n, k). Guo, Pleiss, Sun and Weinberger (2017), On Calibration of Modern
    Neural Networks, equation 3.
    """
    n, confidence, accuracy = reliability(labels, probabilities).T
    return float((n * np.abs(confidence - accuracy)).sum() / len(labels))


def reliability(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Images, mean confidence and accuracy of each of 15 confidence bins of equal width: float64 (15, 3).

    labels: int (n,); probabilities: float (n, k). Confidence and accuracy of an empty bin are 0.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    which = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    n, total, hits = (
        np.bincount(which, weights, minlength=CALIBRATION_BINS)
        for weights in (None, confidence, (probabilities.argmax(axis=1) == labels).astype(np.float64))
    )
    return np.column_stack([n, _share(total, n), _share(hits, n)])


def temperature(scores: np.ndarray, labels: np.ndarray) -> float:
    """The T > 0 for which softmax(scores / T) has the least log loss on `labels`: temperature scaling.

    scores: float (n, k), or (n,) as a binary `decision_function` gives them; labels: int (n,). Use validation rows.
    T is searched within a factor of 100 of the scores' own spread, so that scores that separate the rows
    perfectly, or not at all, still give probabilities. Raises ValueError on wrong shapes or non-finite scores.

    Guo, Pleiss, Sun and Weinberger (2017), On Calibration of Modern Neural Networks, section 4.2.
    """
    columns, labels = _score_columns(scores), np.asarray(labels)
    _check_labels(labels, *columns.shape)
    spread = float(columns.std(axis=1).mean())
    if spread == 0:
        return 1.0
    below_top = np.ascontiguousarray((columns - columns.max(axis=1, keepdims=True)).T)  # a class a row: sums are fast
    own = float(below_top[labels, np.arange(len(labels))].mean())
    low, inverse, high = 1 / (spread * TEMPERATURE_RANGE), 1 / spread, TEMPERATURE_RANGE / spread
    for _ in range(ITERATIONS):  # Newton's method on 1 / T, in which the log loss is convex, kept between the limits
        weights = np.exp(below_top * inverse)
        total, weighed = weights.sum(axis=0), weights * below_top
        mean = weighed.sum(axis=0) / total
        slope = float(mean.mean()) - own
        curvature = float(((weighed * below_top).sum(axis=0) / total - mean**2).mean())
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curvature if curvature > 0 else high
        before, inverse = inverse, step if low < step < high else (low * high) ** 0.5
        if abs(inverse - before) <= 1e-9 * before:
            break
    return 1 / inverse


def probabilities_from_scores(scores: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(scores / temperature) as float32 (n, k); the classes of a row keep their order.

    scores: float (n, k), or (n,) as a binary `decision_function` gives them, large meaning class 1.
    Raises ValueError on wrong shapes, non-finite scores or a temperature that is not above 0.
    """
    from scipy.special import softmax

    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, not above 0")
    return softmax(_score_columns(scores) / temperature, axis=1).astype(np.float32)


def rescaled(
    probabilities: np.ndarray, validation_labels: np.ndarray, validation_probabilities: np.ndarray
) -> tuple[np.ndarray, float]:
    """`probabilities`, float (n, k), at the temperature that suits the validation images best; and that temperature.

    The classes of a row keep their order, so no prediction changes. A temperature above 1: the model was too sure of
    itself. Logarithms of probabilities serve as logits, which softmax cannot tell apart.
    """
    found = temperature(_logits(validation_probabilities), validation_labels)
    return probabilities_from_scores(_logits(probabilities), found), found


def adjust(probabilities: np.ndarray, log_prior: np.ndarray, tau: float) -> np.ndarray:
    """`probabilities`, float (n, k), divided by exp(log_prior)^tau and made to sum to 1 again: float32 (n, k).

    A probability of 0 stays 0. tau = 0 changes nothing; tau = 1 is Bayes' rule for equally frequent classes. Menon et
    al. (2021), Long-tail Learning via Logit Adjustment, equation 9: the class with the greatest p / share^tau.
    """
    from scipy.special import softmax

    with np.errstate(divide="ignore"):
        log_p = np.log(np.asarray(probabilities, dtype=np.float64))
    return softmax(log_p - tau * log_prior, axis=1).astype(np.float32)


def choose_tau(probabilities: np.ndarray, labels: np.ndarray, log_prior: np.ndarray) -> float:
    """The tau of `TAUS` with the best macro-F1 on validation rows, the smallest of them where several are equal.

    probabilities: float (n, k). labels: int (n,). log_prior: float (k,), logarithms of the classes' training shares.
    """

    def score(tau: float) -> float:
        return macro_f1(labels, adjust(probabilities, log_prior, tau).argmax(axis=1), len(log_prior))

    return max(TAUS, key=score)  # the first of equals


def _logits(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities.astype(np.float64), SMALLEST))


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
    sums = probabilities.sum(axis=1, dtype=np.float64)
    if probabilities.min() >= 0 and probabilities.max() <= 1 and np.abs(sums - 1).max() <= SUM_TOLERANCE:
        return
    checks = (
        (~np.isfinite(probabilities).all(axis=1), "are not finite"),
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


def vote_columns(vote_names: Sequence[str], class_names: Sequence[str]) -> list[int]:
    """For each vote the index of its class in `class_names`, OTHER_EMOTION, or NOT_AN_EMOTION.

    Names are compared by `data.emotion`: "Happiness" votes for "happy".
    """
    index = {emotion(name): number for number, name in enumerate(class_names)}
    return [
        NOT_AN_EMOTION if name.strip().lower() in UNUSABLE else index.get(emotion(name), OTHER_EMOTION)
        for name in vote_names
    ]


def majority(votes: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """The class that alone has most votes, int64 (n,); else OTHER_EMOTION, NOT_AN_EMOTION (no vote too), or TIED.

    votes: int (n, v); columns: what each of the v votes is for, as `vote_columns` says. Those for one class count
    together.
    """
    kinds, classes = np.asarray(columns), sorted({kind for kind in columns if kind >= 0})
    of_classes = [votes[:, kinds == kind].sum(axis=1) for kind in classes]
    votes = np.column_stack([*of_classes, votes[:, kinds < 0]])
    kinds = np.array([*classes, *kinds[kinds < 0]])
    top = votes == votes.max(axis=1, keepdims=True)
    result = np.where(top.sum(axis=1) > 1, TIED, kinds[votes.argmax(axis=1)])
    result[(top & (kinds == OTHER_EMOTION)).any(axis=1)] = OTHER_EMOTION
    result[(top & (kinds == NOT_AN_EMOTION)).any(axis=1) | (votes.max(axis=1) == 0)] = NOT_AN_EMOTION
    return result.astype(np.int64)


def score_votes(
    labels: np.ndarray,
    probabilities: np.ndarray,
    votes: np.ndarray,
    vote_names: Sequence[str],
    class_names: Sequence[str],
) -> VoteScores | None:
    """How `probabilities`, float (n, k), agree with `votes`, int (n, v); None where no image has a majority.

    FER+: Barsoum, Zhang, Canton Ferrer and Zhang (2016), Training Deep Networks for Facial Expression Recognition with
    Crowd-Sourced Label Distribution.

    Cross-entropy is taken to the votes for the dataset's classes alone, as shares of their sum.
    """
    columns = vote_columns(vote_names, class_names)
    truth = majority(votes, columns)
    used = truth >= 0
    if not used.any():
        return None
    predicted = probabilities.argmax(axis=1)
    shares = votes[used] @ (np.array(columns)[:, None] == np.arange(len(class_names))).astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    surprise = -np.log(np.maximum(probabilities[used].astype(np.float64), SMALLEST))
    agrees, wrong = (predicted == truth)[used], (predicted != labels)[used]
    return VoteScores(
        accuracy=float(agrees.mean()),
        macro_f1=macro_f1(truth[used], predicted[used], len(class_names)),
        cross_entropy=max(0.0, float((shares * surprise).sum(axis=1).mean())),
        sided=float(agrees[wrong].mean()) if wrong.any() else None,
    )
