"""Which rows of a dataset show the same image, exactly or nearly. Found once, stored, read by split and audit.

Near copies are the same photograph again: brighter, recompressed, moved by a pixel, with a watermark, or mirrored.
Faces are alike in the large: two eyes above a mouth correlate by 0.9 whoever they belong to. What tells one photograph
from another is its detail, the image without its coarse shading. A perceptual hash of the detail (its low frequencies)
finds candidates, a normalised correlation of the detail itself confirms them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_bench import cache
from fer_bench.cache import reading
from fer_bench.data.dataset import Dataset
from fer_bench.data.resizing import gray_square
from fer_bench.progress import Progress, silent

STORED_FORMAT = 1
"""Goes up when other copies are found in the same images."""
SAVED = "copies.npz"

SIDE = 48
"""Pixels per side at which images are compared."""
SMALLEST = 16
"""Smaller images say too little to tell a copy from a likeness; they have no near copies here."""
FINE, COARSE = 1.0, 4.0
"""Standard deviations, in pixels of 48, of the blurs between which detail lies."""
FAINT = 1.0
"""Standard deviation of the detail, in grey levels, below which there is nothing to compare: blank images."""
FREQUENCIES = 10
"""The hash holds the lowest 10 x 10 frequencies of the cosine transform, after the pHash of Zauner, "Implementation and
Benchmarking of Perceptual Image Hash Functions" (2010), but as numbers: its 64 signs miss one pair in twenty."""
CANDIDATE = 0.7
"""Correlation of two hashes from which a pair is looked at."""
SHIFT = 2
"""Pixels of 48 by which a copy may be moved; most copies moved by 2 are found, all moved by 1."""
COPY, SURE = 0.85, 0.95
"""Correlation from which a pair is a near copy, and from which it is one in any data.

COPY was set by eye on FER2013, on sheets of 48 pairs drawn at random: at 0.85 to 0.90 all pairs showed one photograph
(mirrored ones, 46 of 48), at 0.80 to 0.85 one in five and at 0.76 to 0.80 two in three showed two people.
"""
DECOYS = 0.05
"""Share of decoys above which COPY is too low for the data, see `_threshold`."""
BLOCK = 1 << 24
"""Hash correlations held at once: 64 MiB."""


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


@dataclass(frozen=True)
class NearCopies:
    """Pairs of images. pairs: int64 (m, 2), the lower first. similarity: float32 (m,). mirrored: bool (m,).

    threshold: the similarity from which pairs of this data were taken for copies.
    """

    pairs: np.ndarray
    similarity: np.ndarray
    mirrored: np.ndarray
    threshold: float = COPY


def find_near_copies(images: np.ndarray, rows: np.ndarray, progress: Progress = silent) -> NearCopies:
    """The near copies among the n `rows`, best without exact copies, of `images`, uint8 (N, h, w) or (N, h, w, 3).

    Pairs are positions in `rows`. Images are read one by one: memory-mapped ones are never copied together.
    Every pair of hashes is compared, so that time grows with the square of n: 36,000 images take less than a minute.
    """
    if min(images.shape[1:3]) < SMALLEST:
        return _near_copies([])
    details = _details(images, rows, progress)
    found = []
    for mirrored in (False, True):
        text = "looking for mirrored copies" if mirrored else "looking for near copies"
        for done, pairs in _candidates(details, mirrored):
            progress(0.1 + 0.45 * (mirrored + done), text)
            found += [(*pair, similarity, mirrored) for pair, similarity in _confirmed(details, pairs, mirrored)]
    return _near_copies(found)


def _near_copies(found: list[tuple[int, int, float, bool]]) -> NearCopies:
    """Arrays of what was found; a pair found both ways, as of a symmetric face, counts as the more similar of them."""
    best: dict[tuple[int, int], tuple[float, bool]] = {}
    for i, j, *how in found:
        best[i, j] = max(best.get((i, j), (0.0, False)), (how[0], bool(how[1])))
    order = sorted(best)
    similarity = np.array([best[pair][0] for pair in order], dtype=np.float32)
    mirrored = np.array([best[pair][1] for pair in order], dtype=bool)
    threshold = _threshold(similarity, mirrored)
    kept = similarity >= threshold
    return NearCopies(np.array(order, dtype=np.int64).reshape(-1, 2)[kept], similarity[kept], mirrored[kept], threshold)


def _threshold(similarity: np.ndarray, mirrored: np.ndarray) -> float:
    """COPY, or more where faces of the data are so alike (rendered, or aligned in a laboratory) that it is too low.

    Mirrored pairs serve as decoys: likeness by chance is as frequent mirrored as not, copies are rarely mirrored, and
    those that are stand out by SURE. After Elias and Gygi, "Target-decoy search strategy", Nature Methods 4 (2007).
    """
    for threshold in (COPY, (COPY + SURE) / 2):
        decoys = mirrored & (similarity >= threshold) & (similarity < SURE)
        if decoys.sum() <= DECOYS * (~mirrored & (similarity >= threshold)).sum():
            return threshold
    return SURE


def _details(images: np.ndarray, rows: np.ndarray, progress: Progress) -> np.ndarray:
    """What is finer than shading and coarser than noise, float32 (n, 48, 48); zeros for images without any."""
    details = np.zeros((len(rows), SIDE, SIDE), dtype=np.float32)
    for at, row in enumerate(rows):
        if at % 1024 == 0:
            progress(0.1 * at / len(rows), "looking for near copies")
        details[at] = _detail(images[row])
    return details


def _detail(image: np.ndarray) -> np.ndarray:
    import cv2

    fine = cv2.GaussianBlur(gray_square(image, SIDE).astype(np.float32), (0, 0), FINE)
    detail = fine - cv2.GaussianBlur(fine, (0, 0), COARSE)
    return detail if detail.std() >= FAINT else np.zeros_like(detail)


def _hashes(details: np.ndarray) -> np.ndarray:
    """Unit vectors, float32 (n, 99); zeros where there is no detail."""
    import cv2

    spectra = (cv2.dct(np.ascontiguousarray(detail)) for detail in details)
    hashes = np.stack([spectrum[:FREQUENCIES, :FREQUENCIES].ravel()[1:] for spectrum in spectra])
    norms = np.linalg.norm(hashes, axis=1, keepdims=True)
    return hashes / np.where(norms > 0, norms, 1)


def _candidates(details: np.ndarray, mirrored: bool) -> Iterator[tuple[float, np.ndarray]]:
    """Share of the work done, and rows (m, 2) of pairs with similar hashes, a block at a time."""
    hashes = _hashes(details)
    others = _hashes(details[:, :, ::-1]) if mirrored else hashes
    n, rows = len(hashes), max(1, BLOCK // max(1, len(hashes)))
    for start in range(0, n, rows):
        block = hashes[start : start + rows] @ others[start:].T
        pairs = np.argwhere(block >= CANDIDATE) + start
        yield 1 - (1 - min(1, (start + rows) / n)) ** 2, pairs[pairs[:, 0] < pairs[:, 1]]


def _confirmed(details: np.ndarray, pairs: np.ndarray, mirrored: bool) -> Iterator[tuple[tuple[int, int], float]]:
    """Those of `pairs` whose detail correlates by COPY or more, at the best of the shifts allowed, and by how much."""
    import cv2

    inner = slice(SHIFT, SIDE - SHIFT)
    for i, j in pairs.tolist():
        other = details[j, :, ::-1] if mirrored else details[j]
        template = np.ascontiguousarray(other[inner, inner])
        similarity = float(cv2.matchTemplate(details[i], template, cv2.TM_CCOEFF_NORMED).max())
        if similarity >= COPY:
            yield (i, j), similarity
