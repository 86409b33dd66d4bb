"""Hard faces: the test images that every run misses, the most confident mistakes, the most confused classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_bench.data import Dataset
from fer_bench.errors import FerBenchError
from fer_bench.judging.evidence import Evidence
from fer_bench.judging.sheet import Section, Tile, draw, write_png
from fer_bench.records.schema import Record

NOT_TRAINED = ("baseline", "ensemble")
"""Families that say little of how hard a face is: one hardly looks at it, the other repeats its members."""
N_TILES, N_PAIRS, N_EXAMPLES = 30, 6, 10


@dataclass(frozen=True)
class Pair:
    """Images of class `label` answered with class `answer`: their share of the class's images, mean over runs.

    rows: int64, those test images that the runs together answer so, the most confident first.
    """

    label: int
    answer: int
    share: float
    rows: np.ndarray


@dataclass(frozen=True)
class HardFaces:
    """What `run_ids` find hard among the test images.

    probabilities: float64 (n, k), their mean. missed: int64, rows that every one of them misses, the least probable
    label first. mistakes: int64, rows that the mean misses, the most confident first.
    """

    run_ids: tuple[str, ...]
    probabilities: np.ndarray
    missed: np.ndarray
    mistakes: np.ndarray
    pairs: tuple[Pair, ...]


def trained(evidence: Evidence) -> list[Record]:
    """The records that tell how hard a face is: no baselines, no ensemble. Raises FerBenchError where there is none."""
    records = [
        record for record in evidence.records
        if record.family not in NOT_TRAINED and evidence.probabilities(record, "test") is not None
    ]  # fmt: skip
    if not records:
        raise FerBenchError(f"{evidence.folder.path}: no finished run that tells which faces are hard: only baselines")
    return records


def hard_faces(evidence: Evidence, records: Sequence[Record]) -> HardFaces:
    """What the runs `records`, all with test probabilities, find hard, alone or together."""
    labels, k = evidence.labels["test"], len(evidence.class_names)
    stored = [rows for record in records if (rows := evidence.probabilities(record, "test")) is not None]
    answers = np.stack([rows.argmax(axis=1) for rows in stored])
    mean = np.stack(stored).astype(np.float64).mean(axis=0)
    given, together = mean[np.arange(len(labels)), labels], mean.argmax(axis=1)
    missed = np.flatnonzero((answers != labels).all(axis=0))
    mistakes = np.flatnonzero(together != labels)
    confusion = np.zeros((k, k))
    np.add.at(confusion, (np.broadcast_to(labels, answers.shape), answers), 1 / len(stored))
    return HardFaces(
        tuple(record.run_id for record in records), mean, missed[np.argsort(given[missed], kind="stable")],
        mistakes[np.argsort(-mean[mistakes].max(axis=1), kind="stable")], _pairs(confusion, labels, mean),
    )  # fmt: skip


def _pairs(confusion: np.ndarray, labels: np.ndarray, mean: np.ndarray) -> tuple[Pair, ...]:
    shares = confusion / np.maximum(np.bincount(labels, minlength=len(confusion)), 1)[:, None]
    np.fill_diagonal(shares, 0)
    pairs = []
    for flat in np.argsort(-shares, axis=None, kind="stable")[:N_PAIRS]:
        label, answer = map(int, np.unravel_index(flat, shares.shape))
        rows = np.flatnonzero((labels == label) & (mean.argmax(axis=1) == answer))
        if shares[label, answer] > 0:
            order = np.argsort(-mean[rows, answer], kind="stable")
            pairs.append(Pair(label, answer, float(shares[label, answer]), rows[order]))
    return tuple(pairs)


def tables(evidence: Evidence, hard: HardFaces) -> list[str]:
    """Lines for a terminal: how many images all runs miss, the most confused classes, the most confident mistakes."""
    from tabulate import tabulate

    names, n_test = evidence.class_names, len(evidence.labels["test"])
    labels, n_runs = evidence.labels["test"], len(hard.run_ids)
    pairs = [(names[p.label], names[p.answer], f"{p.share:.1%}") for p in hard.pairs]
    mistakes = [
        (evidence.ids["test"][row], names[labels[row]], names[hard.probabilities[row].argmax()],
         f"{hard.probabilities[row].max():.2f}")
        for row in hard.mistakes[:5]
    ]  # fmt: skip
    return [
        f"runs, without baselines: {n_runs}; test images that all of them miss: {len(hard.missed):,} of {n_test:,}",
        "",
        *tabulate(pairs, ("class", "taken for", "share of the class"), disable_numparse=True).splitlines(),
        "",
        *tabulate(mistakes, ("image", "class", "answer", "mean probability"), disable_numparse=True).splitlines(),
    ]


def write_sheets(evidence: Evidence, dataset: Dataset) -> list[Path]:
    """Draw `hard-faces.png` for all runs together and `<run_id>.png` for each, in `sheets/` of the results folder.

    They show images of the data, so they stay where they are: git ignores them. Raises FerBenchError where `dataset`
    is not the data of the runs.
    """
    if dataset.fingerprint != evidence.data_fingerprint:
        raise FerBenchError(
            f"{evidence.folder.path}: its runs are of data {evidence.data_fingerprint}, "
            f"and {dataset.name!r} is {dataset.fingerprint}; give the data they ran on"
        )
    images = _test_images(evidence, dataset)
    records = trained(evidence)
    groups = {"hard-faces": records} | {record.run_id: [record] for record in records}
    paths = []
    for name, members in groups.items():
        hard = hard_faces(evidence, members)
        together = f"{len(members)} runs together, baselines left out"
        title = f"{dataset.name}: {together if name == 'hard-faces' else name}"
        paths.append(evidence.folder.path / "sheets" / f"{name}.png")
        write_png(paths[-1], draw(title, _sections(evidence, hard, images)))
    return paths


def _test_images(evidence: Evidence, dataset: Dataset) -> np.ndarray:
    at = {sample_id: row for row, sample_id in enumerate(dataset.sample_ids.tolist())}
    return dataset.images[[at[sample_id] for sample_id in evidence.ids["test"].tolist()]]


def _sections(evidence: Evidence, hard: HardFaces, images: np.ndarray) -> list[Section]:
    labels, names = evidence.labels["test"], evidence.class_names
    answers = hard.probabilities.argmax(axis=1)

    def tile(row: int) -> Tile:
        mean, label, answer = hard.probabilities[row], labels[row], answers[row]
        told = f"answer {names[answer]} {mean[answer]:.2f}" if answer != label else ""
        return Tile(images[row], (f"label {names[label]} {mean[label]:.2f}", told, str(evidence.ids["test"][row])))

    def tiles(rows: np.ndarray, limit: int = N_TILES) -> list[Tile]:
        return [tile(row) for row in rows[:limit].tolist()]

    sections, many = [], len(hard.run_ids) > 1
    if many:
        count = f"Missed by all {len(hard.run_ids)} runs: {len(hard.missed):,} of {len(labels):,} test images"
        sections.append(Section(f"{count}; first those whose class is least probable", tiles(hard.missed)))
    count = f"Missed{' by the mean of the runs' * many}: {len(hard.mistakes):,} of {len(labels):,} test images"
    sections.append(Section(f"{count}; first the most confident mistakes", tiles(hard.mistakes)))
    for pair in hard.pairs:
        told = f"{names[pair.label]} taken for {names[pair.answer]}: {pair.share:.1%} of the class's test images"
        sections.append(Section(told, tiles(pair.rows, N_EXAMPLES)))
    return sections
