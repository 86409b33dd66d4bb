"""Training batches for networks: shuffled rows, seeded augmentation chosen by name, prepared ahead by threads.

Keras only where batches are made on the device.
"""

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from fer_bench.data import resized
from fer_bench.models.deep.recipe import DEFAULT_AUGMENTATION, GEOMETRIC, PHOTOMETRIC

MAX_ROTATION, MAX_ZOOM, MAX_SHIFT = 12.0, 0.12, 0.08  # degrees, and shares of the side
MOST_ON_DEVICE = 2**31  # bytes of images
MIN_CROP = 0.8  # of the side
MAX_BRIGHTNESS, MAX_CONTRAST = 0.2, 0.3  # of white, and of each pixel's distance from the image's mean
ERASED, ERASED_AREA, ERASED_ASPECT = 0.5, (0.02, 0.4), (0.3, 1 / 0.3)  # p, s_l and s_h, r_1 and r_2 of the paper

Batch = tuple[Any, np.ndarray, np.ndarray | None]
"""Inputs (n, ...), or what makes them of images on the device; labels (n, k); weights (n,) or None."""


class Inputs(Protocol):
    """What a network is fed with, one per image."""

    def __len__(self) -> int:
        """How many images there are."""

    def augmented(self, rows: np.ndarray, rng: np.random.Generator) -> Any:
        """The inputs of `rows`, int64 (n,), each changed at random, or what makes them."""

    def plain(self, rows: slice, mirrored: bool) -> np.ndarray:
        """The inputs of `rows` as they are, or of the mirrored images."""


class Pixels:
    """Images, uint8 (n, h, w) or (n, h, w, 3), as inputs uint8 (n, size, size, 1 or 3)."""

    def __init__(self, images: np.ndarray, size: int, augmentation: tuple[str, ...] = DEFAULT_AUGMENTATION) -> None:
        self.images, self.size, self.augmentation = images, size, augmentation

    def __len__(self) -> int:
        return len(self.images)

    @property
    def nbytes(self) -> int:
        """Of all inputs."""
        return len(self.images) * self.size**2 * math.prod(self.images.shape[3:])

    def augmented(self, rows: np.ndarray, rng: np.random.Generator) -> Any:
        """See `Inputs`; the changes are those named in `augmentation`."""
        return augment(view(self.images[rows], self.size), rng, self.augmentation)

    def plain(self, rows: slice, mirrored: bool) -> np.ndarray:
        """See `Inputs`."""
        images = view(self.images[rows], self.size)
        return images[:, :, ::-1] if mirrored else images


class DevicePixels(Pixels):
    """Pixels that lie on the device as a whole, so that a batch of them is but a few numbers an image; see `made`."""

    @classmethod
    def of(cls, inputs: Inputs, mixup: float) -> "DevicePixels | None":
        """`inputs` on the device; None where they do not fit there, or their augmentation takes more than numbers."""
        if not isinstance(inputs, Pixels) or mixup or "erasing" in inputs.augmentation:
            return None
        return cls(inputs.images, inputs.size, inputs.augmentation) if inputs.nbytes <= MOST_ON_DEVICE else None

    @cached_property
    def tensor(self) -> Any:
        """All images, uint8 (n, size, size, channels)."""
        from keras import ops

        return ops.convert_to_tensor(np.ascontiguousarray(self.plain(slice(None), mirrored=False)))

    def augmented(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `made`: rows, int32 (n,); maps, float32 (n, 2, 3); contrast and brightness, float32 (n, 2)."""
        n = len(rows)
        maps, levels = np.tile(np.eye(2, 3), (n, 1, 1)), np.tile([1.0, 0.0], (n, 1))
        if set(self.augmentation) & set(GEOMETRIC):
            maps = affine_maps(n, self.size, rng, self.augmentation)
        if set(self.augmentation) & set(PHOTOMETRIC):
            levels = np.concatenate(light(n, rng, self.augmentation), axis=1)
        back = np.linalg.inv(maps[:, :, :2])
        maps = np.concatenate([back, -back @ maps[:, :, 2:]], axis=2)
        return rows.astype(np.int32), maps.astype(np.float32), levels.astype(np.float32)


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


def prefetch(batches: Batches, inputs: Inputs, indices: range, n_jobs: int, ahead: int) -> Iterator[Any]:
    """The batches of `indices` in order, `ahead` of them prepared by `n_jobs` threads while the network is busy."""
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(n_jobs) as pool:
        for index in indices:
            waiting.append(pool.submit(batches.make, inputs, index))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def present(batch: Batch) -> tuple[Any, ...]:
    """What there is of a batch: no weights where it has none."""
    return tuple(part for part in batch if part is not None)


def stacked(batches: list[Batch], most: int | None = None) -> Any:
    """Batches as one, each part but None with an axis for them in front, of their number or `most`, the rest unset."""
    from keras import tree

    def stack(*parts: np.ndarray) -> np.ndarray:
        whole = np.empty((most or len(parts), *parts[0].shape), parts[0].dtype)
        np.stack(parts, out=whole[: len(parts)])
        return whole

    return tree.map_structure(stack, *map(present, batches))


def padded(batch: np.ndarray, size: int) -> np.ndarray:
    """`batch`, (n, ...) with n <= size, and zeros up to (size, ...): a batch of another shape would be traced anew."""
    gap = size - len(batch)
    return np.concatenate([batch, np.zeros((gap, *batch.shape[1:]), batch.dtype)]) if gap else batch


def view(images: np.ndarray, size: int) -> np.ndarray:
    """Images uint8 (n, h, w) or (n, h, w, 3) as uint8 (n, size, size, 1 or 3)."""
    if images.shape[1:3] != (size, size):
        images = np.stack([resized(image, (size, size)) for image in images])
    return images if images.ndim == 4 else images[..., None]


def augment(images: np.ndarray, rng: np.random.Generator, names: tuple[str, ...] = DEFAULT_AUGMENTATION) -> np.ndarray:
    """Each image changed at random, as `names` say: uint8 (n, size, size, channels) to the same.

    "mirror": left and right swapped, or not. "rotation", "zoom", "shift": by up to 12 degrees, 12 %, 8 % of the side.
    "crop": a square of 80 to 100 % of the side, enlarged to the whole. "brightness": up to 20 % of white more or less.
    "contrast": distances from the image's mean up to 30 % larger or smaller. "erasing": see `erase`.
    The first five are one affine map and one interpolation per image; what comes into view repeats the border.
    """
    if set(names) & set(GEOMETRIC):
        images = warp(images, affine_maps(len(images), images.shape[1], rng, names))
    if set(names) & set(PHOTOMETRIC):
        images = relight(images, *light(len(images), rng, names))
    return erase(images, rng) if "erasing" in names else images


def affine_maps(n: int, size: int, rng: np.random.Generator, names: tuple[str, ...]) -> np.ndarray:
    """`n` random maps, float64 (n, 2, 3), from a pixel's place (x, y) to where it comes to lie.

    Mirror, rotation, zoom and shift are drawn even if not named, so that leaving one out does not change the others.
    """

    def drawn(name: str, values: np.ndarray, neutral: float) -> np.ndarray:
        return values if name in names else np.full_like(values, neutral)

    angle = np.radians(drawn("rotation", rng.uniform(-MAX_ROTATION, MAX_ROTATION, n), 0.0))
    zoom = drawn("zoom", rng.uniform(1 - MAX_ZOOM, 1 + MAX_ZOOM, n), 1.0)
    mirror = drawn("mirror", rng.choice([-1.0, 1.0], n), 1.0)
    turn = np.array([[np.cos(angle) * mirror, -np.sin(angle)], [np.sin(angle) * mirror, np.cos(angle)]]) * zoom
    turn = np.moveaxis(turn, -1, 0)  # (n, 2, 2), about the centre
    centre = np.full(2, (size - 1) / 2)
    shift = centre - turn @ centre + drawn("shift", rng.uniform(-MAX_SHIFT, MAX_SHIFT, (n, 2)), 0.0) * size
    if "crop" in names:  # before the others
        side = rng.uniform(MIN_CROP, 1.0, (n, 1))
        corner = (1 - side) * (rng.random((n, 2)) * size - 0.5)  # half a pixel: places are those of pixels' centres
        turn = turn / side[..., None]
        shift = shift - np.einsum("nij,nj->ni", turn, corner)
    return np.concatenate([turn, shift[..., None]], axis=2)


def warp(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Images, uint8 (n, size, size, channels), each under its map of `maps`, (n, 2, 3)."""
    import cv2

    size = images.shape[1]
    warped = [
        cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for image, matrix in zip(images, maps, strict=True)
    ]
    return np.stack(warped).reshape(images.shape)


def light(n: int, rng: np.random.Generator, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """`n` random factors of contrast and shifts of brightness, float64 (n, 1) each."""
    brightness, contrast = np.zeros((n, 1)), np.ones((n, 1))
    if "brightness" in names:
        brightness = rng.uniform(-MAX_BRIGHTNESS, MAX_BRIGHTNESS, (n, 1)) * 255
    if "contrast" in names:
        contrast = rng.uniform(1 - MAX_CONTRAST, 1 + MAX_CONTRAST, (n, 1))
    return contrast, brightness


def relight(images: np.ndarray, contrast: np.ndarray, brightness: np.ndarray) -> np.ndarray:
    """Images, uint8 (n, size, size, channels), of another contrast and brightness: one table per image."""
    import cv2

    mean = images.reshape(len(images), -1).mean(axis=1)[:, None]
    levels = mean + contrast * (np.arange(256) - mean) + brightness
    tables = np.rint(levels).clip(0, 255).astype(np.uint8)
    relit = [cv2.LUT(image, table) for image, table in zip(images, tables, strict=True)]
    return np.stack(relit).reshape(images.shape)


def made(inputs: Any, tensor: Any) -> Any:
    """The inputs of a batch, uint8 (n, size, size, channels), of those of a `DevicePixels` and its tensor; or `inputs`.

    What `augment` gives, but for rounding, as OpenCV takes places to 1/32 of a pixel: in images of noise 0.85 levels of
    255 on average and 7 at most, in the mirror, brightness and contrast alone none.
    """
    from keras import ops

    if tensor is None:
        return inputs
    rows, maps, levels = inputs
    size, channels = tensor.shape[1], tensor.shape[3]
    places = ops.arange(size, dtype="float32")
    maps = maps[..., None, None]
    x, y = (maps[:, i, 0] * places + maps[:, i, 1] * places[:, None] + maps[:, i, 2] for i in range(2))
    left, top = ops.floor(x), ops.floor(y)
    flat = ops.reshape(tensor, (-1, channels))

    def pixels(row: Any, column: Any, share: Any) -> Any:
        place = ops.clip(row, 0, size - 1) * size + ops.clip(column, 0, size - 1)
        place = ops.cast(place, "int32") + rows[:, None, None] * size**2
        return share[..., None] * ops.cast(ops.take(flat, place, axis=0), "float32")

    right, below = x - left, y - top
    images = (
        pixels(top, left, (1 - below) * (1 - right)) + pixels(top, left + 1, (1 - below) * right)
        + pixels(top + 1, left, below * (1 - right)) + pixels(top + 1, left + 1, below * right)
    )  # fmt: skip
    images, levels = ops.round(images), levels[..., None, None, None]
    mean = ops.mean(images, axis=(1, 2, 3), keepdims=True)
    images = mean + levels[:, 0] * (images - mean) + levels[:, 1]
    return ops.cast(ops.clip(ops.round(images), 0, 255), "uint8")


def erase(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the images, uint8 (n, size, size, channels), with random pixels in a random rectangle.

    Random erasing: Zhong et al. 2020, algorithm 1. A rectangle longer than the image is cut to its side, not redrawn.
    """
    n, size = images.shape[:2]
    area = rng.uniform(*ERASED_AREA, n) * size**2
    aspect = rng.uniform(*ERASED_ASPECT, n)
    sides = np.rint(np.sqrt([area * aspect, area / aspect])).clip(1, size).astype(int).T  # (n, 2): height, width
    corners = rng.integers(0, size - sides + 1)
    images = images.copy()
    for i in np.flatnonzero(rng.random(n) < ERASED):
        (top, left), (height, width) = corners[i], sides[i]
        rectangle = images[i, top : top + height, left : left + width]
        rectangle[...] = rng.integers(0, 256, rectangle.shape, dtype=np.uint8)
    return images


def mixup(
    inputs: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, rng: np.random.Generator, alpha: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """A batch blended with itself in another order by one share from Beta(alpha, alpha): Zhang et al. 2018, eq. 1.

    inputs: (n, ...) of any type, kept. labels: one-hot float32 (n, k). weights: float32 (n,) or None; a label counts
    by the weight of the row it comes from, so that the loss is the blend of both rows' weighted losses.
    """
    share, order = np.float32(rng.beta(alpha, alpha)), rng.permutation(len(inputs))

    def blend(rows: np.ndarray) -> np.ndarray:
        mixed = share * rows.astype(np.float32) + (1 - share) * rows[order].astype(np.float32)
        return (np.rint(mixed) if rows.dtype == np.uint8 else mixed).astype(rows.dtype)

    if weights is None:
        return blend(inputs), blend(labels), None
    weighed, total = blend(labels * weights[:, None]), blend(weights)
    return blend(inputs), weighed / np.maximum(total, np.finfo(np.float32).tiny)[:, None], total
