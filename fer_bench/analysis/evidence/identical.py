"""Runs with the same answers: a copy is no second model, no second seed, and no second file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fer_bench.analysis.findings import Finding
from fer_bench.errors import FerBenchError

if TYPE_CHECKING:
    from fer_bench.analysis.predictions import Predictions, Run
    from fer_bench.records.schema import Record

ALIKE = 2e-5
"""By how much probabilities may differ that were written with all their digits, as text or as float32."""
DECIMALS = (1, 2, 3, 4)
"""To how many decimals probabilities may have been rounded to be told from those that were not."""
WHOLE = 2e-7
"""How far from a whole number a multiple of float32 may be, as a share of the factor."""
AGREEMENT = 0.75
"""Share of the images that copies answer alike at least, however they were rounded."""
MISTAKES = 5
"""Mistakes, and images that are not of the most frequent answer, from which equal answers of two models are a copy."""
SAMPLE = 50
"""Rows that tell most rounded probabilities from others before all rows are looked at."""


def same_answers(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays of probabilities, float (n, k), are the same but for how they were rounded.

    Mere labels are the same answers as probabilities of which they are the most probable classes.
    """
    if is_labels(one) or is_labels(other):
        return bool((one.argmax(axis=1) == other.argmax(axis=1)).all())
    return bool((np.abs(one - other) <= ALIKE + rounding(one) + rounding(other)).all())


def is_labels(rows: np.ndarray) -> bool:
    """Whether every row of probabilities is sure."""
    return bool((rows.max(axis=1) == 1).all())


def rounding(rows: np.ndarray) -> np.ndarray:
    """By how much each probability may be off as it was rounded to few decimals and made to sum to 1, float (n, k).

    0 where it was not: a rounded row is whole numbers of one step, divided by a sum that rounding keeps near 1.
    """
    for decimals in DECIMALS:
        steps, spread = 10**decimals, rows.shape[1] // 2 + 1
        totals = np.arange(max(steps - spread, 1), steps + spread + 1)
        if not _fits(rows[:SAMPLE], totals).any(axis=1).all() or not (fits := _fits(rows, totals)).any(axis=1).all():
            continue
        furthest = np.where(fits, np.abs(totals / steps - 1), 0).max(axis=1)
        return 0.5 / steps + rows * furthest[:, None]
    return np.zeros_like(rows)


def _fits(rows: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Which rows are, times which of the `totals`, whole numbers, bool (n, len(totals))."""
    multiples = rows.astype(np.float64)[:, :, None] * totals
    return np.abs(multiples - np.round(multiples)).max(axis=1) <= WHOLE * totals


def identical(predictions: Predictions) -> Iterator[Finding]:
    """Runs that answer alike on all test images for no good reason, those that are alike together.

    Good reasons: the answer is constant, no seed changes the model, an adjustment or ensemble changes nothing, all
    classes are as frequent in train, so that no strategy does, and variants of one model that are the same to it.
    """
    groups: list[tuple[_Answered, dict[tuple[str, ...], Run]]] = []
    for one in _varied(predictions):
        alike = (group for first, group in groups if _is_copy(predictions, first, one))
        if (group := next(alike, None)) is None:
            groups.append((one, group := {}))
        group.setdefault(_origin(predictions, one.run), one.run)
    for first, group in groups:
        if len(group) > 1:
            runs = list(group.values())
            of_one = len({(run.record.spec.model, run.record.spec.strategy) for run in runs}) == 1
            values = {"runs": [run.run_id for run in runs], "n_images": len(first.rows), "are_seeds": of_one}
            yield Finding("IDENTICAL_PREDICTIONS", values)


class _Answered(NamedTuple):
    """A run with its test probabilities, float32 (n, k), and its answers, int64 (n,)."""

    run: Run
    rows: np.ndarray
    answers: np.ndarray


def _varied(predictions: Predictions) -> Iterator[_Answered]:
    """Runs with test probabilities, those left out that say the same of every image; what is taken over comes last."""
    for run in sorted(predictions.runs, key=lambda run: bool(_taken_over(run.record))):
        try:
            rows = predictions.probabilities(run, "test")
        except FerBenchError:  # told where it is scored
            continue
        if rows is not None and np.ptp(rows, axis=0).max() > ALIKE:
            yield _Answered(run, rows, rows.argmax(axis=1))


def _is_copy(predictions: Predictions, one: _Answered, other: _Answered) -> bool:
    """Whether two runs have the same probabilities, or, of two models, the same answers with the same mistakes."""
    agree = one.answers == other.answers
    if agree.mean() < AGREEMENT:
        return False
    if not (is_labels(one.rows) or is_labels(other.rows)):
        published = 2 * predictions.folder.resolution
        if (np.abs(one.rows - other.rows) <= published).all() or same_answers(one.rows, other.rows):
            return True
    are_mixed = any(len(run.record.members) > 1 for run in (one.run, other.run))
    if are_mixed or one.run.record.spec.model == other.run.record.spec.model or not agree.all():
        return False
    wrong = (one.answers != predictions.labels["test"]).sum()
    return bool(min(wrong, len(agree) - np.bincount(one.answers).max()) >= MISTAKES)


def _origin(predictions: Predictions, run: Run) -> tuple[str, ...]:
    """What makes the answers of a run its own: model, strategy, seed; those of the run that it takes over unchanged."""
    seen = {run.run_id}
    while (source := predictions.by_id.get(_taken_over(run.record))) and source.run_id not in seen:
        run = source
        seen.add(run.run_id)
    spec = run.record.spec
    strategy = "" if _is_balanced(predictions) else spec.strategy
    return spec.model, strategy, str(spec.seed) if _is_seeded(run.record) else ""


def _taken_over(record: Record) -> str:
    """The id of the run whose answers are this one's: adjusted by nothing, or the only member of an ensemble."""
    if len(record.members) == 1:
        return next(iter(record.members))
    return record.adjusted_from or "" if record.adjusts_nothing else ""


def _is_seeded(record: Record) -> bool:
    """Whether another seed gives another run; a plug-in's estimator without a random state has none."""
    names = record.parameters.keys() - {"class"}
    has_no_state = record.plugin_code and names and not any("random_state" in name for name in names)
    return record.stochastic is not False and not has_no_state


def _is_balanced(predictions: Predictions) -> bool:
    """Whether no class is rarer than another, in train where it was audited, or else in validation."""
    try:
        audit = predictions.audit
    except FerBenchError:  # told where it is checked
        audit = None
    counts = audit.subsets["train"].class_counts if audit else np.bincount(predictions.labels["validation"]).tolist()
    return max(counts) - min(counts) <= 1
