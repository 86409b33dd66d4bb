"""Runs that adjusted the probabilities of another for how frequent classes are, computed again from that one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fer_bench import metrics
from fer_bench.analysis.predictions import TOLERANCE, Predictions, Run

if TYPE_CHECKING:
    from fer_bench.records.schema import Record

STRATEGY = "post-hoc-adjustment"
BETTER = 2e-3
"""By how much macro-F1 of another tau must be better where probabilities were rounded to be published."""


class _Base(NamedTuple):
    """What a run started from: probabilities by subset, float32 (n, k), and class counts of train, float (k,)."""

    run_id: str
    probabilities: dict[str, np.ndarray]
    counts: np.ndarray
    tau: float

    @property
    def log_prior(self) -> np.ndarray:
        """Logarithms of the classes' shares in train, float (k,)."""
        return np.log(self.counts / self.counts.sum())

    def adjusted(self, subset: str, tau: float) -> np.ndarray:
        """Its probabilities at another tau."""
        return metrics.adjust(self.probabilities[subset], self.log_prior, tau)


def contradictions(predictions: Predictions, run: Run, stored: dict[str, np.ndarray]) -> Iterator[str]:
    """Where `stored`, by subset, is not what base, tau and the classes' shares in train give, if these are known.

    Odds of two classes are compared by their logarithms' share in the rounding of published probabilities.
    """
    base = _base(predictions, run.record)
    if not isinstance(base, _Base):
        return
    largest = float((base.counts.max() / base.counts.min()) ** abs(base.tau))
    tolerance = TOLERANCE * 10 + 2 * predictions.folder.resolution * largest
    for subset in stored.keys() & base.probabilities.keys():
        again = base.adjusted(subset, base.tau)
        if (n := int((np.abs(again - stored[subset]).max(axis=1) > tolerance).sum())) > 0:
            yield f"{subset} probabilities of {n:,} images are not those of {base.run_id} at tau {base.tau:g}"


def remarks(predictions: Predictions, run: Run) -> Iterator[str]:
    """Why an adjusted run cannot be computed again, or that the validation images do not choose its tau.

    They may have been others when it was chosen, as copies in train that were found since do not choose.
    """
    base = _base(predictions, run.record)
    if isinstance(base, str):
        yield f"not computed again from its base: {base}"
    if not isinstance(base, _Base) or "validation" not in base.probabilities:
        return
    chosen_on = predictions.choosers
    labels = predictions.labels["validation"][chosen_on]
    best = metrics.choose_tau(base.probabilities["validation"][chosen_on], labels, base.log_prior)
    scores = {
        tau: metrics.macro_f1(labels, base.adjusted("validation", tau)[chosen_on].argmax(axis=1), len(base.counts))
        for tau in (best, base.tau)
    }
    if scores[best] > scores[base.tau] + (BETTER if predictions.folder.resolution else 0):
        yield f"tau is {base.tau:g}, and the validation images choose {best:g}"


def _base(predictions: Predictions, record: Record) -> _Base | str | None:
    """What an adjusted run started from, or why it is not known; None for another run."""
    if record.adjusted_from is None and record.spec.strategy != STRATEGY:
        return None
    if predictions.split[2]:
        return "no audit counts the training images of each fold"
    base = predictions.by_id.get(record.adjusted_from or "")
    if base is None:
        return f"{record.adjusted_from or 'it'} is not on record"
    audit, tau = predictions.audit, record.parameters.get("tau")
    if audit is None:
        return "no audit counts the training images"
    if isinstance(tau, bool) or not isinstance(tau, int | float):
        return "its tau is not on record"
    counts = np.array(audit.subsets["train"].class_counts, dtype=float)
    if not counts.all():
        return "a class has no training images"
    return _Base(base.run_id, predictions.stored(base), counts, float(tau))
