"""Runs with the same answers: a copy is no second model, no second seed, and no second file."""

from __future__ import annotations

import numpy as np

ALIKE = 2e-5
"""By how much probabilities may differ that were written with all their digits, as text or as float32."""
DECIMALS = (1, 2, 3, 4)
"""To how many decimals probabilities may have been rounded to be told from those that were not."""
WHOLE = 0.01
"""How far from a whole number its float32 share of 10,000 may be."""
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
    return np.abs(multiples - np.round(multiples)).max(axis=1) < WHOLE
