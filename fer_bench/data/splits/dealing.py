"""Dealing units (a person, a clip, copies of an image) out to parts of equal size and mix of classes.

All in whole numbers, in the order that is given: the same on any machine and with any library version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

Content = Mapping[int, int]
"""Images of each class in a unit."""
MOST_SWAPPED = 3000
"""Units that are swapped one against another; of more, some fit everywhere."""
ROUNDS = 20


def even_parts(contents: Sequence[Content], n_classes: int, n_parts: int) -> tuple[np.ndarray, int]:
    """The part of each unit, int64 (n,): as many images of each class, and so of all, in one part as in another.

    And how far they are from that, to compare orders of the same units by.

    No part is preferred, so that over random orders each unit is in each part equally often, whatever its size: each
    goes where it fits best, then units move or change places while that makes the parts more even.
    """
    units = np.zeros((len(contents), n_classes + 1), dtype=np.int64)
    for unit, content in enumerate(contents):
        for label, n in content.items():
            units[unit, label] = n
    units[:, -1] = units.sum(axis=1)
    totals = units.sum(axis=0)
    weights = totals[-1] // np.maximum(totals, 1)
    weights[-1] = n_classes  # all classes together say as much as the size
    part_of = np.empty(len(units), dtype=np.int64)
    excess = np.tile(-totals, (n_parts, 1))  # n_parts times the images of a part, less those of all
    for unit, own in enumerate(units * n_parts):
        part_of[unit] = np.argmin((excess * 2 + own) @ (weights * own))
        excess[part_of[unit]] += own
    for _ in range(ROUNDS):
        if not _improve(units * n_parts, weights, part_of, excess):
            break
    return part_of, int((weights * excess**2).sum())


def _improve(units: np.ndarray, weights: np.ndarray, part_of: np.ndarray, excess: np.ndarray) -> bool:
    """Move each unit, or swap it for another, where that makes `excess` smaller, in place; whether any was."""
    improved = False
    weighted = units * weights
    for unit, own in enumerate(units):
        here = part_of[unit]
        moved = (own + excess - excess[here]) @ weighted[unit]
        moved[here] = 0
        there, other, gain = int(np.argmin(moved)), -1, int(moved.min())
        if len(units) <= MOST_SWAPPED:
            change = units - own
            swapped = ((change + excess[here] - excess[part_of]) * change) @ weights
            swapped[part_of == here] = 0
            if swapped.min() < gain:
                other, gain = int(np.argmin(swapped)), int(swapped.min())
        if gain >= 0:
            continue
        improved = True
        if other >= 0:
            there = part_of[other]
            excess[there] -= units[other]
            excess[here] += units[other]
            part_of[other] = here
        excess[here] -= own
        excess[there] += own
        part_of[unit] = there
    return improved


def in_turn(
    contents: Sequence[Content], shares: Sequence[Mapping[str, int]], needed: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """The subset of each unit: that which lacks most of its share in the classes of the unit; and what is missing.

    shares: images that each subset still should get, by class. missing: of each class the subsets among `needed` that
    got none. A class with no more units left than there are such goes to one of those.
    """
    names = tuple(shares[0])
    lacking = [dict(share) for share in shares]
    missing = [list(needed) for _ in shares]
    left = Counter(label for content in contents for label in content)
    dealt = []
    for content in contents:
        due = [missing[label] for label in content if left[label] <= len(missing[label])]
        where = max(
            names,
            key=lambda name: (
                sum(name in subsets for subsets in due),
                sum(n * lacking[label][name] for label, n in content.items()),
            ),
        )
        for label, n in content.items():
            lacking[label][where] -= n
            left[label] -= 1
            if where in missing[label]:
                missing[label].remove(where)
        dealt.append(where)
    return dealt, missing


def rare_first(
    contents: Sequence[Content], shares: Sequence[Mapping[str, int]], needed: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """As `in_turn`, but units of a class that would go missing come first, and those of one class last."""
    hard: set[int] = set()
    while True:
        turns = sorted(range(len(contents)), key=lambda at: (hard.isdisjoint(contents[at]), len(contents[at]) == 1))
        names, missing = in_turn([contents[at] for at in turns], shares, needed)
        lost = {label for label, subsets in enumerate(missing) if subsets}
        if lost <= hard:
            by_unit = dict(zip(turns, names, strict=True))
            return [by_unit[at] for at in range(len(contents))], missing
        hard |= lost
