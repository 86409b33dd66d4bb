"""Training batches for networks: shuffled rows, seeded augmentation, prepared ahead by threads. No Keras here."""

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from fer_bench.data import resized
from fer_bench.models.deep.augmentation import DEFAULT, augment, mixup

Batch = tuple[np.ndarray, np.ndarray, np.ndarray | None]


class Inputs(Protocol):
    """What a network is fed with, one per image."""

    def __len__(self) -> int:
        """How many images there are."""

    def augmented(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The inputs of `rows`, int64 (n,), each changed at random."""

    def plain(self, rows: slice, mirrored: bool) -> np.ndarray:
        """The inputs of `rows` as they are, or of the mirrored images."""


class Pixels:
    """Images, uint8 (n, h, w) or (n, h, w, 3), as inputs uint8 (n, size, size, 1 or 3)."""

    def __init__(self, images: np.ndarray, size: int, augmentation: tuple[str, ...] = DEFAULT) -> None:
        self.images, self.size, self.augmentation = images, size, augmentation

    def __len__(self) -> int:
        return len(self.images)

    def augmented(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """See `Inputs`; the changes are those named in `augmentation`."""
        return augment(view(self.images[rows], self.size), rng, self.augmentation)

    def plain(self, rows: slice, mirrored: bool) -> np.ndarray:
        """See `Inputs`."""
        images = view(self.images[rows], self.size)
        return images[:, :, ::-1] if mirrored else images


class Batches:
    """Training batch number i, the same whenever it is asked for: shuffled rows, seeded augmentation.

    rows: int64 (m,), indices into the inputs, repeats allowed. Every one comes once before any comes again, and the
    last batch of a pass is filled from the next one. labels: int64 (m,), sample_weight: (m,) or None, of the rows.
    alpha: that of mixup, 0 for none.
    """

    def __init__(
        self,
        rows: np.ndarray,
        labels: np.ndarray,
        sample_weight: np.ndarray | None,
        n_classes: int,
        steps: int,
        batch_size: int,
        seed: int,
        alpha: float = 0.0,
    ) -> None:
        self.rows, self.seed, self.alpha = rows, seed, alpha
        self.labels = np.eye(n_classes, dtype=np.float32)[labels]
        self.weights = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float32)
        rng = np.random.default_rng(seed)
        passes = math.ceil(steps * batch_size / len(rows))
        order = np.concatenate([rng.permutation(len(rows)) for _ in range(passes)])
        self.order = order[: steps * batch_size].reshape(steps, batch_size)

    def make(self, inputs: Inputs, index: int) -> Batch:
        """Inputs (n, ...), labels one-hot (n, n_classes), weights (n,) or None; the last two float32."""
        chosen, rng = self.order[index], np.random.default_rng([self.seed, index])
        batch = inputs.augmented(self.rows[chosen], rng)
        labels, weights = self.labels[chosen], None if self.weights is None else self.weights[chosen]
        return mixup(batch, labels, weights, rng, self.alpha) if self.alpha else (batch, labels, weights)


def prefetch(batches: Batches, inputs: Inputs, indices: range, n_jobs: int) -> Iterator[Any]:
    """The batches of `indices` in order, prepared by `n_jobs` threads while the network is busy with earlier ones."""
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(n_jobs) as pool:
        for index in indices:
            waiting.append(pool.submit(batches.make, inputs, index))
            if len(waiting) > 2 * n_jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def padded(batch: np.ndarray, size: int) -> np.ndarray:
    """`batch`, (n, ...) with n <= size, and zeros up to (size, ...): a batch of another shape would be traced anew."""
    gap = size - len(batch)
    return np.concatenate([batch, np.zeros((gap, *batch.shape[1:]), batch.dtype)]) if gap else batch


def view(images: np.ndarray, size: int) -> np.ndarray:
    """Images uint8 (n, h, w) or (n, h, w, 3) as uint8 (n, size, size, 1 or 3)."""
    if images.shape[1:3] != (size, size):
        images = np.stack([resized(image, (size, size)) for image in images])
    return images if images.ndim == 4 else images[..., None]
