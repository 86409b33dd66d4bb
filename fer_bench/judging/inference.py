"""How sure a score is: bootstrap intervals over test images, and paired tests between rows.

Every run is scored on the same redraws of the test images, stratified by class, so that differences are paired.
Intervals of single scores are BCa (Efron 1987): with some tens of images in a class, percentile and normal intervals of
macro-F1 cover less than they say. Tests divide a difference by its bootstrap standard error; those of plain shares
(accuracy, recall) are McNemar's. tests/judging/test_inference.py shows by simulation that this holds what it promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fer_bench.judging.metrics import calibration_gaps

N_DRAWS = 2000
ALPHA = 0.05
NORMAL = 1.959964
ROUNDING = 1e-12
ACCURACY, MACRO_F1, ECE, RECALL = 0, 1, 2, 3
"""Columns of `Sample.values`; recall of class c is in column RECALL + c."""


@dataclass(frozen=True)
class Interval:
    """Where a score over all images like these lies with 95 % confidence, given these training runs."""

    low: float
    high: float


@dataclass(frozen=True)
class Change:
    """A paired difference, its 95 % interval, and the two-sided p-value of there being none."""

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Resamples:
    """Redraws of the test images within their classes, each class keeping its total weight.

    labels: int64 (n,). rows: for each of the k classes the indices of its images. times: for each class of m images,
    float32 (1 + draws, m), how often each was drawn; row 0: all images once. Of m images m - 1 are drawn and weighed
    m / (m - 1): drawing m would make small classes look surer than they are. Rao and Wu (1988), Resampling Inference
    with Complex Survey Data.
    """

    labels: np.ndarray
    rows: tuple[np.ndarray, ...]
    times: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, labels: np.ndarray, n_classes: int, n_draws: int = N_DRAWS, seed: int = 0) -> Resamples:
        """The same redraws for the same labels. They take 4 bytes per image and draw."""
        rng = np.random.default_rng(seed)
        rows = tuple(np.flatnonzero(labels == label) for label in range(n_classes))
        times = tuple(np.ones((1 + n_draws, len(members)), dtype=np.float32) for members in rows)
        for drawn in times:
            m = drawn.shape[1]
            if m > 1:
                which = rng.integers(0, m, (n_draws, m - 1)) + m * np.arange(n_draws)[:, None]
                drawn[1:] = np.bincount(which.ravel(), minlength=n_draws * m).reshape(n_draws, m)
        return cls(labels, rows, times)

    def sums(self, columns: np.ndarray) -> np.ndarray:
        """Weighed sums of `columns`, float32 (n, c), over the images of each class: float64 (k, 1 + draws, c).

        Counts come out exactly, so that figures do not depend on the machine.
        """
        sums = np.empty((len(self.rows), len(self.times[0]), columns.shape[1]))
        for total, members, drawn in zip(sums, self.rows, self.times, strict=True):
            m, weighed = len(members), drawn @ columns[members]
            np.multiply(weighed, m / (m - 1) if m > 1 else 1, out=total, dtype=np.float64)
            total[0] = weighed[0]
        return sums


@dataclass(frozen=True)
class Sample:
    """What one run, or the mean of several, scored.

    values: float32 (1 + draws, 3 + k): accuracy, macro-F1, calibration error and the recall of each class; row 0 on the
    test images, the others on their redraws. correct: float32 (n,), the share of runs right about an image.
    influence: float32 (n, 2), what an image contributes to accuracy and macro-F1. runs: (r, 3 + k), row 0 of each run.
    """

    values: np.ndarray
    correct: np.ndarray
    influence: np.ndarray
    runs: np.ndarray

    def interval(self, column: int) -> Interval:
        """The BCa interval of ACCURACY or MACRO_F1 over test images; the spread over runs is not in it."""
        return self._intervals[column]

    @cached_property
    def _intervals(self) -> tuple[Interval, Interval]:
        accuracy, macro_f1 = (
            bca_interval(self.values[0, column], self.values[1:, column], self.influence[:, column])
            for column in (ACCURACY, MACRO_F1)
        )
        return accuracy, macro_f1


def sample_run(resamples: Resamples, probabilities: np.ndarray) -> Sample:
    """Score `probabilities`, float (n, k), on the test images and on all redraws."""
    labels, k = resamples.labels, len(resamples.rows)
    predicted = probabilities.argmax(axis=1)
    answers = np.eye(k, dtype=np.float32)[predicted]
    gaps = calibration_gaps(labels, probabilities).astype(np.float32)
    sums = resamples.sums(np.hstack([answers, gaps]))
    values = _values(sums[:, :, :k], sums[:, :, k:].sum(axis=0), np.bincount(labels, minlength=k))
    return restored(labels, k, predicted, values)


def restored(labels: np.ndarray, n_classes: int, predicted: np.ndarray, values: np.ndarray) -> Sample:
    """The sample of a run from its predicted classes, int (n,), and the `values` computed before."""
    correct = (predicted == labels).astype(np.float32)
    return Sample(values, correct, _influence(labels, n_classes, predicted), values[:1])


def mean_of(samples: Sequence[Sample]) -> Sample:
    """The mean of several runs on the same redraws."""
    if len(samples) == 1:
        return samples[0]
    return Sample(
        np.mean([sample.values for sample in samples], axis=0),
        np.mean([sample.correct for sample in samples], axis=0),
        np.mean([sample.influence for sample in samples], axis=0),
        np.concatenate([sample.runs for sample in samples]),
    )


def _values(confusion: np.ndarray, gaps: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Scores of each draw from confusion matrices (class, draw, answer) and calibration gaps (draw, bin)."""
    n, answers = support.sum(), confusion.sum(axis=0)
    hits = np.einsum("cdc->dc", confusion)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(answers + support, 1)
    columns = (hits.sum(axis=1) / n, f1.mean(axis=1), np.abs(gaps).sum(axis=1) / n)
    return np.column_stack([*columns, recall]).astype(np.float32)


def _influence(labels: np.ndarray, k: int, predicted: np.ndarray) -> np.ndarray:
    """First-order effect of counting an image once more on accuracy and macro-F1, centred within classes."""
    support, answers = np.bincount(labels, minlength=k), np.bincount(predicted, minlength=k)
    hit = predicted == labels
    both = np.maximum(support + answers, 1)
    f1 = 2 * np.bincount(labels[hit], minlength=k) / both
    raw = np.column_stack([hit / len(labels), (2 * hit - f1[predicted]) / both[predicted] / k])
    means = np.stack([np.bincount(labels, raw[:, j], minlength=k) for j in range(2)], axis=1)
    return (raw - (means / np.maximum(support, 1)[:, None])[labels]).astype(np.float32)


def bca_interval(estimate: float, draws: np.ndarray, influence: np.ndarray) -> Interval:
    """The bias-corrected and accelerated 95 % interval of `estimate` from its bootstrap `draws`, float (b,).

    influence: float (n,), first-order effects of the images, which give the acceleration.
    Efron (1987), Better Bootstrap Confidence Intervals, section 4; strata: Davison and Hinkley (1997), section 5.3.2.
    """
    from scipy.special import ndtr, ndtri

    if np.ptp(draws) == 0:
        return Interval(float(estimate), float(estimate))
    effects = influence.astype(np.float64)
    spread = (effects**2).sum()
    acceleration = (effects**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
    below = (draws < estimate).mean() + (draws == estimate).mean() / 2
    bias = ndtri(np.clip(below, 1 / len(draws), 1 - 1 / len(draws)))
    shifted = bias + ndtri([ALPHA / 2, 1 - ALPHA / 2])
    low, high = np.quantile(draws, ndtr(bias + shifted / (1 - acceleration * shifted)))
    return Interval(float(low), float(high))


def compare_scores(first: Sample, second: Sample, column: int) -> Change:
    """How much higher `second` scores than `first`, runs paired in order: bootstrap over images, spread over runs."""
    differences = second.values[:, column].astype(np.float64) - first.values[:, column]
    error = np.sqrt(differences[1:].var(ddof=1) + _run_variance(second.runs[:, column] - first.runs[:, column]))
    value, reach = differences[0], NORMAL * error
    return Change(float(value), float(value - reach), float(value + reach), float(_two_sided(value, error)))


def compare_shares(first: Sample, second: Sample, labels: np.ndarray, classes: Sequence[int]) -> Change:
    """How much more of the images of `classes` `second` gets right than `first`, runs paired in order.

    labels: int (n,), with at least one image of the classes. McNemar's test, exact for one run each. The interval is
    that of Bonett and Price (2012), which holds for small classes too; with several runs, their spread widens it.
    """
    rows = np.isin(labels, classes)
    n, per_class = rows.sum(), np.bincount(labels[rows], minlength=first.runs.shape[1] - RECALL)
    change = (second.correct - first.correct)[rows].astype(np.float64)
    total, squares = change.sum(), (change**2).sum()
    between = _run_variance((second.runs - first.runs)[:, RECALL:] @ (per_class / n))
    exact = len(first.runs) == 1
    p = mcnemar(total, squares) if exact else _two_sided(total, np.sqrt(squares + n**2 * between))
    centre = total / (n + 2)
    reach = NORMAL * np.sqrt(((squares + 2) / (n + 2) - centre**2) / (n + 2) + between)
    return Change(float(total / n), float(max(-1, centre - reach)), float(min(1, centre + reach)), float(p))


def pairwise_scores(samples: Sequence[Sample], column: int) -> tuple[np.ndarray, np.ndarray]:
    """Standard errors and p-values, float (r, r), of the differences between r samples in a score.

    Bootstrap over images and spread over runs, which need not be paired.
    """
    values = np.stack([sample.values[:, column] for sample in samples]).astype(np.float64)
    covariance = np.atleast_2d(np.cov(values[:, 1:]))
    own = np.diag(covariance) + [_run_variance(sample.runs[:, column]) for sample in samples]
    squared = own[:, None] + own - 2 * covariance
    errors = np.sqrt(np.where(squared < ROUNDING, 0, squared))
    return errors, _two_sided(values[:, :1] - values[:, 0], errors)


def pairwise_accuracy(samples: Sequence[Sample]) -> np.ndarray:
    """p-values, float (r, r), of the differences in accuracy: McNemar's test, exact between single runs."""
    correct = np.stack([sample.correct for sample in samples]).astype(np.float64)
    totals, products = correct.sum(axis=1), correct @ correct.T
    total = totals[:, None] - totals
    squares = np.maximum(np.diag(products)[:, None] + np.diag(products) - 2 * products, 0)
    runs = np.array([_run_variance(sample.runs[:, ACCURACY]) for sample in samples]) * correct.shape[1] ** 2
    single = np.array([len(sample.runs) == 1 for sample in samples])
    asymptotic = _two_sided(total, np.sqrt(squares + runs[:, None] + runs))
    return np.where(single[:, None] & single, mcnemar(total, squares), asymptotic)


def mcnemar(total: np.ndarray | float, discordant: np.ndarray | float) -> np.ndarray:
    """Exact two-sided p-values of McNemar's test: binomial, whatever the number of discordant pairs.

    total: pairs won less pairs lost; discordant: pairs won or lost. Fagerland, Lydersen and Laake (2013).
    """
    from scipy.special import bdtr

    n = np.round(discordant)
    return np.minimum(1.0, 2 * bdtr(np.round((n - np.abs(total)) / 2), n.astype(int), 0.5))


def holm(p: np.ndarray) -> np.ndarray:
    """p-values, float (m,), adjusted so that the chance of one false finding among all is at most alpha.

    Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure.
    """
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def holm_pairs(p: np.ndarray) -> np.ndarray:
    """`holm` over all pairs of a matrix (r, r): which row is best is known only after looking, so each pair counts."""
    upper = np.triu_indices(len(p), 1)
    adjusted = np.ones_like(p)
    adjusted[upper] = holm(p[upper])
    return np.minimum(adjusted, adjusted.T)


@dataclass(frozen=True)
class Standing:
    """Where a row stands. behind: how much lower its macro-F1 is than the best row's; accuracy_p: of their accuracy.

    p-values are adjusted over all pairs of rows.
    """

    band: int
    behind: Change
    accuracy_behind: float
    accuracy_p: float


def standings(samples: Sequence[Sample]) -> list[Standing]:
    """The standing of each of the rows, by macro-F1."""
    scores = np.array([sample.values[0, MACRO_F1] for sample in samples], dtype=np.float64)
    accuracy = np.array([sample.values[0, ACCURACY] for sample in samples], dtype=np.float64)
    errors, p = pairwise_scores(samples, MACRO_F1)
    adjusted, accuracy_p = holm_pairs(p), holm_pairs(pairwise_accuracy(samples))
    best = int(scores.argmax())
    return [
        Standing(
            band,
            Change(gap, gap - NORMAL * errors[best, row], gap + NORMAL * errors[best, row], adjusted[best, row]),
            accuracy[best] - accuracy[row],
            accuracy_p[best, row],
        )
        for row, (band, gap) in enumerate(zip(bands(scores, adjusted), scores[best] - scores, strict=True))
    ]


def bands(scores: np.ndarray, adjusted: np.ndarray) -> list[int]:
    """Rank bands, 1 the best: the best row and all that cannot be told from it, then the same among those left.

    scores: float (r,); adjusted: p-values (r, r) of `holm_pairs`.
    """
    band = np.zeros(len(scores), dtype=int)
    for number in range(1, len(scores) + 1):
        left = np.flatnonzero(band == 0)
        if not len(left):
            break
        leader = int(left[scores[left].argmax()])
        band[left[adjusted[leader, left] >= ALPHA]] = number
        band[leader] = number
    return band.tolist()


def _run_variance(values: np.ndarray) -> float:
    """The variance of the mean of several runs' `values`; 0 for one run, whose spread cannot be known."""
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else 0.0


def _two_sided(difference: np.ndarray | float, error: np.ndarray | float) -> np.ndarray:
    """p-values of differences with normal standard errors; 1 where both are 0, as between equal predictions."""
    from scipy.special import ndtr

    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.abs(np.asarray(difference) / error)
    return 2 * ndtr(-np.where(np.isnan(z), 0, z))
