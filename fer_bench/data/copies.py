"""Which rows of a dataset show the same image, exactly or nearly. Found once, stored, read by split and audit.

Near copies are the same photograph again: brighter, recompressed, blurred, turned, moved, zoomed, with a watermark, or
mirrored. `likeness` finds candidates, `alignment` lays one on the other and says how well they agree.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fer_bench import cache
from fer_bench.cache import reading
from fer_bench.data.dataset import Dataset
from fer_bench.progress import Progress, silent

if TYPE_CHECKING:
    from fer_bench.data.alignment import Details

STORED_FORMAT = 5
"""Goes up when other copies are found in the same images."""
SAVED = "copies.npz"

SMALLEST = 16
"""Smaller images say too little to tell a copy from a likeness; they have no near copies here."""
FEW = 64
"""Images of which every pair is looked at."""
ALIKE, MOST = 0.5, 5
"""Likeness from which a pair is a candidate, and candidates of an image among later ones, at most."""
COPY, MIRRORED, SURE = 0.89, 0.92, 0.997
"""Correlation from which a pair is a near copy, from which a mirrored one is, and from which a pair is one in any data.

Set by eye on FER2013, on sheets of 28 pairs drawn at random: at 0.89 to 0.90 one in ten showed two people, at 0.90 to
0.92 one in 28, of mirrored pairs at 0.88 to 0.90 three in four, at 0.92 to 0.95 none.
"""
STEP = 0.005
DECOYS, FEWEST_DECOYS = 1 / 3, 3
"""Share of strangers among pairs, as their labels tell it, above which COPY is too low; and pairs that this takes."""
COMPARED = 20_000
"""Pairs of images that are linked, over others, that are compared at most."""
LINKED = 1 / 3
"""Share of the pairs between two groups that must be copies for the groups to be one: chains of likeness end."""


@dataclass(frozen=True)
class Copies:
    """The distinct images of a dataset of n rows, and which of them are near copies.

    image: int64 (n,), number of the distinct image that a row shows. first: int64 (n_distinct,), the first row of each.
    pairs: int64 (m, 2), numbers of distinct images that are near copies, with similarity, float32 (m,), and
    mirrored, bool (m,). threshold: the similarity from which pairs were taken for copies.
    """

    image: np.ndarray
    first: np.ndarray
    pairs: np.ndarray
    similarity: np.ndarray
    mirrored: np.ndarray
    threshold: float

    @property
    def groups(self) -> np.ndarray:
        """Group number of each row, int (n,): exact and near copies, and copies of copies, share it."""
        return components(len(self.first), self.pairs)[self.image]

    def among(self, rows: np.ndarray) -> np.ndarray:
        """Copies that each row has among `rows`: str (n,), "exact", "near" or "". A row in `rows` is its own copy."""
        exact = np.zeros(len(self.first), dtype=bool)
        exact[self.image[rows]] = True
        near = np.zeros_like(exact)
        for one, other in (self.pairs.T, self.pairs.T[::-1]):
            near[one[exact[other]]] = True
        return np.where(exact, "exact", np.where(near, "near", ""))[self.image]


def find_copies(dataset: Dataset, progress: Progress = silent) -> Copies:
    """The copies in `dataset`, as far as its option `copies` lets them count; exact ones have every pixel in common."""
    n = len(dataset)
    if dataset.copies == "none":
        return Copies(np.arange(n), np.arange(n), *_NO_PAIRS, COPY)
    images = np.asarray(dataset.images)  # rows of a memory map cost more to look up
    hashes = [hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in images]
    # distinct images are numbered by hash, so that nothing here depends on the order of rows
    _, first, image = np.unique(np.array(hashes, dtype="S32"), return_index=True, return_inverse=True)
    if dataset.copies == "exact" or min(dataset.images.shape[1:3]) < SMALLEST or len(first) < 2:
        return Copies(image, first, *_NO_PAIRS, COPY)
    from fer_bench.data.alignment import Details  # here and below: OpenCV and SciPy, for what is not stored yet
    from fer_bench.data.likeness import SIDE
    from fer_bench.data.resizing import gray_squares

    progress(0.0, "looking for near copies")
    squares = gray_squares(dataset.images, SIDE, first)
    details = Details(squares)
    near = _near(details, squares, progress)
    threshold = COPY if dataset.copies == "near" else _threshold(near[1], *_strangers(dataset, first, near[0]))
    near = _where(near, near[1] >= threshold)
    unseen, seen = _unseen(len(first), near[0])
    more = _best([_compared(details, unseen, is_mirrored) for is_mirrored in (False, True)])
    near = _best([near, _where(more, more[1] >= threshold)])
    near = _where(near, _together(near[0], near[1], LINKED * seen))
    return Copies(image, first, *near, threshold)


Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Pairs, int (m, 2), of distinct images by number, the lower first; their similarity; whether mirrored."""
_NO_PAIRS: Pairs = np.empty((0, 2), np.int64), np.empty(0, np.float32), np.empty(0, bool)


def stored_copies(dataset: Dataset, progress: Progress = silent) -> Copies:
    """`find_copies` from the cache, made if it is not there. Raises FerBenchError where the file is damaged."""

    def build(work: Path) -> None:
        copies = find_copies(dataset, progress)
        np.savez(work / SAVED, allow_pickle=False, **vars(copies))

    people = None if dataset.people is None else dataset.people.tolist()
    key = cache.digest(
        {"data": dataset.fingerprint, "copies": dataset.copies, "people": people, "format": STORED_FORMAT}
    )
    folder = cache.fetch("copies", key, build, files=(SAVED,))
    with reading(folder), np.load(folder / SAVED, allow_pickle=False) as arrays:
        return Copies(**{**arrays, "threshold": float(arrays["threshold"])})


def _near(details: Details, squares: np.ndarray, progress: Progress) -> Pairs:
    """The candidates among gray `squares`, uint8 (n, 48, 48), that may be near copies."""
    found = []
    for is_mirrored, pairs in _candidates(squares):

        def tell(done: float, is_mirrored: bool = is_mirrored) -> None:
            text = "looking for mirrored copies" if is_mirrored else "looking for near copies"
            progress(0.1 + 0.45 * is_mirrored + 0.4 * done, text)

        found.append(_compared(details, pairs, is_mirrored, tell))
    return _best(found)


def _compared(
    details: Details, pairs: np.ndarray, is_mirrored: bool, tell: Callable[[float], None] = lambda done: None
) -> Pairs:
    """Those of `pairs` that may be near copies; `tell` is told the share done."""
    pairs = pairs[details.has_any[pairs].all(axis=1)]
    pairs = pairs[np.argsort(pairs[:, 1], kind="stable")]
    values = [np.empty(0, np.float32)]
    for part in details.correlations(pairs, is_mirrored):
        values.append(part)
        tell(sum(map(len, values)) / max(1, len(pairs)))
    similarity = np.concatenate(values)
    is_near = similarity >= (MIRRORED if is_mirrored else COPY)
    return pairs[is_near], similarity[is_near], np.full(is_near.sum(), is_mirrored)


def _where(near: Pairs, rows: np.ndarray) -> Pairs:
    return near[0][rows], near[1][rows], near[2][rows]


def _best(found: Sequence[Pairs]) -> Pairs:
    """All pairs, each once: one found both ways, as of a symmetric face, counts as the more similar of them."""
    pairs, similarity, mirrored = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((-similarity, pairs[:, 1], pairs[:, 0]))
    is_first = np.ones(len(pairs), bool)
    is_first[1:] = (np.diff(pairs[order], axis=0) != 0).any(axis=1)
    return _where((pairs, similarity, mirrored), order[is_first])


def _unseen(n: int, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of n images linked by `pairs`, over others, that are not among them; and the share seen then, (n,).

    Of an image with many copies few are candidates. Of very many that are linked, as many as can be compared are drawn.
    """
    component = components(n, pairs)
    known, seen, unseen = set(map(tuple, pairs.tolist())), np.ones(n), [np.empty((0, 2), np.int64)]
    sizes = np.bincount(component)
    for number in np.flatnonzero(sizes > 2):
        members = np.flatnonzero(component == number)
        every, share = _some_pairs(len(members))
        seen[members] = share
        unseen.append(
            np.array([pair for pair in map(tuple, members[every].tolist()) if pair not in known]).reshape(-1, 2)
        )
    return np.concatenate(unseen).astype(np.int64), seen


def _some_pairs(n: int) -> tuple[np.ndarray, float]:
    """All pairs of n things, int (m, 2), or COMPARED of them, drawn without making the others; and their share."""
    total = n * (n - 1) // 2
    if total <= COMPARED:
        return np.stack(np.triu_indices(n, 1), axis=1), 1.0
    at = np.sort(np.random.default_rng(0).choice(total, COMPARED, replace=False))
    ends = np.cumsum(np.arange(n - 1, 0, -1))  # how many pairs have a first that is no later
    first = np.searchsorted(ends, at, side="right")
    return np.stack([first, n - (ends[first] - at)], axis=1), COMPARED / total


def components(n: int, pairs: np.ndarray) -> np.ndarray:
    """Number of the component of each of n things, int (n,), that `pairs`, (m, 2), link, over others too."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(pairs), bool), pairs.T), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def _candidates(squares: np.ndarray) -> Iterator[tuple[bool, np.ndarray]]:
    """Whether mirrored, and pairs (m, 2), the lower first: all of a few images, otherwise the most alike."""
    if len(squares) <= FEW:
        every = np.stack(np.triu_indices(len(squares), 1), axis=1)
        yield from ((is_mirrored, every) for is_mirrored in (False, True))
        return
    from fer_bench.data.likeness import Discriminants, alike, descriptors, mirrored_descriptors

    seen = descriptors(squares)
    discriminants = Discriminants(squares)
    vectors = discriminants(seen)
    for is_mirrored, others in ((False, vectors), (True, discriminants(mirrored_descriptors(seen)))):
        yield is_mirrored, np.concatenate(list(alike(vectors, others, ALIKE, MOST)))


def _strangers(dataset: Dataset, first: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, float]:
    """Which of `pairs` differ in label or in person, bool (m,), and the share that would by chance."""
    labels = dataset.labels[first]
    differ = labels[pairs[:, 0]] != labels[pairs[:, 1]]
    if dataset.people is not None:
        people = dataset.people[first]
        differ |= people[pairs[:, 0]] != people[pairs[:, 1]]
    shares = np.bincount(labels) / len(labels)
    return differ, float(1 - (shares**2).sum())


def _threshold(similarity: np.ndarray, differ: np.ndarray, by_chance: float) -> float:
    """COPY, or more where faces of the data are so alike (rendered, or aligned in a laboratory) that it is too low.

    Pairs of different labels or people serve as decoys: copies mostly agree in both, likeness by chance does not. After
    Elias and Gygi, "Target-decoy search strategy", Nature Methods 4 (2007).
    """
    for threshold in np.arange(COPY, SURE, STEP):
        doubtful = (similarity >= threshold) & (similarity < SURE)
        decoys = differ[doubtful].sum()
        few = FEWEST_DECOYS if threshold == COPY else 1  # once likeness is known to be common, every one tells
        if decoys < few or decoys <= DECOYS * by_chance * doubtful.sum():
            return float(threshold)
    return SURE


def _together(pairs: np.ndarray, similarity: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Which `pairs` of n images stay, bool (m,): those within a group.

    least: (n,), share of the pairs between two groups that must be copies for the groups to be one. Groups grow from
    the most similar pairs on, by average linkage.
    """
    group = np.arange(len(least))
    members = {at: [at] for at in set(pairs.ravel().tolist())}
    links: dict[int, Counter[int]] = {at: Counter() for at in members}
    for i, j in pairs.tolist():
        links[i][j] += 1
        links[j][i] += 1
    for i, j in pairs[np.argsort(-similarity, kind="stable")].tolist():
        one, other = sorted((int(group[i]), int(group[j])), key=lambda at: -len(members[at]))
        if one == other or links[one][other] < least[i] * len(members[one]) * len(members[other]):
            continue
        group[members[other]] = one
        members[one] += members.pop(other)
        del links[one][other]
        for third, count in links.pop(other).items():
            if third != one:
                links[one][third] += count
                links[third][one] += count
                del links[third][other]
    return group[pairs[:, 0]] == group[pairs[:, 1]]
