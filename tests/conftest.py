"""What every test stands on: a cache of its own, a tiny dataset, and the program as a user starts it."""

import csv
import gzip
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fer_bench import metrics
from fer_bench.data import ids_fingerprint
from fer_bench.records.schema import Record, Spec
from fer_bench.records.spec import RunSpec
from fer_bench.records.store import ResultsFolder


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory):
    """Keep the tests, and every process they start, away from the user's caches, data and weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        patch.delenv("FER_BENCH_DATA", raising=False)
        yield


@pytest.fixture
def tiny_npz(tmp_path) -> Path:
    """120 noisy 24x24 images of three classes, of different frequency, told apart by where they are bright."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1, 2], [60, 24, 36]))
    images = rng.integers(0, 120, (len(labels), 24, 24))
    for row, label in enumerate(labels):
        images[row, 8 * label : 8 * label + 8] += 90
    path = tmp_path / "tiny.npz"
    np.savez(path, images=images.astype(np.uint8), labels=labels, class_names=np.array(["top", "middle", "bottom"]))
    return path


@pytest.fixture
def watched():
    """watched(images) -> the same images, and a list that gets the number of rows of each look-up that is no view."""

    def watch(images: np.ndarray) -> tuple[np.ndarray, list[int]]:
        copied: list[int] = []

        class Watched(np.ndarray):
            def __getitem__(self, key):
                found = np.asarray(super().__getitem__(key))
                if not np.may_share_memory(found, self):
                    copied.append(len(found))
                return found

        return images.view(Watched), copied

    return watch


@pytest.fixture
def program(tmp_path, tiny_npz):
    """Start `python -m fer_bench ...` in an empty folder; returns a function of its arguments."""

    def arguments(*given: str) -> dict:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "COLUMNS": "120"}
        command = [sys.executable, "-m", "fer_bench", *given]
        return {"args": command, "cwd": tmp_path, "env": environment, "text": True}

    def run(*given: str) -> subprocess.CompletedProcess:
        return subprocess.run(**arguments(*given), capture_output=True, timeout=300)

    def start(*given: str) -> subprocess.Popen:
        started.append(subprocess.Popen(**arguments(*given), stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
        return started[-1]

    started: list[subprocess.Popen] = []
    run.start = start  # type: ignore[attr-defined]
    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def file_calls(monkeypatch) -> list[str]:
    """What is done with files from now on, in order: "sync NAME", "rename NAME to NAME"."""
    told: list[str] = []

    def telling(method):
        def tell(self, target):
            told.append(f"rename {self.name} to {Path(target).name}")
            return method(self, target)

        return tell

    def tell_sync(descriptor, fsync=os.fsync):
        told.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    if not Path("/proc/self/fd").exists():
        pytest.skip("finds names of open files in /proc, as on Linux")
    monkeypatch.setattr(os, "fsync", tell_sync)
    for name in ("rename", "replace"):
        monkeypatch.setattr(Path, name, telling(getattr(Path, name)))
    return told


class StoredRuns:
    """A results folder as a suite leaves it: one split of three classes, and runs whose probabilities are kept."""

    CLASS_NAMES = ("top", "middle", "bottom")

    def __init__(self, path: Path, n_images: int = 90, prefix: str = "row") -> None:
        self.folder = ResultsFolder(path)
        self.folder.prepare()
        self.labels = {name: np.arange(n_images) % 3 for name in ("validation", "test")}
        starts = {"train": 0, "validation": n_images, "test": 2 * n_images}
        self.ids = {name: [f"{prefix}-{start + row:03}" for row in range(n_images)] for name, start in starts.items()}
        self.split = ids_fingerprint(self.ids)
        self.write_split(self.labels)

    def write_split(self, labels: dict[str, np.ndarray]) -> None:
        """`split-<fingerprint>.csv.gz`, without the labels of train."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["sample_id", "subset", "label"])
        for subset, ids in self.ids.items():
            for row, sample_id in enumerate(ids):
                label = self.CLASS_NAMES[labels[subset][row]] if subset in labels else ""
                writer.writerow([sample_id, subset, label])
        self.split_path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))

    @property
    def split_path(self) -> Path:
        """Where the split is stored."""
        return self.folder.path / f"split-{self.split}.csv.gz"

    def predictions(self, skill: float, seed: int = 0) -> dict[str, np.ndarray]:
        """Random probabilities, float32 (n, 3), that lean towards the label by `skill`."""
        rng = np.random.default_rng(seed)
        logits = {name: rng.normal(size=(len(rows), 3)) + skill * np.eye(3)[rows] for name, rows in self.labels.items()}
        return {name: metrics.probabilities_from_scores(rows, 1.0) for name, rows in logits.items()}

    def add(
        self, model: str, probabilities: dict[str, np.ndarray], strategy: str = "none", data: str = "d" * 16,
        seed: int = 0, **fields,
    ) -> Record:  # fmt: skip
        """Put a finished run on record."""
        spec = RunSpec(model, strategy, seed, data, self.split)
        scores = {
            name: metrics.score(self.labels[name], rows, self.CLASS_NAMES) for name, rows in probabilities.items()
        }
        values = {
            "run_id": spec.run_id, "status": "success", "spec": Spec(**vars(spec)), "dataset": self.folder.path.name,
            "family": "classical", "features": "pca", "class_names": list(self.CLASS_NAMES),
            "n_train": len(self.ids["train"]), "n_validation": len(self.ids["validation"]),
            "n_test": len(self.ids["test"]), "split_source": "drawn", "started": "2026-01-01T00:00:00+00:00",
            "command": "python -m fer_bench run", **scores,
        }  # fmt: skip
        record = Record(**(values | fields))
        work = self.folder.work_folder(record.run_id)
        arrays = {f"{name}_probabilities": rows for name, rows in probabilities.items()}
        arrays |= {f"{name}_ids": np.array(self.ids[name]) for name in probabilities}
        np.savez_compressed(work / "predictions.npz", **arrays)
        with self.folder.lock(record.run_id):
            self.folder.commit(record, work)
        return record

    def predictions_path(self, record: Record) -> Path:
        """Where the probabilities of a run are."""
        return self.folder.runs / record.run_id / "predictions.npz"

    def rewrite(self, record: Record, **fields) -> None:
        """Overwrite fields of a record on disk, as a forger would."""
        path = self.folder.record_path(record.run_id)
        path.write_text(record.model_copy(update=fields).model_dump_json(indent=1))


@pytest.fixture(scope="session")
def stored_runs_folder(tmp_path_factory) -> Path:
    """What `stored_runs` begins with, made once: scoring takes its time."""
    runs = StoredRuns(tmp_path_factory.mktemp("stored") / "faces")
    for number, (model, skill) in enumerate({"majority": 0.0, "pca-svm": 1.0, "hog-svm": 2.0}.items()):
        family = "baseline" if model == "majority" else "classical"
        runs.add(model, runs.predictions(skill, seed=number), family=family)
    return runs.folder.path


@pytest.fixture
def stored_runs(stored_runs_folder, tmp_path) -> StoredRuns:
    """Three runs of rising skill in `results/faces` of the test's folder."""
    shutil.copytree(stored_runs_folder, tmp_path / "results" / "faces")
    return StoredRuns(tmp_path / "results" / "faces")
