"""Suites on a Dask cluster of two worker processes: all runs complete, none twice, whoever is killed meanwhile."""

import csv
import json
import os
import queue
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from fer_bench.errors import FerBenchError
from fer_bench.execution import errand as errands
from fer_bench.execution.cluster import Cluster, connect
from fer_bench.execution.errand import NO_DATA, Answer, Errand, do, write_files
from fer_bench.execution.job import Job
from fer_bench.execution.outcome import checkpoint_file
from fer_bench.execution.places import open_place
from fer_bench.records.spec import RunSpec
from fer_bench.records.store import ResultsFolder

PLUGIN = """
import os, signal
from pathlib import Path
import numpy as np
from fer_bench import register_model

here = Path(__file__).parent

class Fine:
    def __init__(self, task):
        self.task = task
    def fit(self, X, y):
        with open(here / "fits.txt", "a") as file:
            file.write(f"{type(self).__name__}.{self.task.random_state}\\n")
        with open(here / "parents.txt", "a") as file:
            file.write(f"{os.getppid()}\\n")
        self.k = len(set(y))
    def predict_proba(self, X):
        return np.full((len(X), self.k), 1 / self.k)

class Raises(Fine):
    def fit(self, X, y):
        super().fit(X, y)
        raise RuntimeError("does not work")

class Held(Fine):
    # Says where it is and waits for the test, each through a named pipe.
    def fit(self, X, y):
        super().fit(X, y)
        (here / f"arrived-{self.task.random_state}").write_text(str(os.getpid()))
        (here / f"go-{self.task.random_state}").read_text()

class Killer(Fine):
    def fit(self, X, y):
        import psutil
        super().fit(X, y)
        psutil.Process().parent().parent().kill()
        signal.pause()

for name, cls in {"fine": Fine, "raises": Raises, "held": Held, "killer": Killer}.items():
    register_model(name, features="images", summary="a test", stochastic=True)(lambda task, cls=cls: cls(task))
"""


@pytest.fixture(scope="module")
def cluster(own_folders):
    """Two workers of a thread each, with nannies, as `dask worker` starts them; a run survives one kill."""
    import dask
    from distributed import LocalCluster

    env = {
        "FER_BENCH_CACHE": os.environ["FER_BENCH_CACHE"]
    }  # for those that are started again while a test has its own
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, env=env) as cluster,
    ):
        yield cluster


@pytest.fixture
def suite(cluster, tmp_path):
    """The arguments of a suite of the plugin's models on the cluster."""
    (tmp_path / "plugin.py").write_text(PLUGIN)
    for name in ("arrived-0", "arrived-1", "go-0", "go-1"):
        os.mkfifo(tmp_path / name)
    place = ("--executor", "dask", "--scheduler", cluster.scheduler_address)
    return ("run", "--data", "tiny.npz", "--plugin", "plugin.py", "--strategies", "none", *place)


def rows(folder: Path) -> dict[tuple[str, str, str], dict]:
    with (folder / "results" / "tiny" / "leaderboard.csv").open(newline="") as file:
        return {(row["model"], row["strategy"], row["seed"]): row for row in csv.DictReader(file)}


def fits(folder: Path) -> list[str]:
    return sorted((folder / "fits.txt").read_text().split())


def held_child(folder: Path, seed: int = 0):
    """The process of the run of that seed that is held, once it is."""
    import psutil

    return psutil.Process(int((folder / f"arrived-{seed}").read_text()))


def test_all_runs_complete_none_twice_and_what_fails_is_tried_again(program, suite, tmp_path):
    command = (*suite, "--models", "fine,raises", "--seeds", "0,1,2,3")
    done = program(*command)
    assert done.returncode == 1, done.stdout + done.stderr
    expected = [f"{name}.{seed}" for name in ("Fine", "Raises") for seed in range(4)]
    assert fits(tmp_path) == expected
    assert len(set((tmp_path / "parents.txt").read_text().split())) == 2  # both workers were at it
    table = rows(tmp_path)
    assert {key: row["status"] for key, row in table.items()} == {
        **{("fine", "none", str(seed)): "success" for seed in range(4)},
        **{("raises", "none", str(seed)): "failed" for seed in range(4)},
    }
    run = tmp_path / "results" / "tiny" / "runs" / table["fine", "none", "0"]["run_id"]
    assert json.loads((run / "record.json").read_text())["environment"]["n_jobs"] == 1
    (tmp_path / "plugin.py").write_text(PLUGIN.replace('raise RuntimeError("does not work")', "return"))
    assert program(*command).returncode == 0
    assert fits(tmp_path) == sorted([*expected, *(f"Raises.{seed}" for seed in range(4))])
    left = [path.name for path in (tmp_path / "results" / "tiny" / "runs").iterdir() if path.name.startswith(".")]
    assert left == []


def test_a_worker_killed_in_the_middle_of_a_run_costs_that_run_a_retry(program, suite, tmp_path):
    process = program.start(*suite, "--models", "held,fine", "--seeds", "0,1")
    first = held_child(tmp_path)
    first.parent().parent().kill()
    first.wait(timeout=30)  # it goes with its worker
    other = held_child(tmp_path, seed=1)  # so both workers were at it
    (tmp_path / "go-1").write_text("")
    assert held_child(tmp_path) not in (first, other)
    (tmp_path / "go-0").write_text("")
    printed = process.communicate(timeout=200)[0]
    assert process.returncode == 0, printed
    statuses = {(model, seed): row["status"] for (model, _, seed), row in rows(tmp_path).items()}
    assert statuses == {(model, seed): "success" for model in ("held", "fine") for seed in ("0", "1")}
    assert fits(tmp_path) == ["Fine.0", "Fine.1", "Held.0", "Held.0", "Held.1"]


def test_a_run_that_takes_every_worker_along_is_put_on_record(program, suite, tmp_path):
    done = program(*suite, "--models", "killer,fine")
    assert done.returncode == 1, done.stdout + done.stderr
    table = rows(tmp_path)
    assert table["killer", "none", "0"]["status"] == "failed" and "killed" in table["killer", "none", "0"]["reason"]
    assert table["fine", "none", "0"]["status"] == "success"


def test_interrupt_ends_the_child_on_the_worker(program, suite, tmp_path):
    process = program.start(*suite, "--models", "held")
    child = held_child(tmp_path)
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=100)[0]
    assert process.returncode == 130 and "to go on" in printed, printed
    child.wait(timeout=30)
    assert rows(tmp_path)["held", "none", "0"]["status"] == "cancelled"


def test_a_killed_runner_takes_the_child_along(program, suite, tmp_path):
    results = ResultsFolder(tmp_path / "results" / "tiny")
    process = program.start(*suite, "--models", "held")
    child = held_child(tmp_path)
    results.clean()
    assert [path.read_text() for path in results.runs.glob(".runner-*/token")]  # it is at work
    process.kill()
    child.wait(timeout=30)
    assert not child.is_running()
    process.wait()
    results.clean()
    assert list(results.runs.glob(".runner-*")) == []


def test_results_are_brought_home_from_workers_that_see_neither_them_nor_the_data(
    program, suite, tmp_path, monkeypatch
):
    worker_cache = Path(os.environ["FER_BENCH_CACHE"])
    monkeypatch.setenv("FER_BENCH_CACHE", "/proc/self/cwd/own-cache")  # a path that means another folder to others
    command = (*suite, "--results", "/proc/self/cwd/results", "--models", "fine,raises,pca-logistic")
    done = program(*command, "--strategies", "none,post-hoc-adjustment")
    assert done.returncode == 1, done.stdout + done.stderr
    table = rows(tmp_path)
    statuses = {(model, strategy): row["status"] for (model, strategy, _), row in table.items()}
    assert statuses == {
        ("fine", "none"): "success", ("fine", "post-hoc-adjustment"): "success",
        ("pca-logistic", "none"): "success", ("pca-logistic", "post-hoc-adjustment"): "success",
        ("raises", "none"): "failed", ("raises", "post-hoc-adjustment"): "failed",
    }  # fmt: skip
    runs = tmp_path / "results" / "tiny" / "runs"
    assert {path.name for path in runs.iterdir()} == {row["run_id"] for row in table.values()}
    files = {path.name for path in (runs / table["pca-logistic", "none", "0"]["run_id"]).iterdir()}
    assert files == {"record.json", "predictions.npz", "history.csv", "confusion.png", "log.txt"}
    assert fits(tmp_path) == ["Fine.0", "Raises.0"]
    (dataset,) = (path for path in (tmp_path / "own-cache" / "datasets").iterdir() if path.is_dir())
    sent = worker_cache / "datasets" / dataset.name / "images.npy"
    assert sent.read_bytes() == (dataset / "images.npy").read_bytes()
    assert program("verify", "results/tiny").returncode == 0


def test_a_scheduler_that_is_not_there_is_told_in_one_line(program):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        done = program("run", "--suite", "smoke", "--data", "tiny.npz", "--executor", "dask", "--scheduler", address)
    assert done.returncode == 2
    assert f"--scheduler {address}: no Dask scheduler answers there" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stdout == ""


@pytest.mark.parametrize(
    "executor, scheduler, jobs, told",
    [
        ("dask", "nowhere", 1, "--scheduler nowhere: no Dask scheduler answers there"),
        ("dask", None, 1, "--executor dask needs --scheduler ADDRESS"),
        ("processes", "tcp://127.0.0.1:8786", 1, "--scheduler tcp://127.0.0.1:8786 is for --executor dask"),
        ("dask", "tcp://127.0.0.1:8786", 2, "--jobs 2 is for this machine"),
    ],
)
def test_options_that_contradict_are_refused(executor, scheduler, jobs, told):
    with pytest.raises(FerBenchError, match=told), open_place(executor, scheduler, jobs):
        pass


def test_missing_dask_is_told_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(FerBenchError, match=r"pip install 'fer_bench\[dask\]'"), connect("tcp://127.0.0.1:8786"):
        pass


@pytest.fixture
def errand(tmp_path) -> Errand:
    """That of a run whose results folder the worker sees."""
    job = Job(
        RunSpec("majority", "none", 0, "d" * 16, "s" * 16), "baseline", "images", tmp_path, tmp_path, tmp_path, "tiny",
        ("a", "b"), (1, 1, 1), "drawn", (), (), "", 1, None,
    )  # fmt: skip
    return Errand("suite", job, (), (b"", b""), (), None, False, tmp_path / "token")


@pytest.fixture
def worker(tmp_path):
    """What a task sees of its Dask worker."""
    state = SimpleNamespace(tasks={"task": SimpleNamespace(state="executing")})
    return SimpleNamespace(
        address="tcp://worker", state=state, local_directory=str(tmp_path), get_current_task=lambda: "task"
    )


def test_a_worker_of_several_threads_does_one_run_at_a_time(errand, worker, monkeypatch):
    begun, go = queue.Queue(), threading.Event()

    def launch(job, *_):
        begun.put(job.spec.seed)
        go.wait(timeout=60)
        return "success"

    def of(seed: int) -> Errand:
        job = replace(errand.job, spec=replace(errand.job.spec, seed=seed))
        return replace(errand, suite=f"suite-{seed}", job=job)

    monkeypatch.setattr(errands, "launch", launch)
    monkeypatch.setattr(errands, "_POLL_SECONDS", 0.01)
    with ThreadPoolExecutor(3) as tasks:
        first = tasks.submit(errands._done, of(0), of(0).job, worker)
        assert begun.get(timeout=60) == 0
        stopped, third = (tasks.submit(errands._done, of(seed), of(seed).job, worker) for seed in (1, 2))
        monkeypatch.setattr(errands, "_stopped", {"suite-1"})
        assert stopped.result(timeout=60).status == "cancelled"
        assert begun.empty()
        go.set()
        assert first.result(timeout=60).status == third.result(timeout=60).status == "success"
    assert begun.get() == 2 and begun.empty()


def test_a_run_that_is_brought_home_has_the_checkpoint_of_its_results_folder(errand, worker, monkeypatch):
    launched = []
    monkeypatch.setattr(errands, "launch", lambda job, *_: launched.append(job) or "cancelled")
    for token in (errand.token, None):
        errands._done(replace(errand, token=token), errand.job, worker)
    seen, away = launched
    assert seen.results == errand.job.results != away.results
    assert checkpoint_file(seen) == checkpoint_file(away)
    assert checkpoint_file(replace(seen, results=seen.results / "other")) != checkpoint_file(seen)


class Client:
    """Stands for Dask's where nothing is to be done by a cluster. meeting: whom sending data waits for."""

    def __init__(self) -> None:
        self.meeting, self.met, self.sent = threading.Barrier(2), False, 0

    def get_executor(self, pure):
        return None

    def run(self, function, *arguments, **options):
        self.sent += 1
        with suppress(threading.BrokenBarrierError):
            self.meeting.wait(timeout=0.2)
            self.met = True

    def subscribe_topic(self, topic, handler):
        pass

    def close(self, timeout):
        pass


def test_data_are_in_memory_for_one_worker_at_a_time(errand, monkeypatch):
    client, answers = Client(), queue.Queue()
    for answer in (*[Answer(NO_DATA, "worker")] * 2, *[Answer("success", "worker")] * 2):
        answers.put(answer)
    cluster = Cluster(client, "address")
    monkeypatch.setattr(cluster, "_asked", lambda *_: answers.get())
    with ThreadPoolExecutor(2) as threads:
        ended = [threads.submit(cluster._answer, errand, lambda: False) for _ in range(2)]
        assert [future.result(timeout=60).status for future in ended] == ["success"] * 2
    assert client.sent == 2 and not client.met


def test_a_runner_that_ends_leaves_no_token(tmp_path):
    results = ResultsFolder(tmp_path)
    results.prepare()
    cluster = Cluster(Client(), "address")
    cluster.make_ready((), results)
    results.clean()
    (token,) = results.runs.glob(".runner-*/token")
    assert token.read_text() == cluster._suite
    cluster.close()
    assert [path for path in tmp_path.rglob("*") if "runner" in path.name] == []


def test_a_worker_with_another_version_or_without_a_plugin_says_so(cluster, errand, tmp_path):
    errand = replace(errand, needed=(tmp_path / "absent.py",), token=None)
    with cluster.get_client() as client:
        with pytest.raises(FerBenchError, match=r"no .*absent\.py: put it where runner and workers both see it"):
            client.submit(do, errand, pure=False).result()
        with pytest.raises(FerBenchError, match="install the same version on both"):
            client.submit(do, replace(errand, version="0.0"), pure=False).result()


def test_file_names_that_are_paths_are_refused(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(FerBenchError, match="not the name of a file"):
        write_files(tmp_path / "run", {"../escaped": b""})
    assert list(tmp_path.rglob("*")) == [tmp_path / "run"]
