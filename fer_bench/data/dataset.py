"""Dataset: what is learned from, as plain arrays."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fer_bench.cache import reading
from fer_bench.data.options import Copying
from fer_bench.errors import FerBenchError

SUBSETS = ("train", "validation", "test")
SHOWN = 20
SLICE = "slice:"
ABOUT = ("name", "class_names", "vote_names", "grouped_by", "groups_from", "copies", "notes", "fingerprint")
"""What is stored beside the arrays."""
GroupedBy = Literal["", "person", "image", "clip"]


@dataclass(frozen=True)
class Dataset:
    """Labelled face images.

    images: uint8 (n, h, w) gray or (n, h, w, 3) RGB, possibly memory-mapped.
    labels: int64 (n,), indices into `class_names`.
    sample_ids: str (n,), unique and stable: the same image file or row has the same id next time.
    subsets: str (n,) of "train", "validation", "test", or None where the data has no official ones.
    votes: int (n, k) taggers' votes for each of `vote_names`, or None.
    groups: int (n,), rows of one group (one person, one clip) never straddle a split; or None.
    grouped_by: what a group is: "person", "image" (faces of one photograph), "clip", or "" without groups; people are
    known only where it is "person". groups_from: how the groups became known.
    slices: str (n,) by name, such as age or pose, "" where unknown: scores are told apart by them.
    copies: which images count as copies of one another; see `ReadOptions`.
    notes: what a reader of the leaderboard must know about how the data was read.

    Raises FerBenchError where the arrays do not fit together.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    sample_ids: np.ndarray
    subsets: np.ndarray | None = None
    votes: np.ndarray | None = None
    vote_names: tuple[str, ...] = ()
    groups: np.ndarray | None = None
    grouped_by: GroupedBy = ""
    groups_from: str = ""
    slices: Mapping[str, np.ndarray] = field(default_factory=dict)
    copies: Copying = ""
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise FerBenchError(f"dataset {self.name!r}: " + "; ".join(problems))

    def _problems(self):
        n = len(self.images)
        if n == 0:
            yield "no images"
        if self.images.dtype != np.uint8:
            yield f"images are {self.images.dtype}, not uint8"
        if not (self.images.ndim == 3 or (self.images.ndim == 4 and self.images.shape[3] == 3)):
            yield f"images have shape {self.images.shape}, not (n, h, w) or (n, h, w, 3)"
        if len(self.class_names) < 2:
            yield f"{len(self.class_names)} class, at least 2 are needed"
        by_row = {what: getattr(self, what) for what in ("labels", "sample_ids", "subsets", "votes", "groups")}
        for what, rows in (by_row | {f"values of {name!r}": values for name, values in self.slices.items()}).items():
            if rows is not None and len(rows) != n:
                yield f"{len(rows):,} {what} for {n:,} images"
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            yield f"labels outside 0..{len(self.class_names) - 1}"
        ids, counts = np.unique(self.sample_ids, return_counts=True)
        if (counts > 1).any():
            yield f"sample ids repeat: {_few(ids[counts > 1])}"
        if blank := sum(not name.strip() for name in self.class_names):
            yield f"{blank} class names are blank"
        torn = [text for text in (*self.class_names, *map(str, self.sample_ids)) if "\r" in text]
        if torn:
            yield f"names with a carriage return, as of CRLF line ends: {', '.join(map(ascii, torn[:SHOWN]))}"
        if self.subsets is not None and not np.isin(self.subsets, SUBSETS).all():
            yield f"subsets other than {', '.join(SUBSETS)}"
        votes = np.empty((n, 0)) if self.votes is None else self.votes
        if self.vote_names and votes.shape[1:] != (len(self.vote_names),):
            yield f"{len(self.vote_names)} vote_names for votes of shape {votes.shape}"
        if (votes < 0).any():
            yield f"votes below 0 in rows {_few(np.unique(np.nonzero(votes < 0)[0]))}"

    def __len__(self) -> int:
        return len(self.images)

    @property
    def people(self) -> np.ndarray | None:
        """`groups` where it is known who is on the images, otherwise None."""
        return self.groups if self.grouped_by == "person" else None

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over pixels, labels, class names, ids and official subsets.

        Votes, groups, slices and notes stay out: they change how runs are split or judged, not what the images are.
        """
        sha = hashlib.sha256()
        sha.update(json.dumps([self.images.shape, list(self.class_names)]).encode())
        for start in range(0, len(self), 4096):
            sha.update(np.ascontiguousarray(self.images[start : start + 4096]).data)
        sha.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        for texts in (self.sample_ids, self.subsets):
            sha.update(b"\0".join(str(text).encode() for text in texts) if texts is not None else b"-")
        return sha.hexdigest()[:16]

    def class_counts(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Images per class, int64 (n_classes,), over all rows or `rows` of them: indices, or bool (n,)."""
        labels = self.labels if rows is None else self.labels[rows]
        return np.bincount(labels, minlength=len(self.class_names))

    def untrained(self, rows: np.ndarray) -> str:
        """What to say and do where classes have no image in `rows`, those that there are to train on; otherwise ""."""
        missing = [name for name, n in zip(self.class_names, self.class_counts(rows), strict=True) if not n]
        if not missing:
            return ""
        tested = self.class_counts(None if self.subsets is None else self.subsets == "test")
        others = [name for name, n in zip(self.class_names, tested, strict=True) if not n and name not in missing]
        untested = f" (and no test image of {', '.join(others)})" if others else ""  # perhaps the same, misspelt
        first, other = missing[0], (others or ["other"])[0]
        return (
            f"no training image of class {', '.join(missing)}{untested}: drop such a class, as in --classes "
            f"'{first}=', or give it the name that it has in train, as in '{first}={other}'"
        )

    def save(self, folder: Path) -> None:
        """Write the dataset into an existing `folder`; the images so that they can be memory-mapped."""
        np.save(folder / "images.npy", self.images)
        optional = {"subsets": self.subsets, "votes": self.votes, "groups": self.groups}
        arrays = {name: array for name, array in optional.items() if array is not None}
        arrays |= {SLICE + name: np.asarray(values, dtype=np.str_) for name, values in self.slices.items()}
        np.savez(
            folder / "rows.npz",
            allow_pickle=False,
            labels=self.labels,
            sample_ids=np.asarray(self.sample_ids, dtype=np.str_),
            **arrays,
        )
        about = {name: getattr(self, name) for name in ABOUT}
        (folder / "about.json").write_text(json.dumps(about, indent=1))

    @classmethod
    def load(cls, folder: Path) -> "Dataset":
        """The dataset that `save` wrote into `folder`, its images memory-mapped read-only.

        Raises FerBenchError where the files are damaged.
        """
        with reading(folder):
            stored = json.loads((folder / "about.json").read_text())
            about: dict[str, Any] = {
                name: tuple(value) if isinstance(value := stored[name], list) else value for name in ABOUT
            }
            fingerprint = about.pop("fingerprint")
            with np.load(folder / "rows.npz", allow_pickle=False) as rows:
                arrays = {name: rows[name] for name in rows.files if not name.startswith(SLICE)}
                slices = {name.removeprefix(SLICE): rows[name] for name in rows.files if name.startswith(SLICE)}
            images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
            dataset = cls(images=images, slices=slices, **about, **arrays)
            dataset.__dict__["fingerprint"] = fingerprint  # known: hashing 83 MB again would cost a start
            return dataset


def _few(values: np.ndarray) -> str:
    rest = len(values) - SHOWN
    return ", ".join(map(str, values[:SHOWN])) + (f" and {rest:,} more" if rest > 0 else "")
