"""Features: fitted on training rows only, computed once per data and split, stored, memory-mapped by every run."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_bench import cache
from fer_bench.cache import reading
from fer_bench.data import gray_squares
from fer_bench.errors import FerBenchError
from fer_bench.models.extractors import Extractor, FitByRow, all_gradients
from fer_bench.models.feature_cards import images
from fer_bench.models.plugins import code_digest
from fer_bench.models.registry import FEATURES, FeaturesCard, ModelCard
from fer_bench.models.textures import drawn

if TYPE_CHECKING:
    from fer_bench.data import Dataset, Split

CHUNK = 4096
STORED_FORMAT = 1
COST = "cost.json"
SHARED = (all_gradients, drawn, gray_squares)
"""One function of each file that the suite's own extractors are made of."""
LIBRARIES = ("numpy", "opencv-python-headless", "scikit-image", "scikit-learn")


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
        found, odd = np.array(self.images[rows // 2]), rows % 2 == 1
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
    looks_up = model.is_network or not model.trainable
    found: dict[str, Any] = {
        name: ImageRows(dataset.images, rows) if looks_up else dataset.images[rows]
        for name, rows in split.subsets().items()
    }
    return Features(**found, seconds=0.0, ms_per_image=0.0)


def stored_features(card: FeaturesCard, dataset: Dataset, split: Split) -> Features:
    """The features `card` of `dataset` under `split`, computed by the first that asks and shared by all.

    The key holds data, split, extractor, parameters and versions of what computes; a changed extractor of the same name
    and parameters is told by the files that define it. Raises FerBenchError where the stored files are damaged.
    """
    key = cache.digest(
        {
            "data": dataset.fingerprint,
            "split": split.fingerprint,
            "features": card.name,
            "parameters": dict(card.parameters),
            "code": [code_digest(one) for one in (card.build, *SHARED)],
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
    extractor: Any = card.extractor()
    images, rows = _viewed(card, dataset.images, split.train)
    if getattr(type(extractor), "fit", None) is FitByRow.fit:  # they may need more memory than there is
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
    n_images = sum(map(len, split.subsets().values()))
    cost = {"seconds": end - start, "ms_per_image": 1000 * (end - fitted) / n_images}
    (folder / COST).write_text(json.dumps(cost))


def _viewed(card: FeaturesCard, images: np.ndarray, rows: np.ndarray) -> tuple[Any, np.ndarray]:
    """`images` and the indices `rows`, or images with mirrors and the indices of both, an image before its mirror."""
    return (images, rows) if card.views == 1 else (WithMirrors(images), rows_of_views(rows, card.views))


def rows_of_views(rows: np.ndarray, views: int) -> np.ndarray:
    """Where the views of the images at the indices `rows` stand, int64 (n * views,)."""
    return (views * rows[:, None] + np.arange(views)).ravel()


def _transform(name: str, extractor: Extractor, images: np.ndarray, rows: np.ndarray, path: Path) -> None:
    """Chunk by chunk into the stored file, so that memory does not grow with the data.

    Raises FerBenchError where `extractor`, of the features `name`, does not give a row of numbers per image, or rows of
    another kind than before.
    """
    first = ""
    with path.open("wb") as file:  # written, not mapped: a full disk is an error here, and would be the end there
        for start in range(0, len(rows), CHUNK):
            chunk = images[rows[start : start + CHUNK]]
            part = np.ascontiguousarray(extractor.transform(chunk))
            if part.dtype.kind not in "biuf":
                raise FerBenchError(f"the features {name!r} made {part.dtype}, not numbers")
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
