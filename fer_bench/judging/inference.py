"""Paired tests between rows of a leaderboard, on the same redraws of the test images.

Tests divide a difference by its bootstrap standard error; those of plain shares (accuracy, recall) are McNemar's.
tests/judging/test_inference.py shows by simulation that this holds what it promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer_bench.judging.resampling import ACCURACY, ALPHA, MACRO_F1, RECALL, Sample

ROUNDING = 1e-12


@dataclass(frozen=True)
class Change:
    """A paired difference, its 95 % interval, and the two-sided p-value of there being none."""

    value: float
    low: float
    high: float
    p: float


def compare_scores(first: Sample, second: Sample, column: int) -> Change:
    """How much higher `second` scores than `first`, runs paired in order: bootstrap over images, spread over runs."""
    differences = second.values[:, column].astype(np.float64) - first.values[:, column]
    between, doubt = _spread(second.runs[:, column] - first.runs[:, column])
    error = _Error(differences[1:].var(ddof=1) + between, doubt)
    value, reach = differences[0], error.reach()
    return Change(float(value), float(value - reach), float(value + reach), float(error.p(value)))


def compare_shares(first: Sample, second: Sample, labels: np.ndarray, classes: Sequence[int]) -> Change:
    """How much more of the images of `classes` `second` gets right than `first`, runs paired in order.

    labels: int (n,), with at least one image of the classes. McNemar's test, exact for one run each. The interval is
    that of Bonett and Price (2012), which holds for small classes too; with several runs, their spread widens it.
    """
    rows = np.isin(labels, classes)
    n, per_class = rows.sum(), np.bincount(labels[rows], minlength=first.runs.shape[1] - RECALL)
    change = (second.correct - first.correct)[rows].astype(np.float64)
    total, squares = change.sum(), (change**2).sum()
    between, doubt = _spread((second.runs - first.runs)[:, RECALL:] @ (per_class / n))
    exact = len(first.runs) == 1
    p = mcnemar(total, squares) if exact else _Error(squares / n**2 + between, doubt).p(total / n)
    centre = total / (n + 2)
    reach = _Error(((squares + 2) / (n + 2) - centre**2) / (n + 2) + between, doubt).reach()
    return Change(float(total / n), float(max(-1, centre - reach)), float(min(1, centre + reach)), float(p))


def pairwise_scores(samples: Sequence[Sample], column: int) -> tuple[np.ndarray, np.ndarray]:
    """Half of the 95 % intervals, and p-values, float (r, r), of the differences between r samples in a score.

    Bootstrap over images and spread over runs, which need not be paired.
    """
    values = np.stack([sample.values[:, column] for sample in samples]).astype(np.float64)
    covariance = np.atleast_2d(np.cov(values[:, 1:]))
    between, doubt = np.transpose([_spread(sample.runs[:, column]) for sample in samples])
    own = np.diag(covariance) + between
    squared = own[:, None] + own - 2 * covariance
    error = _Error(np.where(squared < ROUNDING, 0, squared), doubt[:, None] + doubt)
    return error.reach(), error.p(values[:, :1] - values[:, 0])


def pairwise_accuracy(samples: Sequence[Sample]) -> np.ndarray:
    """p-values, float (r, r), of the differences in accuracy: McNemar's test, exact between single runs."""
    correct = np.stack([sample.correct for sample in samples]).astype(np.float64)
    totals, products = correct.sum(axis=1), correct @ correct.T
    total = totals[:, None] - totals
    squares = np.maximum(np.diag(products)[:, None] + np.diag(products) - 2 * products, 0)
    n, (between, doubt) = correct.shape[1], np.transpose([_spread(sample.runs[:, ACCURACY]) for sample in samples])
    single = np.array([len(sample.runs) == 1 for sample in samples])
    error = _Error(squares / n**2 + between[:, None] + between, doubt[:, None] + doubt)
    asymptotic = error.p(total / n)
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
    best = int(scores.argmax())
    reaches, p = pairwise_scores(samples, MACRO_F1)
    adjusted, accuracy_p = holm_pairs(p), holm_pairs(pairwise_accuracy(samples))
    return [
        Standing(
            band,
            Change(gap, gap - reaches[best, row], gap + reaches[best, row], adjusted[best, row]),
            accuracy[best] - accuracy[row],
            accuracy_p[best, row],
        )
        for row, (band, gap) in enumerate(zip(bands(scores, adjusted), scores[best] - scores, strict=True))
    ]


def bands(scores: np.ndarray, adjusted: np.ndarray) -> list[int]:
    """Rank bands, 1 the best: down from the best row to the first that can be told from it, which leads the next band.

    A row whose spread is large can be told from few others; it stays among those that score as it does.
    scores: float (r,); adjusted: p-values (r, r) of `holm_pairs`.
    """
    order = np.argsort(-scores, kind="stable")
    band, number, leader = np.empty(len(scores), dtype=int), 1, order[0]
    for row in order:
        if adjusted[leader, row] < ALPHA:
            number, leader = number + 1, row
        band[row] = number
    return band.tolist()


@dataclass(frozen=True)
class _Error:
    """The squared standard errors of differences, float of any shape, and how roughly few runs tell them.

    doubt: the sum of v² / (r - 1) over the parts v of `squared` that were estimated from r runs each; what comes from
    images is taken as known. Tests are t-tests with squared² / doubt degrees of freedom: Satterthwaite (1946), An
    Approximate Distribution of Estimates of Variance Components.
    """

    squared: np.ndarray | float
    doubt: np.ndarray | float

    def p(self, difference: np.ndarray | float) -> np.ndarray:
        """Two-sided p-values; 1 where difference and error are 0, as between equal predictions."""
        from scipy.special import stdtr

        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.abs(difference / np.sqrt(self.squared))
        return 2 * stdtr(self._degrees(), -np.where(np.isnan(t), 0, t))

    def reach(self) -> np.ndarray:
        """Half of the 95 % intervals."""
        from scipy.special import stdtrit

        return stdtrit(self._degrees(), 1 - ALPHA / 2) * np.sqrt(self.squared)

    def _degrees(self) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.doubt > 0, np.square(self.squared) / self.doubt, np.inf)


def _spread(values: np.ndarray) -> tuple[float, float]:
    """The variance of the mean of several runs' `values`, and its doubt; 0 for one run, whose spread is not known."""
    n = len(values)
    if n == 1:
        return 0.0, 0.0
    variance = float(values.var(ddof=1) / n)
    return variance, variance**2 / (n - 1)
