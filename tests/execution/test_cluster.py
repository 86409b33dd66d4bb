"""Suites on a Dask cluster of two worker processes: all runs complete, none twice, whoever is killed meanwhile."""

import os
import queue
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import distributed
import pytest

from fer_bench import __version__
from fer_bench.cli import app
from fer_bench.errors import FerBenchError
from fer_bench.execution import places
from fer_bench.execution.places import connected
from fer_bench.execution.plan import Job
from fer_bench.records.spec import RunSpec

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
    """The arguments of a suite of the plugin's models on the cluster, both workers of which are there."""
    with cluster.get_client() as client:
        client.wait_for_workers(2, timeout=100)  # the test before may have killed one
    (tmp_path / "plugin.py").write_text(PLUGIN)
    for name in ("arrived-0", "arrived-1", "go-0", "go-1"):
        os.mkfifo(tmp_path / name)
    place = ("--executor", "dask", "--scheduler", cluster.scheduler_address)
    return ("run", "--data", "tiny.npz", "--plugin", "plugin.py", "--strategies", "none", *place)


@pytest.fixture
def runs(records, tmp_path):
    """runs(): the records, by model and seed."""
    return lambda: {(key[0], key[2]): record for key, record in records(tmp_path / "results" / "tiny").items()}


def fits(folder: Path) -> list[str]:
    return sorted((folder / "fits.txt").read_text().split())


def held_child(folder: Path, seed: int = 0):
    """The process of the run of that seed that is held, once it is."""
    import psutil

    return psutil.Process(int((folder / f"arrived-{seed}").read_text()))


def test_all_runs_complete_none_twice_and_what_fails_is_tried_again(program, suite, runs, tmp_path):
    command = (*suite, "--models", "fine,raises", "--seeds", "0,1,2,3")
    done = program(*command)
    assert done.returncode == 1, done.stdout + done.stderr
    expected = [f"{name}.{seed}" for name in ("Fine", "Raises") for seed in range(4)]
    assert fits(tmp_path) == expected
    assert len(set((tmp_path / "parents.txt").read_text().split())) == 2  # both workers were at it
    statuses = {"fine": "success", "raises": "failed"}
    assert {key: record["status"] for key, record in runs().items()} == {
        (model, seed): status for model, status in statuses.items() for seed in range(4)
    }
    assert runs()["fine", 0]["environment"]["n_jobs"] == 1
    (tmp_path / "plugin.py").write_text(PLUGIN.replace('raise RuntimeError("does not work")', "return"))
    assert program(*command).returncode == 0
    assert fits(tmp_path) == sorted([*expected, *expected])  # the file of all models has changed
    left = [path.name for path in (tmp_path / "results" / "tiny" / "runs").iterdir() if path.name.startswith(".")]
    assert left == []


def test_a_worker_killed_in_the_middle_of_a_run_costs_that_run_a_retry(program, suite, runs, tmp_path):
    process = program.start(*suite, "--models", "held,fine", "--seeds", "0,1")
    first = held_child(tmp_path)
    first.parent().parent().kill()
    first.wait(timeout=100)  # it goes with its worker
    other = held_child(tmp_path, seed=1)  # so both workers were at it
    (tmp_path / "go-1").write_text("")
    assert held_child(tmp_path) not in (first, other)
    (tmp_path / "go-0").write_text("")
    printed = process.communicate(timeout=250)[0]
    assert process.returncode == 0, printed
    assert {key: record["status"] for key, record in runs().items()} == {
        (model, seed): "success" for model in ("held", "fine") for seed in (0, 1)
    }
    assert fits(tmp_path) == ["Fine.0", "Fine.1", "Held.0", "Held.0", "Held.1"]


def test_a_run_that_takes_every_worker_along_is_put_on_record(program, suite, runs, tmp_path):
    done = program(*suite, "--models", "killer,fine")
    assert done.returncode == 1, done.stdout + done.stderr
    killer = runs()["killer", 0]
    assert killer["status"] == "failed" and "killed" in killer["reason"]
    assert runs()["fine", 0]["status"] == "success"


def test_interrupt_ends_the_child_on_the_worker(program, suite, runs, tmp_path):
    process = program.start(*suite, "--models", "held")
    child = held_child(tmp_path)
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=250)[0]
    assert process.returncode == 130 and "to go on" in printed, printed
    child.wait(timeout=100)
    assert runs()["held", 0]["status"] == "cancelled"


def test_a_killed_runner_takes_the_child_along(program, suite, tmp_path):
    process = program.start(*suite, "--models", "held")
    child = held_child(tmp_path)
    process.kill()
    child.wait(timeout=60)
    assert not child.is_running()
    process.wait()


def test_a_worker_that_does_not_see_the_results_is_told(program, suite):
    elsewhere = ("--results", "/proc/self/cwd/results")  # a path that means another folder to others
    done = program(*suite, "--models", "fine", *elsewhere)
    assert done.returncode == 2 and "that runner and workers share" in done.stderr


def test_a_scheduler_that_is_not_there_is_told_in_one_line(program):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        for address in (f"tcp://127.0.0.1:{unused.getsockname()[1]}", "no-address"):
            done = program(
                "run", "--suite", "smoke", "--data", "tiny.npz", "--executor", "dask", "--scheduler", address
            )
            assert done.returncode == 2
            assert f"--scheduler {address}: no Dask scheduler answers there" in done.stderr
            assert len(done.stderr.splitlines()) == 1 and done.stdout == ""


@pytest.mark.parametrize("options", ["--executor dask", "--scheduler tcp://127.0.0.1:1", "--executor dask --jobs 2"])
def test_options_that_contradict_are_refused(options):
    with pytest.raises(FerBenchError, match="go together"):
        app(["run", *options.split()], standalone_mode=False)


def test_missing_dask_is_told_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(FerBenchError, match=r"pip install 'fer_bench\[dask\]'"), connected("tcp://127.0.0.1:8786"):
        pass


def test_a_worker_of_several_threads_does_one_run_at_a_time(facts, tmp_path, monkeypatch):
    begun, go, states = queue.Queue(), threading.Event(), {}
    (tmp_path / "runs").mkdir()

    def launch(job, *_):
        begun.put(job.spec.seed)
        go.wait(timeout=60)
        return "success"

    def task(seed: int) -> str:
        states[seed] = SimpleNamespace(state="executing")
        state = SimpleNamespace(tasks=states, nthreads=2)
        worker = SimpleNamespace(address="tcp://worker", state=state, get_current_task=lambda: seed)
        monkeypatch.setattr(distributed, "get_worker", lambda: worker)
        job = Job(RunSpec("majority", "none", seed, "d" * 16, "s" * 16), "baseline", "images", facts())
        return places.do_on_worker(job, (), None, False, "topic", __version__)

    monkeypatch.setattr(places, "launch", launch)
    monkeypatch.setattr(places, "_make_ready", lambda *_: None)
    monkeypatch.setattr(places, "_POLL_SECONDS", 0.01)
    with ThreadPoolExecutor(3) as tasks:
        first = tasks.submit(task, 0)
        assert begun.get(timeout=60) == 0
        second = tasks.submit(task, 1)
        while 1 not in states:
            time.sleep(0.01)
        states[1].state = "cancelled"
        assert second.result(timeout=60) == "cancelled"
        assert begun.empty()
        go.set()
        assert first.result(timeout=60) == tasks.submit(task, 2).result(timeout=60) == "success"
    assert begun.get() == 2 and begun.empty()


def test_a_worker_with_another_version_says_so(cluster, facts):
    job = Job(RunSpec("majority", "none", 0, "d" * 16, "s" * 16), "baseline", "images", facts())
    with cluster.get_client() as client, pytest.raises(FerBenchError, match="install the same"):
        client.submit(places.do_on_worker, job, (), None, False, "topic", "0.0", pure=False).result()
