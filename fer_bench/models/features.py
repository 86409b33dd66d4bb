"""Features: fitted on training rows only, computed once per data and split, stored, memory-mapped by every run."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from fer_bench import cache
from fer_bench.cache import reading
from fer_bench.errors import FerBenchError
from fer_bench.models.plugins import code_digest
from fer_bench.models.registry import FEATURES, FeaturesCard, ModelCard, register_features

if TYPE_CHECKING:
    import numpy as np

    from fer_bench.data import Dataset, Split

SIDE = 48
CHUNK = 4096
HOG_EPSILON, HOG_MOST = 1e-5, 0.2  # of L2-Hys, as in scikit-image
HOG_CHUNK = 64  # images whose intermediate arrays stay in the processor's cache
NO_VARIANCE = 1e-6  # of a component, as a share of the first one's
STORED_FORMAT = 1
COST = "cost.json"
LIBRARIES = ("numpy", "opencv-python-headless", "scikit-image", "scikit-learn")


class Extractor(Protocol):
    """Images in, one row of features per image out."""

    def fit(self, images: np.ndarray, labels: np.ndarray) -> Any:
        """Learn from training images, uint8 (n, h, w[, 3]), and their labels, int64 (n,)."""

    def transform(self, images: np.ndarray) -> np.ndarray:
        """Features of `images`, (n, ...), row by row independent of the other rows."""


@dataclass(frozen=True)
class Features:
    """Features of the three subsets, (n_subset * views, ...): memory-mapped, or the images as `model_features` says.

    views: rows an image has: 1, or 2 where that of its mirror image comes after its own.
    seconds: what fitting and transforming cost when it was done. ms_per_image: transform alone, per image.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    seconds: float
    ms_per_image: float
    views: int = 1


class ImageRows:
    """The images of a dataset at the indices `rows`, uint8 (n, h, w[, 3]): only those that are looked up are read."""

    def __init__(self, images: np.ndarray, rows: np.ndarray) -> None:
        self.images, self.rows = images, rows
        self.shape = (len(rows), *images.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.images[self.rows[key]]


class WithMirrors:
    """Images, uint8 (n, h, w[, 3]), each followed by its mirror: only those that are looked up are read."""

    def __init__(self, images: np.ndarray) -> None:
        self.images, self.shape = images, (2 * len(images), *images.shape[1:])

    def __len__(self) -> int:
        return len(self.images) * 2

    def __getitem__(self, rows: Any) -> np.ndarray:
        import numpy as np

        found = np.array(self.images[rows // 2])
        if np.ndim(rows) == 0:
            return np.ascontiguousarray(found[:, ::-1]) if rows % 2 else found
        odd = rows % 2 == 1
        found[odd] = found[odd, :, ::-1]
        return found


def model_features(model: ModelCard, parameters: Mapping[str, Any], dataset: Dataset, split: Split) -> Features:
    """What the classifiers of `model` are given of `dataset` under `split`; parameters: as for `features_card`.

    Features are stored. The images themselves are not, once more: networks and guesses get `ImageRows`, what comes from
    elsewhere, which may do with X whatever an array can, the images in memory.
    """
    card = features_card(FEATURES[model.features], parameters)
    if card.build is not images:
        return stored_features(card, dataset, split)
    if model.is_network or not model.trainable:
        found: dict[str, Any] = {name: ImageRows(dataset.images, rows) for name, rows in split.subsets().items()}
    else:
        found = {name: dataset.images[rows] for name, rows in split.subsets().items()}
    return Features(**found, seconds=0.0, ms_per_image=0.0)


def stored_features(card: FeaturesCard, dataset: Dataset, split: Split) -> Features:
    """The features `card` of `dataset` under `split`, computed by the first that asks and shared by all.

    The key holds data, split, extractor, parameters and versions of what computes; a changed extractor of the same name
    and parameters is told by the file that defines it. Raises FerBenchError where the stored files are damaged.
    """
    import numpy as np

    key = cache.digest(
        {
            "data": dataset.fingerprint,
            "split": split.fingerprint,
            "features": card.name,
            "parameters": dict(card.parameters),
            "code": code_digest(card.build),
            "libraries": {name: version(name) for name in LIBRARIES},
            "format": STORED_FORMAT,
        }
    )
    files = {name: f"{name}.npy" for name in split.subsets()}
    folder = cache.fetch(
        "features", key, lambda work: _compute(card, dataset, split, work), files=(*files.values(), COST)
    )
    with reading(folder):
        arrays = {name: np.load(folder / file, mmap_mode="r", allow_pickle=False) for name, file in files.items()}
        return Features(**arrays, **json.loads((folder / COST).read_text()), views=card.views)


def features_card(card: FeaturesCard, parameters: Mapping[str, Any]) -> FeaturesCard:
    """`card` with those of a run's `parameters` that are named after it: "pca.n_components" for the card "pca".

    Raises FerBenchError where one is named after other features, or after nothing that these have.
    """
    chosen = {name: value for name, value in parameters.items() if "." in name}
    known = {f"{card.name}.{name}": name for name in card.parameters}
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        raise FerBenchError(
            f"no parameter {', '.join(unknown)} of the features {card.name!r}, only {', '.join(known) or 'none'}"
        )
    return replace(card, parameters={**card.parameters, **{known[name]: value for name, value in chosen.items()}})


def fitted_extractor(card: FeaturesCard, dataset: Dataset, split: Split) -> Extractor:
    """The extractor of `card`, fitted on the training rows of `split`, and on their mirrors where it has them."""
    import numpy as np

    extractor: Any = card.extractor()
    images, rows = _viewed(card, dataset.images, split.train)
    if getattr(type(extractor), "fit", None) is _FitByRow.fit:  # they may need more memory than there is
        extractor.fit_rows(images, rows)
    else:
        extractor.fit(images[rows], np.repeat(dataset.labels[split.train], card.views))
    return extractor


def _compute(card: FeaturesCard, dataset: Dataset, split: Split, folder: Path) -> None:
    start = time.perf_counter()
    extractor = fitted_extractor(card, dataset, split)
    fitted = time.perf_counter()
    for name, rows in split.subsets().items():
        _transform(card.name, extractor, *_viewed(card, dataset.images, rows), folder / f"{name}.npy")
    end = time.perf_counter()
    cost = {"seconds": end - start, "ms_per_image": 1000 * (end - fitted) / len(dataset)}
    (folder / COST).write_text(json.dumps(cost))


def _viewed(card: FeaturesCard, images: np.ndarray, rows: np.ndarray) -> tuple[Any, np.ndarray]:
    """`images` and the indices `rows`, or images with mirrors and the indices of both, an image before its mirror."""
    import numpy as np

    if card.views == 1:
        return images, rows
    return WithMirrors(images), (2 * rows[:, None] + np.arange(2)).ravel()


def _transform(name: str, extractor: Extractor, images: np.ndarray, rows: np.ndarray, path: Path) -> None:
    """Chunk by chunk into the stored file, so that memory does not grow with the data.

    Raises FerBenchError where `extractor`, of the features `name`, does not give a row per image, or rows of another
    kind than before.
    """
    import numpy as np

    first = ""
    with path.open("wb") as file:  # written, not mapped: a full disk is an error here, and would be the end there
        for start in range(0, len(rows), CHUNK):
            chunk = images[rows[start : start + CHUNK]]
            part = np.ascontiguousarray(extractor.transform(chunk))
            if len(part) != len(chunk):
                raise FerBenchError(f"the features {name!r} made {len(part):,} rows of {len(chunk):,} images")
            kind = f"{part.dtype} {part.shape[1:]}"
            if start and kind != first:
                raise FerBenchError(f"the features {name!r} made {kind} from image {start:,} on, and {first} before")
            if not start:
                first, shape = kind, (len(rows), *part.shape[1:])
                header = {"descr": part.dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(part.data)


class _FitByRow:
    """Fits on rows of memory-mapped images without a copy of them; as it stands, there is nothing to fit."""

    def fit(self, images: np.ndarray, labels: np.ndarray) -> Self:
        import numpy as np

        return self.fit_rows(images, np.arange(len(images)))

    def fit_rows(self, images: np.ndarray, rows: np.ndarray) -> Self:
        """Learn from the images at the indices `rows`."""
        return self


class Images(_FitByRow):
    """The images themselves, for networks that bring their own preprocessing."""

    def transform(self, images: np.ndarray) -> np.ndarray:
        """`images` as they are, uint8."""
        return images


class Pixels(_FitByRow):
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


class OrientedGradients(_FitByRow):
    """Histograms of oriented gradients (Dalal & Triggs 2005) of a gray square, float32; 1,764 values at 48 x 48.

    They are scikit-image's `hog`, of many images at once: 8-bit grays have few enough gradients for a table of angles.
    """

    def __init__(self, side: int, orientations: int, cell: int, block: int) -> None:
        self.side, self.orientations, self.cell, self.block = side, orientations, cell, block

    def transform(self, images: np.ndarray) -> np.ndarray:
        """Blocks of L2-Hys normalised histograms."""
        import numpy as np

        from fer_bench.data import gray_squares

        squares, tables = gray_squares(images, self.side), self._tables()
        parts = (squares[start : start + HOG_CHUNK] for start in range(0, len(squares), HOG_CHUNK))
        return np.concatenate([self._blocks(self._histograms(part, *tables)) for part in parts])

    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Orientation, as a number, and length of the gradient (down, right) at 511 * (down + 255) + right + 255."""
        import numpy as np

        down, right = (one.ravel().astype(float) for one in np.mgrid[-255:256, -255:256])
        degrees = np.rad2deg(np.arctan2(down, right)) % 180
        return (degrees // (180 / self.orientations)).astype(np.int64), np.hypot(down, right)

    def _histograms(self, squares: np.ndarray, number: np.ndarray, length: np.ndarray) -> np.ndarray:
        """Mean length by orientation in each cell, float32 (n, cells, cells, orientations); edges have no gradient."""
        import numpy as np

        n, cells, cell = len(squares), self.side // self.cell, self.cell
        gray, gradient = squares.astype(np.int64), np.full(squares.shape, 511 * 255 + 255)
        gradient[:, 1:-1] += 511 * (gray[:, 2:] - gray[:, :-2])
        gradient[:, :, 1:-1] += gray[:, :, 2:] - gray[:, :, :-2]
        gradient = gradient[:, : cells * cell, : cells * cell].reshape(n, cells, cell, cells, cell)
        in_turn = np.moveaxis(gradient, (2, 4), (0, 1)).reshape(cell**2, -1)  # the pixels of all cells
        totals = np.zeros((in_turn.shape[1], self.orientations), np.float32)
        every = np.arange(len(totals))
        for pixels in in_turn:  # one by one, in float32, as scikit-image adds
            totals[every, number[pixels]] += length[pixels]
        return (totals / np.float32(cell**2)).reshape(n, cells, cells, -1)

    def _blocks(self, histograms: np.ndarray) -> np.ndarray:
        """All squares of `block` cells, each normalised, clipped at 0.2 and normalised again, float32 (n, d)."""
        import numpy as np
        from skimage.util import view_as_windows

        n, *_, orientations = histograms.shape
        windows = view_as_windows(histograms.astype(float), (n, self.block, self.block, orientations))[0, :, :, 0]
        blocks = np.moveaxis(windows, 2, 0).reshape(n, *windows.shape[:2], -1)
        for most in (HOG_MOST, 1.0):
            lengths = np.sqrt((blocks**2).sum(axis=-1, keepdims=True) + HOG_EPSILON**2)
            blocks = np.minimum(blocks / lengths, most)
        return blocks.reshape(n, -1).astype(np.float32)


def _gray_pixels(images: np.ndarray, side: int, rows: np.ndarray | None = None) -> np.ndarray:
    from fer_bench.data import gray_squares

    squares = gray_squares(images, side, rows)
    pixels = squares.reshape(len(squares), -1).astype("float32")
    pixels /= 255
    return pixels


@register_features("images", summary="the images themselves, for networks")
def images() -> Extractor:
    """See `Images`."""
    return Images()


@register_features("pixels", summary="gray pixels, 48 x 48", side=SIDE)
def pixels(side: int) -> Extractor:
    """See `Pixels`."""
    return Pixels(side)


@register_features(
    "pca", summary="150 whitened principal components of the pixels", side=SIDE, n_components=150, mirror=True
)
def pca(side: int, n_components: int) -> Extractor:
    """See `PrincipalComponents`."""
    return PrincipalComponents(side, n_components)


@register_features(
    "hog", summary="oriented gradients: 9 bins, 6x6 cells, 2x2 blocks",
    side=SIDE, orientations=9, cell=6, block=2, mirror=True,
)  # fmt: skip
def hog(side: int, orientations: int, cell: int, block: int) -> Extractor:
    """See `OrientedGradients`."""
    return OrientedGradients(side, orientations, cell, block)
