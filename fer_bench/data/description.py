"""What is in a dataset, for people."""

from collections import Counter

import numpy as np
from tabulate import tabulate

from fer_bench.data.dataset import SUBSETS, Dataset

SHOWN = 6


def describe(dataset: Dataset) -> list[str]:
    """Lines to print: images, size, images per class and official subset, imbalance, people, slices, notes."""
    counts = dataset.class_counts()
    height, width = dataset.images.shape[1:3]
    subsets = [] if dataset.subsets is None else [subset for subset in SUBSETS if (dataset.subsets == subset).any()]
    facts = [
        ("name", dataset.name),
        ("images", f"{len(dataset):,} of {height} x {width} pixels, {'gray' if dataset.images.ndim == 3 else 'RGB'}"),
        ("imbalance ratio", f"{counts.max() / counts[counts > 0].min():.1f} (largest class to smallest)"),
        ("official subsets", ", ".join(subsets) or "none"),
        ("votes", "none" if dataset.votes is None else ", ".join(dataset.vote_names) or "without names"),
        ("people", _people(dataset)),
        ("slices", "; ".join(f"{name}: {_values(values)}" for name, values in dataset.slices.items()) or "none"),
        ("fingerprint", dataset.fingerprint),
    ]
    untrained = dataset.untrained(dataset.subsets == "train") if dataset.subsets is not None else ""
    notes = list(filter(None, (*dataset.notes, untrained)))
    columns = [dataset.class_counts(np.flatnonzero(dataset.subsets == subset)) for subset in subsets]
    table = [
        (name, *(f"{column[code]:,}" for column in columns), f"{counts[code]:,}", f"{counts[code] / len(dataset):.1%}")
        for code, name in enumerate(dataset.class_names)
    ]
    totals = ("all", *(f"{column.sum():,}" for column in columns), f"{len(dataset):,}", "100.0%")
    return [
        *tabulate(facts, tablefmt="plain", disable_numparse=True).splitlines(),
        "",
        *tabulate(
            [*table, totals], ("class", *subsets, "images", "share"),
            disable_numparse=True, colalign=("left", *["right"] * (len(totals) - 1)),
        ).splitlines(),
        *([""] if notes else []),
        *(f"note: {note}" for note in notes),
    ]  # fmt: skip


def _people(dataset: Dataset) -> str:
    """How many people, or else other groups, there are and how that is known."""
    if dataset.groups is None:
        return "unknown"
    sizes = np.unique(dataset.groups, return_counts=True)[1]
    known = f" (by {dataset.groups_from})" if dataset.groups_from else ""
    kind = {"person": "", "image": "unknown; photographs: ", "clip": "unknown; clips: "}.get(
        dataset.grouped_by, "unknown; groups: "
    )
    return f"{kind}{len(sizes):,}, of {sizes.min():,} to {sizes.max():,} images{known}"


def _values(values: np.ndarray) -> str:
    """The values of a slice, the most frequent first, with their numbers of images."""
    found = Counter(values.tolist())
    shown = [f"{value or 'unknown'} {count:,}" for value, count in found.most_common(SHOWN)]
    return ", ".join(shown) + (f" and {len(found) - SHOWN:,} more" if len(found) > SHOWN else "")
