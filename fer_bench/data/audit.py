"""What is odd about a dataset and its split: copies, conflicting labels, blank images, totals, order, a canary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench import cache
from fer_bench.cache import reading
from fer_bench.data import fer2013
from fer_bench.data.appearance import differences
from fer_bench.data.copies import Copies, stored_copies
from fer_bench.data.dataset import Dataset
from fer_bench.data.resizing import gray_squares
from fer_bench.data.splits.split import Split
from fer_bench.progress import Progress, silent

STORED_FORMAT = 7
"""Goes up when the audit of the same data says something else."""
COPIES = "copies.npy"
SAVED = ("audit.json", COPIES)
BLANK = 1.0
"""Standard deviation, in grey levels, below which an image counts as blank."""
SHOWN_IDS, CHUNK = 50, 256
CANARY_SIDE = 24
CANARY_IMAGES, CANARY_ROWS = 4000, 12_000
"""Validation images the canary looks at, and rows it learns gradients from, at most."""
FER2013_FROM = 30_000
"""Images from which data with FER2013's classes are held against its totals."""


def stored_audit(dataset_folder: Path, split_folder: Path, progress: Progress = silent) -> Path:
    """The cache folder of the audit of a dataset and its split or folds, given by their cache folders; made if missing.

    audit.json follows `fer_bench.records.audit.Audit`; beside it are the `copies_in_train`, which `read_copies` reads.
    """
    key = cache.digest({"dataset": dataset_folder.name, "split": split_folder.name, "format": STORED_FORMAT})

    def build(work: Path) -> None:
        dataset, splits = Dataset.load(dataset_folder), Split.load_all(split_folder)
        copies = stored_copies(dataset, progress)
        progress(0.0, "auditing the data")
        (work / "audit.json").write_text(json.dumps(make_audit(dataset, splits, copies), indent=1) + "\n")
        np.save(work / COPIES, copies_in_train(splits[0], copies))

    return cache.fetch("audits", key, build, files=SAVED)


def read_copies(audit_folder: Path) -> np.ndarray:
    """The `copies_in_train` of a folder that `stored_audit` returned, of folds those of the first.

    Raises FerBenchError where it is damaged.
    """
    with reading(audit_folder):
        return np.load(audit_folder / COPIES, allow_pickle=False)


def copies_in_train(split: Split, copies: Copies) -> np.ndarray:
    """Which copies each row has in train, str (n,): "exact", "near" or ""; "" for the rows of train."""
    found = copies.among(split.train)
    found[split.train] = ""
    return found


def make_audit(dataset: Dataset, splits: Sequence[Split], copies: Copies) -> dict[str, Any]:
    """The audit under one split, or under folds, as plain values, by the names of `fer_bench.records.audit.Audit`."""
    counts = dataset.class_counts()
    chunks = np.split(np.asarray(dataset.images), range(CHUNK, len(dataset), CHUNK))
    blank = np.concatenate([chunk.reshape(len(chunk), -1).std(axis=1) for chunk in chunks]) < BLANK
    groups, is_fer2013 = copies.groups, fer2013.is_fer2013(dataset)
    near = np.where(np.isin(groups, groups[copies.first[copies.pairs.ravel()]]), groups, -1)
    return {
        "dataset": dataset.name,
        "data_fingerprint": dataset.fingerprint,
        "split_fingerprint": splits[0].fingerprint.partition(".")[0],
        "split_source": splits[0].source,
        "n_folds": len(splits) if len(splits) > 1 else 0,
        "class_names": list(dataset.class_names),
        "images": len(dataset),
        "unique_images": len(copies.first),
        "imbalance_ratio": float(counts.max() / counts[counts > 0].min()),
        "class_sorted": bool((np.diff(dataset.labels) != 0).sum() == (counts > 0).sum() - 1),
        "fer2013": is_fer2013,
        "fer2013_differences": [] if is_fer2013 else _fer2013_differences(dataset),
        "subsets": _summed([_subsets(dataset, split, copies, blank, len(splits) > 1) for split in splits]),
        "exact": _groups(copies.image, dataset.labels, splits),
        "near": _groups(near, dataset.labels, splits),
        "near_pairs": len(copies.pairs),
        "mirrored_pairs": int(copies.mirrored.sum()),
        "near_threshold": copies.threshold,
        "straddling_groups": (
            None if dataset.groups is None else _groups(dataset.groups, dataset.labels, splits)["across"]
        ),
        "grouped_by": dataset.grouped_by,
        "groups_from": dataset.groups_from,
        "n_groups": 0 if dataset.groups is None else len(np.unique(dataset.groups)),
        "notes": list(dataset.notes),
        "canary": _canary(dataset, splits),
        "appearance": differences(dataset.images, splits[0]) if len(splits) == 1 else {},
        "blank_ids": [str(sample_id) for sample_id in dataset.sample_ids[blank][:SHOWN_IDS]],
    }


def _subsets(
    dataset: Dataset, split: Split, copies: Copies, blank: np.ndarray, is_fold: bool
) -> dict[str, dict[str, Any]]:
    in_train = copies_in_train(split, copies)
    in_validation = copies.among(split.validation)
    official = set() if dataset.subsets is None or is_fold else set(dataset.subsets.tolist())
    return {
        name: {
            "drawn": name not in official,
            "images": len(rows),
            "class_counts": dataset.class_counts(rows).tolist(),
            "blank": int(blank[rows].sum()),
            "exact_in_train": int((in_train[rows] == "exact").sum()),
            "near_in_train": int((in_train[rows] == "near").sum()),
            "exact_in_validation": int((in_validation[rows] == "exact").sum()) if name == "test" else 0,
        }
        for name, rows in split.subsets().items()
    }


def _summed(folds: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The subsets of all folds as one: counts added up."""
    first = folds[0]

    def total(name: str, field: str) -> Any:
        values = [fold[name][field] for fold in folds]
        return [sum(of_class) for of_class in zip(*values, strict=True)] if isinstance(values[0], list) else sum(values)

    return {
        name: {field: known if isinstance(known, bool) else total(name, field) for field, known in first[name].items()}
        for name in first
    }


def _groups(groups: np.ndarray, labels: np.ndarray, splits: Sequence[Split]) -> dict[str, int]:
    """`fer_bench.records.audit.GroupsAudit` of rows with the given group, -1 for none, and label, each (n,).

    A group is across subsets where it is so in any of the splits.
    """
    known, sizes = np.unique(groups[groups >= 0], return_counts=True)
    of_row = np.searchsorted(known, groups)

    def differ(values: np.ndarray) -> np.ndarray:
        """Which groups have several `values`, "" aside."""
        told = (groups >= 0) & (values != "")
        codes = np.unique(values[told], return_inverse=True)[1]
        return np.bincount(np.unique(np.stack([of_row[told], codes]), axis=1)[0], minlength=len(sizes)) > 1

    across = np.zeros(len(sizes), dtype=bool)
    for split in splits:
        subset = np.full(len(groups), "", dtype="U10")
        for name, rows in split.subsets().items():
            subset[rows] = name
        across |= differ(subset)
    return {
        "groups": int((sizes > 1).sum()),
        "images": int(sizes[sizes > 1].sum()),
        "largest": int(sizes.max(initial=0)),
        "across": int(across.sum()),
        "conflicting": int(differ(labels.astype(str)).sum()),
    }


def _fer2013_differences(dataset: Dataset) -> list[str]:
    """What is not as in FER2013, of other data that look like it: its classes, 48 x 48 gray, about as many images."""
    looks_like_it = dataset.images.shape[1:] == (48, 48) and {*dataset.class_names} == {*fer2013.COUNTS}
    if not looks_like_it or len(dataset) < FER2013_FROM:
        return []
    columns = dict(zip(dataset.class_names, dataset.class_counts().tolist(), strict=True))
    differences = [
        f"{name}: {columns[name]:,} images, FER2013 has {sum(known):,}"
        for name, known in fer2013.COUNTS.items()
        if columns[name] != sum(known)
    ]
    return differences or ["the images per class are FER2013's, its three subsets or its pixels are not"]


def _canary(dataset: Dataset, splits: Sequence[Split]) -> dict[str, Any]:
    """How often simple classifiers are right on validation images, on those of all folds together."""
    folds = [_right(dataset, split, CANARY_IMAGES // len(splits)) for split in splits]
    right = {name: np.concatenate([fold[name] for fold in folds]) for name in folds[0]}
    return {"images": len(right["majority"]), **{name: float(known.mean()) for name, known in right.items()}}


def _right(dataset: Dataset, split: Split, most: int) -> dict[str, np.ndarray]:
    """On which of at most so many validation images each classifier is right, bool (n,)."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.neighbors import KNeighborsClassifier

    from fer_bench.data.likeness import SIDE, descriptors

    rows = split.validation[:: -(-len(split.validation) // most)]
    labels, train_labels = dataset.labels[rows], dataset.labels[split.train]
    train, validation = _pixels(dataset.images, split.train), _pixels(dataset.images, rows)
    some = split.train[:: -(-len(split.train) // CANARY_ROWS)]
    squares = [gray_squares(dataset.images, SIDE, members) for members in (some, rows)]
    fits = {
        "nearest_neighbour": (KNeighborsClassifier(n_neighbors=1, algorithm="brute"), train, train_labels, validation),
        "linear": (RidgeClassifier(alpha=100.0), train, train_labels, validation),
        "gradients": (RidgeClassifier(), descriptors(squares[0]), dataset.labels[some], descriptors(squares[1])),
    }
    right = {name: fit[0].fit(*fit[1:3]).predict(fit[3]) == labels for name, fit in fits.items()}
    return {**right, "majority": labels == np.bincount(train_labels).argmax()}


def _pixels(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The images at `rows`, small, gray and of equal brightness and contrast, float32 (n, 576)."""
    pixels = gray_squares(images, CANARY_SIDE, rows).reshape(len(rows), -1).astype(np.float32)
    pixels -= pixels.mean(axis=1, keepdims=True)
    return pixels / np.maximum(pixels.std(axis=1, keepdims=True), BLANK)
