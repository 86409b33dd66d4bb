"""How cost grows: with rows, strategies, processes and records; and how much memory it takes."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from settings import QUICK

from fer_bench import metrics
from fer_bench.data import Dataset, Split
from fer_bench.execution.environment import cores
from fer_bench.execution.plan import Job, Selection, make_plan
from fer_bench.execution.preparation import audit_data, prepare, store_split
from fer_bench.models.plugins import load_plugins

pytestmark = pytest.mark.timeout(1800)
MODELS = ("pca-logistic",) if QUICK else ("pca-svm", "hog-svm", "pca-forest", "hog-forest")
STRATEGIES = ("none", "class-weights", "sqrt-weights", "effective-number")
N_IMAGES = 300 if QUICK else 1200
TIMES = (1, 2) if QUICK else (1, 2, 4)
JOBS_TARGET = 0.85  # of the cores
REPORT_TARGET = 10.0  # seconds for 1,000 records


def grid(program, data, n_strategies=1, jobs=1, name="grid"):
    """Seconds of the classical grid on `data`, start, features and leaderboard included."""
    command = ["--data", data, "--name", name, "--models", ",".join(MODELS)]
    command += ["--strategies", ",".join(STRATEGIES[:n_strategies]), "--jobs", str(jobs)]
    return program("run", *command).seconds


def n_runs(program, name):
    return len(list((program.folder / "results" / name / "runs").glob("*/record.json")))


def test_rows(benchmark, tell, program, faces):
    seconds = {n: grid(program, faces(n * N_IMAGES), name=f"{n}-times") for n in TIMES[1:]}
    seconds[1] = benchmark.pedantic(grid, args=(program, faces(N_IMAGES)), rounds=1)
    most = TIMES[-1]
    tell(
        f"{len(MODELS)} models on {most} times {N_IMAGES:,} images over once", seconds[most] / seconds[1],
        **{f"seconds_on_{n * N_IMAGES}_images": seconds[n] for n in TIMES},
    )  # fmt: skip
    assert len(list((program.folder / "results").glob("*/leaderboard.md"))) == len(TIMES)


def test_strategies(benchmark, tell, program, faces):
    data, seconds = faces(N_IMAGES), {}
    for n in TIMES[1:]:
        program.environment["FER_BENCH_CACHE"] = str(program.folder / f"cache-{n}")
        seconds[n] = grid(program, data, n, name=f"{n}-strategies")
    program.environment["FER_BENCH_CACHE"] = str(program.folder / "cache-1")
    seconds[1] = benchmark.pedantic(grid, args=(program, data), rounds=1)
    most = TIMES[-1]
    tell(
        f"{most} strategies over 1, {len(MODELS)} models", seconds[most] / seconds[1],
        **{f"seconds_of_{n}": seconds[n] for n in TIMES},
    )  # fmt: skip
    assert n_runs(program, f"{most}-strategies") == most * len(MODELS)


def test_jobs(benchmark, tell, program, faces):
    """A run has all cores to itself, or one of them: what a second run at once brings shows with one core a run."""
    data, n_strategies = faces(TIMES[-1] * N_IMAGES), TIMES[-1]
    grid(program, data, name="warm")  # decodes, and computes the features
    whole = grid(program, data, n_strategies, name="whole")
    at_once = benchmark.pedantic(grid, args=(program, data, n_strategies, cores(), "at-once"), rounds=1)
    program.environment["LOKY_MAX_CPU_COUNT"] = "1"
    one = grid(program, data, n_strategies, name="one")
    target = JOBS_TARGET * cores()
    tell(
        f"--jobs 1 on one core over --jobs {cores()}, {len(MODELS)} models, {n_strategies} strategies", one / at_once,
        f"at least {target:g}", one / at_once >= target, cores=cores(),
        seconds_with_1=one, seconds_at_once=at_once, seconds_with_1_on_all_cores=whole,
    )  # fmt: skip
    assert n_runs(program, "one") == n_runs(program, "at-once") == n_strategies * len(MODELS)


def many_records(folder: Path, data: str, n: int) -> None:
    """`n` successful records with probabilities, of every model and strategy with as many seeds as that needs."""
    prepared = prepare(data, folder)
    prepared.results.prepare()
    store_split(prepared)
    audit_data(prepared)
    load_plugins(())
    selection = Selection("zoo", seeds=range(1 + n // 100))
    plan = [planned for planned in make_plan(prepared, selection) if not planned.reason]
    dataset, split = Dataset.load(prepared.dataset_folder), Split.load(prepared.split_folder)
    rng, skill = np.random.default_rng(0), {}
    for planned in sorted(plan, key=lambda planned: planned.spec.seed)[:n]:
        job = Job(planned.spec, planned.card.family, planned.card.features, prepared, command="benchmark")
        lean = skill.setdefault(planned.spec.model, rng.uniform(0.2, 2.2)) + rng.normal(0, 0.05)
        arrays, scores = {}, {}
        for name in ("validation", "test"):
            rows = split.subsets()[name]
            labels, k = dataset.labels[rows], len(prepared.class_names)
            probabilities = metrics.probabilities_from_scores(
                rng.normal(size=(len(rows), k)) + lean * np.eye(k)[labels], 1
            )
            scores[name] = metrics.score(labels, probabilities, prepared.class_names)
            arrays |= {f"{name}_ids": dataset.sample_ids[rows].astype(np.str_), f"{name}_probabilities": probabilities}
        record = job.record("success", **scores, seconds={"fit": 1.0}, ms_per_image=0.1)
        work = prepared.results.work_folder(record.run_id)
        np.savez_compressed(work / "predictions.npz", allow_pickle=False, **arrays)
        prepared.results.commit(record, work)


def test_report(benchmark, tell, program, data, monkeypatch):
    n = 20 if QUICK else 1000
    monkeypatch.setenv("FER_BENCH_CACHE", program.environment["FER_BENCH_CACHE"])
    many_records(program.folder / "results", data, n)
    name = next((program.folder / "results").iterdir()).name
    cold = program("report", "--name", name)
    warm = benchmark.pedantic(program, args=("report", "--name", name), rounds=1)
    bare = program.python("-c", "import numpy, scipy.stats, pydantic, matplotlib.backends.backend_agg")
    tell(
        f"report over {n:,} records, judged before, over importing its libraries", warm.cpu / bare.cpu,
        f"under {REPORT_TARGET:g} s", warm.seconds < REPORT_TARGET,
        seconds_never_judged_before=cold.seconds, cpu_never_judged_before=cold.cpu, cpu=warm.cpu,
    )  # fmt: skip
    lines = (program.folder / "results" / name / "leaderboard.csv").read_text().splitlines()
    assert len(lines) == 1 + n


class Memory:
    """The largest sum of the proportional set sizes of a process and all below it, in MiB; Linux."""

    def __init__(self) -> None:
        self.peak = 0.0

    def look(self, process: int) -> None:
        self.peak = max(self.peak, sum(map(self._size, self._tree(process))) / 1024)

    def _tree(self, process: int) -> list[int]:
        """The process and its descendants; those of a task that has just ended have none."""
        try:
            tasks = Path(f"/proc/{process}/task").iterdir()
            children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except OSError:
            return []
        return [process, *(one for child in children for one in self._tree(child))]

    def _size(self, process: int) -> int:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


STAGES = {
    "reading": ("data", "describe"),
    "the audit": ("audit",),
    "one hog-svm run": ("run", "--models", "hog-svm", "--strategies", "none"),
}


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="tells memory on Linux only")
def test_memory(benchmark, tell, program, data):
    """From an empty cache: each stage decodes, or finds decoded, what the one before left."""
    peaks = {}

    def stages() -> None:
        for name, command in STAGES.items():
            memory, arguments = Memory(), [sys.executable, "-m", "fer_bench", *command, "--data", data]
            with (program.folder / "log.txt").open("w") as log:
                process = subprocess.Popen(
                    arguments, cwd=program.folder, env=program.environment, stdout=log, stderr=log
                )
                while process.poll() is None:
                    memory.look(process.pid)
                    time.sleep(0.05)
            assert process.returncode == 0, (program.folder / "log.txt").read_text()
            peaks[name] = memory.peak

    benchmark.pedantic(stages, rounds=1)
    images = next((program.folder / "cache" / "datasets").glob("*/images.npy")).stat().st_size / 2**20
    tell(
        "memory at peak, all processes together, over the decoded images", max(peaks.values()) / images,
        decoded_images_mib=images, **{f"{name}_mib": peak for name, peak in peaks.items()},
    )  # fmt: skip
    assert min(peaks.values()) > 0
