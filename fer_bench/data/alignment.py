"""Whether two images show one photograph: one is laid on the other, and what is finer than shading is correlated.

Faces are alike in the large: two eyes above a mouth correlate by 0.9 whoever they belong to. What tells one photograph
from another is its detail, the image without its coarse shading. It is compared under the best of a bank of turns,
zooms and displacements: first at half the size, then around the best of these.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import cv2
import numpy as np

from fer_bench.data.likeness import SIDE

FINE, COARSE = 1.0, 4.0
"""Standard deviations, in pixels of 48, of the blurs between which detail lies."""
FAINT = 1.0
"""Standard deviation of the detail, in grey levels, below which there is nothing to compare: blank images."""
HALF = SIDE // 2
BANK = tuple(product((-10.0, -5.0, 0.0, 5.0, 10.0), (0.9, 1.0, 1.1)))
"""Turns in degrees, and zooms, that are tried at half the size."""
REACH = 4
"""Pixels of 24 by which images are moved at half the size."""
AROUND = tuple(product((-2.5, 0.0, 2.5), (0.95, 1.0, 1.05)))
"""Turns and zooms that are tried on top of the best of these, and then, halved, on top of the best so far."""
MARGIN, NUDGE = 6, 2
"""Pixels of 48 around the part that is compared, and by which it is moved again."""
PROMISING = 0.75
"""Correlation at half the size below which a pair is given up: one in 150 of FER2013's copies is lost by it."""
CERTAIN = 0.97
"""Correlation from which nothing better is looked for."""
CHUNK = 1024


def _matrices(bank: tuple[tuple[float, float], ...], scale: float = 1.0) -> np.ndarray:
    """float32 (k, 2, 2): where a point of the turned and zoomed image comes from, from its middle."""
    turns = np.deg2rad([scale * turn for turn, _ in bank])
    zooms = np.array([1 + scale * (zoom - 1) for _, zoom in bank])
    rotations = np.array([[np.cos(turns), -np.sin(turns)], [np.sin(turns), np.cos(turns)]]) / zooms
    return np.moveaxis(rotations, 2, 0).astype(np.float32)


def _points(side: int) -> np.ndarray:
    """float32 (2, side * side): x and y of pixels, from their middle."""
    rows, columns = np.mgrid[:side, :side].astype(np.float32) - (side - 1) / 2
    return np.stack([columns.ravel(), rows.ravel()])


def _tiles(image: np.ndarray, matrices: np.ndarray, points: np.ndarray, moved: np.ndarray | float = 0) -> np.ndarray:
    """`image` under each of k `matrices`, side by side: float32 (side, k * side) for side * side `points`."""
    side = int(points.shape[1] ** 0.5)
    places = matrices @ points + np.float32((len(image) - 1) / 2) + moved
    across, down = (np.hstack(places[:, axis].reshape(-1, side, side)) for axis in (0, 1))
    return cv2.remap(image, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _matched(tiles: np.ndarray, template: np.ndarray) -> tuple[float, int, int, int]:
    """The best correlation of `template` in one of the tiles: how high, in which, how far down and to the right."""
    side = len(tiles)
    room = side - len(template) + 1
    scores = cv2.matchTemplate(tiles, template, cv2.TM_CCOEFF_NORMED)
    padded = np.full((room, tiles.shape[1]), -1, np.float32)
    padded[:, : scores.shape[1]] = scores
    inside = padded.reshape(room, -1, side)[:, :, :room]
    down, tile, right = np.unravel_index(inside.argmax(), inside.shape)
    return float(inside[down, tile, right]), int(tile), int(down), int(right)


FIRST, NEAR, NEARER = _matrices(BANK), _matrices(AROUND), _matrices(AROUND, 0.5)
SMALL, INNER = _points(HALF), _points(SIDE - 2 * (MARGIN - NUDGE))


class Details:
    """The detail of n `images`, uint8 (n, 48, 48), at both sizes; zeros for those without any.

    has_any: bool (n,).
    """

    def __init__(self, images: np.ndarray) -> None:
        self.full = np.zeros(images.shape, np.float32)
        self.half = np.zeros((len(images), HALF, HALF), np.float32)
        for at, image in enumerate(images):
            fine = cv2.GaussianBlur(image.astype(np.float32), (0, 0), FINE)
            detail = fine - cv2.GaussianBlur(fine, (0, 0), COARSE)
            if detail.std() >= FAINT:
                self.full[at] = detail
                self.half[at] = cv2.resize(detail, (HALF, HALF), interpolation=cv2.INTER_AREA)
        self.has_any: np.ndarray = np.any(self.half, axis=(1, 2))

    def correlations(self, pairs: np.ndarray, mirrored: bool) -> Iterator[np.ndarray]:
        """float32, chunk by chunk of `pairs`, int (m, 2): of their detail as best aligned; 0 where given up.

        mirrored: whether the second of each is looked at in the mirror. Fast where pairs are sorted by the second.
        """
        chunks = np.split(pairs, range(CHUNK, len(pairs), CHUNK))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from pool.map(lambda chunk: self._of_chunk(chunk, -1 if mirrored else 1), chunks)

    def _of_chunk(self, pairs: np.ndarray, step: int) -> np.ndarray:
        values, last, tiles = np.zeros(len(pairs), np.float32), -1, np.empty(0)
        for at, (i, j) in enumerate(pairs.tolist()):
            if j != last:
                last, tiles = j, _tiles(np.ascontiguousarray(self.half[j, :, ::step]), FIRST, SMALL)
            template = np.ascontiguousarray(self.half[i, REACH:-REACH, REACH:-REACH])
            found, tile, down, right = _matched(tiles, template)
            if found >= PROMISING:
                other = np.ascontiguousarray(self.full[j, :, ::step])
                values[at] = _aligned(self.full[i], other, FIRST[tile], 2 * (right - REACH), 2 * (down - REACH))
        return values


def _aligned(image: np.ndarray, other: np.ndarray, matrix: np.ndarray, right: float, down: float) -> float:
    """The correlation of `image` with `other`, turned by about `matrix` and moved by about so many pixels of 48."""
    template = np.ascontiguousarray(image[MARGIN:-MARGIN, MARGIN:-MARGIN])
    moved = matrix @ np.array([[right], [down]], np.float32)
    best = 0.0
    for finer in (NEAR, NEARER):
        matrices = matrix @ finer
        found, tile, _, _ = _matched(_tiles(other, matrices, INNER, moved), template)
        if found > best:
            best, matrix = found, matrices[tile]
        if best >= CERTAIN:
            break
    return best
