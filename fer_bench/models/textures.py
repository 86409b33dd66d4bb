"""Textures: binary patterns, dense SIFT in a vocabulary, and several extractors side by side on fewer axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from fer_bench.data import gray_squares
from fer_bench.models.extractors import FitByRow, all_gradients, gradients

PATTERNS = 59  # uniform ones of 8 neighbours, and one for all others
FIT_ROWS, WORD_ROWS = 10_000, 1500  # images that axes and words are found on, drawn at random
WORD_DESCRIPTORS = 40  # of each
CHUNK = 1024  # images of which all values are in memory at once
SIFT_CHUNK = 64  # those whose intermediate arrays stay in the processor's cache
SIFT_BINS, SIFT_CELLS, SIFT_MOST, SIFT_FLOOR = 8, 4, 0.2, 0.05
SIFT_GRIDS = ((3, 3), (4, 4), (6, 3), (8, 4))  # side of a cell, and step from descriptor to descriptor, in pixels
SIFT_AXES = 48


class BinaryPatterns(FitByRow):
    """Uniform local binary patterns of 8 neighbours (Ojala, Pietikäinen & Mäenpää 2002), counted in cells of a face.

    Ahonen, Hadid & Pietikäinen 2006. Square roots of shares, float32 (n, cells * 59): their distances are Hellinger's.
    """

    def __init__(self, side: int, cell: int) -> None:
        self.side, self.cell = side, cell

    def transform(self, images: np.ndarray) -> np.ndarray:
        """Histograms, cell by cell."""
        from skimage.feature import local_binary_pattern

        squares, cells = gray_squares(images, self.side), self.side // self.cell
        patterns = np.array([local_binary_pattern(square, 8, 1, "nri_uniform") for square in squares], np.int64)
        at = np.arange(cells * self.cell) // self.cell
        cell = at[:, None] * cells + at + cells**2 * np.arange(len(squares))[:, None, None]
        counted = PATTERNS * cell + patterns[:, : len(at), : len(at)]
        counts = np.bincount(counted.ravel(), minlength=len(squares) * cells**2 * PATTERNS)
        return np.sqrt(counts.reshape(len(squares), -1) / self.cell**2).astype(np.float32)


class DenseSift:
    """SIFT (Lowe 2004) on grids of several sizes, upright, its Gaussian window flat in each cell (Vedaldi & Fulkerson).

    Square roots of shares of a descriptor's sum: RootSIFT (Arandjelović & Zisserman 2012).
    """

    def __init__(self, side: int) -> None:
        down, right = all_gradients()
        turn = np.arctan2(down, right) % (2 * np.pi) * SIFT_BINS / (2 * np.pi)
        apart = np.abs((turn[:, None] - np.arange(SIFT_BINS) + SIFT_BINS / 2) % SIFT_BINS - SIFT_BINS / 2)
        self.side = side
        self.votes = (np.hypot(down, right)[:, None] / 2 * np.maximum(0, 1 - apart)).astype(np.float32)
        """Of each of `all_gradients` for each orientation."""

    def positions(self) -> np.ndarray:
        """Centres of the descriptors, in pixels from above and from the left, float64 (n_descriptors, 2)."""
        found = []
        for cell, step in SIFT_GRIDS:
            along = np.arange(self.pooling(cell, step).shape[0] - self.reach(cell, step)) * step + cell * SIFT_CELLS / 2
            found.append(np.stack(np.meshgrid(along, along, indexing="ij"), axis=-1).reshape(-1, 2))
        return np.concatenate(found)

    def descriptors(self, squares: np.ndarray) -> np.ndarray:
        """Of uint8 (n, side, side), float32 (n, n_descriptors, 128)."""
        votes = self.votes[gradients(squares)]
        return np.concatenate([self._of_grid(votes, cell, step) for cell, step in SIFT_GRIDS], axis=1)

    def pooling(self, cell: int, step: int) -> np.ndarray:
        """How much each pixel along a side weighs in the cells along it, float32 (n_cells, side)."""
        centres = np.arange((cell - 1) / 2, self.side - cell / 2, step)
        return np.maximum(0, 1 - np.abs(np.arange(self.side) - centres[:, None]) / cell).astype(np.float32)

    def reach(self, cell: int, step: int) -> int:
        """From a descriptor's first cell to its last."""
        return (SIFT_CELLS - 1) * cell // step

    def window(self) -> np.ndarray:
        """How much each of a descriptor's cells weighs, float32 (SIFT_CELLS, SIFT_CELLS)."""
        along = np.exp(-((np.arange(SIFT_CELLS) - (SIFT_CELLS - 1) / 2) ** 2) / SIFT_CELLS * 2 / SIFT_CELLS)
        return np.outer(along, along).astype(np.float32)

    def _of_grid(self, votes: np.ndarray, cell: int, step: int) -> np.ndarray:
        pooling, every = self.pooling(cell, step), cell // step
        rows = pooling @ votes.reshape(len(votes), self.side, -1)
        cells = pooling @ rows.reshape(len(votes), len(pooling), self.side, -1)
        n = len(pooling) - self.reach(cell, step)
        window = self.window()
        parts = [
            cells[:, i * every : i * every + n, j * every : j * every + n] * window[i, j]
            for i in range(SIFT_CELLS) for j in range(SIFT_CELLS)
        ]  # fmt: skip
        found = np.stack(parts, axis=3).reshape(len(votes), n * n, -1)
        found /= np.linalg.norm(found, axis=2, keepdims=True) + SIFT_FLOOR
        np.minimum(found, SIFT_MOST, out=found)
        return np.sqrt(found / (found.sum(axis=2, keepdims=True) + 1e-6))


class VisualWords(FitByRow):
    """Dense SIFT in the words of a vocabulary: in each part of the face, how its descriptors differ from their word.

    Vectors of locally aggregated descriptors (Jégou et al. 2010), signed square roots, of length 1, float32
    (n, parts * words * 48); in a spatial grid, as Ionescu, Popescu & Grozea 2013 do with words on these images.
    """

    def __init__(self, side: int, words: int, grid: int) -> None:
        self.side, self.words, self.grid = side, words, grid
        self.sift = DenseSift(side)
        down, right = (self.sift.positions() * grid // side).astype(int).T
        self.part = down * grid + right

    def fit_rows(self, images: np.ndarray, rows: np.ndarray) -> Self:
        """Find axes of the descriptors, and words on them."""
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.decomposition import PCA

        rng, n = np.random.default_rng(0), len(self.part)
        squares = gray_squares(images, self.side, drawn(rows, WORD_ROWS))
        seen = np.concatenate([
            self.sift.descriptors(part)[:, rng.choice(n, min(n, WORD_DESCRIPTORS), replace=False)].reshape(-1, 128)
            for part in np.array_split(squares, -(-len(squares) // SIFT_CHUNK))
        ])  # fmt: skip
        self.axes = PCA(min(SIFT_AXES, len(seen) - 1), random_state=0).fit(seen)
        clusters = MiniBatchKMeans(min(self.words, len(seen)), batch_size=4096, n_init=1, max_iter=10, random_state=0)
        self.vocabulary = clusters.fit(self.axes.transform(seen)).cluster_centers_.astype(np.float32)
        return self

    def transform(self, images: np.ndarray) -> np.ndarray:
        """Differences from each word, part by part of the face."""
        squares = gray_squares(images, self.side)
        parts = np.array_split(squares, -(-len(squares) // SIFT_CHUNK))
        return np.concatenate([self._vectors(self.sift.descriptors(part)) for part in parts])

    def _vectors(self, descriptors: np.ndarray) -> np.ndarray:
        words = self.vocabulary
        seen = self.axes.transform(descriptors.reshape(-1, descriptors.shape[2])).astype(np.float32)
        nearest = (seen @ words.T - (words**2).sum(axis=1) / 2).argmax(axis=1)
        is_word = (nearest[:, None] == np.arange(len(words))).astype(np.float32)
        seen, is_word = (one.reshape(*descriptors.shape[:2], -1) for one in (seen, is_word))
        found = []
        for part in range(self.grid**2):
            here = self.part == part
            of_word = is_word[:, here].transpose(0, 2, 1)
            found.append(of_word @ seen[:, here] - of_word.sum(axis=2, keepdims=True) * words)
        vectors = np.stack(found, axis=1).reshape(len(descriptors), -1)
        vectors = np.sign(vectors) * np.sqrt(np.abs(vectors))
        return vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-6)


class Together(FitByRow):
    """What several extractors say of an image, each scaled to a total variance of 1, on their first principal axes.

    float32 (n, n_components); not whitened: what is left out is mostly noise to a kernel.
    """

    def __init__(self, parts: Sequence[Any], n_components: int) -> None:
        self.parts, self.n_components = parts, n_components

    def fit_rows(self, images: np.ndarray, rows: np.ndarray) -> Self:
        """Fit the extractors, then find scales and axes."""
        from sklearn.decomposition import PCA

        for part in self.parts:
            part.fit_rows(images, rows)
        seen = drawn(rows, FIT_ROWS)
        chunks = (images[seen[start : start + CHUNK]] for start in range(0, len(seen), CHUNK))
        said = [[part.transform(chunk) for part in self.parts] for chunk in chunks]
        values = [np.concatenate(one) for one in zip(*said, strict=True)]
        self.scales = [float(one.var(axis=0).sum()) ** -0.5 if one.var() > 0 else 1.0 for one in values]
        together = self._joined(values)
        n_components = min(self.n_components, len(seen) - 1, together.shape[1])
        self.axes = PCA(n_components, svd_solver="randomized", random_state=0, copy=False).fit(together)
        return self

    def transform(self, images: np.ndarray) -> np.ndarray:
        """Coordinates on the axes."""
        chunks = (images[start : start + CHUNK] for start in range(0, len(images), CHUNK))
        rows = [self.axes.transform(self._joined([part.transform(chunk) for part in self.parts])) for chunk in chunks]
        return np.concatenate(rows).astype(np.float32)

    def _joined(self, values: Sequence[np.ndarray]) -> np.ndarray:
        return np.hstack([one * np.float32(scale) for one, scale in zip(values, self.scales, strict=True)])


def drawn(rows: np.ndarray, n: int) -> np.ndarray:
    """`n` of `rows` at random, in their order; all where there are no more."""
    return rows if len(rows) <= n else np.sort(np.random.default_rng(0).choice(rows, n, replace=False))
