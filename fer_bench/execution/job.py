"""Job: everything a child process needs to do one run, and the records that say how it ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fer_bench.execution.environment import environment
from fer_bench.records.schema import Record, Spec
from fer_bench.records.spec import RunSpec


@dataclass(frozen=True)
class Job:
    """One run to do. It holds paths and plain values only, so that it can travel to any process.

    weights: what `spec.weights` came down to on this machine: "none", "imagenet" or a path; "" where none are used.
    weights_reason: why, in words for the record. record_digest: of the record that was there when it was planned, or
    None; where another one is found, the run needs no repeat. home: the runner's results folder, where `results` is a
    worker's own.
    """

    spec: RunSpec
    family: str
    features: str
    results: Path
    dataset_folder: Path
    split_folder: Path
    dataset: str
    class_names: tuple[str, ...]
    counts: tuple[int, int, int]
    split_source: str
    data_notes: tuple[str, ...]
    plugins: tuple[Path, ...]
    command: str
    n_jobs: int
    record_digest: str | None
    weights: str = ""
    weights_reason: str = ""
    home: Path | None = None

    def record(self, status: str, **known: Any) -> Record:
        """The record of this job with `status` and whatever else is `known`."""
        n_train, n_validation, n_test = self.counts
        return Record(
            run_id=self.spec.run_id,
            status=status,  # type: ignore[arg-type]  # pydantic checks it
            spec=Spec(**asdict(self.spec)),
            dataset=self.dataset,
            family=self.family,
            features=self.features,
            class_names=list(self.class_names),
            n_train=n_train,
            n_validation=n_validation,
            n_test=n_test,
            split_source=self.split_source,
            data_notes=list(self.data_notes),
            command=self.command,
            **{"started": now(), "environment": environment(self.n_jobs), **known},
        )


def now() -> str:
    """This moment in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
