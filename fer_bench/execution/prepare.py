"""Before a plan: data decoded, split made, results folder known. Light where the cache has it all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fer_bench.cache import reading
from fer_bench.data import Split, open_dataset, split_csv, split_file, stored_split
from fer_bench.progress import Progress, silent
from fer_bench.records import write_gzipped
from fer_bench.records.store import ResultsFolder


@dataclass(frozen=True)
class Prepared:
    """Data and split as paths and facts; nothing of it is an array.

    counts: training, validation and test images by fold; 0 where there are no folds.
    """

    name: str
    dataset_folder: Path
    split_folder: Path
    data_fingerprint: str
    split_fingerprint: str
    split_source: str
    class_names: tuple[str, ...]
    counts: dict[int, tuple[int, int, int]]
    notes: tuple[str, ...]
    results: ResultsFolder

    @property
    def fingerprints(self) -> tuple[str, str]:
        """Of data and split."""
        return self.data_fingerprint, self.split_fingerprint

    @property
    def n_train(self) -> int:
        """Training images, of the first fold where there are folds."""
        return next(iter(self.counts.values()))[0]


def prepare(
    data: str,
    results: Path,
    name: str | None = None,
    votes: Path | None = None,
    skip_bad: bool = False,
    split_seed: int = 0,
    n_folds: int = 0,
    progress: Progress = silent,
) -> Prepared:
    """Open `data`, make its split or folds, and name its results folder. Raises FerBenchError for bad data."""
    opened = open_dataset(data, name=name, votes=votes, skip_bad=skip_bad, progress=progress)
    split_folder = stored_split(opened.folder, split_seed, n_folds, progress)
    with reading(split_folder):
        split = json.loads((split_folder / "about.json").read_text())
    with reading(opened.folder):
        about = json.loads((opened.folder / "about.json").read_text())
    return Prepared(
        name=opened.name,
        dataset_folder=opened.folder,
        split_folder=split_folder,
        data_fingerprint=opened.fingerprint,
        split_fingerprint=split["fingerprint"],
        split_source=split["source"],
        class_names=tuple(split["class_names"]),
        counts={int(fold): (train, validation, test) for fold, (train, validation, test) in split["counts"].items()},
        notes=tuple(about["notes"]),
        results=ResultsFolder(results / opened.name),
    )


def store_split(prepared: Prepared) -> None:
    """Put the split beside the results, `split-<fingerprint>.csv.gz`, a file per fold, unless that very split is there.

    The fingerprint is that of the ids: where a label was corrected, the file is written anew.
    """
    from fer_bench.data import Dataset

    dataset = Dataset.load(prepared.dataset_folder)
    for fold in prepared.counts:
        path = prepared.results.path / split_file(prepared.split_fingerprint, fold)
        write_gzipped(path, split_csv(dataset, Split.load(prepared.split_folder, fold)))
