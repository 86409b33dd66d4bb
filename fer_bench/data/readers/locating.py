"""What `--data` names: which kind of file or folder it is, and a signature of its content. Light."""

import difflib
import gzip
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from fer_bench import cache
from fer_bench.data import fer2013
from fer_bench.data.readers.images.picture_types import SUFFIXES, TEXT
from fer_bench.data.readers.tables import is_file, open_table
from fer_bench.errors import FerBenchError, listing
from fer_bench.progress import Progress

SYNTHETIC: Literal["synthetic"] = "synthetic"
NAMES = (SYNTHETIC, fer2013.NAME)
RENDERER = Path(__file__).parents[1] / SYNTHETIC
DEEPEST = 6
"""Levels looked at below a folder: wrappers, subset, class, image."""
LISTS = (".csv", ".tsv", ".txt", ".lst")
"""Suffixes of tables of pixels and of lists of images, which may be packed."""
READ = (
    "a folder or .zip of images, a .csv (.gz, .xz, .zip) with the columns emotion and pixels, a list (.csv, "
    ".tsv, .txt, .lst) of lines such as images/1.png,happy with the images beside it, an .npz (.gz, .xz) with the keys "
    "images and labels, and .parquet as on Hugging Face"
)
PIXELS = "pixels"
RESULTS_MARK = ".data.json"
"""In results/<data>/, see `records.ResultsFolder`."""
TRIED = 20
"""Lines of a list whose images are looked for to find out which column names them."""
Kind = Literal["synthetic", "folder", "zip", "csv", "list", "npz", "parquet"]
Signature = list[Any]


@dataclass(frozen=True)
class Source:
    """What `--data` names. signature: changes whenever the content does. root: what paths in it are below."""

    kind: Kind
    path: Path
    signature: Signature
    root: Path

    @property
    def paths(self) -> list[str]:
        """Of a folder or a list: files and folders below `root`, these with a "/" at their end; a list is the first."""
        return [entry[0] for entry in self.signature]


def find(source: str, progress: Progress) -> Source:
    """The file, folder or name that `source` is. Raises FerBenchError where it is none that is read."""
    if not source:
        raise FerBenchError(f"--data is empty; give a file, a folder, or a name: {', '.join(NAMES)}")
    if source == SYNTHETIC:
        return signed(SYNTHETIC, Path(SYNTHETIC))
    path = fer2013.locate(progress) if source == fer2013.NAME else cache.expanded(source)
    path = path.resolve()
    if path.is_dir():
        return signed("folder", path)
    if not path.exists():
        close = difflib.get_close_matches(source.lower(), NAMES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"give a file, a folder, or a name: {', '.join(NAMES)}"
        raise FerBenchError(f"--data {source}: no such file or folder; {hint}")
    if not path.is_file():
        raise FerBenchError(f"--data {source}: neither a file nor a folder; save what comes from there to a file")
    kind = kind_of(path)
    if kind is None:
        raise FerBenchError(f"--data {source}: {path.suffix or 'a file without a suffix'} is not read; read are {READ}")
    return signed(kind, path)


def kind_of(path: Path) -> Kind | None:
    """What the file at `path` is by its name, its first bytes and the names of its columns; None where not read.

    Raises FerBenchError where what should be a table is none.
    """
    suffix = path.suffix.lower()
    if suffix == ".zip":
        return "csv" if _is_packed_table(path) else "zip"
    if suffix == ".parquet":
        return "parquet"
    if suffix == ".npz" or _unpacked_head(path).startswith(b"PK"):
        return "npz"
    if suffix not in (*LISTS, ".gz", ".xz") or ".tar" in path.suffixes:
        return None
    with open_table(path) as table:
        return "csv" if PIXELS in table.columns else "list"


def signed(kind: Kind, path: Path) -> Source:
    """The source with its signature as it is now. Raises FerBenchError where it cannot be read."""
    try:
        if kind == SYNTHETIC:  # what is rendered depends on nothing but the code
            return Source(kind, path, [module.read_text() for module in sorted(RENDERER.glob("*.py"))], path)
        if kind == "folder":
            return Source(kind, path, sorted(_without_results(list(_listing(path)))), path)
        if kind == "list":
            root, entries = _listed(path)
            return Source(kind, path, [_entry(path, str(path)), *sorted(entries)], root)
        return Source(kind, path, cache.file_signature(path), path.parent)
    except OSError as error:
        raise FerBenchError(f"{error.filename or path}: cannot be read ({error.strerror or error})") from error


def only_table(root: Path, paths: Sequence[str]) -> tuple[Kind, Path] | None:
    """The one table or archive of arrays among `paths`, where there are no images.

    Raises FerBenchError where there are several.
    """
    suffixes = {path: PurePosixPath(path).suffix.lower() for path in paths if not path.endswith("/")}
    if SUFFIXES & set(suffixes.values()):
        return None
    found: list[tuple[Kind, Path]] = []
    for path in [path for path, suffix in suffixes.items() if suffix in (".csv", ".gz", ".xz", ".npz")]:
        with suppress(FerBenchError):
            if (kind := kind_of(root / path)) in ("csv", "npz"):
                found.append((kind, root / path))
    if len(found) > 1:
        names = [path.relative_to(root).as_posix() for _, path in found]
        raise FerBenchError(f"{root}: several tables: give one of them\n{listing(sorted(names))}")
    return found[0] if found else None


def _is_packed_table(path: Path) -> bool:
    """Whether a .zip holds a table and no pictures; of what is damaged the reader of tables says so."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX/" not in name]
    except (OSError, ValueError, zipfile.BadZipFile):
        return True
    suffixes = [PurePosixPath(name).suffix.lower() for name in names]
    pictures = sum(suffix in SUFFIXES or (suffix not in TEXT and ".csv" not in suffixes) for suffix in suffixes)
    return pictures < 2 and not {".npz", ".parquet"} & set(suffixes)


def _unpacked_head(path: Path) -> bytes:
    """The first bytes of what a .gz or .xz holds; none where it is damaged or another file."""
    if path.suffix.lower() not in (".gz", ".xz"):
        return b""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else lzma.open(path) as file:
            return bytes(file.read(4))
    except (OSError, EOFError, lzma.LZMAError, zlib.error):
        return b""


def _listing(root: Path, above: str = "", depth: int = 1) -> Iterator[Signature]:
    """[path below root, size, mtime, ctime] of every file, ["path/"] of every folder, hidden folders left out."""
    with os.scandir(root) as entries:
        for entry in entries:
            below = above + entry.name
            if not entry.is_dir():
                yield _entry(Path(entry), below)
            elif not entry.name.startswith((".", "__MACOSX")):
                yield [below + "/"]
                if depth < DEEPEST:
                    yield from _listing(Path(entry), below + "/", depth + 1)


def _without_results(entries: Sequence[Signature]) -> list[Signature]:
    """`entries` without folders of results, which fer_bench may have put into that of the data."""
    marks = (PurePosixPath(entry[0]) for entry in entries)
    of_data = {mark.parent for mark in marks if mark.name == RESULTS_MARK and len(mark.parts) > 1}
    dropped = tuple(f"{folder}/" for folder in of_data)
    left = [entry for entry in entries if not entry[0].startswith(dropped)]
    above = {f"{folder.parent}/" for folder in of_data}
    empty = {name for name in above if not any(entry[0].startswith(name) and entry[0] != name for entry in left)}
    return [entry for entry in left if entry[0] not in empty]


def _entry(path: Path, below: str) -> Signature:
    broken = path.is_symlink() and not path.exists()
    status = path.stat(follow_symlinks=not broken)
    return [below, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _listed(path: Path) -> tuple[Path, list[Signature]]:
    """The images that the list at `path` names, and the folder that their paths are below.

    They are where the list says, seen from its folder, or else anywhere below that under the names that it says.
    """
    with open_table(path) as table:
        rows = [table.names, *([cell.decode(errors="replace") for cell in cells] for _, cells in table)]
    rows = [[cell.replace("\\", "/") for cell in row] for row in rows]
    folder = path.parent
    if found := set(_where_it_says(folder, rows)) - {path}:
        inside = all(folder in file.parents for file in found)
        root = folder if inside else Path(os.path.commonpath([file.parent for file in found]))
        return root, [_entry(file, file.relative_to(root).as_posix()) for file in found]
    names = {PurePosixPath(cell).name for row in rows for cell in row}
    names |= {PurePosixPath(name).stem for name in names}
    return folder, [
        entry
        for entry in _listing(folder)
        if (name := PurePosixPath(entry[0].rpartition(" ")[2])).name in names
        or re.sub("_aligned$", "", name.stem) in names
    ]


def _where_it_says(folder: Path, rows: Sequence[Sequence[str]]) -> Iterator[Path]:
    """The files that the cells of one column are paths of, seen from `folder`; none where most are not."""
    some = rows[1 : 1 + TRIED]
    for at in range(len(rows[0])):
        there = sum(is_file(folder / row[at]) for row in some if len(row) > at and row[at])
        if 2 * there > len(some):
            files = (Path(os.path.normpath(folder / row[at])) for row in rows if len(row) > at and row[at])
            yield from filter(is_file, files)
            return
