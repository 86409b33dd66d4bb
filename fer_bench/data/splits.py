"""Split: who trains, who selects, who is scored. Official subsets, or stratified and group-aware by hash."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fer_bench import cache
from fer_bench.errors import FerBenchError, listing

if TYPE_CHECKING:
    import numpy as np

    from fer_bench.data.dataset import Dataset

FRACTION = 0.1
STORED_FORMAT = 2

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Split:
    """Row indices of each subset, int64, ascending; where they come from; and a fingerprint of who is where."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    source: str
    fingerprint: str

    def subsets(self) -> dict[str, np.ndarray]:
        """Rows by subset name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @classmethod
    def load(cls, folder: Path) -> Split:
        """The split stored in a cache `folder` by `stored_split`."""
        import numpy as np

        about = json.loads((folder / "about.json").read_text())
        with np.load(folder / "rows.npz", allow_pickle=False) as rows:
            return cls(
                **{name: rows[name] for name in rows.files}, source=about["source"], fingerprint=about["fingerprint"]
            )


def stored_split(dataset_folder: Path, seed: int, progress: Progress | None = None) -> Path:
    """The cache folder of the split of the dataset stored in `dataset_folder`, made if it is not there.

    Its about.json holds fingerprint, source, counts and class_names, so that planning needs no arrays.
    Raises FerBenchError where a class has too few images.
    """
    key = cache.digest({"dataset": dataset_folder.name, "seed": seed, "format": STORED_FORMAT})

    def build(work: Path) -> None:
        import numpy as np

        from fer_bench.data.dataset import Dataset

        dataset = Dataset.load(dataset_folder)
        split = make_split(dataset, seed, progress)
        np.savez(work / "rows.npz", allow_pickle=False, **split.subsets())
        about = {
            "fingerprint": split.fingerprint,
            "source": split.source,
            "counts": {name: len(rows) for name, rows in split.subsets().items()},
            "class_names": dataset.class_names,
        }
        (work / "about.json").write_text(json.dumps(about, indent=1))

    return cache.fetch("splits", key, build)


def make_split(dataset: Dataset, seed: int = 0, progress: Progress | None = None) -> Split:
    """Official subsets where `dataset` has all three; otherwise what is missing is drawn.

    With train and test only, validation is a tenth of train. With no subsets, 80/10/10. Draws are stratified by class
    and keep exact and near copies of an image, and rows of one group, on one side. The order of drawing is the SHA-256
    of seed and sample id: the same on any machine and with any library version. Nothing official is ever moved.

    Raises FerBenchError naming each class with too few distinct images.
    """
    import numpy as np

    if dataset.subsets is None:
        subset = _draw(dataset, np.arange(len(dataset)), ("validation", "test"), seed, progress)
        source = f"stratified 80/10/10, copies kept together, seed {seed}"
    else:
        subset = np.array(dataset.subsets, dtype="U10")
        source = "official train, validation and test"
        if "validation" not in subset:
            train = np.flatnonzero(subset == "train")
            subset[train] = _draw(dataset, train, ("validation",), seed, progress)[train]
            source = f"official train and test; validation is a tenth of train, copies kept together, seed {seed}"
    return _split(dataset, subset, source)


def _split(dataset: Dataset, subset: np.ndarray, source: str) -> Split:
    import numpy as np

    rows = {name: np.flatnonzero(subset == name) for name in ("train", "validation", "test")}
    empty = [name for name, members in rows.items() if not len(members)]
    if empty:
        raise FerBenchError(f"dataset {dataset.name!r}: no images in {', '.join(empty)}")
    counts = dataset.class_counts(rows["train"])
    missing = [dataset.class_names[i] for i in np.flatnonzero(counts == 0)]
    if missing:
        raise FerBenchError(f"dataset {dataset.name!r}: no training image of class {', '.join(missing)}")
    ids = {name: dataset.sample_ids[members] for name, members in rows.items()}
    return Split(**rows, source=source, fingerprint=fingerprint(ids))


def fingerprint(ids: Mapping[str, Iterable[str]]) -> str:
    """16 hexadecimal digits over the sample ids of each subset, in order."""
    sha = hashlib.sha256()
    for name, members in ids.items():
        sha.update(f"{name}\0".encode() + "\0".join(map(str, members)).encode())
    return sha.hexdigest()[:16]


def _draw(
    dataset: Dataset, rows: np.ndarray, held_out: tuple[str, ...], seed: int, progress: Progress | None
) -> np.ndarray:
    """Subset names (n,) with `held_out` drawn from `rows`, the rest of them "train"."""
    import numpy as np

    subset = np.full(len(dataset), "train", dtype="U10")
    groups = _groups(dataset, progress)
    problems = []
    for label, name in enumerate(dataset.class_names):
        members = rows[dataset.labels[rows] == label]
        units = _units(members, groups, dataset, seed)
        # a group of mixed classes is drawn with the class of its first row, and only there
        units = [unit for unit in units if dataset.labels[unit[0]] == label]
        if len(units) < len(held_out) + 1:
            problems.append(f"{name}: {len(members)} images, {len(units)} of them distinct")
            continue
        for where, unit in _assign(units, held_out):
            subset[unit] = where
    if problems:
        needed = len(held_out) + 1
        raise FerBenchError(
            f"dataset {dataset.name!r}: every class needs at least {needed} distinct images, "
            f"one for each subset; {len(problems)} have fewer:\n{listing(problems)}"
        )
    return subset


def _groups(dataset: Dataset, progress: Progress | None) -> np.ndarray:
    """Group number of each row: exact and near copies, and rows of one given group, share it (transitively)."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    from fer_bench.data.copies import stored_copies

    keys = [stored_copies(dataset, progress).groups]
    if dataset.groups is not None:
        keys.append(np.unique(dataset.groups, return_inverse=True)[1])
    n = len(dataset)
    offsets = np.cumsum([n] + [key.max() + 1 for key in keys])
    rows = np.tile(np.arange(n), len(keys))
    columns = np.concatenate([key + offset for key, offset in zip(keys, offsets[:-1], strict=True)])
    graph = coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(offsets[-1], offsets[-1]))
    return connected_components(graph, directed=False)[1][:n]


def _units(members: np.ndarray, groups: np.ndarray, dataset: Dataset, seed: int) -> list[np.ndarray]:
    """The groups that the rows `members` belong to, whole, largest first, then by hash of seed and first id."""
    import numpy as np

    by_group = np.argsort(groups, kind="stable")
    bounds = np.searchsorted(groups[by_group], np.stack([np.unique(groups[members]), np.unique(groups[members]) + 1]))
    units = [by_group[start:end] for start, end in bounds.T]

    def order(unit: np.ndarray) -> tuple[int, str]:
        return -len(unit), hashlib.sha256(f"{seed}:{dataset.sample_ids[unit[0]]}".encode()).hexdigest()

    return sorted(units, key=order)


def _assign(units: list[np.ndarray], held_out: tuple[str, ...]) -> list[tuple[str, np.ndarray]]:
    """Give each unit to the subset that lacks most of its share, and every subset at least one."""
    total = sum(len(unit) for unit in units)
    lacking = {name: max(1, round(FRACTION * total)) for name in held_out}
    lacking = {"train": total - sum(lacking.values()), **lacking}
    empty = set(lacking)
    assigned = []
    for position, unit in enumerate(units):
        open_subsets = empty if len(units) - position <= len(empty) else set(lacking)
        where = max(lacking, key=lambda name: (name in open_subsets, lacking[name]))
        lacking[where] -= len(unit)
        empty.discard(where)
        assigned.append((where, unit))
    return assigned


def split_csv(dataset: Dataset, split: Split) -> bytes:
    """The split as gzipped CSV: sample_id, subset, label; labels only where scores are computed from them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sample_id", "subset", "label"])
    for name, rows in split.subsets().items():
        for row in rows:
            label = "" if name == "train" else dataset.class_names[dataset.labels[row]]
            writer.writerow([dataset.sample_ids[row], name, label])
    return gzip.compress(text.getvalue().encode(), mtime=0)
