"""Rows of a table in a text file, as it is or in a .gz, .xz or .zip, with its line numbers."""

import csv
import gzip
import io
import lzma
import os
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, BinaryIO, cast

from fer_bench.archives import is_bomb
from fer_bench.errors import FerBenchError
from fer_bench.progress import Progress, silent

LONGEST_LINE = 1 << 24
BLOCK = 1 << 20
ROWS_PER_REPORT = 256
csv.field_size_limit(1 << 20)  # Python's own is less than the pixels of an image of 224 x 224 take
MARKS = "\t,;"
"""What cells are apart by: the first of these in the first line, or else spaces."""


@dataclass(frozen=True)
class Table:
    """An open table: the names of its columns, without spaces and quotes around them, and its rows.

    mark: what stands between the cells.
    """

    path: Path
    names: list[str]
    mark: str
    _rows: BinaryIO
    _file: BinaryIO
    _progress: Progress

    @property
    def columns(self) -> list[str]:
        """The names in lower case, to find them by."""
        return [name.lower() for name in self.names]

    def __iter__(self) -> Iterator[tuple[int, list[bytes]]]:
        """(line number in the file, fields) of every row that is not blank; of a row of several lines, the first."""
        lines = self._lines()
        for number, line in lines:
            if line.strip():
                yield number, _fields(line, self.mark, (more for _, more in lines))
        self._progress(1.0, f"reading {self.path.name}")

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """(number in the file, text) of every line after the first."""
        packed, unpacked = self.path.stat().st_size, 0
        for number, line in enumerate(iter(lambda: self._rows.readline(LONGEST_LINE), b""), start=2):
            unpacked += len(line)
            if number % ROWS_PER_REPORT == 0:
                self._progress(self._file.tell() / packed, f"reading {self.path.name}")
            if is_bomb(unpacked, packed):
                raise FerBenchError(f"{self.path}: {packed:,} bytes that unpack to more than {unpacked:,}: no table")
            if len(line) == LONGEST_LINE:
                raise FerBenchError(
                    f"{self.path}: line {number} has more than {LONGEST_LINE:,} characters: not such a CSV file"
                )
            yield number, line

    def find(self, *names: str) -> int | None:
        """Position of the one of `names` that is a column, if any is. Raises FerBenchError where several are."""
        found = [at for at, column in enumerate(self.columns) if column in names]
        if len(found) > 1:
            names_found = " and ".join(repr(self.names[at]) for at in found)
            raise FerBenchError(f"{self.path}: the columns {names_found} say the same: keep one of them")
        return found[0] if found else None

    def column(self, *names: str) -> int:
        """Position of the one of `names` that is a column. Raises FerBenchError saying which were found."""
        at = self.find(*names)
        if at is not None:
            return at
        found = ", ".join(repr(column[:30]) for column in self.names[:12])
        raise FerBenchError(
            f"{self.path}: no column {' or '.join(repr(name) for name in names)}; the first line has {found}"
        )


def refuse_repeats(path: Path, names: Sequence[str]) -> None:
    """Raise FerBenchError where a column name stands more than once in `names`, "" of trailing commas aside."""
    counts = Counter(name.casefold() for name in names if name)
    if repeats := [name for name, n in counts.items() if n > 1]:
        found = ", ".join(repr(name[:30]) for name in repeats[:12])
        raise FerBenchError(f"{path}: several columns are called {found}: rename them, or keep one of each")


def is_file(text: str | Path) -> bool:
    """Whether `text` is the path of a file; not where it is too long for one, at which Path.is_file raises OSError."""
    return os.path.isfile(text)  # noqa: PTH113


@contextmanager
def open_table(path: Path, progress: Progress = silent) -> Iterator[Table]:
    """Open the table at `path`; `progress` is called with the share of its bytes read.

    Raises FerBenchError, also while rows are read, on a file that is missing, empty, truncated, damaged or not text.
    """
    try:
        with path.open("rb") as file, _unpacked(path, file) as rows:
            header = _header(path, rows.readline(LONGEST_LINE))
            unquoted = re.sub(r'"[^"]*"', "", header)
            mark = next((mark for mark in MARKS if mark in unquoted), " " if " " in unquoted.strip() else ",")
            names = [field.decode() for field in _fields(header.encode(), mark)]
            yield Table(path, names, mark, rows, file, progress)
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, MemoryError) as error:
        why = str(error) or "unpacking it takes more memory than there is"
        raise FerBenchError(f"{path}: truncated or damaged archive ({why}); get a fresh copy of it") from error
    except csv.Error as error:
        raise FerBenchError(f"{path}: a quote that is not closed, or a cell that is too long ({error})") from error
    except OSError as error:
        raise FerBenchError(f"{path}: cannot be read ({error.strerror or error})") from error


def _unpacked(path: Path, packed: io.BufferedReader) -> BinaryIO:
    """The text of the file, whatever it is packed in, which its first bytes say, not its name."""
    magic = packed.peek(6)[:6]
    if magic.startswith(b"\x1f\x8b"):
        unpacked: io.BufferedIOBase = gzip.GzipFile(fileobj=packed)
    elif magic == b"\xfd7zXZ\x00":
        unpacked = lzma.LZMAFile(packed)  # noqa: SIM115
    elif magic.startswith(b"PK"):
        unpacked = _only_csv(path, packed)
    else:
        return packed
    return io.BufferedReader(cast(io.RawIOBase, unpacked), BLOCK)


def _only_csv(path: Path, packed: IO[bytes]) -> io.BufferedIOBase:
    try:
        archive = zipfile.ZipFile(packed)
        inside = [info for info in archive.infolist() if not info.is_dir() and "__MACOSX/" not in info.filename]
        tables = [info for info in inside if info.filename.lower().endswith(".csv")]
        if len(tables) == 1:
            return cast(io.BufferedIOBase, archive.open(tables[0]))
    except (RuntimeError, ValueError, OverflowError, struct.error) as error:  # a password, an unknown method, damage
        raise FerBenchError(f"{path}: cannot be unpacked ({error}); unpack it and give the .csv in it") from error
    held = ", ".join(info.filename for info in (tables or inside)[:5]) or "nothing"
    raise FerBenchError(
        f"{path}: needs exactly one .csv file in it, has {len(tables)} ({held}); unpack it and give the file"
    )


def _header(path: Path, line: bytes) -> str:
    if not line.strip():
        raise FerBenchError(f"{path}: empty file")
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FerBenchError(
            f"{path}: not a CSV file in UTF-8 (binary, or text in another encoding: {error.reason}); save it as UTF-8"
        ) from error
    if "\0" in text:
        raise FerBenchError(f"{path}: not a CSV file in UTF-8 (binary, or text in another encoding: zero bytes)")
    return text


def _fields(line: bytes, mark: str, more: Iterable[bytes] = ()) -> list[bytes]:
    """The cells of a row that begins with `line`; where quotes are open at its end, it goes on in `more` lines."""
    if b'"' not in line:
        return [field.strip() for field in line.split(None if mark == " " else mark.encode())]
    texts = (one.replace(b"\r", b" ").decode(errors="surrogateescape") for one in chain([line], more))
    cells = next(csv.reader(texts, delimiter=mark, skipinitialspace=True), [])
    return [cell.replace("\n", " ").strip().encode(errors="surrogateescape") for cell in cells]
