"""How data are read, where not as they come. Light."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from fer_bench.errors import FerBenchError

SIDE = 112
"""Pixels. Larger images are made smaller when they are stored: no model looks closer unless asked to."""
Copying = Literal["", "exact", "near", "none"]


@dataclass(frozen=True)
class ReadOptions:
    """What `open_dataset` is told besides the source.

    votes: a CSV like fer2013new.csv, one row per row of the data. skip_bad: drop bad rows and files, with a note.
    groups: who is on which image: a column, a regular expression on file names, or a CSV (file or id, group).
    slices: columns by which scores are told apart, with commas or in a list. classes: renames, merges and drops,
    "ANGER=angry,contempt=". crop_faces: cut the face that is found out of every photograph.
    copies: what counts as one image in splits and audit; "" is calibrated on the data. side: largest side stored.
    Raises FerBenchError for another word of copies.
    """

    votes: Path | None = None
    skip_bad: bool = False
    groups: str | None = None
    slices: Sequence[str] = ()
    classes: str | None = None
    crop_faces: bool = False
    copies: Copying = ""
    side: int = SIDE

    def __post_init__(self) -> None:
        object.__setattr__(self, "votes", self.votes and Path(self.votes))
        names = self.slices.split(",") if isinstance(self.slices, str) else self.slices
        object.__setattr__(self, "slices", tuple(name.strip() for name in names if name.strip()))
        if self.copies not in get_args(Copying):
            raise FerBenchError(f"--copies {self.copies}: exact, near or none")


def check_name(name: str) -> None:
    """Raise FerBenchError where `name` is none for a folder of results."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name):
        raise FerBenchError(
            f"--name {name!r}: letters, digits, dots, dashes and underscores only, as it names a folder"
        )
