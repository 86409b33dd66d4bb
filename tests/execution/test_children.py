"""How a child process is started and watched, and when a run counts as done."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing import Pipe, get_context
from pathlib import Path

import pytest

from fer_bench.execution import children
from fer_bench.execution.plan import Job
from fer_bench.records.spec import RunSpec


@pytest.mark.parametrize(("speaks", "ended"), [(False, None), (True, "timeout")])
def test_waiting_for_another_runner_is_no_time_of_the_run(tmp_path, speaks, ended):
    seconds = 600 if speaks else 0.7
    (receiver, sender), child = Pipe(duplex=False), get_context("fork").Process(target=time.sleep, args=(seconds,))
    if speaks:
        sender.send((0.0, "starting"))
    child.start()
    found = children._watch(child, receiver, tmp_path, 1e-9, lambda: False, lambda done, text: None)
    assert (found, child.exitcode) == (ended, -signal.SIGKILL if speaks else 0)


@pytest.mark.parametrize(("number", "name"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGRTMIN + 1, "35")])
def test_a_run_that_a_signal_ends_says_which_though_it_has_no_name(number, name):
    assert children._ending(None, -number, None, 0) == (f"killed by signal {name}", "failed")


@pytest.fixture
def job(facts):
    """A run as it is planned now, of which nothing or a record is on disk."""
    spec = RunSpec("majority", "none", 0, "d" * 16, "s" * 16)

    def planned() -> Job:
        return Job(spec, "baseline", "images", facts(), record_digest=facts().results.state(spec.run_id).digest)

    return planned


@pytest.mark.parametrize("moment", [0, 2**33], ids=["behind", "ahead"])
def test_a_run_is_done_once_its_record_is_another_whatever_clock_its_server_has(job, moment):
    def put_on_record(planned: Job, reason: str) -> None:
        children.record_without_child(planned, "failed", reason)
        os.utime(results.record_path(planned.spec.run_id), (moment, moment))

    first, results = job(), job().prepared.results
    assert not children.is_done(first)
    put_on_record(first, "once")
    assert children.is_done(first)
    second = job()
    assert not children.is_done(second)
    put_on_record(second, "twice")
    assert children.is_done(second) and children.is_done(first)
    assert results.record(second.spec.run_id).reason == "twice"


@pytest.mark.parametrize(
    ("stands", "status", "stays"),
    [
        (True, "timeout", True),
        (True, "out-of-memory", True),
        (True, "not-applicable", True),
        (True, "failed", False),
        (False, "timeout", False),
    ],
)
def test_a_success_that_stands_is_spared_by_ends_that_say_nothing_against_it(job, stands, status, stays):
    results, run_id = job().prepared.results, job().spec.run_id
    folder = results.record_path(run_id).parent
    folder.mkdir(parents=True)
    (folder / "record.json").write_text('{"status": "success"}')
    children.record_without_child(replace(job(), stands=stands), status, "not today")
    assert results.status(run_id) == ("success" if stays else status)
    log = folder / "log.txt"
    assert (log.exists() and f"{status} (not today)" in log.read_text()) == stays


STOPPED_WHILE_LOADING = """
from fer_bench.execution import children
children._PRELOAD_ALWAYS = ("held",)
try:
    children.warm_up((), 1)
except KeyboardInterrupt:
    print("stopped")
"""


def test_interrupt_while_libraries_are_loaded_leaves_no_traceback(tmp_path):
    (tmp_path / "held.py").write_text("open('loading', 'w').close(); open('never').read()")
    for name in ("loading", "never"):
        os.mkfifo(tmp_path / name)
    search = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED_WHILE_LOADING], cwd=tmp_path, env={**os.environ, "PYTHONPATH": search},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # it may be ignored here: see conftest.py
    )  # fmt: skip
    (tmp_path / "loading").read_text()  # waits for the fork server
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    told, complaints = process.communicate(timeout=250)
    assert (told, complaints, process.returncode) == ("stopped\n", "", 0)


TWICE = """
import os
from fer_bench.execution import children
children._PRELOAD_ALWAYS = ()
for at in ("1", "2"):
    os.environ |= {"FER_BENCH_CACHE": f"/cache{at}", "KERAS_BACKEND": f"backend{at}"}
    children.warm_up((), int(at))
    told = "echo $FER_BENCH_CACHE $KERAS_BACKEND $OMP_NUM_THREADS"
    child = children._CONTEXT.Process(target=os.system, args=(told,))
    child.start()
    child.join()
    pid = children.forkserver._forkserver._forkserver_pid
    children.warm_up((), int(at))
    assert children.forkserver._forkserver._forkserver_pid == pid
"""


def test_children_follow_the_settings_of_their_run_though_an_earlier_one_in_this_process_had_others():
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", TWICE], env=environment, capture_output=True, text=True, timeout=250)
    assert done.stdout.splitlines() == ["/cache1 backend1 1", "/cache2 backend2 2"], done.stderr


TALKATIVE = """
from fer_bench.execution import children
children._PRELOAD_ALWAYS = ("damaged", "talkative")
children.warm_up((), 1)
child = children._CONTEXT.Process(target=print, args=("ready",))
child.start()
child.join()
fails = children._CONTEXT.Process(target=int, args=("seen",))
fails.start()
fails.join()
"""


def test_what_libraries_write_while_they_are_loaded_is_not_shown_and_what_children_write_is(tmp_path):
    (tmp_path / "talkative.py").write_text("import os; os.write(2, b'a note'); open('loaded', 'w').close()")
    (tmp_path / "damaged.py").write_text("raise OSError('no such library')")
    search = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    told = subprocess.run(
        [sys.executable, "-c", TALKATIVE], cwd=tmp_path, env={**os.environ, "PYTHONPATH": search},
        capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert (tmp_path / "loaded").exists()
    assert (told.stdout, told.returncode) == ("ready\n", 0)
    assert "a note" not in told.stderr and "no such library" not in told.stderr
    assert "'seen'" in told.stderr
