"""Sheets of small images to look at: what runs find hard, and pairs of copies. Never to be committed."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from fer_bench.analysis import Predictions
from fer_bench.cache import write_atomic
from fer_bench.errors import FerBenchError
from fer_bench.report.figures import FONTS
from fer_bench.report.text import one_line

if TYPE_CHECKING:
    from fer_bench.analysis import Run
    from fer_bench.data import Copies, Dataset, Split
    from fer_bench.records import ResultsFolder

FOLDER = "sheets"
NOT_TRAINED = ("baseline", "ensemble")
"""Families that say little of how hard a face is: one hardly looks at it, the other repeats its members."""
N_TILES, N_PAIRS, N_EXAMPLES = 30, 6, 10
ACROSS, SIDE, GAP, LINE, MARGIN, LONGEST = 10, 112, 24, 15, 24, 20
"""Tiles in a row; pixels of a tile, between tiles, of a line and around all; characters of a caption."""


@dataclass(frozen=True)
class Tile:
    """image: uint8 (h, w) gray or (h, w, 3) RGB; caption: lines under it."""

    image: np.ndarray
    caption: tuple[str, ...]


Section = tuple[str, Sequence[Tile]]
"""Tiles under a heading."""


@dataclass(frozen=True)
class Confusion:
    """Images of class `label` answered with class `answer`: their share of the class's images, mean over runs.

    rows: int64, those test images that the runs together answer so, the most confident first.
    """

    label: int
    answer: int
    share: float
    rows: np.ndarray


@dataclass(frozen=True)
class HardFaces:
    """What runs find hard among the test images, alone or together.

    probabilities: float64 (n, k), their mean. missed: int64, rows that every one of them misses, the least probable
    label first. mistakes: int64, rows that the mean misses, the most confident first.
    """

    n_runs: int
    probabilities: np.ndarray
    missed: np.ndarray
    mistakes: np.ndarray
    confusions: tuple[Confusion, ...]


def trained(predictions: Predictions) -> dict[str, np.ndarray]:
    """Test probabilities, float32 (n, k), of the runs that tell how hard a face is: no baselines, no ensemble.

    Raises FerBenchError where there is none.
    """
    runs: list[Run] = [run for run in predictions.runs if run.record.family not in NOT_TRAINED and run.is_scored]
    found = {run.run_id: predictions.probabilities(run, "test") for run in runs}
    known = {run_id: rows for run_id, rows in found.items() if rows is not None}
    if not known:
        raise FerBenchError(
            f"{predictions.folder.path}: no finished run that tells which faces are hard: only baselines"
        )
    return known


def hard_faces(labels: np.ndarray, probabilities: Sequence[np.ndarray]) -> HardFaces:
    """What runs find hard; labels: int (n,) of the test images, probabilities: float (n, k) of each run."""
    stacked = np.stack(probabilities)
    answers, mean = stacked.argmax(axis=2), stacked.astype(np.float64).mean(axis=0)
    given, together = mean[np.arange(len(labels)), labels], mean.argmax(axis=1)
    missed, mistakes = np.flatnonzero((answers != labels).all(axis=0)), np.flatnonzero(together != labels)
    shares = np.zeros((mean.shape[1], mean.shape[1]))
    np.add.at(shares, (np.broadcast_to(labels, answers.shape), answers), 1 / len(stacked))
    shares /= np.maximum(np.bincount(labels, minlength=len(shares)), 1)[:, None]
    np.fill_diagonal(shares, 0)
    most = [divmod(int(cell), len(shares)) for cell in np.argsort(-shares, axis=None, kind="stable")[:N_PAIRS]]
    confusions = (_confusion(labels, mean, label, answer, shares[label, answer]) for label, answer in most)
    return HardFaces(
        len(stacked), mean, missed[np.argsort(given[missed], kind="stable")],
        mistakes[np.argsort(-mean[mistakes].max(axis=1), kind="stable")], tuple(one for one in confusions if one.share),
    )  # fmt: skip


def _confusion(labels: np.ndarray, mean: np.ndarray, label: int, answer: int, share: float) -> Confusion:
    rows = np.flatnonzero((labels == label) & (mean.argmax(axis=1) == answer))
    return Confusion(label, answer, float(share), rows[np.argsort(-mean[rows, answer], kind="stable")])


def test_images(dataset: Dataset, data_fingerprint: str, ids: np.ndarray) -> np.ndarray:
    """The images `ids`, str (n,), of `dataset`, uint8 (n, h, w[, 3]). Raises FerBenchError where it is other data."""
    if dataset.fingerprint != data_fingerprint:
        raise FerBenchError(
            f"{dataset.name}: has fingerprint {dataset.fingerprint}, and the runs are of data {data_fingerprint}; give "
            "the data they ran on"
        )
    at = {sample_id: row for row, sample_id in enumerate(dataset.sample_ids.tolist())}
    return dataset.images[[at[sample_id] for sample_id in ids.tolist()]]


def write_hard_faces(folder: ResultsFolder, dataset: Dataset) -> tuple[list[str], list[Path]]:
    """Draw `hard-faces.png` for all runs together and `<run_id>.png` for each, in `sheets/` of the results folder.

    Returns lines for a terminal, and the paths. Raises FerBenchError where `dataset` is not the data of the runs, and
    where no run tells which faces are hard.
    """
    predictions = Predictions.newest(folder)
    images = test_images(dataset, predictions.split[0], predictions.ids["test"])
    by_run, labels = trained(predictions), predictions.labels["test"]
    together = hard_faces(labels, list(by_run.values()))
    sheets = {"hard-faces": (f"{len(by_run)} runs together, baselines left out", together)}
    sheets |= {run_id: (run_id, hard_faces(labels, [rows])) for run_id, rows in by_run.items()}
    paths = []
    for name, (title, hard) in sheets.items():
        paths.append(folder.path / FOLDER / f"{name}.png")
        write_png(paths[-1], draw(f"{dataset.name}: {title}", list(_hard_sections(predictions, hard, images))))
    return _lines(predictions, together), paths


def _lines(predictions: Predictions, hard: HardFaces) -> list[str]:
    """How many images all runs miss, the most confused classes, the most confident mistakes."""
    names, labels, ids = predictions.class_names, predictions.labels["test"], predictions.ids["test"]
    most = hard.probabilities.max(axis=1), hard.probabilities.argmax(axis=1)
    return [
        f"{hard.n_runs} runs, without baselines, miss {len(hard.missed):,} of {len(labels):,} test images all together",
        "",
        *(f"{names[one.label]} taken for {names[one.answer]}: {one.share:.1%} of the class" for one in hard.confusions),
        "",
        *(f"{ids[r]}: {names[labels[r]]} taken for {names[most[1][r]]}, {most[0][r]:.2f}" for r in hard.mistakes[:5]),
    ]


def _hard_sections(predictions: Predictions, hard: HardFaces, images: np.ndarray) -> Iterator[Section]:
    labels, names, ids = predictions.labels["test"], predictions.class_names, predictions.ids["test"]
    answers = hard.probabilities.argmax(axis=1)

    def tiles(rows: np.ndarray, limit: int = N_TILES) -> list[Tile]:
        return [Tile(images[row], caption(row)) for row in rows[:limit].tolist()]

    def caption(row: int) -> tuple[str, ...]:
        mean, label, answer = hard.probabilities[row], labels[row], answers[row]
        wrong = f"answer {names[answer]} {mean[answer]:.2f}" if answer != label else ""
        return f"label {names[label]} {mean[label]:.2f}", wrong, str(ids[row])

    if hard.n_runs > 1:
        count = f"Missed by all {hard.n_runs} runs: {len(hard.missed):,} of {len(labels):,} test images"
        yield f"{count}; first those whose class is least probable", tiles(hard.missed)
    whose = " by the mean of the runs" if hard.n_runs > 1 else ""
    yield f"Missed{whose}: {len(hard.mistakes):,} of {len(labels):,}; the most confident first", tiles(hard.mistakes)
    for one in hard.confusions:
        heading = f"{names[one.label]} taken for {names[one.answer]}: {one.share:.1%} of the class's test images"
        yield heading, tiles(one.rows, N_EXAMPLES)


def write_copies(path: Path, dataset: Dataset, split: Split, copies: Copies) -> None:
    """Draw examples of each kind of copies into `path`, PNG: pair after pair, five in a row."""
    subset = np.empty(len(dataset), dtype="U10")
    for name, rows in split.subsets().items():
        subset[rows] = name

    def tile(row: int, note: str) -> Tile:
        label = dataset.class_names[dataset.labels[row]]
        return Tile(dataset.images[row], (str(dataset.sample_ids[row]), f"{subset[row]} {label}", note))

    sections = [
        (heading, [one for i, j, similarity in pairs for one in (tile(i, similarity), tile(j, ""))])
        for heading, pairs in _pairs(dataset, subset, copies)
        if pairs
    ]
    write_png(path, draw(f"{dataset.name}: pairs of copies", sections))


def _pairs(dataset: Dataset, subset: np.ndarray, copies: Copies) -> list[tuple[str, list[tuple[int, int, str]]]]:
    """Headings, and under each pairs of rows with how similar they are."""
    rows, order = copies.first[copies.pairs], np.argsort(copies.similarity)
    crossing = (subset[rows] == "train").sum(axis=1) == 1
    conflicting = dataset.labels[rows[:, 0]] != dataset.labels[rows[:, 1]]
    kinds = {
        f"Near copies just above the threshold of {copies.threshold:.2f}": order[: N_EXAMPLES * 2],
        "Near copies, one of them in train": _spread(order[crossing[order]]),
        "Mirrored copies, least similar first": _spread(order[copies.mirrored[order]]),
        "Near copies under different labels": _spread(order[conflicting[order]]),
    }
    near = [
        (heading, [(int(rows[k, 0]), int(rows[k, 1]), f"{copies.similarity[k]:.3f}") for k in chosen])
        for heading, chosen in kinds.items()
    ]
    same = [(int(copies.first[copies.image[row]]), int(row)) for row in range(len(dataset))]
    exact = [(i, j, "equal") for i, j in same if i != j and dataset.labels[i] != dataset.labels[j]]
    return [*near, ("Exact copies under different labels", exact[: N_EXAMPLES * 2])]


def _spread(chosen: np.ndarray) -> np.ndarray:
    """At most 20 of `chosen`, evenly from first to last."""
    return chosen[np.unique(np.linspace(0, len(chosen) - 1, N_EXAMPLES * 2).astype(int))] if len(chosen) else chosen


def draw(title: str, sections: Sequence[Section]) -> Image.Image:
    """The sheet: the title, then each section in rows of tiles."""
    blocks = [(heading, tiles[at : at + ACROSS]) for heading, tiles in sections for at in range(0, len(tiles), ACROSS)]
    width = 2 * MARGIN + ACROSS * (SIDE + GAP) - GAP
    heights = [SIDE + GAP + LINE * max(len(tile.caption) for tile in tiles) for _, tiles in blocks]
    sheet = Image.new("RGB", (width, sum(heights) + 2 * MARGIN * (2 + len(sections))), "white")
    pen, y, last = ImageDraw.Draw(sheet), MARGIN, ""
    _write(pen, (MARGIN, y), title, 20)
    y += 2 * MARGIN
    for (heading, tiles), height in zip(blocks, heights, strict=True):
        if heading != last:
            _write(pen, (MARGIN, y), heading, 14)
            y, last = y + 2 * MARGIN - LINE, heading
        for column, tile in enumerate(tiles):
            x = MARGIN + column * (SIDE + GAP)
            sheet.paste(ImageOps.pad(Image.fromarray(tile.image).convert("RGB"), (SIDE, SIDE), color="white"), (x, y))
            for number, line in enumerate(tile.caption):
                short = line if len(line) <= LONGEST else f"…{line[1 - LONGEST :]}"
                _write(pen, (x, y + SIDE + number * LINE), short, 10)
        y += height
    return sheet.crop((0, 0, width, y + MARGIN))


def write_png(path: Path, sheet: Image.Image) -> None:
    """Write `sheet` whole or not at all."""
    png = io.BytesIO()
    sheet.save(png, format="png")
    write_atomic(path, png.getvalue())


def _write(pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int) -> None:
    shown = one_line(text)
    pen.text(at, shown, fill="black", font=_font(frozenset(shown), size))


@cache
def _font(characters: frozenset[str], size: int) -> ImageFont.FreeTypeFont:
    """The first installed font of FONTS that has all `characters`; else the first."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    paths = [font_manager.findfont(name) for name in FONTS if name in installed]
    known = (path for path in paths if {*map(ord, characters)} <= font_manager.get_font(path).get_charmap().keys())
    return ImageFont.truetype(next(known, paths[0]), size)
