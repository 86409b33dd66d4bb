"""Which images of a dataset look alike however they are turned, moved, zoomed or relit: candidates for near copies.

An image is described by histograms of its gradients' directions (Dalal and Triggs 2005), blurred enough to bear a few
pixels of displacement. A linear discriminant analysis (Fisher 1936) in which each image and its altered versions are
one class then keeps what tells photographs apart and forgets what an alteration changes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

SIDE = 48
"""Pixels per side of the images that are compared."""
DIRECTIONS, GRID = 8, 8
CHUNK = 64
"""Images described at once: what is held of them fits the processor's cache."""
N_DIMENSIONS = 96
LEARNED_FROM, ALTERED = 1500, 6
"""Images that the discriminants are learned from, and altered versions of each."""
RIDGE = 0.05
"""Share of the mean variance within images that is added to all."""
TURN, MOVE, ZOOM = 10.0, 8.0, 0.1
"""Degrees, pixels of 48, and share by which an image is altered at most."""
BLOCK = 1 << 24
"""Correlations held at once: 64 MiB."""


def altered(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`image`, float32 (48, 48), turned, moved, zoomed, and half of the time relit, blurred or made noisy."""
    middle = (SIDE - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), rng.uniform(-TURN, TURN), 1 + rng.uniform(-ZOOM, ZOOM))
    matrix[:, 2] += rng.uniform(-MOVE, MOVE, 2)
    border = (cv2.BORDER_REFLECT, cv2.BORDER_REPLICATE, cv2.BORDER_CONSTANT)[rng.integers(3)]
    image = cv2.warpAffine(image, matrix, (SIDE, SIDE), borderMode=border)
    how = rng.integers(6)
    if how == 0:
        return 255 * (np.maximum(image, 0) / 255) ** rng.uniform(0.5, 2)
    if how == 1:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2))
    if how == 2:
        return image + rng.normal(0, 12, image.shape).astype(np.float32)
    return image


def descriptors(images: np.ndarray) -> np.ndarray:
    """Unit vectors, float32 (n, 512), of gray `images`, (n, 48, 48)."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(_descriptors, np.split(images, range(CHUNK, len(images), CHUNK)))))


def mirrored_descriptors(vectors: np.ndarray) -> np.ndarray:
    """The descriptors of the mirrored images."""
    maps = vectors.reshape(-1, GRID, GRID, DIRECTIONS)
    swapped = (DIRECTIONS // 2 - np.arange(DIRECTIONS)) % DIRECTIONS
    return np.ascontiguousarray(maps[:, :, ::-1][..., swapped]).reshape(vectors.shape)


def _descriptors(images: np.ndarray) -> np.ndarray:
    soft = cv2.GaussianBlur(_as_channels(images.astype(np.float32)), (0, 0), 1.2)
    across, down = (cv2.Sobel(soft, cv2.CV_32F, *axis).reshape(soft.shape) for axis in ((1, 0), (0, 1)))
    size = across**2 + down**2
    light = cv2.GaussianBlur(size, (0, 0), 6).reshape(soft.shape) ** 0.5 + 2  # bright light makes nothing stand out
    scale = 1 / (np.maximum(size, 1e-6) * light)
    cells = []
    for turn in np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS:
        along = np.maximum(np.float32(np.cos(turn)) * across + np.float32(np.sin(turn)) * down, 0)
        along *= along * along * scale  # the cosine cubed, times the slope
        small = along.reshape(SIDE // 3, 3, SIDE // 3, 3, -1).mean(axis=(1, 3))
        small = cv2.GaussianBlur(small, (0, 0), 1).reshape(small.shape)
        cells.append(small[::2, ::2] + small[1::2, 1::2] + small[::2, 1::2] + small[1::2, ::2])
    vectors = np.stack(cells, axis=2).reshape(-1, len(images)).T
    vectors = vectors - vectors.mean(axis=1, keepdims=True)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def _as_channels(images: np.ndarray) -> np.ndarray:
    """(n, s, s) as (s, s, n): OpenCV filters all of them in one call."""
    return np.ascontiguousarray(np.moveaxis(images, 0, 2))


class Discriminants:
    """The directions that tell images apart, learned from `squares`, uint8 (n, 48, 48), two at least."""

    def __init__(self, squares: np.ndarray) -> None:
        from scipy.linalg import eigh

        rng = np.random.default_rng(0)
        sample = squares[:: -(-len(squares) // LEARNED_FROM)].astype(np.float32)
        versions = [altered(image, rng) for image in sample for _ in range(ALTERED)]
        vectors = descriptors(np.stack(versions)).reshape(len(sample), ALTERED, -1)
        means = vectors.mean(axis=1)
        within = (vectors - means[:, None]).reshape(-1, vectors.shape[2])
        within = within.T @ within / max(1, len(sample) * (ALTERED - 1))
        within += RIDGE * np.trace(within) / len(within) * np.eye(len(within))
        self.mean = means.mean(axis=0)
        between = np.cov((means - self.mean).T)
        self.directions = eigh(between, within)[1][:, : -min(N_DIMENSIONS, len(sample) - 1) - 1 : -1].astype(np.float32)

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Unit vectors, float32 (n, 96), of descriptors."""
        found = (vectors - self.mean) @ self.directions
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)


def alike(vectors: np.ndarray, others: np.ndarray, least: float, most: int) -> Iterator[np.ndarray]:
    """Rows (m, 2), the lower first, of pairs that correlate by `least` or more.

    vectors, others: unit vectors (n, d) of the same images, as they are and perhaps mirrored. For each row at most
    `most` pairs with later rows, the most alike. Time grows with the square of n.
    """
    n = len(vectors)
    rows = max(1, BLOCK // max(1, n))
    for start in range(0, n, rows):
        block = vectors[start : start + rows] @ others[start:].T
        block[np.tri(*block.shape) > 0] = -1  # itself, and what earlier rows were compared with
        if block.shape[1] > most:
            kept = np.argpartition(block, -most, axis=1)[:, -most:]
            row = np.repeat(np.arange(len(block)), most)
            pairs = np.stack([row, kept.ravel()], axis=1)[block[row, kept.ravel()] >= least]
        else:
            pairs = np.argwhere(block >= least)
        yield pairs + start
