"""Image files of any format, size and colour, decoded into one array."""

import io
import os
import stat
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from PIL import Image

from fer_bench.data.options import ReadOptions
from fer_bench.data.readers.decoded import Decoded, drop_bad
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
class ImageFile:
    """One face in an image file, as a layout says.

    path: below the data folder. subset: official, or None. box: left, top, right and bottom of the face in pixels, or
    None for all of the image. sample_id: where one file has several faces, instead of its path. columns: what else is
    known of it, by name.
    """

    path: str
    class_name: str
    subset: str | None = None
    box: tuple[int, int, int, int] | None = None
    sample_id: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


def read_images(
    root: Path, files: Sequence[ImageFile], notes: Sequence[str], scratch: Path, options: ReadOptions,
    progress: Progress = silent,
) -> Decoded:  # fmt: skip
    """Decode `files` below `root`: gray where all are, otherwise RGB; of one size (`common_size`).

    Pixels go into the file `scratch`, not into memory. Raises FerBenchError naming every unreadable file, unless
    `options.skip_bad` drops them.
    """
    looks = look_at([root / file.path for file in files], progress)
    bad = [f"{file.path}: {look.problem}" for file, look in zip(files, looks, strict=True) if look.problem]
    dropped = drop_bad(root, "unreadable images", len(files), bad, options.skip_bad)
    class_names = sorted({file.class_name for file in files})
    codes = {name: code for code, name in enumerate(class_names)}
    files = [file for file, look in zip(files, looks, strict=True) if not look.problem]
    looks = [look for look in looks if not look.problem]
    size = common_size(looks)
    gray = all(look.gray for look in looks)
    return Decoded(
        images=decode([root / file.path for file in files], size, gray, scratch, progress),
        labels=np.array([codes[file.class_name] for file in files], dtype=np.int64),
        class_names=tuple(_printable(name) for name in class_names),
        sample_ids=np.array([_printable(file.sample_id or file.path) for file in files]),
        subsets=np.array([file.subset for file in files]) if files[0].subset else None,
        notes=(*notes, *dropped, *_size_note(looks, size)),
    )


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


def _size_note(looks: Sequence[Look], size: tuple[int, int]) -> list[str]:
    sizes = sorted({(look.height, look.width) for look in looks}, key=lambda size: size[0] * size[1])
    if sizes == [size]:
        return []
    (low, high), (height, width) = sizes[0], sizes[-1]
    return [f"images of {low} x {high} to {height} x {width} pixels were resized to {size[0]} x {size[1]}"]


def _printable(name: str) -> str:
    """`name` with bytes that are not UTF-8 written out, so that it can be stored as text."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


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
