"""Sheets of small images under headings, with captions, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_bench.cache import write_atomic

COLUMNS = 10
SIDE, GAP, LINE, MARGIN = 112, 24, 15, 24
LONGEST = 21
"""Characters of a caption that fit under a tile; of longer ones the end is shown."""
BLACK, GREY, WHITE = (0, 0, 0), (90, 90, 90), 255


@dataclass(frozen=True)
class Tile:
    """image: uint8 (h, w) gray or (h, w, 3) RGB; caption: lines under it."""

    image: np.ndarray
    caption: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """Tiles under a heading."""

    heading: str
    tiles: Sequence[Tile]


def draw(title: str, sections: Sequence[Section]) -> np.ndarray:
    """The sheet, uint8 (h, w, 3) RGB: the title, then each section in rows of COLUMNS tiles."""
    width = 2 * MARGIN + COLUMNS * (SIDE + GAP) - GAP
    parts = [_text(title, width, 0.75, BLACK, 2)]
    for section in sections:
        parts.append(_text(section.heading, width, 0.5, BLACK, 1))
        for start in range(0, len(section.tiles), COLUMNS):
            parts.append(_row(section.tiles[start : start + COLUMNS], width))
    return np.concatenate([*parts, np.full((MARGIN, width, 3), WHITE, np.uint8)])


def write_png(path: Path, sheet: np.ndarray) -> None:
    """Write `sheet`, uint8 (h, w, 3) RGB, whole or not at all; gray where it has no color."""
    import cv2

    is_gray = (sheet == sheet[..., :1]).all()
    _, encoded = cv2.imencode(".png", sheet[..., 0] if is_gray else sheet[..., ::-1])
    write_atomic(path, encoded.tobytes())


def _text(text: str, width: int, scale: float, color: tuple[int, int, int], weight: int) -> np.ndarray:
    strip = np.full((2 * MARGIN, width, 3), WHITE, np.uint8)
    _put(strip, text, MARGIN, MARGIN + 10, scale, color, weight)
    return strip


def _row(tiles: Sequence[Tile], width: int) -> np.ndarray:
    n_lines = max(len(tile.caption) for tile in tiles)
    strip = np.full((SIDE + n_lines * LINE + GAP, width, 3), WHITE, np.uint8)
    for column, tile in enumerate(tiles):
        left = MARGIN + column * (SIDE + GAP)
        strip[:SIDE, left : left + SIDE] = _fitted(tile.image)
        for number, line in enumerate(tile.caption):
            shown = line if len(line) <= LONGEST else f"..{line[2 - LONGEST :]}"
            _put(strip, shown, left, SIDE + (number + 1) * LINE - 3, 0.37, GREY if number == 2 else BLACK, 1)
    return strip


def _fitted(image: np.ndarray) -> np.ndarray:
    """The image in the middle of a square of SIDE pixels, uint8 (SIDE, SIDE, 3)."""
    import cv2

    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    enlarged = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    square = np.full((SIDE, SIDE, 3), WHITE, np.uint8)
    top, left = (SIDE - size[1]) // 2, (SIDE - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = enlarged if enlarged.ndim == 3 else enlarged[..., None]
    return square


def _put(
    strip: np.ndarray, text: str, left: int, baseline: int, scale: float, color: tuple[int, int, int], weight: int
) -> None:
    import cv2

    cv2.putText(strip, text, (left, baseline), cv2.FONT_HERSHEY_SIMPLEX, scale, color, weight, cv2.LINE_AA)
