"""The results folder of one dataset: runs that are complete or absent, and locks so that no run is done twice.

It imports light: planning asks for statuses alone and needs neither the schema nor the locks.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.cache import old_path, put_in_place, sync
from fer_bench.errors import FerBenchError, listing
from fer_bench.records.upgrade import upgrade

if TYPE_CHECKING:
    from filelock import FileLock

    from fer_bench.records.schema import Record

FINISHED = ("success", "not-applicable")


@dataclass(frozen=True)
class Standing:
    """What planning asks of the record of a run on disk.

    status: None where no record can be read. plugin_code: a digest of what plugins defined of it; base: the digest of
    the predictions of the run that it started from; None where none is known. digest: of the whole record, None where
    there is none.
    """

    status: str | None = None
    plugin_code: str | None = None
    base: str | None = None
    digest: str | None = None


class ResultsFolder:
    """`<results>/<dataset>`: `runs/<run_id>/` per run, the split, the leaderboard."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs = path / "runs"
        self._locks = path / ".locks"

    def prepare(self) -> None:
        """Make the folder and see that it can be written. Raises FerBenchError where it cannot."""
        probe = self.runs / f".probe-{uuid.uuid4().hex[:8]}"
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            self._locks.mkdir(exist_ok=True)
            probe.write_bytes(b"fer_bench")
            probe.unlink()
        except OSError as error:
            raise FerBenchError(f"results folder {self.path} cannot be written: {error.strerror or error}") from error

    def record_path(self, run_id: str) -> Path:
        """Where the record of `run_id` is or will be."""
        return self.runs / run_id / "record.json"

    def status(self, run_id: str) -> str | None:
        """The status of a run on disk, or None. A record that cannot be read counts as none."""
        return self.standing(run_id).status

    def standing(self, run_id: str) -> Standing:
        """What there is of a run on disk, unchecked but for its types."""
        try:
            content = self.record_path(run_id).read_bytes()
        except OSError:
            return Standing()
        digest = hashlib.sha256(content).hexdigest()
        try:
            record = upgrade(json.loads(content))
        except (ValueError, RecursionError):
            return Standing(digest=digest)
        if not isinstance(record, dict) or not isinstance(status := record.get("status"), str):
            return Standing(digest=digest)
        return Standing(status, record.get("plugin_code"), record.get("base_predictions"), digest)

    def predictions_digest(self, run_id: str) -> str | None:
        """The digest of the stored predictions of a run, the same for the same answers; None where there are none."""
        try:
            return hashlib.sha256((self.runs / run_id / "predictions.npz").read_bytes()).hexdigest()
        except OSError:
            return None

    def raw_records(self) -> list[dict[str, Any]]:
        """All records that can be read, as JSON has them, unchecked: for estimates of time."""
        found = []
        for path in sorted(self.runs.glob("[!.]*/record.json")):
            try:
                found.append(upgrade(json.loads(path.read_bytes())))
            except (ValueError, OSError, RecursionError):
                continue
        return [record for record in found if isinstance(record, dict) and {"status", "spec"} <= record.keys()]

    def record(self, run_id: str) -> Record | None:
        """The record of `run_id`, or None where there is none to be read."""
        from pydantic import ValidationError

        from fer_bench.records.schema import Record

        try:
            return Record.model_validate_json(self.record_path(run_id).read_bytes())
        except (OSError, ValidationError):
            return None

    def records(self) -> list[Record]:
        """All records, by run id. Raises FerBenchError naming every one that does not follow the schema."""
        records, problems = self.read()
        if problems:
            advice = "delete those folders and run again to repeat just them"
            raise FerBenchError(f"{len(problems)} damaged records ({advice}):\n{listing(problems)}")
        return records

    def read(self) -> tuple[list[Record], list[str]]:
        """All records that follow the schema, by run id, and what is wrong with each of the others."""
        from pydantic import ValidationError

        from fer_bench.records.schema import Record

        records, problems = [], []
        for path in sorted(self.runs.glob("[!.]*/record.json")):
            try:
                record = Record.model_validate_json(path.read_bytes())
            except ValidationError as error:
                first = error.errors()[0]
                problems.append(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}")
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

        Call it under the run's lock. Every file reaches the disk before the rename does.
        """
        work.mkdir(parents=True, exist_ok=True)
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
