"""SIGKILL at random moments: the same command, given again, ends with the leaderboard of an undisturbed suite.

The short form is for CI, its network killed at a moment of our own choice; the long form, thirty kills at random and
a suite from nothing for each, is `-m long`.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_bench.models.deep import checkpoint

HALT = '''
"""While there is a file "halt" here, training removes it after its tenth checkpoint and waits to be killed."""

import signal
from pathlib import Path

from fer_bench.models.deep import backend
from fer_bench.models.deep.checkpoint import Checkpoint

backend.PROGRAM_SECONDS = 0.0  # a checkpoint after every step
save, halt = Checkpoint.save, Path(__file__).with_name("halt")


def save_and_halt(checkpoint, state, others):
    save(checkpoint, state, others)
    if state.step == 10 and halt.exists():
        halt.unlink()
        signal.pause()


Checkpoint.save = save_and_halt
'''
CLASSICAL = "majority,pca-logistic,pca-forest"
NETWORK = CLASSICAL + ",tiny-net"
LONG = [pytest.mark.long, pytest.mark.timeout(7200)]
SUITES = [
    pytest.param(CLASSICAL, [("runner", "child")], id="short"),
    pytest.param(CLASSICAL, [("runner",), ("child",)] * 8, id="classical", marks=LONG),
    pytest.param(NETWORK, [("runner",), ("child",)] * 7, id="network", marks=LONG),
]
"""Models, and for each suite of them, from nothing, who is killed while it goes on."""
pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc, as on Linux"),
    pytest.mark.timeout(900),  # the program is started three times or more, and may take 300 seconds each time
]


def descendants(pid: int) -> list[int]:
    """Of the process `pid`: children, their children, and so on."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def at_work(pid: int) -> dict[str, int]:
    """Processes under the runner `pid` that are doing a run, by run id: told by the log that they hold open."""
    found = {}
    for child in descendants(pid):
        try:
            log = Path(f"/proc/{child}/fd/1").readlink()
        except OSError:
            continue
        if log.name == "log.txt":
            found[log.parent.name[1:].rpartition(".")[0]] = child
    return found


def wait_until(process: subprocess.Popen, met: Callable[[], Any]) -> Any:
    """What `met` returns once it is something; None where `process` ends before."""
    while process.poll() is None:
        if found := met():
            return found
        pause(process, 0.01)
    return None


def pause(process: subprocess.Popen, seconds: float) -> None:
    """Wait until `process` has ended, `seconds` at most."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=seconds)


def kill_runner(process: subprocess.Popen) -> bool:
    """Kill a runner, with which its processes must die; whether it was still alive."""
    family = []
    for pid in descendants(process.pid):
        with contextlib.suppress(ProcessLookupError):  # a run that has just ended
            family.append(os.pidfd_open(pid))
    process.kill()
    killed = process.wait() == -signal.SIGKILL
    for descriptor in family:
        assert select.select([descriptor], [], [], 60)[0], "a process of the runner lives on"
        os.close(descriptor)
    return killed


@dataclass
class Undisturbed:
    """What the suite takes and leaves where nobody disturbs it. by_run: seconds that each run works."""

    seconds: float
    by_run: dict[str, float]
    outcome: dict[str, Any]


@dataclass
class Killer:
    """Starts the command of a suite, and kills."""

    command: tuple[str, ...]
    start: Callable[..., subprocess.Popen]
    undisturbed: Undisturbed
    rng: np.random.Generator

    def kill(self, target: str, folder: Path) -> bool:
        """Start the suite and kill its runner or one of its runs; whether the moment came before the end."""
        process = self.start(*self.command)
        killed = self._runner(process) if target == "runner" else self._child(process, folder)
        process.communicate(timeout=900)
        return killed

    def _runner(self, process: subprocess.Popen) -> bool:
        pause(process, self.rng.uniform(0, 0.9) * self.undisturbed.seconds)
        return kill_runner(process)

    def _child(self, process: subprocess.Popen, folder: Path) -> bool:
        left = [run_id for run_id in sorted(self.undisturbed.by_run) if not (folder / "runs" / run_id).exists()]
        run_id = str(self.rng.choice(left or ["none"]))
        worker = wait_until(process, lambda: at_work(process.pid).get(run_id))
        pause(process, self.rng.uniform(0, 0.7) * self.undisturbed.by_run.get(run_id, 0))
        if worker is None or at_work(process.pid).get(run_id) != worker:
            return False
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(worker, signal.SIGKILL)
            return True
        return False


def undisturbed(folder: Path, done: subprocess.CompletedProcess, seconds: float, outcome: Callable) -> Undisturbed:
    """What the suite left in `folder`, which is removed, when it was `done` after `seconds`."""
    assert done.returncode == 0, done.stdout + done.stderr
    records = [json.loads(path.read_text()) for path in folder.glob("runs/*/record.json")]
    by_run = {record["run_id"]: working_seconds(record) for record in records if record["status"] == "success"}
    found = outcome(folder)
    shutil.rmtree(folder)
    return Undisturbed(seconds, by_run, found)


def working_seconds(record: dict[str, Any]) -> float:
    """Of the run's own process: without features, which are shared, and without the run that it starts from."""
    borrowed = ("features", "fit") if record["spec"]["strategy"] == "post-hoc-adjustment" else ("features",)
    return sum(seconds for phase, seconds in record["seconds"].items() if phase not in borrowed)


@pytest.mark.parametrize(("models", "trials"), SUITES)
def test_killed_at_random_moments_it_ends_as_if_undisturbed(program, plugin, fresh, outcome, models, trials, capsys):
    strategies = "none,over-sampling,post-hoc-adjustment"
    suite = ("run", "--data", "tiny.npz", "--plugin", plugin, "--models", models, "--strategies", strategies)
    folder, start = fresh("undisturbed"), time.monotonic()
    done = program(*suite)
    left_alone = undisturbed(folder, done, time.monotonic() - start, outcome)
    killer = Killer(suite, program.start, left_alone, np.random.default_rng(30))
    kills = resumed = 0
    for number, targets in enumerate(trials):
        folder = killed_suite(killer, targets, lambda attempt, number=number: fresh(f"{number}-{attempt}"))
        kills += len(targets)
        last = program(*suite)
        assert last.returncode == 0, last.stdout + last.stderr
        assert outcome(folder) == left_alone.outcome, f"trial {number}, {targets}"
        assert not list(folder.glob("runs/.*"))
        resumed += sum("went on from step" in path.read_text() for path in folder.glob("runs/*/record.json"))
        shutil.rmtree(folder, ignore_errors=True)
        with capsys.disabled():
            print(f"\r{kills} kills, {number + 1} leaderboards identical, {resumed} trainings resumed", end="")


def killed_suite(killer: Killer, targets: tuple[str, ...], fresh: Callable[[int], Path]) -> Path:
    """The results folder of a suite that was killed once for each of `targets`; too late a moment does not count."""
    for attempt in range(5):
        folder = fresh(attempt)
        if all(killer.kill(target, folder) for target in targets):
            return folder
        shutil.rmtree(folder, ignore_errors=True)
    raise AssertionError(f"{targets}: the suite ended before the moment came, each time")


def test_a_network_goes_on_from_its_checkpoint_and_predicts_as_if_undisturbed(
    program, plugin, fresh, outcome, tmp_path
):
    (tmp_path / "halt.py").write_text(HALT)
    (tmp_path / "halt").touch()
    suite = ("run", "--data", "tiny.npz", "--plugin", plugin, "--plugin", "halt.py", "--models", "tiny-net")
    suite = (*suite, "--strategies", "none")
    folder = fresh("killed")
    process = program.start(*suite)
    assert wait_until(process, lambda: not (tmp_path / "halt").exists()), process.communicate()[0]
    assert kill_runner(process)
    (stored,) = (tmp_path / "cache-killed" / "checkpoints").glob("*.npz")
    last = program(*suite)
    assert last.returncode == 0, last.stdout + last.stderr
    (record,) = folder.glob("runs/*/record.json")
    assert not stored.exists()
    assert "went on from step 10 after an interruption" in json.loads(record.read_text())["notes"]
    resumed = outcome(folder)
    shutil.rmtree(folder)
    fresh("undisturbed")
    done = program(*suite)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "went on from step" not in record.read_text()
    assert outcome(folder) == resumed


def test_a_network_loses_a_minute_of_training_at_most():
    assert checkpoint.SECONDS_BETWEEN <= 60
