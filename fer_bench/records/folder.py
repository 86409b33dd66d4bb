"""What readers find in the results of one dataset, wherever they are. Light: no numpy and no schema until asked."""

from __future__ import annotations

import csv
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.errors import FerBenchError, listing

if TYPE_CHECKING:
    import numpy as np

    from fer_bench.records.schema import Record

AUDIT_FILE = "audit.json"
RECORDS_FILE = "records.jsonl.gz"
"""The file by which published evidence is known."""
LOG_FILE, LOG_LINES, LOG_BYTES = "log.txt", 40, 1 << 20
"""What a run prints; how much of it the report shows, and how much is kept."""
PREDICTIONS_FILE, HISTORY_FILE = "predictions.npz", "history.csv"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")

History = list[dict[str, str | float]]


class ReadableFolder(ABC):
    """What readers find in the results of one dataset, be they a user's own runs or published evidence."""

    advice: str
    """What to do where records are damaged."""
    resolution = 0.0
    """By how much stored probabilities were rounded at most."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """Its own name, also where it was given as "." or ".."; that of a link is the link's."""
        return Path(os.path.normpath(self.path.absolute())).name

    def audit_path(self, n_folds: int = 0) -> Path:
        """Where the audit of the split is, or of so many folds, if there is one."""
        return self.path / (f"audit-{n_folds}-folds.json" if n_folds else AUDIT_FILE)

    def earlier_audit_path(self, fingerprint: str) -> Path:
        """Where the audit of a split, or of its folds, is once `audit_path` has that of another."""
        return self.path / f"audit-{fingerprint}.json"

    def split_path(self, fingerprint: str, fold: int = 0) -> Path:
        """Where a split is, or one of its folds: what `fer_bench.data.split_csv` gives, gzipped."""
        return self._of_split("split", fingerprint, f".f{fold}" if fold else "")

    def images_path(self, fingerprint: str) -> Path:
        """Where the `ImageFacts` of a split are, if it was audited."""
        return self._of_split("images", fingerprint)

    def _of_split(self, kind: str, fingerprint: str, fold: str = "") -> Path:
        if not fingerprint.isalnum():  # a record may say anything, such as the way out of this folder
            raise FerBenchError(f"{self.path}: split fingerprint {fingerprint!r} is not one")
        return self.path / f"{kind}-{fingerprint}{fold}.csv.gz"

    def records(self) -> list[Record]:
        """All records, by run id. Raises FerBenchError naming every one that does not follow the schema."""
        records, problems = self.read()
        if problems:
            raise FerBenchError(f"{len(problems)} damaged records ({self.advice}):\n{listing(problems)}")
        return records

    @abstractmethod
    def read(self) -> tuple[list[Record], list[str]]:
        """All records that follow the schema, by run id, and what is wrong with each of the others."""

    @abstractmethod
    def record(self, run_id: str) -> Record | None:
        """The record of `run_id`, or None where there is none to be read."""

    @abstractmethod
    def predictions(self, run_id: str) -> dict[str, np.ndarray] | None:
        """What a run stored, or None: `<subset>_ids`, str (n,), and `<subset>_probabilities`, float32 (n, k).

        subset: "validation", "test" or both. Raises FerBenchError naming the file where that is damaged.
        """

    @abstractmethod
    def predictions_digest(self, run_id: str) -> str | None:
        """The digest of the stored predictions of a run, the same for the same answers; None where there are none."""

    @abstractmethod
    def history(self, run_id: str) -> History:
        """A row per evaluation or epoch of training, numbers as floats; none where nothing was kept."""

    @abstractmethod
    def log_tail(self, run_id: str) -> str:
        """The last lines of what a run printed, without control characters and where it was started."""


def tail(lines: Sequence[str]) -> str:
    """The last of `lines`, without control characters and without the folders of whoever ran it."""
    text = _CONTROL.sub("", "\n".join(lines[-LOG_LINES:]))
    for folder, short in ((Path.cwd(), "."), (Path.home(), "~")):
        if folder.name:  # "/" is in every path
            text = text.replace(str(folder), short)
    return text


def write_predictions(run: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays`, as `ReadableFolder.predictions` gives them, as predictions.npz of the folder `run`."""
    import numpy as np

    np.savez_compressed(run / PREDICTIONS_FILE, allow_pickle=False, **arrays)


def write_history(run: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows, one per evaluation of a network or per epoch of a perceptron, as history.csv of the folder `run`."""
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["epoch", "loss"]
    with (run / HISTORY_FILE).open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
