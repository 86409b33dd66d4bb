"""Faces in image files of any size and colour, cut out and decoded into one array."""

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import BinaryIO

import numpy as np

from fer_bench.data.options import ReadOptions
from fer_bench.data.readers.decoded import Decoded, drop_bad, nearly_black
from fer_bench.data.readers.images import faces
from fer_bench.data.readers.images.pixels import pixels, quiet
from fer_bench.data.resizing import fitted, shrunk
from fer_bench.errors import FerBenchError, listing
from fer_bench.progress import Progress, silent

CHUNK = 512
DEEP = 65535
MARGIN = 0.1
"""Of a face box's sides, added on each: boxes are drawn tight."""
Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels or as shares of the image's sides."""


@dataclass(frozen=True)
class ImageFile:
    """One face in an image file, as a layout says.

    path: below the data folder. subset: official, or None. box: of the face, or None for all of the image, in pixels
    unless `in_shares`. sample_id: where one file has several faces, instead of its path. columns: what else is
    known of it, by name. votes: of taggers, how many for each name.
    """

    path: str
    class_name: str
    subset: str | None = None
    box: Box | None = None
    in_shares: bool = False
    sample_id: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    votes: Mapping[str, int] = field(default_factory=dict)


def told_apart(files: Sequence[ImageFile]) -> list[ImageFile]:
    """`files` with ids of their own, and in a column which image they are of, where several are faces of one image."""
    counts, before = Counter(file.path for file in files), Counter[str]()
    if len(counts) == len(files):
        return list(files)
    apart = []
    for file in files:
        one = file.sample_id or (f"{file.path}#{before[file.path]}" if counts[file.path] > 1 else None)
        apart.append(replace(file, sample_id=one, columns={**file.columns, "image": file.path}))
        before[file.path] += 1
    return apart


def read_images(
    root: Path, files: Sequence[ImageFile], notes: Sequence[str], scratch: Path, options: ReadOptions,
    progress: Progress = silent, class_names: Sequence[str] = (),
) -> Decoded:  # fmt: skip
    """Decode `files` below `root`, each once: gray where all are, otherwise RGB; squares of one size (`common_side`).

    What is not square is padded by its edge pixels. Pixels go into the file `scratch`, not into memory. class_names: in
    the layout's order, where it has one. Raises FerBenchError naming every unreadable file, every box outside its image
    and, under `options.crop_faces`, every image without a face, unless `options.skip_bad` drops them; and where
    most images are deep and nearly black, or there are no files.
    """
    if not files:
        raise FerBenchError(f"{root}: no images with a label{''.join(f'; {note}' for note in notes)}")
    without = [_printable(file.path) for file in files if not file.subset]
    if 0 < len(without) < len(files):
        raise FerBenchError(
            f"{root}: {len(without):,} of {len(files):,} images have no subset; give all of them one, or none\n"
            f"{listing(without)}"
        )
    raw = scratch.with_name(f"{scratch.name}.small")
    try:
        with raw.open("wb") as out:
            looks = _check_depth(root, _shrink_all(root, files, options, out, progress))
        bad = [
            f"{_printable(file.path)}: {look.problem}" for file, look in zip(files, looks, strict=True) if look.problem
        ]
        what = "images without a face, or unreadable," if options.crop_faces else "unreadable images"
        dropped = drop_bad(root, what, len(files), bad, options.skip_bad)
        kept = [(file, look) for file, look in zip(files, looks, strict=True) if not look.problem]
        files, looks = [file for file, _ in kept], [look for _, look in kept]
        side = common_side(looks, options.side)
        images = _assemble(raw, looks, side, scratch)
    finally:
        raw.unlink(missing_ok=True)
    names = [*class_names, *sorted({file.class_name for file in files} - set(class_names))]
    codes = {name: code for code, name in enumerate(names)}
    ids = [_printable(file.sample_id or file.path) for file in files]
    composed = [unicodedata.normalize("NFC", one) for one in ids]
    columns = sorted({name for file in files for name in file.columns})
    voted = list(files[0].votes) if all(file.votes for file in files) else []
    return Decoded(
        images=images,
        labels=np.array([codes[file.class_name] for file in files], dtype=np.int64),
        class_names=tuple(_printable(name) for name in names),
        sample_ids=np.array(composed if len(set(composed)) == len(set(ids)) else ids),
        subsets=np.array([file.subset for file in files]) if all(file.subset for file in files) else None,
        votes=np.array([[file.votes[name] for name in voted] for file in files]) if voted else None,
        vote_names=tuple(voted),
        columns={name: np.array([file.columns.get(name, "") for file in files]) for name in columns},
        notes=(*notes, *dropped, *_size_note(looks, side), *_photographs(root, files, looks, options)),
    )


@dataclass(frozen=True)
class Look:
    """One decoded image: its size in pixels before it was made smaller, how it is stored, or the problem with it.

    shape: of the small one, (h, w) where gray. at: byte in the file of small ones. span: darkest and brightest value
    of a 16-bit image, otherwise None.
    """

    height: int = 0
    width: int = 0
    shape: tuple[int, ...] = ()
    at: int = 0
    span: tuple[int, int] | None = None
    problem: str = ""


def common_side(looks: Sequence[Look], largest: int) -> int:
    """Pixels: the median of the images' longer sides, at most `largest`."""
    return min(round(median(max(look.height, look.width) for look in looks)), largest)


def _shrink_all(
    root: Path, files: Sequence[ImageFile], options: ReadOptions, out: BinaryIO, progress: Progress
) -> list[Look]:
    """Every image decoded, cut out, made no larger than it can be stored, and written to `out`."""

    def small(file: ImageFile) -> tuple[Look, np.ndarray | None]:
        try:
            image, span = pixels(root / file.path)
            image = _cut(image, file, options.crop_faces)
        except ValueError as error:
            return Look(problem=str(error)), None
        little = shrunk(image, options.side)
        blue, green, red = np.moveaxis(little, 2, 0)
        gray = bool((blue == green).all() and (green == red).all())
        stored = np.ascontiguousarray(blue if gray else little[..., ::-1])
        height, width = image.shape[:2]
        return Look(height, width, stored.shape, span=span), stored

    looks = []
    with quiet(), _threads() as pool:
        for start in range(0, len(files), CHUNK):
            for look, stored in pool.map(small, files[start : start + CHUNK]):
                looks.append(look if stored is None else replace(look, at=out.tell()))
                if stored is not None:
                    out.write(stored.data)
            progress(0.9 * len(looks) / len(files), "decoding the images")
    return looks


def _assemble(raw: Path, looks: Sequence[Look], side: int, scratch: Path) -> np.ndarray:
    """The small images of `raw` as uint8 (n, side, side) or RGB (n, side, side, 3), mapped from the file `scratch`."""
    gray = all(len(look.shape) == 2 for look in looks)
    smalls = np.memmap(raw, dtype=np.uint8, mode="r")
    with scratch.open("wb") as out:
        for look in looks:
            image = smalls[look.at : look.at + int(np.prod(look.shape))].reshape(look.shape)
            square = fitted(np.asarray(image), side)
            out.write(np.ascontiguousarray(square if gray or square.ndim == 3 else np.dstack([square] * 3)).data)
    return np.memmap(scratch, dtype=np.uint8, mode="r", shape=(len(looks), side, side) + (() if gray else (3,)))


def _cut(image: np.ndarray, file: ImageFile, crop_faces: bool) -> np.ndarray:
    """The face in its box, or the one that is found, with a margin; all of `image` where neither is asked for."""
    box: Box | None = file.box
    if box is None and crop_faces:
        box = faces.largest_face(image)
        if box is None:
            raise ValueError("no face found")
    if box is None:
        return image
    height, width = image.shape[:2]
    scales = (width, height) * 2 if file.in_shares else (1,) * 4
    left, top, right, bottom = (round(value * scale) for value, scale in zip(box, scales, strict=True))
    if min(right, width) <= max(left, 0) or min(bottom, height) <= max(top, 0):
        raise ValueError(f"box {left}, {top}, {right}, {bottom} is empty or outside its {width} x {height} pixels")
    across, down = round(MARGIN * (right - left)), round(MARGIN * (bottom - top))
    return image[max(top - down, 0) : bottom + down, max(left - across, 0) : right + across]


def _check_depth(root: Path, looks: list[Look]) -> list[Look]:
    """`looks`; where all 16-bit ones are nearly black, that is their problem, or FerBenchError where most are such."""
    spans = [look.span for look in looks if look.span]
    if not spans:
        return looks
    whole = min(low for low, _ in spans), max(high for _, high in spans)
    dark = nearly_black(*whole, DEEP, f"{len(spans):,} images of 16 bits: pixels")
    if dark and 2 * len(spans) > len(looks):
        raise FerBenchError(f"{root}: {dark}")
    return [
        replace(look, problem=nearly_black(*look.span, DEEP, "16-bit pixels")) if dark and look.span else look
        for look in looks
    ]


def _photographs(root: Path, files: Sequence[ImageFile], looks: Sequence[Look], options: ReadOptions) -> list[str]:
    """A note where most images, of some that are looked at, show more than a face."""
    if options.crop_faces or median(min(look.height, look.width) for look in looks) < faces.LEAST_SIDE:
        return []
    whole = [file for file in files if file.box is None]
    some = whole[:: len(whole) // faces.LOOKED_AT + 1]
    if not some:
        return []
    with quiet(), _threads() as pool:
        n = sum(pool.map(lambda file: faces.is_whole_photograph(pixels(root / file.path)[0]), some))
    if 2 * n <= len(some):
        return []
    return [
        f"these look like whole photographs: in {n} of {len(some)} that were looked at no face fills the middle; "
        "--crop-faces cuts the faces out"
    ]


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1))


def _size_note(looks: Sequence[Look], side: int) -> list[str]:
    sizes = sorted({(look.height, look.width) for look in looks}, key=lambda size: size[0] * size[1])
    if sizes == [(side, side)]:
        return []
    (low, high), (height, width) = sizes[0], sizes[-1]
    span = f"{low} x {high}" + (f" to {height} x {width}" if len(sizes) > 1 else "")
    padded = "" if all(tall == wide for tall, wide in sizes) else ", what is not square padded by its edge pixels"
    return [f"images of {span} pixels were resized to {side} x {side}{padded}"]


def _printable(name: str) -> str:
    """`name` with bytes that are not UTF-8 written out, so that it can be stored as text."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
