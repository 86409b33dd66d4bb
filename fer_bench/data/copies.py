"""Which rows of a dataset show the same image, exactly or nearly. Found once, stored, read by split and audit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_bench import cache
from fer_bench.data.dataset import Dataset
from fer_bench.data.entries import reading
from fer_bench.progress import Progress, silent

STORED_FORMAT = 1
"""Goes up when other copies are found in the same images."""
SAVED = "copies.npz"


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
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        n = len(self.first)
        graph = coo_matrix((np.ones(len(self.pairs), bool), self.pairs.T), shape=(n, n))
        return connected_components(graph, directed=False)[1][self.image]

    def among(self, rows: np.ndarray) -> np.ndarray:
        """Copies that each row has among `rows`: str (n,), "exact", "near" or "". A row in `rows` is its own copy."""
        exact = np.zeros(len(self.first), dtype=bool)
        exact[self.image[rows]] = True
        near = np.zeros_like(exact)
        for one, other in (self.pairs.T, self.pairs.T[::-1]):
            near[one[exact[other]]] = True
        return np.where(exact, "exact", np.where(near, "near", ""))[self.image]


def find_copies(dataset: Dataset, progress: Progress = silent) -> Copies:
    """The copies in `dataset`; exact ones have every pixel in common."""
    from fer_bench.data.near_copies import find_near_copies

    hashes = [hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in dataset.images]
    # distinct images are numbered by hash, so that nothing here depends on the order of rows
    _, first, image = np.unique(np.array(hashes, dtype="S32"), return_index=True, return_inverse=True)
    near = find_near_copies(dataset.images, first, progress)
    return Copies(image, first, near.pairs, near.similarity, near.mirrored, near.threshold)


def stored_copies(dataset: Dataset, progress: Progress = silent) -> Copies:
    """`find_copies` from the cache, made if it is not there. Raises FerBenchError where the file is damaged."""

    def build(work: Path) -> None:
        copies = find_copies(dataset, progress)
        np.savez(work / SAVED, allow_pickle=False, **vars(copies))

    key = cache.digest({"data": dataset.fingerprint, "format": STORED_FORMAT})
    folder = cache.fetch("copies", key, build, files=(SAVED,))
    with reading(folder), np.load(folder / SAVED, allow_pickle=False) as arrays:
        return Copies(**{**arrays, "threshold": float(arrays["threshold"])})
