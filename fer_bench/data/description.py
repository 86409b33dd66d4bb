"""What is in a dataset, for people."""

import numpy as np
from tabulate import tabulate

from fer_bench.data.dataset import SUBSETS, Dataset


def describe(dataset: Dataset) -> list[str]:
    """Lines to print: images, size, images per class and official subset, how unequal the classes are, notes."""
    counts = dataset.class_counts()
    height, width = dataset.images.shape[1:3]
    subsets = [] if dataset.subsets is None else [subset for subset in SUBSETS if (dataset.subsets == subset).any()]
    facts = [
        ("name", dataset.name),
        ("images", f"{len(dataset):,} of {height} x {width} pixels, {'gray' if dataset.images.ndim == 3 else 'RGB'}"),
        ("imbalance ratio", f"{counts.max() / counts[counts > 0].min():.1f} (largest class to smallest)"),
        ("official subsets", ", ".join(subsets) or "none"),
        ("votes", "none" if dataset.votes is None else ", ".join(dataset.vote_names) or "without names"),
        ("groups", "none" if dataset.groups is None else f"{len(np.unique(dataset.groups)):,}"),
        ("fingerprint", dataset.fingerprint),
    ]
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
        *([""] if dataset.notes else []),
        *(f"note: {note}" for note in dataset.notes),
    ]  # fmt: skip
