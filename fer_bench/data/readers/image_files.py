"""Image files of any format, size and colour, decoded into one array."""

import io
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from PIL import Image

from fer_bench.data.resizing import resized
from fer_bench.errors import FerBenchError
from fer_bench.progress import Progress, silent

SUFFIXES = frozenset(
    (".avif", ".bmp", ".dib", ".gif", ".hdr", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm")
    + (".pic", ".png", ".pnm", ".ppm", ".ras", ".sr", ".tif", ".tiff", ".webp")
)
"""Names of the formats that OpenCV reads."""
LARGEST_SIDE = 224
"""Pixels. Larger images are made smaller: no model looks closer."""
MOST_PIXELS = 1 << 26
"""Of one image. The largest cameras have fewer; what has more is a mistake, or made to fill the memory."""
CHUNK = 512


@dataclass(frozen=True)
class Look:
    """What an image file holds: its size in pixels and whether it is gray, or the problem with it."""

    height: int = 0
    width: int = 0
    gray: bool = True
    problem: str = ""


def look_at(paths: Sequence[Path], progress: Progress = silent) -> list[Look]:
    """Decode every file once and forget its pixels: what is known of all decides how each is stored."""
    looks = []
    with _quiet(), _threads() as pool:
        for done, look in enumerate(pool.map(_look, paths), start=1):
            looks.append(look)
            if done % CHUNK == 0:
                progress(0.5 * done / len(paths), "looking at the images")
    return looks


def common_size(looks: Sequence[Look]) -> tuple[int, int]:
    """(height, width) for all: their own where it is one and at most 224, otherwise a square of the median side."""
    sizes = {(look.height, look.width) for look in looks}
    if len(sizes) == 1 and max(min(sizes)) <= LARGEST_SIDE:
        return sizes.pop()
    side = round(median(side for look in looks for side in (look.height, look.width)))
    return min(side, LARGEST_SIDE), min(side, LARGEST_SIDE)


def decode(
    paths: Sequence[Path], size: tuple[int, int], gray: bool, scratch: Path, progress: Progress = silent
) -> np.ndarray:
    """The images as uint8 (n, h, w) or RGB (n, h, w, 3), memory-mapped from the file `scratch` that this writes.

    Raises FerBenchError where a file that was looked at can no longer be read.
    """
    with scratch.open("wb") as out, _quiet(), _threads() as pool:
        for start in range(0, len(paths), CHUNK):
            chunk = list(pool.map(partial(_sized, size=size, gray=gray), paths[start : start + CHUNK]))
            np.stack(chunk).tofile(out)
            progress(0.5 + 0.5 * (start + len(chunk)) / len(paths), "decoding the images")
    return np.memmap(scratch, dtype=np.uint8, mode="r", shape=(len(paths), *size) + (() if gray else (3,)))


def _pixels(path: Path) -> np.ndarray:
    """BGR as OpenCV decodes it, turned upright by its EXIF tag. Raises ValueError saying what is wrong."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("not a file of data")  # a pipe would have us wait for ever
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise ValueError(f"cannot be opened ({error.strerror or error})") from error
    if not data.size:
        raise ValueError("zero bytes")
    _refuse_bomb(data)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ValueError(f"cannot be decoded ({error.err})") from error
    if image is None:
        raise ValueError("cannot be decoded")
    return image


def _refuse_bomb(data: np.ndarray) -> None:
    """Raise ValueError where a file says that it has more pixels than a photograph: they would fill the memory."""
    try:
        width, height = Image.open(io.BytesIO(data.data)).size
        too_many = width * height > MOST_PIXELS
    except Image.DecompressionBombError:
        too_many = True
    except Exception:  # whatever Pillow says of what it does not know; OpenCV has a limit too, of 16 times as many
        return
    if too_many:
        raise ValueError(f"more than {MOST_PIXELS:,} pixels")


def _look(path: Path) -> Look:
    try:
        image = _pixels(path)
    except ValueError as error:
        return Look(problem=str(error))
    blue, green, red = np.moveaxis(image, 2, 0)
    return Look(blue.shape[0], blue.shape[1], gray=bool((blue == green).all() and (green == red).all()))


def _sized(path: Path, size: tuple[int, int], gray: bool) -> np.ndarray:
    try:
        image = _pixels(path)
    except ValueError as error:
        raise FerBenchError(f"{path}: changed while it was read ({error}); start again") from error
    return resized(np.ascontiguousarray(image[..., 0] if gray else image[..., ::-1]), size)


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1))


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV and Pillow report to standard error what is reported here, with the file's name, in one list."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        cv2.utils.logging.setLogLevel(level)
