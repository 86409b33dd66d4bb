"""Extractors: images in, one row of features per image out."""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np

from fer_bench.data import gray_squares

HOG_EPSILON, HOG_MOST = 1e-5, 0.2  # of L2-Hys, as in scikit-image
HOG_CHUNK = 64  # images whose intermediate arrays stay in the processor's cache
NO_VARIANCE = 1e-6  # of a component, as a share of the first one's


class Extractor(Protocol):
    """Images in, one row of features per image out."""

    def fit(self, images: np.ndarray, labels: np.ndarray) -> Any:
        """Learn from training images, uint8 (n, h, w[, 3]), and their labels, int64 (n,)."""

    def transform(self, images: np.ndarray) -> np.ndarray:
        """Features of `images`, (n, ...), row by row independent of the other rows."""


class FitByRow:
    """Fits on rows of memory-mapped images without a copy of them; as it stands, there is nothing to fit."""

    def fit(self, images: np.ndarray, labels: np.ndarray) -> Self:
        return self.fit_rows(images, np.arange(len(images)))

    def fit_rows(self, images: np.ndarray, rows: np.ndarray) -> Self:
        """Learn from the images at the indices `rows`."""
        return self


class Images(FitByRow):
    """The images themselves, for networks that bring their own preprocessing."""

    def transform(self, images: np.ndarray) -> np.ndarray:
        """`images` as they are, uint8."""
        return images


class Pixels(FitByRow):
    """Gray pixels of a `side` x `side` image, float32 (n, side * side) in 0..1."""

    def __init__(self, side: int) -> None:
        self.side = side

    def transform(self, images: np.ndarray) -> np.ndarray:
        """Flattened gray values."""
        return _gray_pixels(images, self.side)


class PrincipalComponents(Pixels):
    """Whitened principal components of gray pixels (eigenfaces, Turk & Pentland 1991), float32 (n, n_components)."""

    def __init__(self, side: int, n_components: int) -> None:
        super().__init__(side)
        self.n_components = n_components

    def fit_rows(self, images: np.ndarray, rows: np.ndarray) -> Self:
        """Components of the training pixels, at most one fewer than there are images, none without variance."""
        from sklearn.decomposition import PCA

        n_components = min(self.n_components, len(rows) - 1, self.side**2)
        pca = PCA(n_components, whiten=True, svd_solver="randomized", random_state=0, copy=False)
        self.pca = pca.fit(_gray_pixels(images, self.side, rows))
        variance = self.pca.explained_variance_
        self.kept = variance >= NO_VARIANCE * variance[0]  # whitening the others would blow rounding errors up
        return self

    def transform(self, images: np.ndarray) -> np.ndarray:
        """Coordinates with unit variance on the training rows."""
        return self.pca.transform(super().transform(images))[:, self.kept].astype("float32")


class OrientedGradients(FitByRow):
    """Histograms of oriented gradients (Dalal & Triggs 2005) of a gray square, float32; 1,764 values at 48 x 48.

    They are scikit-image's `hog`, of many images at once: 8-bit grays have few enough gradients for a table of angles.
    """

    def __init__(self, side: int, orientations: int, cell: int, block: int) -> None:
        self.side, self.orientations, self.cell, self.block = side, orientations, cell, block

    def transform(self, images: np.ndarray) -> np.ndarray:
        """Blocks of L2-Hys normalised histograms."""
        squares, tables = gray_squares(images, self.side), gradient_tables(self.orientations)
        parts = (squares[start : start + HOG_CHUNK] for start in range(0, len(squares), HOG_CHUNK))
        return np.concatenate([self._blocks(self._histograms(part, *tables)) for part in parts])

    def _histograms(self, squares: np.ndarray, number: np.ndarray, length: np.ndarray) -> np.ndarray:
        """Mean length by orientation in each cell, float32 (n, cells, cells, orientations); edges have no gradient."""
        n, cells, cell = len(squares), self.side // self.cell, self.cell
        gradient = gradients(squares)[:, : cells * cell, : cells * cell].reshape(n, cells, cell, cells, cell)
        in_turn = np.moveaxis(gradient, (2, 4), (0, 1)).reshape(cell**2, -1)  # the pixels of all cells
        totals = np.zeros((in_turn.shape[1], self.orientations), np.float32)
        every = np.arange(len(totals))
        for pixels in in_turn:  # one by one, in float32, as scikit-image adds
            totals[every, number[pixels]] += length[pixels]
        return (totals / np.float32(cell**2)).reshape(n, cells, cells, -1)

    def _blocks(self, histograms: np.ndarray) -> np.ndarray:
        """All squares of `block` cells, each normalised, clipped at 0.2 and normalised again, float32 (n, d)."""
        from skimage.util import view_as_windows

        n, *_, orientations = histograms.shape
        windows = view_as_windows(histograms.astype(float), (n, self.block, self.block, orientations))[0, :, :, 0]
        blocks = np.moveaxis(windows, 2, 0).reshape(n, *windows.shape[:2], -1)
        for most in (HOG_MOST, 1.0):
            lengths = np.sqrt((blocks**2).sum(axis=-1, keepdims=True) + HOG_EPSILON**2)
            blocks = np.minimum(blocks / lengths, most)
        return blocks.reshape(n, -1).astype(np.float32)


def gradients(squares: np.ndarray) -> np.ndarray:
    """Where `all_gradients` has that of each pixel of uint8 (n, h, w), 0 across edges: int64 (n, h, w)."""
    gray, found = squares.astype(np.int64), np.full(squares.shape, 511 * 255 + 255)
    found[:, 1:-1] += 511 * (gray[:, 2:] - gray[:, :-2])
    found[:, :, 1:-1] += gray[:, :, 2:] - gray[:, :, :-2]
    return found


def all_gradients() -> tuple[np.ndarray, np.ndarray]:
    """Down and right of every gradient of 8-bit grays, float64 (511 * 511,), at 511 * (down + 255) + right + 255."""
    down, right = (one.ravel().astype(float) for one in np.mgrid[-255:256, -255:256])
    return down, right


def gradient_tables(orientations: int) -> tuple[np.ndarray, np.ndarray]:
    """Orientation, as a number, and length of each of `all_gradients`."""
    down, right = all_gradients()
    degrees = np.rad2deg(np.arctan2(down, right)) % 180
    return (degrees // (180 / orientations)).astype(np.int64), np.hypot(down, right)


def _gray_pixels(images: np.ndarray, side: int, rows: np.ndarray | None = None) -> np.ndarray:
    squares = gray_squares(images, side, rows)
    pixels = squares.reshape(len(squares), -1).astype("float32")
    pixels /= 255
    return pixels
