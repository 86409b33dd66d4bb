"""Dealing rows out to subsets: stratified by class, copies and groups whole, in the order of a hash."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from fer_bench.data.copies import components, stored_copies
from fer_bench.data.dataset import Dataset
from fer_bench.data.splits.dealing import even_parts, in_turn, rare_first
from fer_bench.errors import FerBenchError, listing
from fer_bench.progress import Progress

TENTHS = 10
TRIES, MANY_TRIES, MANY = 10, 2, 500
"""Orders in which groups are dealt to even parts, the most even of which is taken; of MANY groups fewer do."""


@dataclass(frozen=True)
class Shares:
    """Who gets how much: of `n_parts` even parts one for each name but the first, which gets the others.

    needed: the subsets that must have an image of every class.
    """

    names: tuple[str, ...]
    n_parts: int
    needed: tuple[str, ...]

    @property
    def part(self) -> str:
        """What people call one of them."""
        return "subset" if "train" in self.names else "fold"

    def of(self, total: int) -> dict[str, int]:
        """Images that each should get of so many of a class."""
        if len(self.names) == self.n_parts:
            return {name: (total + turn) // self.n_parts for turn, name in enumerate(self.names)}
        part = max(1, round(total / self.n_parts))
        first, *others = self.names
        return {first: total - len(others) * part, **dict.fromkeys(others, part)}


def tenths(*held_out: str, needed: tuple[str, ...] | None = None) -> Shares:
    """A tenth for each subset that is held out, the rest for training."""
    names = ("train", *held_out)
    return Shares(names, TENTHS, names if needed is None else needed)


def evenly(names: Sequence[str], needed: tuple[str, ...] | None = None) -> Shares:
    """As many for each as for any other, give or take one."""
    return Shares(tuple(names), len(names), tuple(names) if needed is None else needed)


def draw(dataset: Dataset, rows: np.ndarray, shares: Shares, seed: int | str, groups: np.ndarray) -> np.ndarray:
    """Subset names (n,): `rows` dealt out by the `shares` of each class, the other rows named like the first.

    groups: as `whole_groups` finds them; each stays whole. Raises FerBenchError naming classes that cannot be in each
    subset that needs them.
    """
    counts = dataset.class_counts(rows)
    units = _units(rows, dataset, groups, seed)
    contents = [Counter(dataset.labels[unit].tolist()) for unit in units]
    _check_enough(dataset, counts, contents, shares)
    dealt = _deal(dataset, units, contents, shares, counts, seed)
    subset = np.full(len(dataset), shares.names[0], dtype="U10")
    for unit, name in zip(units, dealt, strict=True):
        subset[unit] = name
    return subset


def whole_groups(dataset: Dataset, progress: Progress) -> np.ndarray:
    """Group number of each row: exact and near copies, and rows of one given group, share it (transitively)."""
    copies = stored_copies(dataset, progress).groups
    if dataset.groups is None:
        return copies
    n = len(dataset)
    given = np.unique(dataset.groups, return_inverse=True)[1]
    return components(2 * n, np.stack([copies, n + given], axis=1))[copies]


def _units(rows: np.ndarray, dataset: Dataset, groups: np.ndarray, seed: int | str) -> list[np.ndarray]:
    """The groups among `rows`, largest first, then by hash of seed and first id."""
    by_group = rows[np.argsort(groups[rows], kind="stable")]
    units = np.split(by_group, np.flatnonzero(np.diff(groups[by_group])) + 1)
    return sorted(units, key=lambda unit: (-len(unit), _hash(seed, dataset.sample_ids[unit[0]])))


def _hash(*parts: object) -> str:
    return hashlib.sha256(":".join(map(str, parts)).encode()).hexdigest()


def _check_enough(dataset: Dataset, counts: np.ndarray, contents: Sequence[Counter[int]], shares: Shares) -> None:
    apart = Counter(label for content in contents for label in content)
    few = [
        f"{name}: {count} images, {apart[label]} of them distinct"
        for label, (name, count) in enumerate(zip(dataset.class_names, counts, strict=True))
        if apart[label] < len(shares.needed)
    ]
    if few:
        raise FerBenchError(
            f"dataset {dataset.name!r}: every class needs at least {len(shares.needed)} distinct images, one for each "
            f"{shares.part}, where copies and images of one group (a person) count as one; {len(few)} have too few:\n"
            f"{listing(few)}\n{_advice(dataset)}"
        )


def _advice(dataset: Dataset) -> str:
    merge = "merge or drop such a class with --classes"
    if dataset.grouped_by == "person":
        return f"Try --folds people, which needs two people a class, or {merge}."
    return f"Add images, or {merge}."


def _deal(
    dataset: Dataset, units: Sequence[np.ndarray], contents: Sequence[Counter[int]], shares: Shares,
    counts: np.ndarray, seed: int | str,
) -> list[str]:  # fmt: skip
    """The subset of each unit. Those of several images go to even parts first; single images fill up.

    In folds of people, which need no class, they all go to even parts: single images might leave a fold empty.
    """
    n_large = sum(len(unit) > 1 or not shares.needed for unit in units)
    quotas = [shares.of(int(count)) for count in counts]
    best: tuple[int, list[str]] | None = None
    for attempt in range(min(n_large, TRIES if n_large <= MANY else MANY_TRIES) or 1):
        order = sorted(range(n_large), key=lambda at: _hash(seed, attempt, dataset.sample_ids[units[at][0]]))
        parts, uneven = even_parts([contents[at] for at in order], len(counts), shares.n_parts)
        turns = sorted(range(shares.n_parts), key=lambda part: _hash(seed, attempt, "part", part))
        roles = _roles(parts, [contents[at] for at in order], contents[n_large:], shares, turns)
        if roles is not None and (best is None or uneven < best[0]):
            large = dict(zip(order, (roles[part] for part in parts.tolist()), strict=True))
            best = uneven, [large[at] for at in range(n_large)]
    if best is not None:
        return best[1] + _fill(best[1], contents, shares, quotas)
    dealt, missing = rare_first(contents, quotas, shares.needed)
    if any(missing):
        apart = Counter(label for content in contents for label in content)
        lost = [
            f"{dataset.class_names[label]}: {counts[label]} images in {apart[label]} groups, "
            f"none of them in {', '.join(subsets)}"
            for label, subsets in enumerate(missing)
            if subsets
        ]
        raise FerBenchError(
            f"dataset {dataset.name!r}: groups (a person, a clip, copies of an image) are dealt out whole, and some "
            f"have images of several classes: no way was found to have each class in every {shares.part}\n"
            f"{listing(lost)}\nTry another --split-seed. {_advice(dataset)}"
        )
    return dealt


def _roles(
    parts: np.ndarray, contents: Sequence[Mapping[int, int]], singles: Sequence[Mapping[int, int]], shares: Shares,
    turns: Sequence[int],
) -> dict[int, str] | None:  # fmt: skip
    """The name of each part, in the first order of `turns` in which single images can fill what is missing."""
    has: list[set[int]] = [set() for _ in range(shares.n_parts)]
    for part, content in zip(parts.tolist(), contents, strict=True):
        has[part].update(content)
    spare = Counter(label for content in singles for label in content)
    labels = set(spare).union(*has)
    first, *others = shares.names
    for chosen in permutations(turns, len(others)) if len(shares.names) < shares.n_parts else [tuple(turns[1:])]:
        roles = dict.fromkeys(turns, first) | dict(zip(chosen, others, strict=True))
        held = {name: set().union(*(has[part] for part in turns if roles[part] == name)) for name in shares.names}
        empty = sum(not one for one in held.values())
        held = {name: held[name] for name in shares.needed}
        if empty <= len(singles) and all(
            sum(label not in one for one in held.values()) <= spare[label] for label in labels
        ):
            return roles
    return None


def _fill(
    dealt: Sequence[str], contents: Sequence[Counter[int]], shares: Shares, quotas: Sequence[Mapping[str, int]]
) -> list[str]:
    """The subsets of the single images, after those of larger units were `dealt`."""
    singles = contents[len(dealt) :]
    left = [dict(quota) for quota in quotas]
    has: list[set[str]] = [set() for _ in quotas]
    for name, content in zip(dealt, contents, strict=False):
        for label, n in content.items():
            left[label][name] -= n
            has[label].add(name)
    filled: dict[int, str] = {}
    for label, quota in enumerate(left):
        own = [at for at, content in enumerate(singles) if label in content]
        needed = [name for name in shares.needed if name not in has[label]]
        names, _ = in_turn([{0: 1}] * len(own), [quota], needed)
        filled.update(zip(own, names, strict=True))
    return [filled[at] for at in range(len(singles))]
