"""What is odd about a dataset and its split: copies, conflicting labels, blank images, totals, order, a canary."""

from __future__ import annotations

import json
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
from fer_bench.data.splits import Split
from fer_bench.progress import Progress, silent

STORED_FORMAT = 5
"""Goes up when the audit of the same data says something else."""
COPIES = "copies.npy"
SAVED = ("audit.json", COPIES)
BLANK = 1.0
"""Standard deviation, in grey levels, below which an image counts as blank."""
SHOWN_IDS = 50
CANARY_SIDE = 24
CANARY_IMAGES = 4000
"""Validation images the canary looks at, at most."""
FER2013_FROM = 30_000
"""Images from which data with FER2013's classes are held against its totals."""


def stored_audit(dataset_folder: Path, split_folder: Path, progress: Progress = silent) -> Path:
    """The cache folder of the audit of a dataset and its split, both given by their cache folders; made if not there.

    audit.json follows `fer_bench.records.audit.Audit`; beside it are the `copies_in_train`, which `read_copies` reads.
    """
    key = cache.digest({"dataset": dataset_folder.name, "split": split_folder.name, "format": STORED_FORMAT})

    def build(work: Path) -> None:
        dataset, split = Dataset.load(dataset_folder), Split.load(split_folder)
        copies = stored_copies(dataset, progress)
        progress(0.0, "auditing the data")
        (work / "audit.json").write_text(json.dumps(make_audit(dataset, split, copies), indent=1) + "\n")
        np.save(work / COPIES, copies_in_train(split, copies))

    return cache.fetch("audits", key, build, files=SAVED)


def read_copies(audit_folder: Path) -> np.ndarray:
    """The `copies_in_train` of a folder that `stored_audit` returned. Raises FerBenchError where it is damaged."""
    with reading(audit_folder):
        return np.load(audit_folder / COPIES, allow_pickle=False)


def copies_in_train(split: Split, copies: Copies) -> np.ndarray:
    """Which copies each row has in train, str (n,): "exact", "near" or ""; "" for the rows of train."""
    found = copies.among(split.train)
    found[split.train] = ""
    return found


def make_audit(dataset: Dataset, split: Split, copies: Copies) -> dict[str, Any]:
    """The audit as plain values, by the names of `fer_bench.records.audit.Audit`."""
    counts = dataset.class_counts()
    blank = np.array([image.std() < BLANK for image in dataset.images])
    in_subset = np.empty(len(dataset), dtype="U10")
    for name, rows in split.subsets().items():
        in_subset[rows] = name
    near = np.isin(copies.groups, copies.groups[copies.first[copies.pairs.ravel()]])
    return {
        "dataset": dataset.name,
        "data_fingerprint": dataset.fingerprint,
        "split_fingerprint": split.fingerprint,
        "split_source": split.source,
        "class_names": list(dataset.class_names),
        "images": len(dataset),
        "unique_images": len(copies.first),
        "imbalance_ratio": float(counts.max() / counts[counts > 0].min()),
        "class_sorted": bool((np.diff(dataset.labels) != 0).sum() == (counts > 0).sum() - 1),
        "fer2013": fer2013.is_fer2013(dataset),
        "fer2013_differences": _fer2013_differences(dataset),
        "subsets": _subsets(dataset, split, copies, blank),
        "exact": _groups(copies.image, dataset.labels, in_subset),
        "near": _groups(copies.groups[near], dataset.labels[near], in_subset[near]),
        "near_pairs": len(copies.pairs),
        "mirrored_pairs": int(copies.mirrored.sum()),
        "near_threshold": copies.threshold,
        "straddling_groups": (
            None if dataset.groups is None else _groups(dataset.groups, dataset.labels, in_subset)["across"]
        ),
        "grouped_by": dataset.grouped_by,
        "groups_from": dataset.groups_from,
        "n_groups": 0 if dataset.groups is None else len(np.unique(dataset.groups)),
        "notes": list(dataset.notes),
        "canary": _canary(dataset, split),
        "appearance": differences(dataset.images, split),
        "blank_ids": [str(sample_id) for sample_id in dataset.sample_ids[blank][:SHOWN_IDS]],
    }


def _subsets(dataset: Dataset, split: Split, copies: Copies, blank: np.ndarray) -> dict[str, dict[str, Any]]:
    in_train = copies_in_train(split, copies)
    in_validation = copies.among(split.validation)
    official = set() if dataset.subsets is None else set(dataset.subsets.tolist())
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


def _groups(groups: np.ndarray, labels: np.ndarray, subsets: np.ndarray) -> dict[str, int]:
    """`fer_bench.records.audit.GroupsAudit` of rows with the given group, label and subset, each (n,)."""
    _, number, sizes = np.unique(groups, return_inverse=True, return_counts=True)

    def kinds(values: np.ndarray) -> np.ndarray:
        """How many different `values` each group has."""
        codes = np.unique(values, return_inverse=True)[1]
        return np.bincount(np.unique(np.stack([number, codes]), axis=1)[0], minlength=len(sizes))

    return {
        "groups": int((sizes > 1).sum()),
        "images": int(sizes[sizes > 1].sum()),
        "largest": int(sizes.max(initial=0)),
        "across": int((kinds(subsets) > 1).sum()),
        "conflicting": int((kinds(labels) > 1).sum()),
    }


def _fer2013_differences(dataset: Dataset) -> list[str]:
    """What is not as in FER2013, of data that look like it: its classes, 48 x 48 gray, and about as many images."""
    looks_like_it = dataset.images.shape[1:] == (48, 48) and {*dataset.class_names} == {*fer2013.COUNTS}
    if not looks_like_it or len(dataset) < FER2013_FROM or fer2013.is_fer2013(dataset):
        return []
    columns = dict(zip(dataset.class_names, dataset.class_counts().tolist(), strict=True))
    differences = [
        f"{name}: {columns[name]:,} images, FER2013 has {sum(known):,}"
        for name, known in fer2013.COUNTS.items()
        if columns[name] != sum(known)
    ]
    return differences or ["the images per class are FER2013's, its three subsets or its pixels are not"]


def _canary(dataset: Dataset, split: Split) -> dict[str, Any]:
    """How well pixels alone tell the class of validation images."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.neighbors import KNeighborsClassifier

    rows = split.validation[:: -(-len(split.validation) // CANARY_IMAGES)]
    labels, train_labels = dataset.labels[rows], dataset.labels[split.train]
    train, validation = _pixels(dataset.images, split.train), _pixels(dataset.images, rows)
    classifiers = {
        "nearest_neighbour": KNeighborsClassifier(n_neighbors=1, algorithm="brute"),
        "linear": RidgeClassifier(alpha=100.0),
    }
    scores = {
        name: float(classifier.fit(train, train_labels).score(validation, labels))
        for name, classifier in classifiers.items()
    }
    return {"images": len(rows), **scores, "majority": float((labels == np.bincount(train_labels).argmax()).mean())}


def _pixels(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The images at `rows`, small, gray and of equal brightness and contrast, float32 (n, 576)."""
    pixels = gray_squares(images, CANARY_SIDE, rows).reshape(len(rows), -1).astype(np.float32)
    pixels -= pixels.mean(axis=1, keepdims=True)
    return pixels / np.maximum(pixels.std(axis=1, keepdims=True), BLANK)
