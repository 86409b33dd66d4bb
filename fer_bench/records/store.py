"""The results folder of a user's own runs: each complete or absent, and locks so that none is done twice.

It imports light: planning asks for statuses alone and needs neither the schema nor the locks.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import shutil
import uuid
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.archives import gunzip, refuse_bomb
from fer_bench.cache import old_path, put_in_place, sync, write_atomic
from fer_bench.errors import FerBenchError
from fer_bench.records.folder import (
    HISTORY_FILE,
    LOG_BYTES,
    LOG_FILE,
    LOG_LINES,
    PREDICTIONS_FILE,
    RECORDS_FILE,
    History,
    ReadableFolder,
    tail,
)
from fer_bench.records.published import PublishedFolder
from fer_bench.records.upgrade import upgrade

if TYPE_CHECKING:
    import numpy as np
    from filelock import FileLock

    from fer_bench.records.schema import Record

FINISHED = ("success", "not-applicable")
CLAIM_FILE = ".data.json"
ROUNDED_FILE = ".rounded"
"""Where it is, runs were unpacked from published evidence."""


@dataclass(frozen=True)
class RunState:
    """What planning asks of the record of a run on disk.

    status: None where no record can be read. plugin_code: a digest of what plugins defined of it; base: the digest of
    the predictions of the run that it started from; initial_weights: what a network started from; None where none is
    known. digest: of the whole record, None where there is none.
    """

    status: str | None = None
    plugin_code: str | None = None
    base: str | None = None
    initial_weights: str | None = None
    digest: str | None = None


class ResultsFolder(ReadableFolder):
    """`<results>/<dataset>`: `runs/<run_id>/` per run, the split, the leaderboard."""

    advice = "delete those folders and run again to repeat just them"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.runs = path / "runs"
        self.resolution = PublishedFolder.resolution if (path / ROUNDED_FILE).exists() else 0.0
        self._locks = path / ".locks"

    def prepare(self) -> None:
        """Make the folder and see that it can be written. Raises FerBenchError where it cannot, or is published."""
        if (self.path / RECORDS_FILE).exists():
            raise FerBenchError(
                f"{self.path} is published evidence, which no run adds to; `unpack` it, or give another --results"
            )
        probe = self.runs / f".probe-{uuid.uuid4().hex[:8]}"
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            self._locks.mkdir(exist_ok=True)
            probe.write_bytes(b"fer_bench")
            probe.unlink()
        except OSError as error:
            raise FerBenchError(f"results folder {self.path} cannot be written: {error.strerror or error}") from error

    def data_fingerprint(self) -> str | None:
        """Of the data that claimed this folder, or else of an audit or a run in it; None where there is nothing."""
        for path in (self.path / CLAIM_FILE, *self.path.glob("audit*.json"), *self.runs.glob("[!.]*/record.json")):
            try:
                found = _parsed(path.read_bytes())
            except OSError:
                continue
            about = found.get("spec", found) if isinstance(found, dict) else None
            fingerprint = about.get("data_fingerprint") if isinstance(about, dict) else None
            if isinstance(fingerprint, str):
                return fingerprint
        return None

    def claim(self, data_fingerprint: str) -> None:
        """Keep this folder for the results of these data. Raises FerBenchError where it is that of others."""
        if self.data_fingerprint() == data_fingerprint:
            return
        with self.lock("data"):
            if (there := self.data_fingerprint()) not in (None, data_fingerprint):
                raise FerBenchError(
                    f"{self.path} has meanwhile got results of other data (fingerprint {there}, these have "
                    f"{data_fingerprint}); give the command again, or another --name"
                )
            write_atomic(self.path / CLAIM_FILE, json.dumps({"data_fingerprint": data_fingerprint}))

    def record_path(self, run_id: str) -> Path:
        """Where the record of `run_id` is or will be."""
        return self.runs / run_id / "record.json"

    def status(self, run_id: str) -> str | None:
        """The status of a run on disk, or None. A record that cannot be read counts as none."""
        return self.state(run_id).status

    def state(self, run_id: str) -> RunState:
        """What there is of a run on disk, unchecked but for its types."""
        try:
            content = self.record_path(run_id).read_bytes()
        except OSError:
            return RunState()
        digest = hashlib.sha256(content).hexdigest()
        record = _parsed(content)
        if not isinstance(record, dict) or not isinstance(status := record.get("status"), str):
            return RunState(digest=digest)
        return RunState(
            status, record.get("plugin_code"), record.get("base_predictions"), record.get("initial_weights"), digest
        )

    def predictions(self, run_id: str) -> dict[str, np.ndarray] | None:
        path = self.runs / run_id / PREDICTIONS_FILE
        if not path.exists():
            return None
        import numpy as np

        try:
            with np.load(path, allow_pickle=False) as arrays:
                refuse_bomb(path)
                return {name: arrays[name] for name in arrays.files}
        except Exception as error:  # whatever NumPy, zipfile and zlib say of a damaged file
            raise FerBenchError(f"{path}: cannot be read: {error}") from error

    def predictions_digest(self, run_id: str) -> str | None:
        try:
            return hashlib.sha256((self.runs / run_id / PREDICTIONS_FILE).read_bytes()).hexdigest()
        except OSError:
            return None

    def history(self, run_id: str) -> History:
        try:
            text = (self.runs / run_id / HISTORY_FILE).read_text(errors="replace")
            rows = list(csv.DictReader(text.splitlines()))
        except (OSError, csv.Error):
            return []
        return [{name: _number(cell) for name, cell in row.items() if name and cell} for row in rows]

    def log_tail(self, run_id: str) -> str:
        try:
            with (self.runs / run_id / LOG_FILE).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 200 * LOG_LINES))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return tail(lines)

    def raw_records(self) -> list[dict[str, Any]]:
        """All records that can be read, as JSON has them, unchecked: for estimates of time."""
        found = []
        for path in sorted(self.runs.glob("[!.]*/record.json")):
            with suppress(OSError):
                found.append(_parsed(path.read_bytes()))
        return [record for record in found if isinstance(record, dict) and {"status", "spec"} <= record.keys()]

    def record(self, run_id: str) -> Record | None:
        from pydantic import ValidationError

        from fer_bench.records.schema import Record

        try:
            return Record.model_validate_json(self.record_path(run_id).read_bytes())
        except (OSError, ValidationError):
            return None

    def read(self) -> tuple[list[Record], list[str]]:
        from pydantic import ValidationError

        from fer_bench.records.schema import Record, first_problem

        records, problems = [], []
        for path in sorted(self.runs.glob("[!.]*/record.json")):
            try:
                record = Record.model_validate_json(path.read_bytes())
            except ValidationError as error:
                problems.append(f"{path}: {first_problem(error)}")
                continue
            except OSError as error:
                problems.append(f"{path}: cannot be read ({error.strerror or error})")
                continue
            if record.run_id == path.parent.name:
                records.append(record)
            else:
                problems.append(f"{path}: is the record of {record.run_id}")
        return records, problems

    def work_path(self, run_id: str) -> Path:
        """A new name for a hidden folder, to be made under the run's lock: `clean` removes it otherwise."""
        return self.runs / f".{run_id}.{uuid.uuid4().hex[:8]}"

    def work_folder(self, run_id: str) -> Path:
        """A fresh hidden folder in which a run builds what `commit` will publish. Call it under the run's lock."""
        folder = self.work_path(run_id)
        folder.mkdir(parents=True)
        return folder

    def lock(self, run_id: str) -> FileLock:
        """The lock to hold while a run is done and published; freed by the system when its holder dies."""
        from filelock import FileLock

        self._locks.mkdir(parents=True, exist_ok=True)
        return FileLock(self._locks / f"{run_id}.lock")

    def commit(self, record: Record, work: Path) -> None:
        """Publish `work`, with `record` in it, as the run's folder, in place of an earlier one.

        Call it under the run's lock. Every file reaches the disk before the rename does. Of what a run left that did
        not succeed, the log alone is kept.
        """
        work.mkdir(parents=True, exist_ok=True)
        shorten_log(work)
        if record.status != "success":
            for path in work.iterdir():
                if path.name != LOG_FILE:
                    path.unlink()
        (work / "record.json").write_bytes(record.model_dump_json(indent=1).encode() + b"\n")
        sync(work)
        put_in_place(work, self.runs / record.run_id)

    def clean(self) -> set[str]:
        """Remove the hidden folders that killed runs left; those of runs still going on are locked and stay.

        Where one was killed after its earlier folder was taken away and before the new one stood there, the earlier
        comes back. Returns the ids of such runs.
        """
        from filelock import Timeout

        put_back = set()
        for left in self.runs.glob(".*.*"):
            run = self.runs / left.name[1:].rpartition(".")[0]
            try:
                with self.lock(run.name).acquire(blocking=False):
                    if left == old_path(run) and not run.exists():
                        left.rename(run)
                        put_back.add(run.name)
                    else:
                        shutil.rmtree(left, ignore_errors=True)
            except Timeout:
                continue
        return put_back


def _parsed(content: bytes) -> Any:
    try:
        return upgrade(json.loads(content))
    except (ValueError, RecursionError):
        return None


def shorten_log(work: Path) -> None:
    """Cut out the middle of a log in the folder `work` that is too long; somebody may be writing to its end."""
    with suppress(FileNotFoundError), (work / LOG_FILE).open("a+b") as log:
        size = log.seek(0, os.SEEK_END)
        if size > LOG_BYTES:
            log.seek(size - LOG_BYTES // 4)
            end = log.read(LOG_BYTES // 4)
            log.truncate(LOG_BYTES // 4)
            log.write(b"\n... the middle is left out ...\n" + end)


def write_gzipped(path: Path, content: bytes) -> None:
    """Write `content`, gzipped, to `path`, unless that is what is there unpacked: versions of zlib pack differently."""
    try:
        if gunzip(path) == content:
            return
    except (OSError, EOFError, ValueError, zlib.error):  # missing or damaged
        pass
    write_atomic(path, gzip.compress(content, mtime=0))


def _number(cell: str) -> str | float:
    try:
        return float(cell)
    except ValueError:
        return cell


def open_results(path: Path) -> ResultsFolder | PublishedFolder:
    """The results of one dataset in the folder `path`, be they runs or published evidence.

    Raises FerBenchError naming what results there are nearby where there are none.
    """
    if (path / RECORDS_FILE).is_file():
        return PublishedFolder(path)
    if (path / "runs").is_dir():
        return ResultsFolder(path)
    places = (path, path / "published", path.parent, Path("results"), Path("results") / "published")
    there = (f"; in {place} there are those of: {', '.join(names)}" for place in places if (names := _datasets(place)))
    raise FerBenchError(f"no results in {path}{next(there, ', nor nearby: `run` makes some, or name another folder')}")


def _datasets(place: Path) -> list[str]:
    """Names of the folders in `place` that hold results of a dataset."""
    return sorted({found.parent.name for mark in ("runs", RECORDS_FILE) for found in place.glob(f"*/{mark}")})
