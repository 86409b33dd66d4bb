"""Before a plan: data decoded and audited, split made, results folder known. Light where the cache has it all."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fer_bench.cache import reading, write_atomic
from fer_bench.data import ReadOptions, open_dataset, stored_split
from fer_bench.errors import FerBenchError
from fer_bench.progress import Progress, silent
from fer_bench.records import ResultsFolder
from fer_bench.seeds import checked_seeds


@dataclass(frozen=True)
class Prepared:
    """Data and split as paths and facts; nothing of it is an array.

    name: of the results, which is that of the data unless other data had it: then is_renamed.
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
    is_renamed: bool = False

    @property
    def fingerprints(self) -> tuple[str, str]:
        """Of data and split."""
        return self.data_fingerprint, self.split_fingerprint

    @property
    def n_folds(self) -> int:
        """How many folds there are; 0 for the one split."""
        return 0 if 0 in self.counts else len(self.counts)

    @property
    def n_train(self) -> int:
        """Training images, of the first fold where there are folds."""
        return next(iter(self.counts.values()))[0]

    def absolute(self) -> Prepared:
        """The same for processes with another working folder."""
        return replace(
            self,
            dataset_folder=self.dataset_folder.absolute(),
            split_folder=self.split_folder.absolute(),
            results=ResultsFolder(self.results.path.absolute()),
        )


def prepare(
    data: str | Path,
    results: str | Path = "results",
    name: str | None = None,
    options: ReadOptions | None = None,
    split_seed: int = 0,
    folds: int | Literal["people"] = 0,
    progress: Progress = silent,
) -> Prepared:
    """Open `data`, make its split or folds, and name its results folder.

    folds: how many, "people" for one a person, or 0 for one split. Raises FerBenchError for bad data or a bad seed.
    """
    checked_seeds([split_seed], "--split-seed")
    opened = open_dataset(str(data), name=name, options=options or ReadOptions(), progress=progress)
    split_folder = stored_split(opened.folder, split_seed, folds, progress)
    with reading(split_folder):
        split = json.loads((split_folder / "about.json").read_text())
    with reading(opened.folder):
        about = json.loads((opened.folder / "about.json").read_text())
    folder = _results_folder(Path(results), opened.name, opened.fingerprint, is_given=name is not None)
    return Prepared(
        name=folder.path.name,
        dataset_folder=opened.folder,
        split_folder=split_folder,
        data_fingerprint=opened.fingerprint,
        split_fingerprint=split["fingerprint"],
        split_source=split["source"],
        class_names=tuple(split["class_names"]),
        counts={int(fold): (train, validation, test) for fold, (train, validation, test) in split["counts"].items()},
        notes=tuple(about["notes"]),
        results=folder,
        is_renamed=folder.path.name != opened.name,
    )


def _results_folder(results: Path, name: str, fingerprint: str, is_given: bool) -> ResultsFolder:
    """The folder called `name`, or one of its own for data that are not those whose results are there.

    Raises FerBenchError where they are not and the user has given the name.
    """
    names = [name, f"{name}-{fingerprint[:6]}", f"{name}-{fingerprint}"]
    there = [ResultsFolder(results / one).data_fingerprint() for one in names]
    own = next((one for one, other in zip(names, there, strict=True) if other in (None, fingerprint)), None)
    if own is None or (is_given and own != name):
        raise FerBenchError(
            f"--name {name}: {results / name} has results of other data (fingerprint {there[0]}, these have "
            f"{fingerprint}), which are not written over; give another name, such as --name {own or 'mine'}"
        )
    return ResultsFolder(results / own)


def store_split(prepared: Prepared) -> None:
    """Put the split beside the results, `split-<fingerprint>.csv.gz`, a file per fold, unless it is there."""
    from fer_bench.data import Dataset, Split, split_csv
    from fer_bench.records import write_gzipped

    dataset = Dataset.load(prepared.dataset_folder)
    for fold in prepared.counts:
        path = prepared.results.split_path(prepared.split_fingerprint, fold)
        write_gzipped(path, split_csv(dataset, Split.load(prepared.split_folder, fold)))


def audit_data(prepared: Prepared, progress: Progress = silent) -> None:
    """Write audit.json and the facts about images beside the runs, where they are missing or speak of something else.

    Copies are looked for once for each dataset: the cache has them.
    """
    from fer_bench.data import stored_audit

    folder = stored_audit(prepared.dataset_folder, prepared.split_folder, progress)
    content = (folder / "audit.json").read_bytes()
    target = prepared.results.audit_path(prepared.n_folds)
    if not target.exists() or target.read_bytes() != content:
        _set_aside(prepared, target)
        write_atomic(target, content)
    _store_images(prepared, folder)


def _set_aside(prepared: Prepared, path: Path) -> None:
    """Keep the audit at `path` where it is of another split, by which the runs of that are judged."""
    from fer_bench.records import Audit

    with suppress(FileNotFoundError, FerBenchError):
        _, fingerprint = Audit.load(path).fingerprints
        if fingerprint != prepared.split_fingerprint:
            write_atomic(prepared.results.earlier_audit_path(fingerprint), path.read_bytes())


def _store_images(prepared: Prepared, audit_folder: Path) -> None:
    """Put what is known of scored images beside the results, where it stays known.

    Of folds these are the test images of each, and no file is needed where neither people nor slices are known.
    """
    import numpy as np

    from fer_bench.data import Dataset, Split, read_copies
    from fer_bench.records import ImageFacts

    dataset = Dataset.load(prepared.dataset_folder)
    if prepared.n_folds and not dataset.slices and dataset.groups is None:
        return
    splits = [Split.load(prepared.split_folder, fold) for fold in prepared.counts]
    scored, copies = {"test": np.concatenate([split.test for split in splits])}, np.full(len(dataset), "")
    if not prepared.n_folds:
        scored, copies = {"validation": splits[0].validation, **scored}, read_copies(audit_folder)
    rows, subset = np.concatenate(list(scored.values())), np.repeat(list(scored), [len(own) for own in scored.values()])
    slices = {name: values[rows] for name, values in dataset.slices.items()}
    facts = ImageFacts(dataset.sample_ids[rows], subset, copies[rows], slices=slices)
    if dataset.groups is not None:
        numbers = np.unique(dataset.groups, return_inverse=True)[1]
        facts = replace(facts, groups=numbers[rows], grouped_by=dataset.grouped_by)
    if dataset.votes is not None and dataset.vote_names:
        facts = replace(facts, votes=dataset.votes[rows], vote_names=dataset.vote_names)
    path = prepared.results.images_path(prepared.split_fingerprint)
    if path.exists():
        known = ImageFacts.load(path).of(facts.ids)
        if facts.votes is None:
            facts = replace(facts, votes=known.votes, vote_names=known.vote_names)
        if not facts.slices:
            facts = replace(facts, slices=known.slices)
        if facts.groups is None:
            facts = replace(facts, groups=known.groups, grouped_by=known.grouped_by)
    facts.write(path)
