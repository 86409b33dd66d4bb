"""Dealing rows out to subsets: stratified by class, copies and groups whole, in the order of a hash."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from fer_bench.data.copies import stored_copies
from fer_bench.data.dataset import Dataset
from fer_bench.errors import FerBenchError, listing
from fer_bench.progress import Progress

FRACTION = 0.1
Quotas = Callable[[int], dict[str, int]]
"""Images that each subset should get of so many."""


def tenths(*held_out: str) -> Quotas:
    """A tenth, and one at least, for each subset that is held out, the rest for training."""

    def quotas(total: int) -> dict[str, int]:
        tenth = max(1, round(FRACTION * total))
        return {"train": total - len(held_out) * tenth, **dict.fromkeys(held_out, tenth)}

    return quotas


def evenly(names: Sequence[str]) -> Quotas:
    """As many for each as for any other, give or take one."""
    return lambda total: {name: (total + turn) // len(names) for turn, name in enumerate(names)}


def draw(dataset: Dataset, rows: np.ndarray, quotas: Quotas, seed: int, progress: Progress) -> np.ndarray:
    """Subset names (n,): `rows` dealt out by the `quotas` of each class, the other rows named like the first."""
    counts = dataset.class_counts(rows)
    shares = [quotas(int(count)) for count in counts]
    names = tuple(quotas(0))
    units = _units(rows, dataset, _groups(dataset, progress), seed)
    contents = [Counter(dataset.labels[unit].tolist()) for unit in units]
    apart = Counter(label for content in contents for label in content)
    images = [f"{name}: {count} images" for name, count in zip(dataset.class_names, counts, strict=True)]
    if few := [f"{text}, {apart[i]} of them distinct" for i, text in enumerate(images) if apart[i] < len(names)]:
        raise FerBenchError(
            f"dataset {dataset.name!r}: every class needs at least {len(names)} distinct images, one for each subset, "
            f"where copies and images of one group count as one; {len(few)} have too few:\n{listing(few)}"
        )
    subset_of, missing = _deal(contents, shares)
    if lost := [
        f"{text} in {apart[i]} groups, none of them in {', '.join(missing[i])}"
        for i, text in enumerate(images)
        if missing[i]
    ]:
        raise FerBenchError(
            f"dataset {dataset.name!r}: groups (a person, a clip, copies of an image) are dealt out whole, and some "
            f"have images of several classes: no way was found to have each class in every subset\n{listing(lost)}\n"
            "Try another --split-seed, or, without --folds, mark the subsets in the data."
        )
    subset = np.full(len(dataset), names[0], dtype="U10")
    for at, name in subset_of.items():
        subset[units[at]] = name
    return subset


def _deal(
    contents: Sequence[Mapping[int, int]], shares: Sequence[Mapping[str, int]]
) -> tuple[dict[int, str], list[list[str]]]:
    """The subset of each unit, and of each class the subsets that it is missing from, if no way around it was found.

    contents: images of each class in each unit. shares: images that each subset should get, by class.
    Units of one class come last, as they fit anywhere; those of a class that would go missing first.
    """
    hard: set[int] = set()
    while True:
        turns = sorted(range(len(contents)), key=lambda at: (hard.isdisjoint(contents[at]), len(contents[at]) == 1))
        names, missing = _deal_in_turn([contents[at] for at in turns], shares)
        lost = {label for label, subsets in enumerate(missing) if subsets}
        if lost <= hard:
            return dict(zip(turns, names, strict=True)), missing
        hard |= lost


def _deal_in_turn(
    contents: Sequence[Mapping[int, int]], shares: Sequence[Mapping[str, int]]
) -> tuple[list[str], list[list[str]]]:
    """As `_deal`: each unit to the subset that lacks most of its share in the classes of the unit.

    A class with no more units left than there are subsets without it goes to one of those.
    """
    names = tuple(shares[0])
    lacking = [dict(share) for share in shares]
    missing = [list(names) for _ in shares]
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


def _groups(dataset: Dataset, progress: Progress) -> np.ndarray:
    """Group number of each row: exact and near copies, and rows of one given group, share it (transitively)."""
    keys = [stored_copies(dataset, progress).groups]
    if dataset.groups is not None:
        keys.append(np.unique(dataset.groups, return_inverse=True)[1])
    n = len(dataset)
    offsets = np.cumsum([n] + [key.max() + 1 for key in keys])
    rows = np.tile(np.arange(n), len(keys))
    columns = np.concatenate([key + offset for key, offset in zip(keys, offsets[:-1], strict=True)])
    graph = coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(offsets[-1], offsets[-1]))
    return connected_components(graph, directed=False)[1][:n]


def _units(rows: np.ndarray, dataset: Dataset, groups: np.ndarray, seed: int) -> list[np.ndarray]:
    """The groups among `rows`, largest first, then by hash of seed and first id."""
    by_group = rows[np.argsort(groups[rows], kind="stable")]
    units = np.split(by_group, np.flatnonzero(np.diff(groups[by_group])) + 1)

    def order(unit: np.ndarray) -> tuple[int, str]:
        return -len(unit), hashlib.sha256(f"{seed}:{dataset.sample_ids[unit[0]]}".encode()).hexdigest()

    return sorted(units, key=order)
