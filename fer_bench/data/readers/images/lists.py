"""Lists of images: found beside the images or given themselves, and read."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from fer_bench.data.options import ReadOptions
from fer_bench.data.readers.decoded import drop_bad, is_number, same_name, subset_of
from fer_bench.data.readers.images.annotations import expressions_only
from fer_bench.data.readers.images.decoding import ImageFile, told_apart
from fer_bench.data.readers.images.image_list import ImageList, Row
from fer_bench.data.readers.images.picture_types import SUFFIXES
from fer_bench.data.readers.locating import LISTS
from fer_bench.data.readers.tables import open_table, refuse_repeats
from fer_bench.errors import FerBenchError

MATCHED = 0.5
"""Share of the lines whose images must be there for a file to be a list of them."""
TRIED = 200
"""Lines that are looked at to find out which column has the paths, and what these are below."""
DEEPEST = 64
"""Folders of a path that are tried without: a cell of more, as after a quote that is not closed, is none."""
MOST_LISTS = 20
"""Of more files of one suffix none is a list: they are one an image."""


def find_lists(
    root: Path, pictures: Sequence[str], paths: Sequence[str], in_classes: bool, only: Path | None = None
) -> list[ImageList]:
    """The lists among `paths` below `root` that name images among `pictures`, of lists of the same images the best.

    Those with labels and subsets are better. in_classes: whether folders may be classes, so that only lists of most
    pictures are of these. only: the list that was asked for. Raises FerBenchError where that has no
    images.
    """
    kinds = Counter(PurePosixPath(path).suffix.lower() for path in paths)
    suffixes = tuple(suffix for suffix in LISTS if kinds[suffix] <= MOST_LISTS)
    candidates = [str(only)] if only else sorted(path for path in paths if path.lower().endswith(suffixes or "/."))
    lists = []
    for path in candidates:
        try:
            with open_table(root / path) as table:
                rows = [(line, [cell.decode(errors="replace") for cell in cells]) for line, cells in table]
                rows.insert(0, (1, table.names))
        except FerBenchError:
            if only:
                raise
            continue
        known, least = _known(path, pictures), 0 if only else MATCHED
        if found := [one for way in _readings(rows, table.mark) if (one := _matched(path, way, known, least))]:
            one = max(found, key=lambda one: (len(one.named_images), -len(one.titles)))
            lists.append(replace(one, in_classes=True) if in_classes else one.with_one_label())
        elif only:
            raise FerBenchError(
                f"{only}: neither pixels nor images: its first lines are\n"
                + "\n".join(f"  {' | '.join(cell[:30] for cell in row[:8])}" for _, row in rows[:3])
                + "\nRead are lines such as images/1.png,happy[,train][,person] with the images beside the list, or a "
                "table with the columns emotion and pixels."
            )
    titles = {len(one.titles): one.titles for one in lists if any(one.titles)}
    lists = [one if any(one.titles) else replace(one, titles=titles.get(len(one.titles), one.titles)) for one in lists]
    lists.sort(key=lambda one: (one.label is None, not (one.subset is not None or one.own_subset), -len(one.rows)))
    best, taken = [], set[str]()
    for one in lists:
        if taken.isdisjoint(one.named_images):
            best.append(one)
            taken.update(one.named_images)
    return best if only or not in_classes or len(taken) > MATCHED * len(pictures) else []


def read_lists(
    root: Path, lists: Sequence[ImageList], classes: Mapping[str, str], options: ReadOptions
) -> tuple[list[ImageFile], list[str]]:
    """The faces of the `lists`, and notes. classes: of pictures by their folders, where these are classes.

    Raises FerBenchError naming columns of one name, and every bad line, unless `options.skip_bad` drops them.
    """
    files: list[ImageFile] = []
    notes: list[str] = []
    for one in lists:
        refuse_repeats(root / one.path, one.titles)
        read, problems = one.read()
        read, others = expressions_only(read, options) if one.is_affectnet else (read, [])
        notes += [f"{'attributes' if one.label is None else 'labels'} from {PurePosixPath(one.path).name}"]
        notes += drop_bad(root / one.path, "bad lines", len(one.rows), problems, options.skip_bad)
        notes += others
        files += read
    files, differing = _compared(told_apart(files), classes)
    return files, [*notes, *differing]


def _compared(files: list[ImageFile], classes: Mapping[str, str]) -> tuple[list[ImageFile], list[str]]:
    """`files` with the names of their folders for numbers, and a note where folders are of other classes."""
    pairs = Counter((file.class_name, classes[file.path]) for file in files if file.class_name and file.path in classes)
    labels, folders = {label for label, _ in pairs}, {folder for _, folder in pairs}
    if len(pairs) == len(labels) == len(folders) and all(map(is_number, labels)):
        names = dict(pairs.keys())
        return [replace(file, class_name=names.get(file.class_name, file.class_name)) for file in files], []
    other = sum(n for (label, folder), n in pairs.items() if same_name(label) != same_name(folder))
    if not other or not set(map(same_name, labels)) <= set(map(same_name, folders)):
        return files, []
    return files, [f"{other:,} of {pairs.total():,} images lie in the folder of another class than their list says, "
                   "which is followed"]  # fmt: skip


def _readings(rows: Sequence[Row], mark: str) -> Iterator[Sequence[Row]]:
    """The rows; where cells are apart by spaces also those whose first cell, a path, goes on to the last few cells."""
    yield rows
    for n in range(1, 4) if mark == " " else ():
        yield [(line, [" ".join(row[:-n]), *row[-n:]]) for line, row in rows]


def _known(path: str, pictures: Sequence[str]) -> dict[str, str]:
    """Pictures by the names that they may have in the list at `path`: first those of its folder, then of its subset."""
    known = _by_name(pictures)
    if (subset := subset_of(path)) and not path.startswith("/"):
        known |= _by_name([one for one in pictures if subset_of(one.rpartition("/")[0]) == subset])
    folder = path.rpartition("/")[0]
    return known | _by_name(
        [one.removeprefix(f"{folder}/") for one in pictures if one.startswith(f"{folder}/")], folder
    )


def _matched(path: str, rows: Sequence[Row], known: Mapping[str, str], least: float) -> ImageList | None:
    """The list of these `rows`, the first perhaps the names of the columns; None where fewer images are there.

    known: pictures by the names that they may have in it. least: share of the rows whose images must be there.
    """
    width = len(rows[0][1])
    some = [row for _, row in rows[1 : 1 + TRIED] if len(row) == width] or [rows[0][1]]
    ways = [
        (at, below) for at in range(width) for below in range(min(DEEPEST, max(len(_parts(row[at])) for row in some)))
    ]
    at, below = max(ways, key=lambda way: (_score([row[way[0]] for row in some], way[1], known), -way[1], -way[0]))
    images = {row[at]: found for _, row in rows if at < len(row) and (found := _find(row[at], below, known))}
    first = rows[0][1]
    has_names = first[at] not in images and PurePosixPath(first[at]).suffix.lower() not in SUFFIXES
    body = rows[has_names:]
    if width < 2 or sum(at < len(row) and row[at] in images for _, row in body) <= least * len(body):
        return None
    return ImageList(path, list(first) if has_names else [""] * width, body, at, images)


def _score(cells: Sequence[str], below: int, known: Mapping[str, str]) -> float:
    """How many pictures the `cells` name, those without or with another suffix counting half: labels may look so."""
    found = {(cell, picture) for cell in cells if (picture := _find(cell, below, known))}
    return sum(1.0 if picture.endswith(_parts(cell)[-1]) else 0.5 for cell, picture in found)


def _parts(cell: str) -> list[str]:
    path = cell.replace("\\", "/").removeprefix("./")
    return (os.path.normpath(path) if "/../" in path else path).split("/")


def _find(cell: str, below: int, known: Mapping[str, str]) -> str | None:
    """The picture that a `cell` names without its first `below` folders, perhaps with another suffix or without."""
    name = "/".join(_parts(cell)[below:])
    stem, _, suffix = name.rpartition(".")
    return known.get(name) or (known.get(stem) if suffix.isalnum() else None)


def _by_name(pictures: Sequence[str], folder: str = "") -> dict[str, str]:
    """Pictures by their whole path and every end of it that no other has, and without their suffix.

    folder: that the paths are below.
    """
    known: dict[str, str] = {}
    for names in (pictures, [os.path.splitext(path)[0] for path in pictures]):  # noqa: PTH122
        ends: dict[str, str | None] = {}
        for name, path in zip(names, pictures, strict=True):
            end, above = name, "/"
            while above:
                ends[end] = path if ends.setdefault(end, path) == path else None
                _, above, end = end.partition("/")
        if names is pictures:
            ends |= dict(zip(names, pictures, strict=True))
        known = {end: f"{folder}/{path}" if folder else path for end, path in ends.items() if path} | known
    return known
