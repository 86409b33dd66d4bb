"""Compute-once folders on disk, safe between processes.

Decoded data and features are entries of one cache: a folder named by a key that says everything
its content depends on. An entry is complete or absent; two processes never build the same one twice.
Content reaches the disk before its name does, so that this holds when the power fails, too.
"""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from fer_bench.errors import FerBenchError

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


def expanded(path: str) -> Path:
    """`path` with `~` as the user's home; where there is no such user, as it is: `Path.expanduser` fails then."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


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
            replace_folder(entry, build, synced=True)
    return entry


def drop_oldest(kind: str, n: int) -> None:
    """Remove all but the `n` newest entries of `kind`, which whoever asks for them has built again."""
    entries = [path for path in (root() / kind).iterdir() if path.is_dir() and not path.name.startswith(".")]
    with suppress(FileNotFoundError):  # another process is at it
        for entry in sorted(entries, key=os.path.getmtime, reverse=True)[n:]:
            shutil.rmtree(entry, ignore_errors=True)


def _is_whole(entry: Path, files: Collection[str]) -> bool:
    return entry.is_dir() and all((entry / file).is_file() for file in files)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """For a `with` that reads the entry `folder`. Raises FerBenchError, saying what to delete, where it is damaged."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # whatever NumPy, zipfile and json say of a damaged file
        why = " ".join(str(error).split())
        raise FerBenchError(f"{folder}: damaged cache entry ({why}); delete that folder and start again") from error


def replace_folder(target: Path, build: Callable[[Path], None], synced: bool = False) -> None:
    """Let `build` fill a fresh folder beside `target`, then put it in place of `target` by renames.

    One process at a time may do so. What a killed one left beside `target` goes. synced: whether what is built is
    on the disk before it has its name.
    """
    work = target.with_name(f".{target.name}.new")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        _build(build, work, synced)
        put_in_place(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def put_in_place(work: Path, target: Path) -> None:
    """Rename the folder `work` to `target`; an earlier one is at `old_path` until that is done."""
    old = old_path(target)
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    work.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def old_path(target: Path) -> Path:
    """Where the earlier folder `target` is while another is put in its place, and stays if that process is killed."""
    return target.with_name(f".{target.name}.old")


def _build(build: Callable[[Path], None], work: Path, synced: bool) -> None:
    """Call `build(work)`, and sync what it wrote.

    An OSError comes out with the file's name, and with its number where NumPy gives none.
    """
    try:
        build(work)
        if synced:
            sync(work)
    except OSError as error:
        is_cut_short = error.errno is None and " requested and " in str(error)  # NumPy's words for a full disk
        number = errno.ENOSPC if is_cut_short else error.errno
        if number is None or error.filename:
            raise
        raise OSError(number, os.strerror(number), str(work)) from error


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part."""
    with replacing(path) as work:
        work.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden file to write, named for this call alone; it takes the place of `path` at the end of a `with`.

    Where that fails, `path` stays as it was and nothing is left behind; an OSError names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield work
        sync(work)
        work.replace(path)
    except OSError as error:
        if error.filename not in (None, str(work)):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        work.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Return once the file `path`, or every file in the folder `path`, is on the disk and not in memory alone."""
    for file in filter(Path.is_file, path.rglob("*")) if path.is_dir() else (path,):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
