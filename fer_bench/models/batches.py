"""Training batches for networks: shuffled rows, seeded augmentation, prepared ahead by threads. No Keras here."""

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from fer_bench.models.task import Task

MAX_ROTATION, MAX_ZOOM, MAX_SHIFT = 12.0, 0.12, 0.08  # degrees, and shares of the side


class Batches:
    """Training batch number i, the same whenever it is asked for: shuffled rows, seeded augmentation.

    Every row comes once before any comes again, and the last batch of a pass is filled from the next one.
    """

    def __init__(
        self,
        X: np.ndarray,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        task: Task,
        steps: int,
        batch_size: int,
        size: int,
    ) -> None:
        self.images, self.size, self.seed = X, size, task.random_state
        self.labels = np.eye(task.n_classes, dtype=np.float32)[y]
        self.weights = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float32)
        rng = np.random.default_rng(self.seed)
        passes = math.ceil(steps * batch_size / len(X))
        order = np.concatenate([rng.permutation(len(X)) for _ in range(passes)])
        self.rows = order[: steps * batch_size].reshape(steps, batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Images uint8 (n, size, size, channels), labels one-hot (n, n_classes), weights (n,) or None, float32."""
        rows = self.rows[index]
        images = augment(view(self.images[rows], self.size), np.random.default_rng([self.seed, index]))
        return images, self.labels[rows], None if self.weights is None else self.weights[rows]


def prefetch(batches: Batches, indices: range, n_jobs: int) -> Iterator[Any]:
    """The batches of `indices` in order, prepared by `n_jobs` threads while the network is busy with earlier ones."""
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(n_jobs) as pool:
        for index in indices:
            waiting.append(pool.submit(batches.__getitem__, index))
            if len(waiting) > 2 * n_jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def view(images: np.ndarray, size: int) -> np.ndarray:
    """Images uint8 (n, h, w) or (n, h, w, 3) as uint8 (n, size, size, 1 or 3)."""
    import cv2

    if images.shape[1:3] != (size, size):
        method = cv2.INTER_AREA if min(images.shape[1:3]) > size else cv2.INTER_LINEAR
        images = np.stack([cv2.resize(image, (size, size), interpolation=method) for image in images])
    return images if images.ndim == 4 else images[..., None]


def augment(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image mirrored or not, and turned, zoomed and shifted a little: uint8 (n, size, size, channels) to the same.

    One affine map and one interpolation per image; what comes into view repeats the border.
    """
    import cv2

    n, size = images.shape[:2]
    angle = np.radians(rng.uniform(-MAX_ROTATION, MAX_ROTATION, n))
    zoom = rng.uniform(1 - MAX_ZOOM, 1 + MAX_ZOOM, n)
    mirror = rng.choice([-1.0, 1.0], n)
    turn = np.array([[np.cos(angle) * mirror, -np.sin(angle)], [np.sin(angle) * mirror, np.cos(angle)]]) * zoom
    turn = np.moveaxis(turn, -1, 0)  # (n, 2, 2), about the centre
    centre = np.full(2, (size - 1) / 2)
    shift = centre - turn @ centre + rng.uniform(-MAX_SHIFT, MAX_SHIFT, (n, 2)) * size
    maps = np.concatenate([turn, shift[..., None]], axis=2)
    warped = [
        cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for image, matrix in zip(images, maps, strict=True)
    ]
    return np.stack(warped).reshape(images.shape)
