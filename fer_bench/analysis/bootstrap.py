"""Runs' scores on redraws of the test images, and the interval in which a score lies.

Every run is scored on the same redraws, stratified by class, so that differences between runs are paired. Intervals are
BCa (Efron 1987): with some tens of images in a class, percentile and normal intervals of macro-F1 cover less than they
say. Where it is known which images show one person, whole people are redrawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

N_DRAWS = 2000
ALPHA = 0.05
NORMAL = NormalDist()
REACH = NORMAL.inv_cdf(1 - ALPHA / 2)
BLOCK = 64
"""Runs that are scored in one product: about 30 MB with 7 classes."""


@dataclass(frozen=True)
class Resamples:
    """Redraws of the test images within their classes, each class keeping its total weight.

    rows: for each of the k classes the indices of its images. times: for each class of m images,
    float32 (1 + draws, m), how often each was drawn; row 0: all images once. scales: for each class, float32
    (1 + draws,), what gives it its total again. widening: by how much scores on redraws are moved away from the score.

    Of m images m - 1 are drawn and weighed m / (m - 1): drawing m would make small classes look surer than they are.
    Rao and Wu (1988), Resampling Inference with Complex Survey Data. So it is with groups.
    """

    rows: tuple[np.ndarray, ...]
    times: tuple[np.ndarray, ...]
    scales: tuple[np.ndarray, ...]
    widening: float

    @classmethod
    def of(
        cls, labels: np.ndarray, n_classes: int, n_draws: int = N_DRAWS, groups: np.ndarray | None = None
    ) -> Resamples:
        """The same redraws for the same labels and groups. They take 4 bytes per image and draw.

        groups: int (n,), which images belong together, as they show one person. Whole groups are drawn then, with all
        their images of every class; a class of which nothing is drawn stays as it is. Few groups vary less than their
        redraws show: as for means of so few, Student's t is taken for a normal deviate. One group alone says nothing
        of others: its images are redrawn.
        """
        rng = np.random.default_rng(0)
        rows = tuple(np.flatnonzero(labels == label) for label in range(n_classes))
        found, of_image = np.unique(labels if groups is None else groups, return_inverse=True)
        if groups is not None and len(found) > 1:
            drawn = _drawn(rng, n_draws, len(found))
            times = tuple(drawn[:, of_image[members]] for members in rows)
            for own in times:
                own[own.sum(axis=1) == 0] = 1
            from scipy.stats import t as student_t  # here, as it takes a second to import

            widening = student_t.ppf(1 - ALPHA / 2, len(found) - 1) / REACH
        else:
            times = tuple(_drawn(rng, n_draws, len(members)) for members in rows)
            widening = 1.0
        scales = tuple(np.float32(own.shape[1]) / np.maximum(own.sum(axis=1), 1) for own in times)
        return cls(rows, times, scales, widening)

    def confusion(self, predicted: np.ndarray) -> Iterator[np.ndarray]:
        """For each class, how often its images got each answer: float32 (1 + draws, k, r) of int `predicted` (r, n).

        Counts come out exactly before they are weighed, so that scores do not depend on the machine.
        """
        k = np.arange(len(self.rows))[:, None]
        for members, drawn, scale in zip(self.rows, self.times, self.scales, strict=True):
            answers = (predicted[:, members].T[:, None] == k).astype(np.float32)
            counts = np.tensordot(drawn, answers, axes=1)
            counts *= scale[:, None, None]
            yield counts


def _drawn(rng: np.random.Generator, n_draws: int, m: int) -> np.ndarray:
    """How often each of `m` is among `m` - 1 drawn, float32 (1 + n_draws, m); once in row 0, and alone always."""
    drawn = np.ones((1 + n_draws, m), dtype=np.float32)
    if m > 1:
        which = rng.integers(0, m, (n_draws, m - 1)) + m * np.arange(n_draws)[:, None]
        drawn[1:] = np.bincount(which.ravel(), minlength=n_draws * m).reshape(n_draws, m)
    return drawn


def score_draws(resamples: Resamples, predicted: np.ndarray) -> np.ndarray:
    """Accuracy, macro-F1 and the recall of each class, float32 (r, 1 + draws, 2 + k).

    predicted: int (r, n), the answers of r runs. [:, 0] is on the images themselves, the others on their redraws.
    """
    n_draws, k = len(resamples.times[0]), len(resamples.rows)
    values = np.empty((len(predicted), n_draws, 2 + k), dtype=np.float32)
    for start in range(0, len(predicted), BLOCK):
        block = slice(start, start + BLOCK)
        values[block] = _scores(resamples, predicted[block]).transpose(2, 0, 1)
    if resamples.widening > 1:
        values[:, 1:] = values[:, :1] + np.float32(resamples.widening) * (values[:, 1:] - values[:, :1])
    return values


def _scores(resamples: Resamples, predicted: np.ndarray) -> np.ndarray:
    """Scores of some runs, float32 (1 + draws, 2 + k, r)."""
    support = np.array([[len(members)] for members in resamples.rows], dtype=np.float32)
    hits = np.empty((len(resamples.times[0]), len(support), len(predicted)), dtype=np.float32)
    answers = np.zeros_like(hits)
    for label, counts in enumerate(resamples.confusion(predicted)):
        hits[:, label] = counts[:, label]
        answers += counts
    values = np.empty((len(hits), 2 + len(support), len(predicted)), dtype=np.float32)
    values[:, 0] = hits.sum(axis=1) / support.sum()
    np.maximum(np.add(answers, support, out=answers), 1, out=answers)
    values[:, 1] = (2 / len(support)) * np.divide(hits, answers, out=answers).sum(axis=1)
    np.divide(hits, np.maximum(support, 1), out=values[:, 2:])
    return values


def influence(
    labels: np.ndarray, n_classes: int, predicted: np.ndarray, groups: np.ndarray | None = None
) -> np.ndarray:
    """First-order effect of counting an image once more on accuracy and macro-F1, centred within classes.

    labels, predicted, groups: int (n,). float32 (n, 2), or (number of groups, 2) of counting a group once more.
    """
    support, answers = np.bincount(labels, minlength=n_classes), np.bincount(predicted, minlength=n_classes)
    hit = predicted == labels
    both = np.maximum(support + answers, 1)
    f1 = 2 * np.bincount(labels[hit], minlength=n_classes) / both
    raw = np.column_stack([hit / len(labels), (2 * hit - f1[predicted]) / both[predicted] / n_classes])
    means = np.stack([np.bincount(labels, raw[:, j], minlength=n_classes) for j in range(2)], axis=1)
    effects = raw - (means / np.maximum(support, 1)[:, None])[labels]
    if groups is not None and np.ptp(groups):
        of_image = np.unique(groups, return_inverse=True)[1]
        effects = np.stack([np.bincount(of_image, effects[:, j]) for j in range(2)], axis=1)
    return effects.astype(np.float32)


def bca_interval(estimate: float, draws: np.ndarray, influence: np.ndarray) -> tuple[float, float]:
    """The bias-corrected and accelerated 95 % interval of `estimate` from its bootstrap `draws`, float (b,).

    influence: float (n,), first-order effects of the images, which give the acceleration. Where the correction would
    leave the estimate outside, the interval reaches to it.
    Efron (1987), Better Bootstrap Confidence Intervals, section 4; strata: Davison and Hinkley (1997), section 5.3.2.
    """
    estimate = float(estimate)
    if np.ptp(draws) == 0:
        return estimate, estimate
    effects = influence.astype(np.float64)
    spread = (effects**2).sum()
    acceleration = (effects**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
    below = (draws < estimate).mean() + (draws == estimate).mean() / 2
    bias = NORMAL.inv_cdf(float(np.clip(below, 1 / len(draws), 1 - 1 / len(draws))))
    shifted = [bias + NORMAL.inv_cdf(share) for share in (ALPHA / 2, 1 - ALPHA / 2)]
    at = [NORMAL.cdf(bias + reach / (1 - acceleration * reach)) for reach in shifted]
    low, high = np.quantile(draws, at)
    return min(float(low), estimate), max(float(high), estimate)


def share_interval(estimate: float, draws: np.ndarray, influence: np.ndarray) -> tuple[float, float]:
    """`bca_interval` of what lies within 0 and 1, beyond which widened draws may go."""
    low, high = bca_interval(estimate, draws, influence)
    return max(low, 0.0), min(high, 1.0)
