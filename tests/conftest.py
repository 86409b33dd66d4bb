"""What every test stands on: a cache of its own, a tiny dataset, and the program as a user starts it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from stored import StoredRuns


def pytest_sessionstart() -> None:
    """Before the program is imported: it prints as to a file, whatever colours are asked of all programs."""
    for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"):
        os.environ.pop(name, None)


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory):
    """Keep the tests, and every process they start, away from the user's caches, data and weights.

    Servers on this machine are asked themselves, and not through the proxy if one is set.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        patch.setenv("no_proxy", "127.0.0.1,localhost")
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


def heed_interrupts() -> None:
    """In a child process: SIGINT arrives, though a shell that starts the tests in the background has it ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def program(tmp_path, tiny_npz):
    """Start `python -m fer_bench ...` in an empty folder; returns a function of its arguments."""

    def arguments(*given: str) -> dict:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "COLUMNS": "120"}
        command = [sys.executable, "-m", "fer_bench", *given]
        return {"args": command, "cwd": tmp_path, "env": environment, "text": True, "preexec_fn": heed_interrupts}

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


@dataclass
class Done:
    """How a command ended and what it said."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """The program in this process, in the test's folder; returns a function of its arguments. Nothing stays loaded."""
    from fer_bench.cli import main
    from fer_bench.models.registry import MODELS

    monkeypatch.setattr(MODELS, "_cards", dict(MODELS._cards))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr("sys.argv", ["fer_bench", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return Done(int(end.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def records():
    """records(folder): every record in a results folder, as JSON has it, by model, strategy and seed."""

    def read(folder: Path) -> dict[tuple[str, str, int], dict]:
        found = [json.loads(path.read_bytes()) for path in sorted(folder.glob("runs/[!.]*/record.json"))]
        return {tuple(record["spec"][name] for name in ("model", "strategy", "seed")): record for record in found}

    return read


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
