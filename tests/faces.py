"""Rendered faces no two of which are so alike that they could be one photograph."""

import numpy as np

from fer_bench.data import Dataset, find_copies, make_synthetic


def distinct_faces(n: int) -> Dataset:
    """`n` of the built-in faces, as data of unknown origin."""
    faces, spare = make_synthetic(n + n // 5), list(range(n, n + n // 5))
    rows = np.arange(n)
    while True:
        kept = Dataset("made", faces.images[rows], faces.labels[rows], faces.class_names, faces.sample_ids[rows])
        copies = find_copies(kept)
        if not len(copies.pairs):
            return kept
        for at in np.unique(copies.first[copies.pairs].max(axis=1)):
            rows[at] = spare.pop()
