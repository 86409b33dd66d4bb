"""Published evidence: the records and probabilities of one dataset in a few files, read and never added to.

records.jsonl.gz has a line a run: its record, history, the end of its log, and the names of the ids that its
probabilities are of. probabilities.npz has these ids, and `<run id>/<subset>`, probabilities (n, k): float32 as they
are, or float16, SCALE times a probability of at most a half, and SCALE times that minus 1 for a larger one (-0.0 is
1), so that both ends of the range are fine. What else lies in a folder of runs lies here, too.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.archives import gunzip, refuse_bomb
from fer_bench.cache import replace_folder, replacing
from fer_bench.errors import FerBenchError, listing
from fer_bench.records.folder import RECORDS_FILE, History, ReadableFolder

if TYPE_CHECKING:
    import numpy as np

    from fer_bench.records.schema import PublishedLine, Record

PROBABILITIES_FILE = "probabilities.npz"
SCALE = 2**15
"""A power of two, so that it rounds nothing: float16 then tells probabilities from 0 down to 2 ** -39."""
_LETTER = r"""(?:[^'/\n]|'"'"')"""
QUOTED = re.compile(rf"""(?<=')([\w-]+=)?(?:\.\.|~)?/(?:{_LETTER}*/)*({_LETTER}+)(?=')""")
"""A path that a shell is given in quotes, with what may be quoted with it, as in '--data=/home/x y/z.csv'."""
NAMING_FILES = ("command", "notes", "weights_note")
"""Fields of a record in which files may stand with their folders."""
BESIDE = ("split-*.csv.gz", "images-*.csv.gz", "audit*.json", "tuned/*.json")


@dataclass(frozen=True)
class PublishedRun:
    """All that is published of one run.

    predictions: as `ReadableFolder.predictions` gives them; they take half the room if they are `rounded`.
    """

    record: Record
    history: History
    log: str
    predictions: dict[str, np.ndarray] | None


class PublishedFolder(ReadableFolder):
    """What `write_published` wrote."""

    advice = "they were changed since they were published; take them from where they were published, or publish again"
    resolution = 2.0**-11

    def read(self) -> tuple[list[Record], list[str]]:
        lines, problems = self._read
        return [line.record for line in lines.values()], problems

    def record(self, run_id: str) -> Record | None:
        line = self._read[0].get(run_id)
        return line.record if line else None

    def history(self, run_id: str) -> History:
        line = self._read[0].get(run_id)
        return line.history if line else []

    def log_tail(self, run_id: str) -> str:
        line = self._read[0].get(run_id)
        return line.log if line else ""

    def predictions(self, run_id: str) -> dict[str, np.ndarray] | None:
        found: dict[str, np.ndarray] = {}
        line = self._read[0].get(run_id)
        for subset, ids in line.ids.items() if line else ():
            if ids not in self._ids:  # many runs are of the same images
                self._ids[ids] = self._array(ids)
            found[f"{subset}_ids"] = self._ids[ids]
            rows = self._array(f"{run_id}/{subset}")
            found[f"{subset}_probabilities"] = _unpacked(rows) if rows.dtype == "float16" else rows
        return found or None

    def predictions_digest(self, run_id: str) -> str | None:
        predictions = self.predictions(run_id)
        if predictions is None:
            return None
        sha = hashlib.sha256()
        for name, array in sorted(predictions.items()):
            sha.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        return sha.hexdigest()

    @cached_property
    def _ids(self) -> dict[str, np.ndarray]:
        return {}

    @cached_property
    def _read(self) -> tuple[dict[str, PublishedLine], list[str]]:
        """Lines by run id, and what is wrong with the others."""
        from pydantic import ValidationError

        from fer_bench.records.schema import PublishedLine, first_problem

        path = self.path / RECORDS_FILE
        try:
            content = gunzip(path).splitlines()
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise FerBenchError(f"{path}: damaged ({error!r}); {self.advice}") from error
        if not content:
            raise FerBenchError(f"{path}: has no records; {self.advice}")
        lines, problems = {}, []
        for number, text in enumerate(content, start=1):
            try:
                line = PublishedLine.model_validate_json(text)
                lines[line.record.run_id] = line
            except ValidationError as error:
                problems.append(f"{path}: line {number}: {first_problem(error)}")
        return lines, problems

    @cached_property
    def _archive(self) -> Any:
        import numpy as np

        path = self.path / PROBABILITIES_FILE
        refuse_bomb(path)
        return np.load(path, allow_pickle=False)

    def _array(self, name: str) -> np.ndarray:
        try:
            return self._archive[name]
        except Exception as error:  # whatever NumPy, zipfile and zlib say of a damaged file
            path = self.path / PROBABILITIES_FILE
            raise FerBenchError(f"{path}: {name} cannot be read ({error!r}); {self.advice}") from error


def rounded(probabilities: np.ndarray) -> np.ndarray:
    """What is published of `probabilities`, float (n, k): float32 (n, k), off by `PublishedFolder.resolution` at most.

    What was equal stays equal, and each row keeps its most probable class: where another one would become as probable,
    that class gets the next larger number.
    """
    return _unpacked(_packed(probabilities))


def _packed(probabilities: np.ndarray) -> np.ndarray:
    import numpy as np

    large, given = probabilities > 0.5, probabilities.astype(np.float64)
    packed = (np.where(large, -(1 - given), given) * SCALE).astype(np.float16)
    packed[(packed == 0) & (given > 0) & ~large] = np.finfo(np.float16).smallest_subnormal
    rows, best = np.arange(len(packed)), probabilities.argmax(axis=1)
    after, most = _unpacked(packed), probabilities[rows, best]
    tied = ((after >= after[rows, best][:, None]) & (probabilities < most[:, None])).any(axis=1)
    packed[rows[tied], best[tied]] = np.nextafter(packed[rows[tied], best[tied]], np.float16(np.inf))
    return packed


def _unpacked(packed: np.ndarray) -> np.ndarray:
    import numpy as np

    rows = packed.astype(np.float64) / SCALE
    return np.where(np.signbit(packed), 1 + rows, rows).astype(np.float32)


def without_folders(text: Any) -> Any:
    """`text`, such as a command, with the names alone of files outside its own folder: "../shared/x.csv" as "x.csv".

    Of several texts, a list.
    """
    if not isinstance(text, str):
        return [without_folders(one) for one in text]
    text = QUOTED.sub(r"\1\2", text)
    return re.sub(r"(?<![^\s'=])(?:\.\.|~)?/(?:[^\s']*/)?([^\s'/]+)", r"\1", text)


def write_published(
    source: ReadableFolder, target: Path, runs: Iterable[PublishedRun],
    add_pages: Callable[[PublishedFolder], object] = lambda folder: None,
) -> None:  # fmt: skip
    """Write `runs` and what lies beside them in `source` as the folder `target`, in place of earlier evidence.

    add_pages: writes more into it before it takes that place, which it does not where this fails.
    The same input gives the same bytes. Raises FerBenchError where something else, evidence of other data, or of a run
    that is not among `runs`, is at `target`.
    """
    if target.exists() and not (target / RECORDS_FILE).exists():
        raise FerBenchError(f"{target} is there and no published evidence; give another folder")
    by_id = sorted(runs, key=lambda run: run.record.run_id)
    there = PublishedFolder(target).records() if target.exists() else []
    data = {record.spec.data_fingerprint for record in there}
    if there and not data & {run.record.spec.data_fingerprint for run in by_id}:
        raise FerBenchError(f"{target}: has evidence of other data, which is not written over; give another folder")
    if lost := sorted({record.run_id for record in there} - {run.record.run_id for run in by_id}):
        raise FerBenchError(
            f"{target}: has runs that are not in {source.path} and would be lost: `unpack` brings them there, or "
            f"remove it first:\n{listing(lost)}"
        )
    target.parent.mkdir(parents=True, exist_ok=True)

    def build(work: Path) -> None:
        _write(source.path, work, by_id)
        add_pages(PublishedFolder(work))

    replace_folder(target, build, synced=True)


def _write(source: Path, work: Path, runs: list[PublishedRun]) -> None:
    import numpy as np

    arrays: dict[str, np.ndarray] = {}
    lines = []
    for run in runs:
        run_id, ids = run.record.run_id, {}
        for subset in ("validation", "test"):
            if run.predictions and f"{subset}_ids" in run.predictions:
                of = run.predictions[f"{subset}_ids"]
                ids[subset] = f"ids-{hashlib.sha256(of.tobytes()).hexdigest()[:16]}"
                arrays[ids[subset]] = of
                rows = run.predictions[f"{subset}_probabilities"]
                packed = _packed(rows)
                arrays[f"{run_id}/{subset}"] = packed if np.array_equal(_unpacked(packed), rows) else rows
        line = {"record": run.record.model_dump(mode="json"), "history": run.history, "log": run.log, "ids": ids}
        lines.append(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
    (work / RECORDS_FILE).write_bytes(gzip.compress("".join(lines).encode(), mtime=0))
    with zipfile.ZipFile(work / PROBABILITIES_FILE, "w", zipfile.ZIP_LZMA) as archive:  # a twentieth less than NumPy's
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    copy_beside(source, work)


def copy_beside(source: Path, target: Path) -> None:
    """Copy splits, audits, facts of images and searches, from one folder of results to another that lacks them."""
    for pattern in BESIDE:
        for path in source.glob(pattern):
            copy = target / path.relative_to(source)
            if not copy.exists():
                with replacing(copy) as work:  # a kill leaves no half of it, which would be taken for the whole
                    shutil.copyfile(path, work)
