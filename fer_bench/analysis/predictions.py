"""The labels of one split and the probabilities of its runs, checked before anything is computed from them."""

from __future__ import annotations

import csv
import io
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_bench.archives import gunzip
from fer_bench.data import fold_numbers, ids_fingerprint, joint_fingerprint
from fer_bench.errors import FerBenchError, listing
from fer_bench.metrics import check_probabilities
from fer_bench.records import Audit, ImageFacts, choosers

if TYPE_CHECKING:
    from fer_bench.records import ReadableFolder
    from fer_bench.records.schema import Record

SCORED = ("validation", "test")
TOLERANCE = 1e-6
"""Figures that agree to this are the same: sums in another order differ by less."""

Split = tuple[str, str, int]
"""Data fingerprint, split fingerprint, number of folds (0 for one split)."""


@dataclass(frozen=True)
class Run:
    """One training under one seed: its record or, in cross-validation, its record of each fold, in order."""

    records: tuple[Record, ...]

    @property
    def record(self) -> Record:
        """What stands for all of it: the record, that of the first fold."""
        return self.records[0]

    @property
    def run_id(self) -> str:
        """Of `record`."""
        return self.record.run_id

    @property
    def missing_folds(self) -> tuple[int, ...]:
        """Numbers of the folds that have not succeeded."""
        done = {record.spec.fold for record in self.records if record.status == "success"}
        return tuple(fold for fold in range(1, self.record.spec.n_folds + 1) if fold not in done)

    @property
    def is_scored(self) -> bool:
        """Whether it succeeded, in all folds."""
        return all(record.status == "success" for record in self.records) and not self.missing_folds


@dataclass(frozen=True)
class Predictions:
    """What the runs of one split are judged by.

    ids: str (n,), and labels: int64 (n,), indices into `class_names`, each by "validation" and "test"; those of all
    folds, one after the other. n_train: training images, of the first fold. runs: those of this data and split.
    elsewhere: records of other data, and of splits whose file is in the folder too.
    """

    folder: ReadableFolder
    split: Split
    class_names: tuple[str, ...]
    ids: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    n_train: int
    runs: tuple[Run, ...]
    elsewhere: tuple[Record, ...]
    lengths: dict[str, tuple[int, ...]]

    @classmethod
    def load(
        cls, folder: ReadableFolder, split_fingerprint: str, n_folds: int, records: Sequence[Record]
    ) -> Predictions:
        """Read the split file, or that of each fold, of a results folder with `records`.

        The data are those of the newest record: where a label was corrected, the split file holds the new labels, and
        the records of before cannot be judged by it. Raises FerBenchError where a split file is missing, damaged or
        not the one of the fingerprint, where the split has no record, and naming records of other classes, or of a
        split without a file, mixed in with the others.
        """
        of_split = [record for record in records if split_of(record)[1:] == (split_fingerprint, n_folds)]
        if not of_split:
            raise FerBenchError(f"{folder.path}: no records of split {split_fingerprint}")
        wanted = split_of(max(of_split, key=_age))
        chosen = [record for record in records if split_of(record) == wanted]
        elsewhere = [record for record in records if split_of(record) != wanted]
        _refuse_strangers(folder, chosen, elsewhere)
        class_names = tuple(chosen[0].class_names)
        folds = _read_split(folder, split_fingerprint, n_folds, class_names)
        ids, labels = (
            {subset: np.concatenate([one[subset] for one in each]) for subset in SCORED}
            for each in zip(*((ids, labels) for ids, labels, _ in folds), strict=True)
        )
        lengths = {subset: tuple(len(one[subset]) for one, *_ in folds) for subset in SCORED}
        runs = _runs(chosen)
        return cls(folder, wanted, class_names, ids, labels, folds[0][2], runs, tuple(elsewhere), lengths)

    @classmethod
    def newest(cls, folder: ReadableFolder) -> Predictions:
        """Those of the split of the newest record without folds."""
        records = folder.records()
        splits = newest_splits(records)
        if not splits or splits[0][2]:
            what, how = ("records of folds alone", " without --folds") if records else ("no records", "")
            raise FerBenchError(f"{folder.path}: {what}; `fer_bench run`{how} makes some")
        return cls.load(folder, splits[0][1], 0, records)

    def probabilities(self, run: Run, subset: str) -> np.ndarray | None:
        """Those stored for "validation" or "test", float32 (n, k), in the order of `ids[subset]`; None without any.

        Raises FerBenchError naming the run where they are damaged, not of this split's images, or no probabilities.
        """
        return self.stored(run).get(subset)

    def stored(self, run: Run) -> dict[str, np.ndarray]:
        """`probabilities` of every subset for which there are some."""
        if split_of(run.record) != self.split:
            raise FerBenchError(f"{run.run_id}: is of another split than {self.split[1]}")
        if not run.is_scored:
            return {}
        parts = [self._of_record(record) for record in run.records]
        return {
            subset: np.concatenate([part[subset] for part in parts])
            for subset in SCORED
            if all(subset in part for part in parts)
        }

    @property
    def audit(self) -> Audit | None:
        """That of these data and split or folds, if there is one. Raises FerBenchError where it is damaged."""
        found = self.audit_file()
        return found and found[1]

    def audit_file(self) -> tuple[Path, Audit] | None:
        """Where `audit` is, and that."""
        _, fingerprint, n_folds = self.split
        for path in (self.folder.audit_path(n_folds), self.folder.earlier_audit_path(fingerprint)):
            with suppress(FileNotFoundError):
                audit = Audit.load(path)
                if audit.fingerprints == self.split[:2]:
                    return path, audit
        return None

    def image_facts(self, subset: str) -> ImageFacts | None:
        """Copies in train and votes of the images `ids[subset]`, in that order, or None where no audit left them.

        None for folds: copies of an image stay together in one. Raises FerBenchError where the file is damaged or does
        not know an image.
        """
        return None if self._facts is None or self.split[2] else self._facts.of(self.ids[subset])

    @property
    def slices(self) -> Mapping[str, np.ndarray]:
        """Of the test images, str (n,) by name, "" where unknown; none where none were given.

        Raises FerBenchError as `image_facts` does.
        """
        return {} if self._facts is None else self._facts.of(self.ids["test"]).slices

    @property
    def grouped_by(self) -> str:
        """What is known to be on several images: "person", "image" (a photograph of several faces), "clip", or ""."""
        return "" if self._facts is None else self._facts.grouped_by

    def groups(self, subset: str, at: Any = slice(None)) -> np.ndarray | None:
        """Which of the images `ids[subset][at]` show one person (see `grouped_by`), int64 (m,); None where unknown.

        Raises FerBenchError as `image_facts` does.
        """
        facts = self._facts
        return None if facts is None or facts.groups is None else facts.of(self.ids[subset][at]).groups

    @cached_property
    def by_id(self) -> dict[str, Run]:
        """`runs` by their ids."""
        return {run.run_id: run for run in self.runs}

    @cached_property
    def choosers(self) -> np.ndarray:
        """Which validation images choose between runs, bool (n,): see `records.choosers`; all, without an audit."""
        facts = self.image_facts("validation")
        return np.ones(len(self.ids["validation"]), dtype=bool) if facts is None else choosers(facts.copy_in_train)

    @cached_property
    def _facts(self) -> ImageFacts | None:
        try:
            return ImageFacts.load(self.folder.images_path(self.split[1]))
        except FileNotFoundError:
            return None

    def _of_record(self, record: Record) -> dict[str, np.ndarray]:
        arrays = self.folder.predictions(record.run_id) or {}
        try:
            return {s: self._checked(record, arrays, s) for s in SCORED if f"{s}_ids" in arrays}
        except (ValueError, TypeError) as error:
            raise FerBenchError(f"{record.run_id}: its stored predictions: {error}") from error

    def by_fold(self, subset: str, values: np.ndarray) -> list[np.ndarray]:
        """`values`, (n, ...), of the images `ids[subset]`, apart by the fold that they are scored in."""
        return np.split(values, np.cumsum(self.lengths[subset])[:-1])

    def _checked(self, record: Record, arrays: dict[str, np.ndarray], subset: str) -> np.ndarray:
        expected = self.by_fold(subset, self.ids[subset])[max(record.spec.fold - 1, 0)]
        given = arrays[f"{subset}_ids"]
        if given.dtype.kind != "U" or not np.array_equal(given, expected):
            raise ValueError(f"the {subset} ids are not those of split {self.split[1]} in order")
        rows = arrays.get(f"{subset}_probabilities", np.empty((0, 0)))
        check_probabilities(rows, len(self.class_names))
        if len(rows) != len(expected):
            raise ValueError(f"{len(rows):,} {subset} probabilities for {len(expected):,} images")
        return rows.astype(np.float32)


def split_of(record: Record) -> Split:
    """The data and split that `record` is about."""
    return record.spec.data_fingerprint, record.spec.split_fingerprint, record.spec.n_folds


def newest_splits(records: Iterable[Record]) -> list[Split]:
    """The split of the newest record, and that of the newest for each number of folds: those with a page each."""
    newest = {record.spec.n_folds: split_of(record) for record in sorted(records, key=_age)}
    return [newest[n_folds] for n_folds in sorted(newest)]


def _age(record: Record) -> tuple[str, str]:
    return record.started, record.run_id


def _runs(records: Iterable[Record]) -> tuple[Run, ...]:
    """`records` by age, those of the folds of one spec together; whose spec is that of another stands alone."""
    grouped: dict[str, list[Record]] = defaultdict(list)
    for record in sorted(records, key=_age):
        first = replace(record.spec, fold=min(record.spec.fold, 1)).run_id
        grouped[first if record.run_id == record.spec.run_id else record.run_id].append(record)
    return tuple(Run(tuple(sorted(group, key=lambda record: record.spec.fold))) for group in grouped.values())


def _refuse_strangers(folder: ReadableFolder, chosen: list[Record], elsewhere: list[Record]) -> None:
    """The classes of most of the `chosen` are the split's; another split is known by its file."""
    kinds = [", ".join(record.class_names) for record in chosen]
    classes = max(sorted(set(kinds)), key=kinds.count)
    strangers = [
        f"{record.run_id}: of classes {kind}, not {classes}"
        for record, kind in zip(chosen, kinds, strict=True)
        if kind != classes
    ]
    for record in elsewhere:
        path = folder.split_path(record.spec.split_fingerprint, record.spec.fold)
        if not path.exists():
            strangers.append(f"{record.run_id}: of split {record.spec.split_fingerprint}, and {path.name} is missing")
    if strangers:
        raise FerBenchError(
            f"{folder.path}: {len(strangers)} records of another split or other classes are mixed in "
            f"(move their folders to a results folder of their own):\n{listing(strangers)}"
        )


Fold = tuple[dict[str, np.ndarray], dict[str, np.ndarray], int]


def _read_split(
    folder: ReadableFolder, split_fingerprint: str, n_folds: int, class_names: tuple[str, ...]
) -> list[Fold]:
    """Ids and labels of validation and test, and how many train, of each fold; the fingerprint is of all together."""
    paths = [folder.split_path(split_fingerprint, fold) for fold in fold_numbers(n_folds)]
    files = [_read_file(path, class_names) for path in paths]
    if joint_fingerprint([ids_fingerprint(ids) for ids, _ in files]) != split_fingerprint:
        raise FerBenchError(f"{paths[0]}: its ids were changed; delete it, and `fer_bench run` writes it again")
    folds = []
    for path, (ids, labels) in zip(paths, files, strict=True):
        if any(-1 in labels[subset] for subset in SCORED):
            raise FerBenchError(f"{path}: its labels were changed; delete it, and `fer_bench run` writes it again")
        folds.append(
            (
                {subset: np.array(ids[subset], dtype=np.str_) for subset in SCORED},
                {subset: np.array(labels[subset], dtype=np.int64) for subset in SCORED},
                len(ids["train"]),
            )
        )
    return folds


def _read_file(path: Path, class_names: tuple[str, ...]) -> tuple[dict[str, list[str]], dict[str, list[int]]]:
    """Ids and labels by subset, from a file that `data.split_csv` writes; -1 where there is no label."""
    ids: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    labels: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    number = {name: label for label, name in enumerate(class_names)} | {"": -1}
    try:
        header, *rows = csv.reader(io.StringIO(gunzip(path).decode()))
        columns = itemgetter(*(header.index(name) for name in ("sample_id", "subset", "label")))
        for sample_id, subset, label in map(columns, rows):
            ids[subset].append(sample_id)
            labels[subset].append(number[label])
    except FileNotFoundError:
        raise FerBenchError(f"{path}: missing; `fer_bench run` on the same data writes it again") from None
    except (OSError, EOFError, ValueError, LookupError, csv.Error, zlib.error) as error:
        raise FerBenchError(f"{path}: damaged: {error!r}; delete it, and `fer_bench run` writes it again") from error
    return ids, labels
