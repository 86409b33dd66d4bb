"""One list of images: which of its columns says what, and what its lines say."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath

from fer_bench.data.readers.csv_files import SUBSET_COLUMNS
from fer_bench.data.readers.decoded import NOT_UTF8, is_missing, is_number, official_subset, subset_of
from fer_bench.data.readers.images.annotations import AFFECTNET_CLASSES
from fer_bench.data.readers.images.decoding import Box, ImageFile

LABELS = ("label", "labels", "emotion", "emotions", "expression", "class", "class_name", "category", "target")
INDEX = re.compile(r"|index|unnamed.*")
SIZED = (("face_x", "face_y", "face_width", "face_height"), ("x", "y", "w", "h"), ("x", "y", "width", "height"))
CORNERS = (("left", "top", "right", "bottom"), ("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"))
"""Names of the columns of a face's box: its left top corner, and its size or the other corner."""
MOST = 0.5
"""Share of the words in a column called as one of subsets that are subsets, from which it is one."""
TRIED = 200
"""Lines that are looked at to find out what a column is about."""
LONGEST_CELL = 200
"""Characters. Columns of longer cells, such as landmarks, are left out."""
UNDECODED = "\ufffd"
Row = tuple[int, list[str]]


@dataclass(frozen=True)
class ImageList:
    """A list whose images are there.

    path: below the data folder, or absolute. titles: of the columns, "" where they have none. rows: with their line
    numbers. at: column of the paths. images: the image that each path means. in_classes: whether the images are in
    folders that may be classes, so that only what is called so is a label.
    """

    path: str
    titles: Sequence[str]
    rows: Sequence[Row]
    at: int
    images: Mapping[str, str]
    in_classes: bool = False

    @cached_property
    def names(self) -> list[str]:
        """The titles in lower case, to find columns by."""
        return [title.casefold() for title in self.titles]

    @property
    def named_images(self) -> list[str]:
        """The images of all lines that are whole and whose image is there."""
        whole = (row[self.at] for _, row in self.rows if len(row) == len(self.titles))
        return [self.images[cell] for cell in whole if cell in self.images]

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
            if at != self.at and all(share > MOST if is_called_so else share == 1 for share in shares):
                return at
        return None

    def _share_of_subsets(self, at: int, rows: Sequence[Row]) -> float:
        words = Counter(row[at] for _, row in rows if at < len(row) and row[at])
        return sum(count for word, count in words.items() if official_subset(word)) / max(words.total(), 1)

    @cached_property
    def label(self) -> int | None:
        """Column of the labels: one called so, words rather than numbers; without names the first besides the paths."""
        if not any(self.names):
            return next(iter(self._others), None)
        named = [at for at, name in enumerate(self.names) if name in LABELS and at != self.at]
        words = (at for at in named if not all(is_number(row[at]) for _, row in self.rows[:TRIED] if at < len(row)))
        is_further = len(self._others) == 1 and not self.in_classes
        return next(words, named[0] if named else self._others[0] if is_further else None)

    @property
    def is_affectnet(self) -> bool:
        """Whether the columns are those of AffectNet's training.csv (Mollahosseini et al. 2019)."""
        return {"expression", "valence", "arousal"} <= set(self.names)

    @cached_property
    def _others(self) -> list[int]:
        """Columns besides paths, subsets, boxes and an index."""
        box = self.box[0] if self.box else ()
        others = [at for at in range(len(self.names)) if at not in (self.at, self.subset, *box)]
        return [at for at in others if not self._is_index(at)]

    def _is_index(self, at: int) -> bool:
        if any(self.names):
            return bool(INDEX.fullmatch(self.names[at]))
        cells = [row[at] for _, row in self.rows[:TRIED] if at < len(row)]
        return len(set(cells)) == len(cells) and all(map(str.isdecimal, cells))

    @cached_property
    def box(self) -> tuple[list[int], bool] | None:
        """Columns of the face's box, and whether the last two are its size."""
        for names in (*SIZED, *CORNERS):
            if set(names) <= set(self.names):
                return [self.names.index(name) for name in names], names in SIZED
        return None

    @cached_property
    def columns(self) -> dict[int, str]:
        """What else is known of the images: names by column."""
        long = {at for _, row in self.rows[:TRIED] for at, cell in enumerate(row) if len(cell) > LONGEST_CELL}
        others = [at for at in self._others if at != self.label and at not in long]
        return {at: self.names[at] or (f"column {at + 1}" if n else "group") for n, at in enumerate(others)}

    def with_one_label(self) -> "ImageList":
        """The same with one column of labels for several of 0 and 1 that are called as the classes (as of Roboflow)."""
        some = [row for _, row in self.rows[:TRIED] if len(row) == len(self.titles)]
        hot = [at for at in self._others if {row[at] for row in some} <= {"0", "1"}] if any(self.names) else []
        if len(hot) < 2 or self.label is not None or any(sum(row[at] == "1" for at in hot) != 1 for row in some):
            return self
        kept = [at for at in range(len(self.titles)) if at not in hot]
        rows = []
        for line, row in self.rows:
            labels = [self.titles[at] for at in hot if row[at : at + 1] == ["1"]]
            rest = [row[at] for at in kept] if len(row) == len(self.titles) else []
            rows.append((line, [*rest, labels[0] if len(labels) == 1 else ""]))
        titles = [*(self.titles[at] for at in kept), LABELS[0]]
        return replace(self, titles=titles, rows=rows, at=kept.index(self.at))

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
        if UNDECODED in row[self.at] or (self.label is not None and UNDECODED in row[self.label]):
            raise ValueError(f"{row[self.at][:80]} or its label {NOT_UTF8}")
        path = self.images.get(row[self.at])
        if path is None:
            raise ValueError(f"{row[self.at][:80]} is not there")
        if self.label is not None and is_missing(row[self.label]):
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
