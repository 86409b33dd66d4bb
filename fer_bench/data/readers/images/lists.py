"""A list beside the images: a line an image with its path, its label, and perhaps its subset and who is on it."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from fer_bench.data.readers.decoded import official_subset
from fer_bench.data.readers.images.decoding import ImageFile
from fer_bench.errors import FerBenchError, listing

SUFFIXES = (".csv", ".tsv", ".txt", ".lst")
LABELS = ("label", "labels", "emotion", "expression", "class")
MATCHED = 0.9
"""Share of the lines whose images must be there for a file to be a list of them."""


def from_list(root: Path, pictures: Sequence[str], paths: Sequence[str]) -> tuple[list[ImageFile], list[str]] | None:
    """The images that a list below `root` names among `pictures`, and a note; None where there is no such list.

    Cells are apart by tabs, commas, semicolons or spaces; the first line may name them. Without names they are path,
    label, subset (where all are one's words), group. Raises FerBenchError naming every line whose image is missing.
    """
    known = _by_name(pictures)
    for path in sorted(path for path in paths if path.lower().endswith(SUFFIXES)):
        rows = list(_rows(root / path))
        counts = [sum(row[i] in known for row in rows) for i in range(_width(rows))]
        n = max(counts, default=0)
        at = counts.index(n) if n else 0
        if n and n >= MATCHED * (len(rows) - 1):
            return _read(root / path, rows, at, known), [f"labels from {path}"]
    return None


def _by_name(pictures: Sequence[str]) -> dict[str, str]:
    """Pictures by their whole path and every end of it that no other has."""
    known: dict[str, str | None] = {}
    for path in pictures:
        parts = PurePosixPath(path).parts
        for start in range(len(parts)):
            end = "/".join(parts[start:])
            known[end] = path if start == 0 or end not in known else None
    return {end: path for end, path in known.items() if path}


def _rows(path: Path) -> Iterator[list[str]]:
    try:
        lines = [line for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        return
    mark = next((one for one in "\t,;" if lines and one in lines[0]), None)
    for cells in csv.reader(lines, delimiter=mark) if mark else (line.split() for line in lines):
        yield [cell.strip().replace("\\", "/").removeprefix("./") for cell in cells]


def _width(rows: Sequence[Sequence[str]]) -> int:
    """Cells of each line; 0 where they are not as many in every line, or fewer than two."""
    widths = {len(row) for row in rows}
    return widths.pop() if len(widths) == 1 and min(widths) > 1 else 0


def _read(path: Path, rows: list[list[str]], at: int, known: Mapping[str, str]) -> list[ImageFile]:
    has_header = rows[0][at] not in known
    names = [name.casefold() for name in rows[0]] if has_header else ["" for _ in rows[0]]
    body = rows[has_header:]
    missing = [f"line {number}: {row[at]}" for number, row in enumerate(body, 1 + has_header) if row[at] not in known]
    if missing:
        raise FerBenchError(f"{path}: {len(missing):,} images of the list are not there\n{listing(missing)}")
    others = [i for i in range(len(names)) if i != at]
    label = next((i for i in others if names[i] in LABELS), others[0])
    others.remove(label)
    subset = next((i for i in others if all(official_subset(row[i]) for row in body)), None)
    others = [i for i in others if i != subset]
    columns = {i: names[i] or ("group" if i == others[0] else f"column {i + 1}") for i in others}
    if empty := [f"line {number}" for number, row in enumerate(body, 1 + has_header) if not row[label]]:
        raise FerBenchError(f"{path}: {len(empty):,} images without a label\n{listing(empty)}")
    return [
        ImageFile(
            known[row[at]], row[label], official_subset(row[subset]) if subset is not None else None,
            columns={name: row[i] for i, name in columns.items()},
        )
        for row in body
    ]  # fmt: skip
