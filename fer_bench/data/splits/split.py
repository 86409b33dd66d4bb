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
from fer_bench.errors import FerBenchError, listing
from fer_bench.progress import Progress, silent

if TYPE_CHECKING:
    import numpy as np

    from fer_bench.data.dataset import Dataset

STORED_FORMAT = 10
"""Goes up when another split is drawn from the same data."""
MOST_FOLDS = 20
"""Of --folds people: up to so many people are left out one at a time."""
FEWER_FOLDS = 10
"""Of --folds people with more of them, several in a fold, as is usual for CK+."""
Folds = int | Literal["people"]


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

    @classmethod
    def load_all(cls, folder: Path) -> tuple[Split, ...]:
        """The split stored in `folder`, alone, or its folds in order. Raises as `load` does."""
        with reading(folder):
            numbers = json.loads((folder / "about.json").read_text())["counts"]
        return tuple(cls.load(folder, int(fold)) for fold in numbers)


def _fold_suffix(fold: int) -> str:
    """What fingerprints and file names of one fold end with."""
    return f".f{fold}" if fold else ""


def _rows_file(fold: int) -> str:
    return f"rows{_fold_suffix(fold)}.npz"


def fold_numbers(n_folds: int) -> tuple[int, ...]:
    """For five folds 1 to 5; for none 0 alone. Raises FerBenchError for one fold, less than none, or thousands."""
    if n_folds == 1 or not 0 <= n_folds < 1000:
        raise FerBenchError(f"--folds {n_folds}: 2 to 999, so that each is tested on what the others were trained on")
    return tuple(range(1, n_folds + 1)) or (0,)


def stored_split(dataset_folder: Path, seed: int, folds: Folds = 0, progress: Progress = silent) -> Path:
    """The cache folder of the split of the dataset stored in `dataset_folder`, made if it is not there.

    folds: how many, or "people", see `make_folds`. about.json holds fingerprint, source, class_names, and counts by
    fold number, so that planning needs no arrays. Raises FerBenchError where a class cannot be in each subset, and for
    "people" who are not known.
    """
    key = cache.digest({"dataset": dataset_folder.name, "seed": seed, "n_folds": folds, "format": STORED_FORMAT})

    def build(work: Path) -> None:
        import numpy as np

        from fer_bench.data.dataset import Dataset

        dataset = Dataset.load(dataset_folder)
        splits = make_folds(dataset, folds, seed, progress) if folds else (make_split(dataset, seed, progress),)
        counts = {}
        for fold, split in enumerate(splits, start=1 if folds else 0):
            np.savez(work / _rows_file(fold), allow_pickle=False, **split.subsets())
            counts[fold] = [len(rows) for rows in split.subsets().values()]
        about = {
            "fingerprint": joint_fingerprint([split.fingerprint for split in splits]),
            "source": splits[0].source,
            "counts": counts,
            "class_names": dataset.class_names,
        }
        (work / "about.json").write_text(json.dumps(about, indent=1))

    numbers = (1, 2) if folds == "people" else fold_numbers(folds)
    return cache.fetch("splits", key, build, files=("about.json", *map(_rows_file, numbers)))


def make_split(dataset: Dataset, seed: int = 0, progress: Progress = silent) -> Split:
    """Official subsets where `dataset` has all three; otherwise what is missing is drawn.

    With train and test only, validation is a tenth of train. With no subsets, 80/10/10. Draws are stratified by class
    and keep exact and near copies of an image, and rows of one group, on one side; over seeds each group is held out
    as often as any other. The order of drawing is the SHA-256 of seed and sample id: the same on any machine and with
    any library version. Nothing official is ever moved.

    Raises FerBenchError naming each class that is not in train, has too few distinct images, or is kept out of a subset
    by groups.
    """
    import numpy as np

    from fer_bench.data.splits.draws import draw, tenths, whole_groups

    if dataset.subsets is None:
        groups = whole_groups(dataset, progress)
        subset = draw(dataset, np.arange(len(dataset)), tenths("validation", "test"), seed, groups)
        source = f"stratified 80/10/10, {_kept_together(dataset)}, seed {seed}"
    else:
        subset = np.array(dataset.subsets, dtype="U10")
        _check_trained(dataset, subset == "train")
        source = "official train, validation and test"
        if "validation" not in subset:
            train = np.flatnonzero(subset == "train")
            subset[train] = draw(dataset, train, tenths("validation"), seed, whole_groups(dataset, progress))[train]
            together = _kept_together(dataset)
            source = f"official train and test; validation is a tenth of train, {together}, seed {seed}"
    return _split(dataset, subset, source)


def make_folds(dataset: Dataset, folds: Folds, seed: int = 0, progress: Progress = silent) -> tuple[Split, ...]:
    """Splits of which each row is a test row of one, and a tenth of each one's other rows, others each time, validates.

    Drawn as `make_split` draws. folds: how many; or "people", to leave each person out once, several together where
    there are more than MOST_FOLDS: whom the next fold leaves out validates, so that each person does once. A class may
    then be missing from test and validation rows. Official test images are left out: no fold trains on one.

    Raises FerBenchError naming each class with fewer distinct images than folds, or that groups keep out of one; for
    "people" where they are not known, and naming who alone shows a class.
    """
    import numpy as np

    from fer_bench.data.splits.draws import draw, evenly, whole_groups

    rows = np.arange(len(dataset)) if dataset.subsets is None else np.flatnonzero(dataset.subsets != "test")
    _check_trained(dataset, rows)
    groups = whole_groups(dataset, progress)
    n_folds = _folds_of_people(dataset, rows, groups) if folds == "people" else folds
    names = tuple(map(str, fold_numbers(n_folds)))
    if folds == "people":
        n_people = len(np.unique(dataset.groups[rows]))  # type: ignore[index]
        each = "one person" if n_people == n_folds else f"{n_people / n_folds:.3g} people on average"
        source = f"{n_folds} folds by people, {each} left out at a time, copies kept together, seed {seed}"
        fold = draw(dataset, rows, evenly(names, needed=()), seed, groups)
    else:
        source = f"{n_folds} stratified folds, {_kept_together(dataset)}, seed {seed}"
        fold = draw(dataset, rows, evenly(names), seed, groups)
    if left_out := len(dataset) - len(rows):
        source += f"; the {left_out:,} official test images left out"
    splits = []
    for name, following in zip(names, (*names[1:], names[0]), strict=True):
        rest = rows[fold[rows] != name]
        subset = np.full(len(dataset), "", dtype="U10")
        is_next = fold[rest] == following
        if folds == "people" and dataset.class_counts(rest[~is_next]).all():
            subset[rest] = np.where(is_next, "validation", "train")
        else:
            subset[rest] = _validated(dataset, rest, f"{seed}:{name}", groups)
        subset[rows[fold[rows] == name]] = "test"
        splits.append(_split(dataset, subset, source))
    return tuple(splits)


def _check_trained(dataset: Dataset, rows: np.ndarray) -> None:
    if problem := dataset.untrained(rows):
        raise FerBenchError(f"dataset {dataset.name!r}: {problem}")


def _kept_together(dataset: Dataset) -> str:
    if dataset.groups is None:
        return "copies kept together"
    what = {"person": "people", "image": "faces of one photograph", "clip": "clips"}.get(dataset.grouped_by, "groups")
    return f"{what} and copies kept together"


def _validated(dataset: Dataset, rest: np.ndarray, seed: int | str, groups: np.ndarray) -> np.ndarray:
    """Which of the rows `rest` validate. A class that too few people show for both is trained on."""
    from fer_bench.data.splits.draws import draw, tenths

    try:
        return draw(dataset, rest, tenths("validation"), seed, groups)[rest]
    except FerBenchError:
        return draw(dataset, rest, tenths("validation", needed=("train",)), seed, groups)[rest]


def _folds_of_people(dataset: Dataset, rows: np.ndarray, groups: np.ndarray) -> int:
    """How many folds leave people out. Raises FerBenchError as `make_folds` does."""
    import numpy as np

    if dataset.groups is None or dataset.grouped_by != "person":
        raise FerBenchError(
            f"--folds people: it is not known who is on the images of {dataset.name!r}; say so with --groups: a "
            r"column, a pattern of file names such as '^(S\d+)_', or a CSV of file and person"
        )
    n_apart = len(np.unique(groups[rows]))
    if n_apart < 3:
        raise FerBenchError(
            f"--folds people: at least 3 people are needed, one each to train, validate and test; {dataset.name!r} has "
            f"{len(np.unique(dataset.groups[rows])):,}, {n_apart:,} of them not tied to another by copies "
            "(--copies exact, or none, takes fewer images for copies)"
        )
    alone = []
    for label, name in enumerate(dataset.class_names):
        of_class = rows[dataset.labels[rows] == label]
        if len(np.unique(groups[of_class])) == 1:
            alone.append(f"{name}: {len(of_class):,} images, such as {dataset.sample_ids[of_class[0]]}")
    if alone:
        raise FerBenchError(
            "--folds people: whoever is left out cannot be trained on, and one person alone shows a class; merge or "
            f"drop it with --classes\n{listing(alone)}"
        )
    return n_apart if n_apart <= MOST_FOLDS else FEWER_FOLDS


def _split(dataset: Dataset, subset: np.ndarray, source: str) -> Split:
    import numpy as np

    rows = {name: np.flatnonzero(subset == name) for name in ("train", "validation", "test")}
    empty = [name for name, members in rows.items() if not len(members)]
    if empty:
        raise FerBenchError(f"dataset {dataset.name!r}: no images in {', '.join(empty)}")
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
