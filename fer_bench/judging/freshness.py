"""Whether the leaderboard in a results folder is what judging the folder again would give.

It imports light: a command that has nothing to do asks here, and loads nothing else of judging.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fer_bench import cache

PACKAGE = Path(__file__).parents[1]
OUTPUTS = ("leaderboard", "critical_difference")


def state(folder: Path) -> str:
    """A digest of all that a leaderboard is made from: the files in `folder` and those of this package.

    Files count by name, size and times, which change whenever they are written; leaderboards themselves do not.
    """
    return cache.digest({"results": _signatures(folder), "package": _signatures(PACKAGE)})


def note_written(folder: Path, split: tuple[str, str], made_from: str, written: Iterable[Path]) -> None:
    """Remember that the files `written`, of `split`, show `folder` as its `state` was before they were made."""
    content = {"made_from": made_from, "written": {path.name: _sha256(path) for path in written}}
    cache.write_atomic(_note(folder, split), json.dumps(content))


def current(folder: Path, split: tuple[str, str]) -> Path | None:
    """The page of `split` in `folder`, or None where it is missing, was changed, or would not be the same again."""
    try:
        known = json.loads(_note(folder, split).read_bytes())
        intact = all(_sha256(folder / name) == digest for name, digest in known["written"].items())
    except (OSError, ValueError):
        return None
    page = next((name for name in known["written"] if name.endswith(".md")), None)
    return folder / page if page and intact and known["made_from"] == state(folder) else None


def _note(folder: Path, split: tuple[str, str]) -> Path:
    return cache.root() / "leaderboards" / cache.digest({"folder": str(folder.resolve()), "split": split})


def _signatures(folder: Path) -> dict[str, list[int]]:
    """Of all files below `folder`, by path, but hidden ones, Python's own and OUTPUTS."""
    found = {}
    for parent, folders, files in os.walk(folder.resolve()):
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        for path in (Path(parent, name) for name in files if not name.startswith((".", *OUTPUTS))):
            with suppress(FileNotFoundError):  # another runner is putting a run in the place of an earlier one
                found[str(path)] = cache.file_signature(path)
    return found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
