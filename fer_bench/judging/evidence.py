"""Evidence: the labels of one split and the probabilities of its runs, checked before anything is computed."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from fer_bench.archives import gunzip, refuse_bomb
from fer_bench.data import fold_numbers, ids_fingerprint, joint_fingerprint, split_file
from fer_bench.errors import FerBenchError, listing
from fer_bench.metrics import check_probabilities
from fer_bench.records.images import ImageFacts, choosers, images_path
from fer_bench.records.schema import Record
from fer_bench.records.store import ResultsFolder

SCORED = ("validation", "test")
TOLERANCE = 1e-6
"""Figures that agree to this are the same: sums in another order differ by less."""


@dataclass(frozen=True)
class Evidence:
    """What the records of one split, or of one fold such as "2/5", are judged by.

    records: those of the split and its data; elsewhere: of other data, and of splits whose file is in the folder too.
    ids: str (n,), and labels: int64 (n,), indices into `class_names`, each by "validation" and "test".
    n_train: training images.
    """

    folder: ResultsFolder
    data_fingerprint: str
    split_fingerprint: str
    class_names: tuple[str, ...]
    ids: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    n_train: int
    records: tuple[Record, ...]
    elsewhere: tuple[Record, ...]
    fold: str = ""
    _stored: dict[str, dict[str, np.ndarray]] = field(default_factory=dict, repr=False)

    @classmethod
    def load(
        cls, folder: ResultsFolder, split_fingerprint: str, records: Iterable[Record] | None = None, fold: str = ""
    ) -> Evidence:
        """Read `split-<split_fingerprint>.csv.gz` and the `records`, by default all, of a results folder.

        The data are those of the newest record: where a label was corrected, the split file holds the new labels, and
        the records of before cannot be judged by it. Raises FerBenchError where the split file is missing, damaged or
        not the one of the fingerprint, where the split has no record, and naming records of other classes, or of a
        split without a file, mixed in with the others.
        """
        everything = folder.records() if records is None else list(records)
        of_split = [record for record in everything if _split(record) == (split_fingerprint, fold)]
        if not of_split:
            raise FerBenchError(f"{folder.path}: no records of split {split_fingerprint}")
        data = max(of_split, key=lambda record: (record.started, record.run_id)).spec.data_fingerprint
        wanted = split_fingerprint, fold, data
        chosen = [record for record in everything if (*_split(record), record.spec.data_fingerprint) == wanted]
        elsewhere = [record for record in everything if (*_split(record), record.spec.data_fingerprint) != wanted]
        _refuse_strangers(folder, chosen, elsewhere)
        class_names = tuple(chosen[0].class_names)
        ids, labels, n_train = _read_split(folder, split_fingerprint, fold, class_names)
        return cls(
            folder, data, split_fingerprint, class_names,
            ids, labels, n_train, tuple(chosen), tuple(elsewhere), fold,
        )  # fmt: skip

    @classmethod
    def newest(cls, folder: ResultsFolder) -> Evidence:
        """The evidence of the split of the newest record, which is the one that leaderboards show."""
        records = folder.records()
        candidates = [record for record in records if not record.spec.fold]  # folds are told by their spread
        if not candidates:
            raise FerBenchError(f"{folder.path}: no records; `fer_bench run` makes some")
        newest = max(candidates, key=lambda record: (record.started, record.run_id))
        return cls.load(folder, newest.spec.split_fingerprint, records)

    def probabilities(self, record: Record, subset: str) -> np.ndarray | None:
        """Those that the run stored for "validation" or "test", float32 (n, k), in the order of `ids[subset]`.

        None where it stored none. Raises FerBenchError naming the run where they are damaged, not of this split's
        images, or no probabilities.
        """
        if _split(record) != (self.split_fingerprint, self.fold):
            raise FerBenchError(
                f"{record.run_id}: is of split {' '.join(_split(record))}, not {self.split_fingerprint} {self.fold}"
            )
        if record.run_id not in self._stored:
            self._stored[record.run_id] = self._read(record)
        return self._stored[record.run_id].get(subset)

    def image_facts(self, subset: str) -> ImageFacts | None:
        """Copies in train and votes of the images `ids[subset]`, in that order, or None where no audit left them.

        Raises FerBenchError where the file is damaged or does not know an image.
        """
        return self._facts and self._facts.of(self.ids[subset])

    @cached_property
    def choosers(self) -> np.ndarray:
        """Which validation images choose between runs, bool (n,): see `records.images.choosers`.

        All, where copies are not known.
        """
        facts = self.image_facts("validation")
        return np.ones(len(self.ids["validation"]), dtype=bool) if facts is None else choosers(facts.copy_in_train)

    @cached_property
    def _facts(self) -> ImageFacts | None:
        try:
            return ImageFacts.load(images_path(self.folder.path, self.split_fingerprint))
        except FileNotFoundError:
            return None

    def _read(self, record: Record) -> dict[str, np.ndarray]:
        path = self.folder.runs / record.run_id / "predictions.npz"
        if record.status != "success" or not path.exists():
            return {}
        try:
            with np.load(path, allow_pickle=False) as arrays:
                refuse_bomb(path)
                stored = {name: arrays[name] for name in arrays.files}
        except Exception as error:  # whatever NumPy, zipfile and zlib say of a damaged file
            raise FerBenchError(f"{path}: cannot be read: {error}") from error
        return {subset: self._checked(path, stored, subset) for subset in SCORED if f"{subset}_ids" in stored}

    def _checked(self, path: Path, stored: dict[str, np.ndarray], subset: str) -> np.ndarray:
        ids = stored[f"{subset}_ids"]
        if ids.dtype.kind != "U" or not np.array_equal(ids, self.ids[subset]):
            raise FerBenchError(f"{path}: its {subset} ids are not those of split {self.split_fingerprint} in order")
        rows = stored.get(f"{subset}_probabilities", np.empty((0, 0)))
        try:
            check_probabilities(rows, len(self.class_names))
        except (ValueError, TypeError) as error:
            raise FerBenchError(f"{path}: {subset}: {error}") from error
        if len(rows) != len(self.ids[subset]):
            raise FerBenchError(f"{path}: {len(rows):,} {subset} probabilities for {len(self.ids[subset]):,} images")
        return rows.astype(np.float32)


def _split(record: Record) -> tuple[str, str]:
    return record.spec.split_fingerprint, record.spec.fold_name


def _split_path(folder: ResultsFolder, split_fingerprint: str, fold: str) -> Path:
    if not split_fingerprint.isalnum():
        raise FerBenchError(f"{folder.path}: split fingerprint {split_fingerprint!r} is not one")
    return folder.path / split_file(split_fingerprint, int(fold.partition("/")[0] or 0))


def _refuse_strangers(folder: ResultsFolder, chosen: list[Record], elsewhere: list[Record]) -> None:
    """The classes of most of the `chosen` are the split's; another split is known by its file."""
    kinds = [", ".join(record.class_names) for record in chosen]
    classes = max(sorted(set(kinds)), key=kinds.count)
    strangers = [
        f"{record.run_id}: of classes {kind}, not {classes}"
        for record, kind in zip(chosen, kinds, strict=True)
        if kind != classes
    ]
    for record in elsewhere:
        path = _split_path(folder, *_split(record))
        if not path.exists():
            strangers.append(f"{record.run_id}: of split {record.spec.split_fingerprint}, and {path.name} is missing")
    if strangers:
        raise FerBenchError(
            f"{folder.path}: {len(strangers)} records of another split or other classes are mixed in "
            f"(move their folders to a results folder of their own):\n{listing(strangers)}"
        )


def _read_split(
    folder: ResultsFolder, split_fingerprint: str, fold: str, class_names: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], int]:
    """Ids and labels by subset of validation and test, and how many train; the fingerprint is of all folds together."""
    n_folds = int(fold.partition("/")[2] or 0)
    names = [f"{number}/{n_folds}" if n_folds else "" for number in fold_numbers(n_folds)]
    paths = {name: _split_path(folder, split_fingerprint, name) for name in names}
    files = {name: _read_file(path, class_names) for name, path in paths.items()}
    found = joint_fingerprint([ids_fingerprint(ids) for ids, _ in files.values()])
    ids, labels = files[fold]
    if found != split_fingerprint or any(-1 in labels[subset] for subset in SCORED):
        raise FerBenchError(
            f"{paths[fold]}: its ids or labels were changed; delete it, and `fer_bench run` writes it again"
        )
    return (
        {subset: np.array(ids[subset], dtype=np.str_) for subset in SCORED},
        {subset: np.array(labels[subset], dtype=np.int64) for subset in SCORED},
        len(ids["train"]),
    )


def _read_file(path: Path, class_names: tuple[str, ...]) -> tuple[dict[str, list[str]], dict[str, list[int]]]:
    """Ids and labels by subset, from a file that `data.splits.split_csv` writes; -1 where there is no label."""
    ids: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    labels: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    number = {name: label for label, name in enumerate(class_names)} | {"": -1}
    try:
        for row in csv.DictReader(io.StringIO(gunzip(path).decode())):
            ids[row["subset"]].append(row["sample_id"])
            labels[row["subset"]].append(number[row["label"]])
    except FileNotFoundError:
        raise FerBenchError(f"{path}: missing; `fer_bench run` on the same data writes it again") from None
    except (OSError, EOFError, ValueError, TypeError, KeyError, csv.Error, zlib.error) as error:
        raise FerBenchError(f"{path}: damaged: {error!r}; delete it, and `fer_bench run` writes it again") from error
    return ids, labels
