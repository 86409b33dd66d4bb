"""Compute-once folders on disk, safe between processes.

Decoded data and features are entries of one cache: a folder named by a key that says everything
its content depends on. An entry is complete or absent; two processes never build the same one twice.
"""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

ENVIRONMENT_VARIABLE = "FER_BENCH_CACHE"


def root() -> Path:
    """The cache folder: `FER_BENCH_CACHE`, or the user's cache folder."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(named) if named else user_cache_path("fer_bench")


def digest(content: Mapping[str, Any]) -> str:
    """A 16-digit hexadecimal key of JSON-like `content`, the same on every machine."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_signature(path: Path) -> list[Any]:
    """What changes whenever a file's content does: size, mtime and ctime in nanoseconds.

    The change time cannot be set by a program, so an edit that restores size and mtime is seen too.
    """
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def entry_path(kind: str, key: str) -> Path:
    """Where the entry `key` of `kind` ("datasets", "features", ...) stands once it is built."""
    return root() / kind / key


def fetch(kind: str, key: str, build: Callable[[Path], None], files: Collection[str] = ()) -> Path:
    """The folder of entry `key`, built by `build(empty_folder)` if it, or one of its `files`, is not there.

    Other processes asking for the same entry wait for the one that builds it. What `build` raises
    goes through, and nothing is left behind. Raises OSError where the cache cannot be written.
    """
    entry = entry_path(kind, key)
    if _is_whole(entry, files):
        return entry
    entry.parent.mkdir(parents=True, exist_ok=True)
    from filelock import FileLock  # here, because it imports asyncio and most calls end above

    with FileLock(entry.with_name(f"{key}.lock")):
        if not _is_whole(entry, files):
            replace_folder(entry, build)
    return entry


def _is_whole(entry: Path, files: Collection[str]) -> bool:
    return entry.is_dir() and all((entry / file).is_file() for file in files)


def replace_folder(target: Path, build: Callable[[Path], None]) -> None:
    """Let `build` fill a fresh folder beside `target`, then put it in place of `target` by renames.

    One process at a time may do so. What a killed one left beside `target` goes.
    """
    work, old = (target.with_name(f".{target.name}.{state}") for state in ("new", "old"))
    for leftover in (work, old):
        shutil.rmtree(leftover, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        _build(build, work)
        if target.exists():
            target.rename(old)
            work.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _build(build: Callable[[Path], None], work: Path) -> None:
    """Call `build(work)`. An OSError comes out with the file's name, and with its number where NumPy gives none."""
    try:
        build(work)
    except OSError as error:
        is_cut_short = error.errno is None and " requested and " in str(error)  # NumPy's words for a full disk
        number = errno.ENOSPC if is_cut_short else error.errno
        if number is None or error.filename:
            raise
        raise OSError(number, os.strerror(number), str(work)) from error


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        work.write_bytes(content.encode() if isinstance(content, str) else content)
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)
