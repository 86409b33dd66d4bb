"""The sheet of copies: pairs of images beside each other, to be looked at. Local, never committed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_bench.data import Copies, Dataset, Split
from fer_bench.judging.sheet import Section, Tile, draw, write_png

PAIRS = 20
Pair = tuple[int, int, str]
"""Two rows, and how similar they are."""


def write_pair_sheet(path: Path, dataset: Dataset, split: Split, copies: Copies) -> None:
    """Draw examples of each kind of copies into `path`, PNG: pair after pair, five in a row."""
    subset = np.empty(len(dataset), dtype="U10")
    for name, rows in split.subsets().items():
        subset[rows] = name
    sections = [
        Section(heading, [tile for pair in pairs for tile in _tiles(dataset, subset, *pair)])
        for heading, pairs in _chosen(dataset, subset, copies)
        if pairs
    ]
    write_png(path, draw(f"{dataset.name}: pairs of copies", sections))


def _chosen(dataset: Dataset, subset: np.ndarray, copies: Copies) -> list[tuple[str, list[Pair]]]:
    """Headings, and under each at most PAIRS pairs."""
    rows, order = copies.first[copies.pairs], np.argsort(copies.similarity)
    trained = subset[rows] == "train"
    crossing = trained.sum(axis=1) == 1
    conflicting = dataset.labels[rows[:, 0]] != dataset.labels[rows[:, 1]]
    kinds = {
        f"Near copies just above the threshold of {copies.threshold:.2f}": order[:PAIRS],
        "Near copies, one of them in train": _spread(order[crossing[order]]),
        "Mirrored copies, least similar first": _spread(order[copies.mirrored[order]]),
        "Near copies under different labels": _spread(order[conflicting[order]]),
    }
    near = [
        (heading, [(int(rows[k, 0]), int(rows[k, 1]), f"{copies.similarity[k]:.3f}") for k in chosen])
        for heading, chosen in kinds.items()
    ]
    same = [(int(copies.first[copies.image[row]]), int(row)) for row in range(len(dataset))]
    exact = [(i, j, "equal") for i, j in same if i != j and dataset.labels[i] != dataset.labels[j]]
    return [*near, ("Exact copies under different labels", exact[:PAIRS])]


def _spread(chosen: np.ndarray) -> np.ndarray:
    """At most PAIRS of `chosen`, evenly from first to last."""
    return chosen[np.unique(np.linspace(0, len(chosen) - 1, PAIRS).astype(int))] if len(chosen) else chosen


def _tiles(dataset: Dataset, subset: np.ndarray, i: int, j: int, similarity: str) -> list[Tile]:
    return [
        Tile(
            dataset.images[row],
            (str(dataset.sample_ids[row]), f"{subset[row]} {dataset.class_names[dataset.labels[row]]}", note),
        )
        for row, note in ((i, similarity), (j, ""))
    ]
