"""Packed files, unpacked within bounds: what grows without measure is no data and would fill the memory."""

import gzip
import io
import zipfile
from pathlib import Path

UNSUSPICIOUS = 1 << 24
"""Bytes that anything may unpack to."""
RATIO = 100
"""How many times its size a larger file may unpack to: faces and tables of numbers reach a tenth of that."""


def is_bomb(unpacked: int, packed: int) -> bool:
    """Whether `unpacked` bytes are more than a file of `packed` bytes can hold in earnest."""
    return unpacked > max(UNSUSPICIOUS, RATIO * packed)


def refuse_bomb(path: Path) -> None:
    """Raise ValueError where the members of the .zip or .npz at `path` unpack to too much."""
    with zipfile.ZipFile(path) as archive:
        packed, unpacked = path.stat().st_size, sum(member.file_size for member in archive.infolist())
    if is_bomb(unpacked, packed):
        raise ValueError(f"{packed:,} bytes that unpack to {unpacked:,}")


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
