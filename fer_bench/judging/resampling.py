"""A run's scores on redraws of the test images, and the interval in which a score lies.

Every run is scored on the same redraws, stratified by class, so that differences between runs are paired. Intervals are
BCa (Efron 1987): with some tens of images in a class, percentile and normal intervals of macro-F1 cover less than they
say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

N_DRAWS = 2000
ALPHA = 0.05
ACCURACY, MACRO_F1, ECE, RECALL = 0, 1, 2, 3
"""Columns of `Sample.values`; recall of class c is in column RECALL + c."""


@dataclass(frozen=True)
class Interval:
    """Where a score over all images like these lies with 95 % confidence, given these training runs."""

    low: float
    high: float


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
    def of(cls, labels: np.ndarray, n_classes: int, n_draws: int = N_DRAWS) -> Resamples:
        """The same redraws for the same labels. They take 4 bytes per image and draw."""
        rng = np.random.default_rng(0)
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


def calibration_gaps(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Confidence minus correctness of each image, in the column of its confidence bin: float64 (n, 15)."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    column = np.clip(np.ceil(confidence * 15).astype(int) - 1, 0, 14)
    gaps = np.zeros((len(labels), 15))
    gaps[np.arange(len(labels)), column] = confidence - (probabilities.argmax(axis=1) == labels)
    return gaps
