"""Split: who trains, who selects, who is scored. Official subsets, or stratified and group-aware by hash; folds."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fer_bench import cache
from fer_bench.cache import reading
from fer_bench.errors import FerBenchError
from fer_bench.progress import Progress, silent

if TYPE_CHECKING:
    import numpy as np

    from fer_bench.data.dataset import Dataset

STORED_FORMAT = 6
"""Goes up when another split is drawn from the same data."""


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
    def load(cls, folder: Path, fold: int = 0) -> Split:
        """The split, or its fold of that number from 1, stored in a cache `folder` by `stored_split`.

        Raises FerBenchError where the files are damaged.
        """
        import numpy as np

        with reading(folder):
            about = json.loads((folder / "about.json").read_text())
            fingerprint = about["fingerprint"] + _fold_suffix(fold)
            with np.load(folder / _rows_file(fold), allow_pickle=False) as rows:
                return cls(**{name: rows[name] for name in rows.files}, source=about["source"], fingerprint=fingerprint)


def _fold_suffix(fold: int) -> str:
    """What fingerprints and file names of one fold end with."""
    return f".f{fold}" if fold else ""


def _rows_file(fold: int) -> str:
    return f"rows{_fold_suffix(fold)}.npz"


def fold_numbers(n_folds: int) -> tuple[int, ...]:
    """For five folds 1 to 5; for none 0 alone. Raises FerBenchError for one fold or less than none."""
    if n_folds == 1 or n_folds < 0:
        raise FerBenchError(f"--folds {n_folds}: at least 2, so that each is tested on what the others were trained on")
    return tuple(range(1, n_folds + 1)) or (0,)


def stored_split(
    dataset_folder: Path, seed: int, folds: int | Literal["people"] = 0, progress: Progress = silent
) -> Path:
    """The cache folder of the split of the dataset stored in `dataset_folder`, made if it is not there.

    Its about.json holds fingerprint, source, class_names, and counts by fold number, so that planning needs no arrays.
    Raises FerBenchError where a class cannot be in each subset.
    """
    if folds == "people":
        raise FerBenchError("--folds people: not there yet")
    n_folds = folds
    key = cache.digest({"dataset": dataset_folder.name, "seed": seed, "n_folds": n_folds, "format": STORED_FORMAT})

    def build(work: Path) -> None:
        import numpy as np

        from fer_bench.data.dataset import Dataset

        dataset = Dataset.load(dataset_folder)
        splits = make_folds(dataset, n_folds, seed, progress) if n_folds else (make_split(dataset, seed, progress),)
        counts = {}
        for fold, split in zip(fold_numbers(n_folds), splits, strict=True):
            np.savez(work / _rows_file(fold), allow_pickle=False, **split.subsets())
            counts[fold] = [len(rows) for rows in split.subsets().values()]
        about = {
            "fingerprint": joint_fingerprint([split.fingerprint for split in splits]),
            "source": splits[0].source,
            "counts": counts,
            "class_names": dataset.class_names,
        }
        (work / "about.json").write_text(json.dumps(about, indent=1))

    return cache.fetch("splits", key, build, files=("about.json", *map(_rows_file, fold_numbers(n_folds))))


def make_split(dataset: Dataset, seed: int = 0, progress: Progress = silent) -> Split:
    """Official subsets where `dataset` has all three; otherwise what is missing is drawn.

    With train and test only, validation is a tenth of train. With no subsets, 80/10/10. Draws are stratified by class
    and keep exact and near copies of an image, and rows of one group, on one side. The order of drawing is the SHA-256
    of seed and sample id: the same on any machine and with any library version. Nothing official is ever moved.

    Raises FerBenchError naming each class with too few distinct images, or that groups keep out of a subset.
    """
    import numpy as np

    from fer_bench.data.draws import draw, tenths

    if dataset.subsets is None:
        subset = draw(dataset, np.arange(len(dataset)), tenths("validation", "test"), seed, progress)
        source = f"stratified 80/10/10, copies kept together, seed {seed}"
    else:
        subset = np.array(dataset.subsets, dtype="U10")
        source = "official train, validation and test"
        if "validation" not in subset:
            train = np.flatnonzero(subset == "train")
            subset[train] = draw(dataset, train, tenths("validation"), seed, progress)[train]
            source = f"official train and test; validation is a tenth of train, copies kept together, seed {seed}"
    return _split(dataset, subset, source)


def make_folds(dataset: Dataset, n_folds: int, seed: int = 0, progress: Progress = silent) -> tuple[Split, ...]:
    """`n_folds` splits: every row is a test row of one of them, and a tenth of each one's other rows validates.

    Drawn as `make_split` draws. Official test images are left out: no fold trains on one.
    Raises FerBenchError naming each class with fewer distinct images than folds, or that groups keep out of one.
    """
    import numpy as np

    from fer_bench.data.draws import draw, evenly, tenths

    rows = np.arange(len(dataset)) if dataset.subsets is None else np.flatnonzero(dataset.subsets != "test")
    left_out = len(dataset) - len(rows)
    source = f"{n_folds} stratified folds, copies kept together, seed {seed}"
    if left_out:
        source += f"; the {left_out:,} official test images left out"
    names = tuple(map(str, fold_numbers(n_folds)))
    fold = draw(dataset, rows, evenly(names), seed, progress)
    splits = []
    for name in names:
        rest = rows[fold[rows] != name]
        subset = np.full(len(dataset), "", dtype="U10")
        subset[rest] = draw(dataset, rest, tenths("validation"), seed, progress)[rest]
        subset[rows[fold[rows] == name]] = "test"
        splits.append(_split(dataset, subset, source))
    return tuple(splits)


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
    return Split(**rows, source=source, fingerprint=ids_fingerprint(ids))


def joint_fingerprint(fingerprints: Sequence[str]) -> str:
    """That of all folds together, from theirs; that of a split alone is its own."""
    if len(fingerprints) == 1:
        return fingerprints[0]
    return hashlib.sha256("".join(fingerprints).encode()).hexdigest()[:16]


def ids_fingerprint(ids: Mapping[str, Iterable[str]]) -> str:
    """16 hexadecimal digits over the sample ids of each subset, in order."""
    sha = hashlib.sha256()
    for name, members in ids.items():
        sha.update(f"{name}\0".encode() + "\0".join(map(str, members)).encode())
    return sha.hexdigest()[:16]


def split_csv(dataset: Dataset, split: Split) -> bytes:
    """The split as CSV: sample_id, subset, label; labels only where scores are computed from them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sample_id", "subset", "label"])
    for name, rows in split.subsets().items():
        for row in rows:
            label = "" if name == "train" else dataset.class_names[dataset.labels[row]]
            writer.writerow([dataset.sample_ids[row], name, label])
    return text.getvalue().encode()
