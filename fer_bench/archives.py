"""Packed files, unpacked within bounds: what grows without measure is no data and would fill the memory."""

import gzip
import io
import lzma
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_bench.errors import FerBenchError, is_no_room, listing

UNSUSPICIOUS = 1 << 24
"""Bytes that anything may unpack to."""
RATIO = 100
"""How many times its size a larger file may unpack to: faces and tables of numbers reach a tenth of that."""
_DAMAGE = (
    zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError, EOFError, zlib.error, lzma.LZMAError,
    struct.error,
)  # fmt: skip
"""What zipfile raises on archives that are damaged, encrypted, or packed in a way it does not know."""


def is_bomb(unpacked: int, packed: int) -> bool:
    """Whether `unpacked` bytes are more than a file of `packed` bytes can hold in earnest."""
    return unpacked > max(UNSUSPICIOUS, RATIO * packed)


def refuse_bomb(path: Path) -> None:
    """Raise ValueError where the members of the .zip or .npz at `path` unpack to too much."""
    with zipfile.ZipFile(path) as archive:
        packed, unpacked = path.stat().st_size, sum(member.file_size for member in archive.infolist())
    if is_bomb(unpacked, packed):
        raise ValueError(f"{packed:,} bytes that unpack to {unpacked:,}")


@contextmanager
def unzipped(path: Path, beside: Path) -> Iterator[Path]:
    """For a `with`: what the .zip at `path` holds, as a folder in the folder `beside`, hidden files left out.

    Raises FerBenchError where the archive is damaged, encrypted, unpacks to too much, or names files outside itself.
    """
    with temporary_folder(beside, path) as unpacked:
        try:
            refuse_bomb(path)
            with zipfile.ZipFile(path) as archive:
                members = [member for member in archive.infolist() if not is_hidden(member.filename)]
                outside = [member.filename for member in members if _leads_outside(member.filename)]
                if outside:
                    raise FerBenchError(f"{path}: names files outside the archive\n{listing(outside)}")
                for member in members:
                    archive.extract(member, unpacked)
        except _DAMAGE as error:
            raise FerBenchError(f"{path}: cannot be unpacked ({error})") from error
        except OSError as error:
            if is_no_room(error):
                raise
            raise FerBenchError(f"{path}: cannot be unpacked ({error.strerror or error})") from error
        yield unpacked


@contextmanager
def temporary_folder(beside: Path, source: Path) -> Iterator[Path]:
    """For a `with`: an empty folder in the folder `beside`. FerBenchErrors within name the `source` in its place."""
    with tempfile.TemporaryDirectory(dir=beside) as folder:
        try:
            yield Path(folder)
        except FerBenchError as error:
            raise FerBenchError(str(error).replace(folder, str(source))) from error


def unpack(path: Path, target: Path) -> None:
    """Write what the .gz or .xz at `path` holds to `target`.

    Raises FerBenchError where it is damaged or unpacks to too much.
    """
    packed, unpacked = path.stat().st_size, 0
    opener = gzip.open if path.suffix.lower() == ".gz" else lzma.open
    try:
        with opener(path) as file, target.open("wb") as out:
            while block := file.read(1 << 20):
                unpacked += out.write(block)
                if is_bomb(unpacked, packed):
                    raise FerBenchError(f"{path}: {packed:,} bytes that unpack to more than {unpacked:,}")
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise FerBenchError(f"{path}: truncated or damaged archive ({error}); get a fresh copy of it") from error


def is_hidden(path: str) -> bool:
    """Whether it is what macOS, Windows and version control leave behind."""
    return any(part.startswith((".", "__MACOSX")) and part != ".." for part in path.split("/"))


def _leads_outside(name: str) -> bool:
    return "\\" in name or name.startswith("/") or ":" in name.split("/")[0] or ".." in name.split("/")


def gunzip(path: Path) -> bytes:
    """What the .gz file at `path` holds.

    Raises ValueError where that is too much, and OSError, EOFError or zlib.error where the file is missing or damaged.
    """
    content = path.read_bytes()
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        unpacked = file.read(max(UNSUSPICIOUS, RATIO * len(content)) + 1)
    if is_bomb(len(unpacked), len(content)):
        raise ValueError(f"{len(content):,} bytes that unpack to more than {len(unpacked) - 1:,}")
    return unpacked
