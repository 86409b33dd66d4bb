"""Split: who trains, who selects, who is scored. Official subsets, or stratified and group-aware by hash; folds."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fer_bench import cache
from fer_bench.cache import reading
from fer_bench.errors import FerBenchError, listing
from fer_bench.progress import Progress, silent

if TYPE_CHECKING:
    import numpy as np

    from fer_bench.data.dataset import Dataset

FRACTION = 0.1
STORED_FORMAT = 6
"""Goes up when another split is drawn from the same data."""

Quotas = Callable[[int], dict[str, int]]


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


def stored_split(dataset_folder: Path, seed: int, n_folds: int = 0, progress: Progress = silent) -> Path:
    """The cache folder of the split of the dataset stored in `dataset_folder`, made if it is not there.

    Its about.json holds fingerprint, source, class_names, and counts by fold number, so that planning needs no arrays.
    Raises FerBenchError where a class cannot be in each subset.
    """
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

    if dataset.subsets is None:
        subset = _draw(dataset, np.arange(len(dataset)), _tenths("validation", "test"), seed, progress)
        source = f"stratified 80/10/10, copies kept together, seed {seed}"
    else:
        subset = np.array(dataset.subsets, dtype="U10")
        source = "official train, validation and test"
        if "validation" not in subset:
            train = np.flatnonzero(subset == "train")
            subset[train] = _draw(dataset, train, _tenths("validation"), seed, progress)[train]
            source = f"official train and test; validation is a tenth of train, copies kept together, seed {seed}"
    return _split(dataset, subset, source)


def make_folds(dataset: Dataset, n_folds: int, seed: int = 0, progress: Progress = silent) -> tuple[Split, ...]:
    """`n_folds` splits: every row is a test row of one of them, and a tenth of each one's other rows validates.

    Drawn as `make_split` draws. Official test images are left out: no fold trains on one.
    Raises FerBenchError naming each class with fewer distinct images than folds, or that groups keep out of one.
    """
    import numpy as np

    rows = np.arange(len(dataset)) if dataset.subsets is None else np.flatnonzero(dataset.subsets != "test")
    left_out = len(dataset) - len(rows)
    source = f"{n_folds} stratified folds, copies kept together, seed {seed}"
    if left_out:
        source += f"; the {left_out:,} official test images left out"
    names = tuple(map(str, fold_numbers(n_folds)))
    fold = _draw(dataset, rows, _evenly(names), seed, progress)
    splits = []
    for name in names:
        rest = rows[fold[rows] != name]
        subset = np.full(len(dataset), "", dtype="U10")
        subset[rest] = _draw(dataset, rest, _tenths("validation"), seed, progress)[rest]
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


def _tenths(*held_out: str) -> Quotas:
    """A tenth, and one at least, for each subset that is held out, the rest for training."""

    def quotas(total: int) -> dict[str, int]:
        tenth = max(1, round(FRACTION * total))
        return {"train": total - len(held_out) * tenth, **dict.fromkeys(held_out, tenth)}

    return quotas


def _evenly(names: Sequence[str]) -> Quotas:
    """As many for each as for any other, give or take one."""
    return lambda total: {name: (total + turn) // len(names) for turn, name in enumerate(names)}


def _draw(dataset: Dataset, rows: np.ndarray, quotas: Quotas, seed: int, progress: Progress) -> np.ndarray:
    """Subset names (n,): `rows` dealt out by the `quotas` of each class, the other rows named like the first."""
    import numpy as np

    counts = dataset.class_counts(rows)
    shares = [quotas(int(count)) for count in counts]
    names = tuple(quotas(0))
    units = _units(rows, dataset, _groups(dataset, progress), seed)
    contents = [Counter(dataset.labels[unit].tolist()) for unit in units]
    apart = Counter(label for content in contents for label in content)
    images = [f"{name}: {count} images" for name, count in zip(dataset.class_names, counts, strict=True)]
    if few := [f"{text}, {apart[i]} of them distinct" for i, text in enumerate(images) if apart[i] < len(names)]:
        raise FerBenchError(
            f"dataset {dataset.name!r}: every class needs at least {len(names)} distinct images, one for each subset, "
            f"where copies and images of one group count as one; {len(few)} have too few:\n{listing(few)}"
        )
    places, missing = _deal(contents, shares)
    if lost := [
        f"{text} in {apart[i]} groups, none of them in {', '.join(missing[i])}"
        for i, text in enumerate(images)
        if missing[i]
    ]:
        raise FerBenchError(
            f"dataset {dataset.name!r}: groups (a person, a clip, copies of an image) are dealt out whole, and some "
            f"have images of several classes: no way was found to have each class in every subset\n{listing(lost)}\n"
            "Try another --split-seed, or, without --folds, mark the subsets in the data."
        )
    subset = np.full(len(dataset), names[0], dtype="U10")
    for at, where in places.items():
        subset[units[at]] = where
    return subset


def _deal(
    contents: Sequence[Mapping[int, int]], shares: Sequence[Mapping[str, int]]
) -> tuple[dict[int, str], list[list[str]]]:
    """The subset of each unit, and of each class the subsets that it is missing from, if no way around it was found.

    contents: images of each class in each unit. shares: images that each subset should get, by class.
    Units of one class come last, as they fit anywhere; those of a class that would go missing first.
    """
    hard: set[int] = set()
    while True:
        turns = sorted(range(len(contents)), key=lambda at: (hard.isdisjoint(contents[at]), len(contents[at]) == 1))
        places, missing = _deal_in_turn([contents[at] for at in turns], shares)
        lost = {label for label, names in enumerate(missing) if names}
        if lost <= hard:
            return dict(zip(turns, places, strict=True)), missing
        hard |= lost


def _deal_in_turn(
    contents: Sequence[Mapping[int, int]], shares: Sequence[Mapping[str, int]]
) -> tuple[list[str], list[list[str]]]:
    """As `_deal`: each unit to the subset that lacks most of its share in the classes of the unit.

    A class with no more units left than there are subsets without it goes to one of those.
    """
    names = tuple(shares[0])
    lacking = [dict(share) for share in shares]
    missing = [list(names) for _ in shares]
    left = Counter(label for content in contents for label in content)
    places = []
    for content in contents:
        due = [missing[label] for label in content if left[label] <= len(missing[label])]
        where = max(
            names,
            key=lambda name: (
                sum(name in subsets for subsets in due),
                sum(n * lacking[label][name] for label, n in content.items()),
            ),
        )
        for label, n in content.items():
            lacking[label][where] -= n
            left[label] -= 1
            if where in missing[label]:
                missing[label].remove(where)
        places.append(where)
    return places, missing


def _groups(dataset: Dataset, progress: Progress) -> np.ndarray:
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


def _units(rows: np.ndarray, dataset: Dataset, groups: np.ndarray, seed: int) -> list[np.ndarray]:
    """The groups among `rows`, largest first, then by hash of seed and first id."""
    import numpy as np

    by_group = rows[np.argsort(groups[rows], kind="stable")]
    units = np.split(by_group, np.flatnonzero(np.diff(groups[by_group])) + 1)

    def order(unit: np.ndarray) -> tuple[int, str]:
        return -len(unit), hashlib.sha256(f"{seed}:{dataset.sample_ids[unit[0]]}".encode()).hexdigest()

    return sorted(units, key=order)


def split_file(fingerprint: str, fold: int = 0) -> str:
    """The name of the file beside the runs that holds `split_csv`, gzipped, of a split or of one of its folds."""
    return f"split-{fingerprint}{_fold_suffix(fold)}.csv.gz"


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
