"""One run, start to finish: what happens inside the child process."""

from __future__ import annotations

import csv
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench import metrics
from fer_bench.data import Dataset, Split
from fer_bench.errors import is_no_room
from fer_bench.execution.environment import environment, peak_memory_mb
from fer_bench.execution.job import Job, now
from fer_bench.execution.outcome import Clock, NotApplicable, adjusted, origin_on_record, trained
from fer_bench.judging.figures import draw_run
from fer_bench.models.plugins import load_plugins
from fer_bench.models.registry import STRATEGIES
from fer_bench.progress import Progress
from fer_bench.records.schema import Record

if TYPE_CHECKING:
    import numpy as np


def do_run(job: Job, work: Path, progress: Progress) -> Record:
    """Do `job`, leaving predictions.npz and history.csv in the folder `work`; return its record.

    Whatever the model raises becomes a failed record with its traceback, but for the OSError of a full disk.
    """
    started = now()
    environment(job.n_jobs)  # kept from here on: the code may be another by the end
    try:
        return _measured(job, work, progress, started)
    except NotApplicable as reason:
        return job.record("not-applicable", reason=str(reason), started=started, **origin_on_record(job))
    except MemoryError:
        return job.record(
            "out-of-memory", reason="the run asked for more memory than there is",
            traceback=traceback.format_exc(), started=started,
        )  # fmt: skip
    except (Exception, SystemExit) as error:  # a model that ends the process fails like any other
        if is_no_room(error):
            raise
        traceback.print_exc()
        text = " ".join(str(error).split())
        return job.record(
            "failed", reason=f"{type(error).__name__}: {text}"[:500],
            traceback=traceback.format_exc(), started=started,
        )  # fmt: skip


def _measured(job: Job, work: Path, progress: Progress, started: str) -> Record:
    clock = Clock()
    progress(0, "loading")
    load_plugins(job.plugins)
    dataset = Dataset.load(job.dataset_folder)
    split = Split.load(job.split_folder, job.spec.fold)
    clock.lap("load")
    starts_from = STRATEGIES[job.spec.strategy].starts_from
    make = adjusted if starts_from == "probabilities" else trained
    outcome = make(job, work, dataset, split, clock, progress)
    labels = {name: dataset.labels[split.subsets()[name]] for name in outcome.probabilities}
    scores = {
        name: metrics.score(labels[name], rows, dataset.class_names) for name, rows in outcome.probabilities.items()
    }
    clock.lap("score")
    _save_predictions(work / "predictions.npz", dataset, split, outcome.probabilities)
    _save_history(work / "history.csv", outcome.history)
    record = job.record(
        "success",
        started=started,
        **scores,
        **outcome.facts,
        peak_memory_mb=peak_memory_mb(),
        cpu_seconds=time.process_time(),
        seconds=clock.seconds,
    )
    draw_run(record, outcome.history, work)
    return record


def _save_predictions(path: Path, dataset: Dataset, split: Split, probabilities: dict[str, np.ndarray]) -> None:
    import numpy as np

    arrays: dict[str, np.ndarray] = {}
    for name, rows in probabilities.items():
        arrays[f"{name}_ids"] = np.asarray(dataset.sample_ids[split.subsets()[name]], dtype=np.str_)
        arrays[f"{name}_probabilities"] = rows
    np.savez_compressed(path, allow_pickle=False, **arrays)


def _save_history(path: Path, rows: list[dict[str, Any]]) -> None:
    """One row per evaluation of a network, per epoch of a perceptron; the header alone for the others."""
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["epoch", "loss"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
