"""Evidence: the labels of one split and the probabilities of its runs, checked before anything is computed."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fer_bench.data.splits import fingerprint
from fer_bench.errors import FerBenchError, listing
from fer_bench.judging.metrics import check_probabilities
from fer_bench.records.schema import Record
from fer_bench.records.store import ResultsFolder

SCORED = ("validation", "test")


@dataclass(frozen=True)
class Evidence:
    """What the records of one split are judged by.

    records: those of the split; elsewhere: those of other splits whose split file is in the folder too.
    ids: str (n,), and labels: int64 (n,), indices into `class_names`, each by "validation" and "test".
    """

    folder: ResultsFolder
    data_fingerprint: str
    split_fingerprint: str
    class_names: tuple[str, ...]
    ids: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    records: tuple[Record, ...]
    elsewhere: tuple[Record, ...]
    _stored: dict[str, dict[str, np.ndarray]] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, folder: ResultsFolder, split_fingerprint: str, records: Iterable[Record] | None = None) -> Evidence:
        """Read `split-<split_fingerprint>.csv.gz` and the `records`, by default all, of a results folder.

        Raises FerBenchError where the split file is missing, damaged or not the one of the fingerprint, where the
        split has no record, and naming records of other data, or of a split without a file, mixed in with the others.
        """
        everything = one_split(folder.records() if records is None else records)
        chosen = [record for record in everything if record.spec.split_fingerprint == split_fingerprint]
        if not chosen:
            raise FerBenchError(f"{folder.path}: no records of split {split_fingerprint}")
        elsewhere = [record for record in everything if record.spec.split_fingerprint != split_fingerprint]
        _refuse_strangers(folder, chosen, elsewhere)
        class_names = tuple(chosen[0].class_names)
        ids, labels = _read_split(_split_path(folder, split_fingerprint), split_fingerprint, class_names)
        return cls(
            folder, chosen[0].spec.data_fingerprint, split_fingerprint, class_names,
            ids, labels, tuple(chosen), tuple(elsewhere),
        )  # fmt: skip

    @classmethod
    def newest(cls, folder: ResultsFolder) -> Evidence:
        """The evidence of the split of the newest record, which is the one that leaderboards show."""
        records = one_split(folder.records())
        if not records:
            raise FerBenchError(f"{folder.path}: no records; `fer_bench run` makes some")
        newest = max(records, key=lambda record: (record.started, record.run_id))
        return cls.load(folder, newest.spec.split_fingerprint, records)

    def probabilities(self, record: Record, subset: str) -> np.ndarray | None:
        """Those that the run stored for "validation" or "test", float32 (n, k), in the order of `ids[subset]`.

        None where it stored none. Raises FerBenchError naming the run where they are damaged, not of this split's
        images, or no probabilities.
        """
        if record.spec.split_fingerprint != self.split_fingerprint:
            raise FerBenchError(
                f"{record.run_id}: is of split {record.spec.split_fingerprint}, not {self.split_fingerprint}"
            )
        if record.run_id not in self._stored:
            self._stored[record.run_id] = self._read(record)
        return self._stored[record.run_id].get(subset)

    def _read(self, record: Record) -> dict[str, np.ndarray]:
        path = self.folder.runs / record.run_id / "predictions.npz"
        if record.status != "success" or not path.exists():
            return {}
        try:
            with np.load(path, allow_pickle=False) as arrays:
                stored = {name: arrays[name] for name in arrays.files}
        except Exception as error:  # whatever NumPy, zipfile and zlib say of a damaged file
            raise FerBenchError(f"{path}: cannot be read: {error}") from error
        return {subset: self._checked(path, stored, subset) for subset in SCORED if f"{subset}_ids" in stored}

    def _checked(self, path: Path, stored: dict[str, np.ndarray], subset: str) -> np.ndarray:
        if not np.array_equal(stored[f"{subset}_ids"], self.ids[subset]):
            raise FerBenchError(f"{path}: its {subset} ids are not those of split {self.split_fingerprint} in order")
        rows = stored.get(f"{subset}_probabilities", np.empty((0, 0)))
        try:
            check_probabilities(rows, len(self.class_names))
        except (ValueError, TypeError) as error:
            raise FerBenchError(f"{path}: {subset}: {error}") from error
        if len(rows) != len(self.ids[subset]):
            raise FerBenchError(f"{path}: {len(rows):,} {subset} probabilities for {len(self.ids[subset]):,} images")
        return rows.astype(np.float32)


def one_split(records: Iterable[Record]) -> list[Record]:
    """`records` without those on folds, which have test images of their own each and are told by their spread."""
    return [record for record in records if not record.spec.fold]


def _split_path(folder: ResultsFolder, split_fingerprint: str) -> Path:
    if not split_fingerprint.isalnum():
        raise FerBenchError(f"{folder.path}: split fingerprint {split_fingerprint!r} is not one")
    return folder.path / f"split-{split_fingerprint}.csv.gz"


def _refuse_strangers(folder: ResultsFolder, chosen: list[Record], elsewhere: list[Record]) -> None:
    """The data and classes of most of the `chosen` are the split's; another split is known by its file."""
    kinds = [(record.spec.data_fingerprint, ", ".join(record.class_names)) for record in chosen]
    data, classes = max(sorted(set(kinds)), key=kinds.count)
    strangers = []
    for record, kind in zip(chosen, kinds, strict=True):
        if kind[0] != data:
            strangers.append(f"{record.run_id}: of data {kind[0]}, the others of {data}")
        elif kind[1] != classes:
            strangers.append(f"{record.run_id}: of classes {kind[1]}, not {classes}")
    for record in elsewhere:
        path = _split_path(folder, record.spec.split_fingerprint)
        if not path.exists():
            strangers.append(f"{record.run_id}: of split {record.spec.split_fingerprint}, and {path.name} is missing")
    if strangers:
        raise FerBenchError(
            f"{folder.path}: {len(strangers)} records of another split or other data are mixed in "
            f"(move their folders to a results folder of their own):\n{listing(strangers)}"
        )


def _read_split(
    path: Path, split_fingerprint: str, class_names: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Ids and labels by subset of validation and test, from the file that `data.splits.split_csv` writes."""
    try:
        rows = list(csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))
        ids: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
        labels: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
        number = {name: label for label, name in enumerate(class_names)} | {"": -1}
        for row in rows:
            ids[row["subset"]].append(row["sample_id"])
            labels[row["subset"]].append(number[row["label"]])
    except FileNotFoundError:
        raise FerBenchError(f"{path}: missing; `fer_bench run` on the same data writes it again") from None
    except (OSError, EOFError, ValueError, TypeError, KeyError, csv.Error, zlib.error) as error:
        raise FerBenchError(f"{path}: damaged: {error!r}; delete it, and `fer_bench run` writes it again") from error
    if fingerprint(ids) != split_fingerprint or any(-1 in labels[subset] for subset in SCORED):
        raise FerBenchError(f"{path}: its ids or labels were changed; delete it, and `fer_bench run` writes it again")
    return (
        {subset: np.array(ids[subset], dtype=np.str_) for subset in SCORED},
        {subset: np.array(labels[subset], dtype=np.int64) for subset in SCORED},
    )
