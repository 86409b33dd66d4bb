"""What is known of each image that is scored: whether a copy of it was trained on, its slices, how taggers voted.

The file `images-<split fingerprint>.csv.gz` beside a dataset's runs: sample_id, subset ("validation" or "test"),
copy_in_train ("exact", "near" or empty), a column `group:person` (or image, clip) with the number of the person on it,
where that is known, a column `slice:<name>` for each slice that is known (empty where it is not),
then one column per class that the taggers could vote for, if they did.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fer_bench.archives import gunzip
from fer_bench.errors import FerBenchError, listing
from fer_bench.records.store import write_gzipped

COLUMNS = ("sample_id", "subset", "copy_in_train")
GROUP, SLICE = "group:", "slice:"
COPIES = ("", "near", "exact")
"""Kinds of copies in train, the strongest last."""


def choosers(copy_in_train: np.ndarray) -> np.ndarray:
    """Which validation images choose between models, bool (n,), from their copies in train, str (n,).

    Those without a copy, as copies reward models for remembering; all, where every image has one.
    """
    clean = copy_in_train == ""
    return clean if clean.any() else ~clean


@dataclass(frozen=True)
class ImageFacts:
    """One entry per validation and test image.

    ids, subset, copy_in_train: str (n,). groups: int64 (n,), who or what is on an image, as a number that means nothing
    else, or None; grouped_by: "person", "image", "clip", or "". slices: str (n,) by name, "" where unknown. votes:
    int64 (n, k) for each of `vote_names`, or None.
    """

    ids: np.ndarray
    subset: np.ndarray
    copy_in_train: np.ndarray
    votes: np.ndarray | None = None
    vote_names: tuple[str, ...] = ()
    slices: Mapping[str, np.ndarray] = field(default_factory=dict)
    groups: np.ndarray | None = None
    grouped_by: str = ""

    @classmethod
    def load(cls, path: Path) -> ImageFacts:
        """The facts that `write` wrote to `path`.

        Raises FileNotFoundError where there are none, FerBenchError where the file is damaged.
        """
        try:
            header, *rows = csv.reader(io.StringIO(gunzip(path).decode(), newline=""))
            if tuple(header[: len(COLUMNS)]) != COLUMNS or not rows:
                raise ValueError(f"columns {', '.join(header[:5])}, {len(rows)} rows")
            ids, subset, copies, *further = zip(*rows, strict=True)
            if not {*subset} <= {"validation", "test"} or not {*copies} <= {*COPIES}:
                raise ValueError("values that are neither subsets nor kinds of copies")
            named = list(zip(header[len(COLUMNS) :], further, strict=True))
            grouped = [(name, column) for name, column in named[:1] if name.startswith(GROUP)]
            voted = [(name, column) for name, column in named[len(grouped) :] if not name.startswith(SLICE)]
            return cls(
                np.array(ids),
                np.array(subset),
                np.array(copies),
                votes=np.stack([np.array(column, dtype=np.int64) for _, column in voted], axis=1) if voted else None,
                vote_names=tuple(name for name, _ in voted),
                slices={name.removeprefix(SLICE): np.array(column) for name, column in named if name.startswith(SLICE)},
                groups=np.array(grouped[0][1], dtype=np.int64) if grouped else None,
                grouped_by=grouped[0][0].removeprefix(GROUP) if grouped else "",
            )
        except FileNotFoundError:
            raise
        except (OSError, EOFError, ValueError, OverflowError, csv.Error, zlib.error) as error:
            raise FerBenchError(f"{path}: damaged ({error}); delete it and run `fer_bench audit` again") from error

    def of(self, ids: np.ndarray) -> ImageFacts:
        """The facts of the images `ids`, str (m,), in that order. Raises FerBenchError naming unknown ids."""
        at = {sample_id: row for row, sample_id in enumerate(self.ids.tolist())}
        unknown = [str(sample_id) for sample_id in ids if str(sample_id) not in at]
        if unknown:
            raise FerBenchError(f"{len(unknown):,} sample ids are not in the split:\n{listing(unknown, 5)}")
        rows = [at[str(sample_id)] for sample_id in ids]
        votes = None if self.votes is None else self.votes[rows]
        slices = {name: values[rows] for name, values in self.slices.items()}
        return replace(
            self, ids=self.ids[rows], subset=self.subset[rows], copy_in_train=self.copy_in_train[rows], votes=votes,
            slices=slices, groups=None if self.groups is None else self.groups[rows],
        )  # fmt: skip

    @property
    def clean(self) -> np.ndarray | None:
        """Which images have no copy in train, bool (n,); None where all have one."""
        clean = self.copy_in_train == ""
        return clean if clean.any() else None

    def write(self, path: Path) -> None:
        """Write the facts to `path` as gzipped CSV, unless it holds them already."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        grouped = [] if self.groups is None else [GROUP + self.grouped_by]
        writer.writerow([*COLUMNS, *grouped, *(SLICE + name for name in self.slices), *self.vote_names])
        columns = [self.ids.tolist(), self.subset.tolist(), self.copy_in_train.tolist()]
        columns += [] if self.groups is None else [self.groups.tolist()]
        columns += [values.tolist() for values in self.slices.values()]
        votes = [] if self.votes is None else self.votes.T.tolist()
        writer.writerows(zip(*columns, *votes, strict=True))
        write_gzipped(path, text.getvalue().encode())
