"""Lists of images: a line an image with its path, its label, perhaps its subset, its face's box and who is on it."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from fer_bench.data.options import ReadOptions
from fer_bench.data.readers.csv_files import SUBSET_COLUMNS
from fer_bench.data.readers.decoded import drop_bad, is_number, official_subset, same_name, subset_of
from fer_bench.data.readers.images.annotations import AFFECTNET_CLASSES, expressions_only
from fer_bench.data.readers.images.decoding import Box, ImageFile, told_apart
from fer_bench.data.readers.images.picture_types import SUFFIXES
from fer_bench.data.readers.locating import LISTS
from fer_bench.data.readers.tables import open_table
from fer_bench.errors import FerBenchError

LABELS = ("label", "labels", "emotion", "emotions", "expression", "class", "class_name", "category", "target")
INDEX = re.compile(r"|index|unnamed.*")
SIZED = (("face_x", "face_y", "face_width", "face_height"), ("x", "y", "w", "h"), ("x", "y", "width", "height"))
CORNERS = (("left", "top", "right", "bottom"), ("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"))
"""Names of the columns of a face's box: its left top corner, and its size or the other corner."""
MATCHED = 0.5
"""Share of the lines whose images must be there for a file to be a list of them."""
TRIED = 200
"""Lines that are looked at to find out which column has the paths, and what these are below."""
LONGEST_CELL = 200
"""Characters. Columns of longer cells, such as landmarks, are left out."""
MOST_LISTS = 20
"""Of more files of one suffix none is a list: they are one an image."""
Row = tuple[int, list[str]]


@dataclass(frozen=True)
class ImageList:
    """A list whose images are there.

    path: below the data folder, or absolute. names: of the columns, in lower case; "" where they have none. rows: with
    their line numbers. at: column of the paths. images: the image that each path means. in_classes: whether the images
    are in folders that may be classes, so that only what is called so is a label.
    """

    path: str
    names: Sequence[str]
    rows: Sequence[Row]
    at: int
    images: Mapping[str, str]
    in_classes: bool = False

    @cached_property
    def own_subset(self) -> str | None:
        """The subset that the list's name, or that of its folder in the data, says."""
        path = PurePosixPath(self.path)
        return subset_of(path.name if path.is_absolute() else self.path)

    @cached_property
    def subset(self) -> int | None:
        """Column of the subsets: one whose words all are, or most where it is called so."""
        for at, name in enumerate(self.names):
            is_called_so = name in ("usage", *SUBSET_COLUMNS)
            shares = (self._share_of_subsets(at, rows) for rows in (self.rows[:TRIED], self.rows))
            if at != self.at and all(share > MATCHED if is_called_so else share == 1 for share in shares):
                return at
        return None

    def _share_of_subsets(self, at: int, rows: Sequence[Row]) -> float:
        words = Counter(row[at] for _, row in rows if at < len(row) and row[at])
        return sum(count for word, count in words.items() if official_subset(word)) / max(words.total(), 1)

    @cached_property
    def label(self) -> int | None:
        """Column of the labels: one called so, words rather than numbers; without names the first besides the paths."""
        if not any(self.names):
            return next((at for at in range(len(self.names)) if at not in (self.at, self.subset)), None)
        named = [at for at, name in enumerate(self.names) if name in LABELS and at != self.at]
        words = (at for at in named if not all(is_number(row[at]) for _, row in self.rows[:TRIED] if at < len(row)))
        further = [at for at in self._others if not INDEX.fullmatch(self.names[at])]
        is_further = len(further) == 1 and not self.in_classes
        return next(words, named[0] if named else further[0] if is_further else None)

    @property
    def is_affectnet(self) -> bool:
        """Whether the columns are those of AffectNet's training.csv (Mollahosseini et al. 2019)."""
        return {"expression", "valence", "arousal"} <= set(self.names)

    @property
    def _others(self) -> list[int]:
        box = self.box[0] if self.box else ()
        return [at for at in range(len(self.names)) if at not in (self.at, self.subset, *box)]

    @cached_property
    def box(self) -> tuple[list[int], bool] | None:
        """Columns of the face's box, and whether the last two are its size."""
        for names in (*SIZED, *CORNERS):
            if set(names) <= set(self.names):
                return [list(self.names).index(name) for name in names], names in SIZED
        return None

    @cached_property
    def columns(self) -> dict[int, str]:
        """What else is known of the images: names by column."""
        long = {at for _, row in self.rows[:TRIED] for at, cell in enumerate(row) if len(cell) > LONGEST_CELL}
        others = [at for at in self._others if at != self.label and at not in long]
        named = {at: self.names[at] for at in others if not INDEX.fullmatch(self.names[at])}
        unnamed = {at: f"column {at + 1}" if n else "group" for n, at in enumerate(others)}
        return named if any(self.names) else unnamed

    def read(self) -> tuple[list[ImageFile], list[str]]:
        """The faces of the list, and what is wrong with each line that says of none which image and class it is.

        The class is "" where the list has no labels at all.
        """
        files: list[ImageFile] = []
        problems = []
        before: dict[str, int] = {}
        for line, row in self.rows:
            try:
                file = self._face(row, before)
            except ValueError as error:
                problems.append(f"line {line}: {error}")
            else:
                files.append(file)
                before.setdefault(file.path, line)
        return files, problems

    def _face(self, row: Sequence[str], before: Mapping[str, int]) -> ImageFile:
        if len(row) != len(self.names):
            raise ValueError(f"{len(row)} fields, not {len(self.names)}")
        path = self.images.get(row[self.at])
        if path is None:
            raise ValueError(f"{row[self.at][:80]} is not there")
        if self.label is not None and row[self.label].casefold() in ("", "nan", "null"):
            raise ValueError(f"no label of {row[self.at][:80]}")
        if path in before and not self.box:
            raise ValueError(f"{row[self.at][:80]} stands in line {before[path]}, too")
        subset = self.own_subset or subset_of(path.rpartition("/")[0])
        if self.subset is not None and (subset := official_subset(row[self.subset])) is None:
            raise ValueError(f"unknown subset {row[self.subset][:30]!r} (train, validation, test)")
        return ImageFile(
            path, "" if self.label is None else self._class(row[self.label]), subset, self._box(row),
            columns={name: row[at] for at, name in self.columns.items()},
        )  # fmt: skip

    def _class(self, label: str) -> str:
        label = re.sub(r"^(\d+)\.0*$", r"\1", label)
        return AFFECTNET_CLASSES.get(label, label) if self.is_affectnet else label

    def _box(self, row: Sequence[str]) -> Box | None:
        if self.box is None:
            return None
        at, is_size = self.box
        try:
            left, top, right, bottom = (round(float(row[one])) for one in at)
        except (ValueError, OverflowError):
            raise ValueError(f"box {', '.join(row[one][:20] for one in at)} is not four numbers") from None
        return (left, top, left + right, top + bottom) if is_size else (left, top, right, bottom)


def find_lists(
    root: Path, pictures: Sequence[str], paths: Sequence[str], in_classes: bool, only: Path | None = None
) -> list[ImageList]:
    """The lists among `paths` below `root` that name images among `pictures`, of lists of the same images the best.

    Those with labels and subsets are better. only: the list that was asked for. Raises FerBenchError where that has no
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
        if found := _matched(path, rows, pictures):
            lists.append(replace(found, in_classes=in_classes))
        elif only:
            raise FerBenchError(
                f"{only}: neither pixels nor images: its first lines are\n"
                + "\n".join(f"  {' | '.join(cell[:30] for cell in row[:8])}" for _, row in rows[:3])
                + "\nRead are lines such as images/1.png,happy[,train][,person] with the images beside the list, or a "
                "table with the columns emotion and pixels."
            )
    headers = {len(one.names): one.names for one in lists if any(one.names)}
    lists = [one if any(one.names) else replace(one, names=headers.get(len(one.names), one.names)) for one in lists]
    lists.sort(key=lambda one: (one.label is None, not (one.subset is not None or one.own_subset), -len(one.rows)))
    best, taken = [], set[str]()
    for one in lists:
        images = {image for _, row in one.rows if one.at < len(row) and (image := one.images.get(row[one.at]))}
        if not images & taken:
            best.append(one)
            taken |= images
    return best


def read_lists(
    root: Path, lists: Sequence[ImageList], classes: Mapping[str, str], options: ReadOptions
) -> tuple[list[ImageFile], list[str]]:
    """The faces of the `lists`, and notes. classes: of pictures by their folders, where these are classes.

    Raises FerBenchError naming every bad line, unless `options.skip_bad` drops them.
    """
    files: list[ImageFile] = []
    notes: list[str] = []
    for one in lists:
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


def _matched(path: str, rows: Sequence[Row], pictures: Sequence[str]) -> ImageList | None:
    """The list of these `rows`, the first perhaps the names of the columns; None where most images are not there."""
    known = _by_name(pictures)
    if (subset := subset_of(path)) and not path.startswith("/"):
        known |= _by_name([one for one in pictures if subset_of(one.rpartition("/")[0]) == subset])
    folder = path.rpartition("/")[0]
    known |= _by_name([one.removeprefix(f"{folder}/") for one in pictures if one.startswith(f"{folder}/")], folder)
    width = len(rows[0][1])
    some = [row for _, row in rows[1 : 1 + TRIED] if len(row) == width] or [rows[0][1]]
    ways = [(at, below) for at in range(width) for below in range(max(len(_parts(row[at])) for row in some))]
    at, below = max(ways, key=lambda way: (_score([row[way[0]] for row in some], way[1], known), -way[1], -way[0]))
    images = {row[at]: found for _, row in rows if at < len(row) and (found := _find(row[at], below, known))}
    first = rows[0][1]
    has_names = first[at] not in images and PurePosixPath(first[at]).suffix.lower() not in SUFFIXES
    body = rows[has_names:]
    if width < 2 or sum(at < len(row) and row[at] in images for _, row in body) <= MATCHED * len(body):
        return None
    return ImageList(path, [name.casefold() for name in first] if has_names else [""] * width, body, at, images)


def _score(cells: Sequence[str], below: int, known: Mapping[str, str]) -> float:
    """How many pictures the `cells` name, those without or with another suffix counting half: labels may look so."""
    found = {(cell, picture) for cell in cells if (picture := _find(cell, below, known))}
    return sum(1.0 if picture.endswith(_parts(cell)[-1]) else 0.5 for cell, picture in found)


def _parts(cell: str) -> list[str]:
    return cell.replace("\\", "/").removeprefix("./").split("/")


def _find(cell: str, below: int, known: Mapping[str, str]) -> str | None:
    """The picture that a `cell` names without its first `below` folders, perhaps with another suffix or without."""
    name = "/".join(_parts(cell)[below:])
    return known.get(name) or (known.get(name.rpartition(".")[0]) if name else None)


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
