"""The sheet of copies: pairs of images to be looked at beside each other. Never to be committed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from fer_bench.cache import replacing
from fer_bench.errors import FerBenchError
from fer_bench.report.figures import installed_fonts, letters
from fer_bench.report.text import one_line

if TYPE_CHECKING:
    from fer_bench.data import Copies, Dataset, Split

MOST_PAIRS = 20
"""Of each kind."""
ACROSS, SIDE, GAP, LINE, MARGIN, LONGEST = 10, 112, 24, 15, 24, 20
"""Tiles in a row; pixels of a tile, between tiles, of a line and around all; characters of a caption."""


@dataclass(frozen=True)
class Tile:
    """image: uint8 (h, w) gray or (h, w, 3) RGB; caption: lines under it."""

    image: np.ndarray
    caption: tuple[str, ...]


Section = tuple[str, Sequence[Tile]]
"""Tiles under a heading."""


def images_of(dataset: Dataset, data_fingerprint: str, ids: np.ndarray) -> np.ndarray:
    """The images `ids`, str (n,), of `dataset`, uint8 (n, h, w[, 3]). Raises FerBenchError where it is other data."""
    if dataset.fingerprint != data_fingerprint:
        raise FerBenchError(
            f"{dataset.name}: has fingerprint {dataset.fingerprint}, and the runs are of data {data_fingerprint}; give "
            "the data they ran on"
        )
    at = {sample_id: row for row, sample_id in enumerate(dataset.sample_ids.tolist())}
    return dataset.images[[at[sample_id] for sample_id in ids.tolist()]]


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
    with replacing(path) as file:
        draw(f"{dataset.name}: pairs of copies", sections).save(file, format="png")


def _pairs(dataset: Dataset, subset: np.ndarray, copies: Copies) -> list[tuple[str, list[tuple[int, int, str]]]]:
    """Headings, and under each pairs of rows with how similar they are."""
    rows, order = copies.first[copies.pairs], np.argsort(copies.similarity)
    crossing = (subset[rows] == "train").sum(axis=1) == 1
    conflicting = dataset.labels[rows[:, 0]] != dataset.labels[rows[:, 1]]
    kinds = {
        f"Near copies just above the threshold of {copies.threshold:.2f}": order[:MOST_PAIRS],
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
    return [*near, ("Exact copies under different labels", exact[:MOST_PAIRS])]


def _spread(chosen: np.ndarray) -> np.ndarray:
    """At most MOST_PAIRS of `chosen`, evenly from first to last."""
    return chosen[np.unique(np.linspace(0, len(chosen) - 1, MOST_PAIRS).astype(int))] if len(chosen) else chosen


def draw(title: str, sections: Sequence[Section]) -> Image.Image:
    """The sheet: the title, then each section in rows of tiles."""
    blocks = [(heading, tiles[at : at + ACROSS]) for heading, tiles in sections for at in range(0, len(tiles), ACROSS)]
    width = 2 * MARGIN + ACROSS * (SIDE + GAP) - GAP
    heights = [SIDE + GAP + LINE * max(len(tile.caption) for tile in tiles) for _, tiles in blocks]
    sheet = Image.new("RGB", (width, sum(heights) + 2 * MARGIN * (2 + len(sections))), "white")
    pen, y, last = ImageDraw.Draw(sheet), MARGIN, ""
    write_line(pen, (MARGIN, y), title, 20)
    y += 2 * MARGIN
    for (heading, tiles), height in zip(blocks, heights, strict=True):
        if heading != last:
            write_line(pen, (MARGIN, y), heading, 14)
            y, last = y + 2 * MARGIN - LINE, heading
        for column, tile in enumerate(tiles):
            x = MARGIN + column * (SIDE + GAP)
            sheet.paste(ImageOps.pad(Image.fromarray(tile.image).convert("RGB"), (SIDE, SIDE), color="white"), (x, y))
            for number, line in enumerate(tile.caption):
                short = line if len(line) <= LONGEST else f"…{line[1 - LONGEST :]}"
                write_line(pen, (x, y + SIDE + number * LINE), short, 10)
        y += height
    return sheet.crop((0, 0, width, y + MARGIN))


def write_line(pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, colour: str = "black") -> None:
    """Write `text` as one line of letters of `size` pixels; what the font has no glyph for as its escape."""
    shown = one_line(text)
    font, missing = _font(frozenset(shown), size)
    for character in missing:  # a box would be the same for all of them
        shown = shown.replace(character, character.encode("unicode_escape").decode())
    pen.text(at, shown, fill=colour, font=font)


@cache
def _font(characters: frozenset[str], size: int) -> tuple[ImageFont.FreeTypeFont, frozenset[str]]:
    """The installed font of FONTS that has most of `characters`, the first of these; and those that it lacks."""
    from matplotlib import font_manager

    missing = {font: characters - letters(font) for font in installed_fonts()}
    best = min(missing, key=lambda font: len(missing[font]))
    return ImageFont.truetype(font_manager.findfont(best), size), missing[best]
