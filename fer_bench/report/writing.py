"""Pages in a results folder: written, known to be up to date, compared with what the records give."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from difflib import unified_diff
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from fer_bench import cache
from fer_bench.errors import FerBenchError

if TYPE_CHECKING:
    from fer_bench.analysis import Leaderboard
    from fer_bench.analysis.predictions import Split
    from fer_bench.data import Dataset
    from fer_bench.records import Audit, ReadableFolder

DEFAULT = ("md", "html", "csv")
PACKAGE = Path(__file__).parents[1]
OUTPUTS = ("leaderboard", "report", "data_card", "sheets", "slices")
"""How the names of what is written begin."""
PAGE = re.compile(r"leaderboard(?:-(\d+)-folds)?\.(?:md|csv)")
OF_SPLIT = re.compile(r"^- Split: .*; data `(\w+)`, split `(\w+)`", re.MULTILINE)
"""How a page names what it is about."""
TOLERANCE = 2e-6
"""By how much figures may differ that another processor rounds otherwise."""


def write(
    folder: ReadableFolder,
    formats: Sequence[str] = DEFAULT,
    split: Split | None = None,
    dataset: Dataset | None = None,
) -> tuple[Leaderboard, list[Path]]:
    """Judge `folder`, and write its pages beside the runs: `leaderboard.md` with its picture, `report.html`, and so on.

    Returns what was judged, and the paths of what was written.

    formats: of md, html, csv, json and latex. split: by default that of the newest record. dataset: that of the runs,
    for galleries in the report. Each file is written whole or not at all; those of five folds are
    `leaderboard-5-folds.md` and so on. The same folder gives the same bytes.
    Raises OSError where `folder` cannot be written, FerBenchError where what is stored there is damaged.
    """
    from fer_bench.analysis import load_leaderboard
    from fer_bench.report.export import csv_text, json_text, latex, slices_csv
    from fer_bench.report.html import write_html
    from fer_bench.report.page import file_name, page, picture
    from fer_bench.report.sheets import images_of

    made_from, drawn = _state(folder.path), None
    board = load_leaderboard(folder, split)
    texts = {"md": page, "csv": csv_text, "json": json_text, "latex": latex}
    paths = {name: folder.path / file_name(board.suffix, name) for name in formats}
    for name, path in paths.items():
        if name == "html":
            ids = board.predictions.ids["test"]
            write_html(board, path, None if dataset is None else images_of(dataset, board.data.fingerprint, ids))
        else:
            cache.write_atomic(path, texts[name](board))
    if "csv" in formats and len(board.slices):
        paths["slices"] = folder.path / file_name(board.suffix, "slices")
        cache.write_atomic(paths["slices"], slices_csv(board))
    with suppress(Exception):  # of fonts and drawing libraries: the tables say the same
        drawn = picture(board) if "md" in formats else None
    if drawn:
        paths["png"] = folder.path / file_name(board.suffix, "png")
        cache.write_atomic(paths["png"], drawn)
    content = {"made_from": made_from, "written": {path.name: _sha256(path) for path in paths.values()}}
    cache.write_atomic(_note(folder.path, board.predictions.split), json.dumps(content))
    return board, list(paths.values())


def write_data_card(folder: Path, audit: Audit) -> None:
    """Write `data_card.md` of `audit` into `folder`."""
    from fer_bench.report.data_card import CARD_FILE, data_card

    cache.write_atomic(folder / CARD_FILE, data_card(audit))


def up_to_date(folder: Path, split: Split) -> Path | None:
    """The page of `split` in `folder`, or None where it is missing, was changed, or would not be the same again.

    It imports light: a command that has nothing to do asks here, and loads nothing else.
    """
    try:
        known = json.loads(_note(folder, split).read_bytes())
        intact = all(_sha256(folder / name) == digest for name, digest in known["written"].items())
    except (OSError, ValueError):
        return None
    page = next((name for name in known["written"] if name.endswith(".md")), None)
    return folder / page if page and intact and known["made_from"] == _state(folder) else None


def page_faults(folder: ReadableFolder) -> list[str]:
    """What the pages and tables in `folder` show and its records do not give."""
    found = (PAGE.fullmatch(path.name) for path in folder.path.glob("leaderboard*"))
    faults: list[str] = []
    for n_folds in sorted({int(match[1] or 0) for match in found if match}):
        try:
            faults += _faults(folder, n_folds)
        except FerBenchError as error:
            faults.append(f"the leaderboard cannot be computed again: {error}")
    return faults


def _faults(folder: ReadableFolder, n_folds: int) -> Iterator[str]:
    from fer_bench.analysis import load_leaderboard, newest_splits
    from fer_bench.report.export import csv_text, slices_csv
    from fer_bench.report.page import file_name, page

    suffix = f"-{n_folds}-folds" if n_folds else ""
    paths = {name: folder.path / file_name(suffix, name) for name in ("md", "csv", "slices")}
    shown = {name: path.read_text("utf-8", "replace") for name, path in paths.items() if path.exists()}
    split = next((split for split in newest_splits(folder.records()) if split[2] == n_folds), None)
    if split is None:
        yield f"{paths['md'].name}: there is no record of it"
        return
    if named := OF_SPLIT.search(shown.get("md", "")):  # an earlier one, where a command asked for that again
        split = named[1], named[2], n_folds
    board = load_leaderboard(folder, split, cached=False)
    if board.slices.empty:
        shown.pop("slices", None)
    made = {"md": page, "csv": csv_text, "slices": slices_csv}
    for name, text in shown.items():
        faults = _text_faults if name == "md" else _table_faults
        yield from (f"{paths[name].name}: {fault}" for fault in faults(text, made[name](board)))


def _text_faults(shown: str, expected: str) -> Iterator[str]:
    """Lines that are too many, missing or in another place."""
    changes = list(unified_diff(expected.splitlines(), shown.splitlines(), n=0, lineterm=""))[2:]
    strange = [line[1:] for line in changes if line.startswith("+")]
    missing = [line[1:] for line in changes if line.startswith("-")]
    if strange:
        more = f", nor {len(strange) - 1} more" if len(strange) > 1 else ""
        yield f"the records do not give the line {strange[0][:160]!r}{more}"
    if len(missing) > len(strange):
        yield f"{len(missing) - len(strange)} of the lines that the records give are missing"


def _table_faults(shown: str, expected: str) -> Iterator[str]:
    """Cells that say something else, and lines that are too many or too few."""
    old, new = (list(csv.reader(io.StringIO(text))) for text in (shown, expected))
    if old[:1] != new[:1]:
        yield "has other columns than `fer_bench report` writes"
        return
    if len(old) != len(new):
        yield f"has {len(old) - 1} rows, and the records give {len(new) - 1}"
    cells = [
        f"line {at}: {name} is {cell!r}, and {right!r} from the records"
        for at, (line, given) in enumerate(zip(old[1:], new[1:], strict=False), start=2)
        for name, cell, right in zip_longest(new[0], line, given, fillvalue="")
        if not _alike(cell, right)
    ]
    if cells:
        yield cells[0] if len(cells) == 1 else f"{len(cells)} cells differ, e.g. {cells[0]}"


def _alike(shown: str, expected: str) -> bool:
    try:
        return shown == expected or math.isclose(float(shown), float(expected), rel_tol=0, abs_tol=TOLERANCE)
    except ValueError:
        return False


def _state(folder: Path) -> str:
    """A digest of all that pages are made from: the files in `folder` and those of this package.

    Files count by name, size and times, which change whenever they are written; what is written from them does not.
    """
    return cache.digest({"results": dict(_signatures(folder)), "package": dict(_signatures(PACKAGE))})


def _signatures(folder: Path) -> Iterable[tuple[str, list[int]]]:
    """Of all files below `folder`, by path, but hidden ones, Python's own and, on top, OUTPUTS."""
    for parent, folders, files in os.walk(folder.resolve()):
        skipped = (".", "__", *OUTPUTS) if Path(parent) == folder.resolve() and folder != PACKAGE else (".", "__")
        folders[:] = [name for name in folders if not name.startswith(skipped)]
        for path in (Path(parent, name) for name in files if not name.startswith(skipped)):
            with suppress(FileNotFoundError):  # another runner is putting a run in the place of an earlier one
                yield str(path), cache.file_signature(path)


def _note(folder: Path, split: Split) -> Path:
    return cache.root() / "pages" / cache.digest({"folder": str(folder.resolve()), "split": split})


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
