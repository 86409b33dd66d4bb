"""Suites from end to end, in processes as a user starts them: done once, done whatever happens."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PLUGIN = """
import os, signal, sys
from pathlib import Path
import numpy as np
from fer_bench import register_model

class Fine:
    def fit(self, X, y):
        with open(Path(__file__).with_name("fits.txt"), "a") as file:
            file.write(type(self).__name__ + "\\n")
        self.k = len(set(y))
    def predict_proba(self, X):
        return np.full((len(X), self.k), 1 / self.k)

class Raises(Fine):
    def fit(self, X, y):
        super().fit(X, y)
        raise RuntimeError("this model | does not work")

class Dies(Fine):
    def fit(self, X, y):
        os.kill(os.getpid(), signal.SIGSEGV)

class Quits(Fine):
    def fit(self, X, y):
        sys.exit(0)

class NeverEnds(Fine):
    def fit(self, X, y):
        super().fit(X, y)
        if (started := Path(__file__).with_name("started")).exists():
            started.write_text("")
        while True:
            pass

class Greedy(Fine):
    def fit(self, X, y):
        raise MemoryError

class NotANumber(Fine):
    def predict_proba(self, X):
        return np.full((len(X), self.k), np.nan)

class WrongShape(Fine):
    def predict_proba(self, X):
        return np.ones((len(X), self.k + 1)) / (self.k + 1)

for name, cls in {"fine": Fine, "raises": Raises, "dies": Dies, "greedy": Greedy, "never-ends": NeverEnds,
                  "quits": Quits,
                  "not-a-number": NotANumber, "wrong-shape": WrongShape}.items():
    register = register_model(name, features="images", summary="a test", family="baseline")
    register(lambda task, cls=cls: cls())
"""


@pytest.fixture
def plugin(tmp_path) -> str:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    return "plugin.py"


@pytest.fixture
def runs(records, tmp_path):
    """runs(name): the records of the results folder of `name`, by model and strategy; the last seed's."""
    return lambda name="results": {key[:2]: record for key, record in records(tmp_path / name / "tiny").items()}


def test_suite_from_data_to_leaderboard_and_nothing_twice(program, runs, tmp_path):
    command = ("run", "--suite", "smoke", "--data", "tiny.npz")
    first = program(*command)
    assert first.returncode == 0, first.stdout + first.stderr
    folder = tmp_path / "results" / "tiny"
    table = runs()
    assert table["majority", "none"]["status"] == "success"
    assert table["majority", "class-weights"]["status"] == "not-applicable"
    scores = {model: table[model, "none"]["test"]["macro_f1"] for model in ("pca-forest", "majority")}
    assert scores["pca-forest"] > scores["majority"]
    assert "leaderboard.md" in first.stdout
    folders = list((folder / "runs").iterdir())
    assert not [path.name for path in folders if path.name.startswith(".")]
    for run in folders:
        if json.loads((run / "record.json").read_text())["status"] == "success":
            files = {path.name for path in run.iterdir()}
            assert files == {"record.json", "predictions.npz", "history.csv", "log.txt"}
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and "runs" in path.parts}
    page = (folder / "leaderboard.md").read_bytes()
    again = program(*command)
    assert again.returncode == 0
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and "runs" in path.parts}
    assert after == before
    assert (folder / "leaderboard.md").read_bytes() == page
    check_figures(folder / "runs" / table["pca-logistic", "none"]["run_id"], tmp_path / "tiny.npz")


def check_figures(run: Path, data: Path) -> None:
    """Predictions carry ids, and the figures follow from them."""
    record = json.loads((run / "record.json").read_text())
    with np.load(run / "predictions.npz") as stored, np.load(data) as arrays:
        ids, probabilities, labels = stored["test_ids"], stored["test_probabilities"], arrays["labels"]
    truth = labels[[int(str(name).rsplit("-", 1)[1]) for name in ids]]
    assert (probabilities.argmax(axis=1) == truth).mean() == pytest.approx(record["test"]["accuracy"])
    assert np.asarray(record["test"]["confusion"]).sum() == len(ids) == record["n_test"]
    assert record["seconds"]["fit"] > 0 and record["peak_memory_mb"] > 0 and record["n_parameters"] > 0
    assert record["environment"]["versions"]["scikit-learn"] and record["environment"]["processor"]


def test_what_fails_costs_itself_only_and_is_tried_again(program, plugin, runs, tmp_path):
    command = ("run", "--plugin", plugin, "--strategies", "none", "--data", "tiny.npz")
    limited = program(*command, "--models", "never-ends,quits", "--timeout", "5")
    assert ("quits", "none") in runs(), limited.stdout + limited.stderr
    done = program(*command, "--models", "fine,raises,dies,quits,greedy,not-a-number,wrong-shape")
    assert limited.returncode == done.returncode == 1, done.stdout + done.stderr
    table = runs()
    statuses = {model: record["status"] for (model, _), record in table.items()}
    assert statuses == {
        "fine": "success", "raises": "failed", "dies": "failed", "quits": "failed", "greedy": "out-of-memory",
        "never-ends": "timeout", "not-a-number": "failed", "wrong-shape": "failed",
    }  # fmt: skip
    reasons = {model: record["reason"] for (model, _), record in table.items()}
    assert "this model | does not work" in reasons["raises"] and "SIGSEGV" in reasons["dies"]
    assert "5 s" in reasons["never-ends"] and "(n, 3)" in reasons["wrong-shape"]
    assert "RuntimeError" in table["raises", "none"]["traceback"]
    fits = (tmp_path / "fits.txt").read_text().split()
    (tmp_path / "plugin.py").write_text(PLUGIN.replace('raise RuntimeError("this model | does not work")', "return"))
    assert program(*command, "--models", "fine,raises").returncode == 0
    assert (tmp_path / "fits.txt").read_text().split() == [*fits, "Fine", "Raises"]  # the file of both has changed
    assert runs()["raises", "none"]["status"] == "success"


def test_interrupt_stops_cleanly_and_says_how_to_go_on(program, plugin, runs, tmp_path):
    command = ("run", "--data", "tiny.npz", "--plugin", plugin, "--strategies", "none")
    os.mkfifo(tmp_path / "started")
    process = program.start(*command, "--models", "fine,never-ends,not-a-number")
    (tmp_path / "started").read_text()  # waits for the run
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=250)[0]
    assert process.returncode == 130
    assert "to go on" in rest and "--models fine,never-ends,not-a-number" in rest
    table = runs()
    assert table["fine", "none"]["status"] == "success"
    assert table["never-ends", "none"]["status"] == "cancelled"
    assert ("not-a-number", "none") not in table


def test_a_run_that_is_stopped_while_it_is_done_again_keeps_its_record(program, plugin, runs, tmp_path):
    command = ("run", "--data", "tiny.npz", "--plugin", plugin, "--models", "never-ends", "--strategies", "none")
    (tmp_path / "plugin.py").write_text(PLUGIN.replace('"never-ends": NeverEnds', '"never-ends": Fine'))
    assert program(*command).returncode == 0
    (tmp_path / "plugin.py").write_text(PLUGIN)
    os.mkfifo(tmp_path / "started")
    process = program.start(*command, "--rerun", "all")
    (tmp_path / "started").read_text()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=250)
    assert process.returncode == 130
    assert runs()["never-ends", "none"]["status"] == "success"


LATER = """
class Later(Fine):
    def fit(self, X, y):
        self.k = len(set(y))
        later = Path(__file__).with_name("later").read_text()
        if later == "greedy":
            raise MemoryError
        while later == "slow":
            pass

register_model("later", features="images", summary="a test", family="baseline")(lambda task: Later())
"""


def test_a_finished_run_that_has_no_time_or_memory_when_it_is_done_again_keeps_its_record(
    program, plugin, runs, tmp_path
):
    (tmp_path / plugin).write_text(PLUGIN + LATER)
    command = ("run", "--data", "tiny.npz", "--plugin", plugin, "--models", "later", "--strategies", "none")
    for way, code, *options in (("", 0), ("greedy", 1), ("slow", 1, "--timeout", "5")):
        (tmp_path / "later").write_text(way)
        done = program(*command, "--rerun", "all", *options)
        assert done.returncode == code, done.stdout + done.stderr
        assert runs()["later", "none"]["status"] == "success"
    (log,) = (tmp_path / "results" / "tiny" / "runs").glob("*/log.txt")
    assert "MemoryError" in log.read_text() and "timeout (took more than 5 s)" in log.read_text()
    assert str(log.relative_to(tmp_path)) in done.stdout


def test_a_finished_run_whose_replacing_was_killed_is_not_done_again(program, plugin, tmp_path):
    command = ("run", "--data", "tiny.npz", "--plugin", plugin, "--models", "fine", "--strategies", "none")
    assert program(*command).returncode == 0
    (run,) = (tmp_path / "results" / "tiny" / "runs").iterdir()
    old = run.with_name(f".{run.name}.old")
    run.rename(old)
    assert program(*command).returncode == 0
    assert (tmp_path / "fits.txt").read_text().split() == ["Fine"]
    assert run.is_dir() and not old.exists()
    run.rename(old)
    assert program(*command, "--rerun", "all").returncode == 0
    assert (tmp_path / "fits.txt").read_text().split() == ["Fine"] * 2
    assert run.is_dir() and not old.exists()


def test_two_jobs_give_the_same_scores(program, runs):
    suite = ("run", "--data", "tiny.npz", "--models", "stratified-guess,pca-logistic", "--strategies", "none")
    assert program(*suite, "--results", "one").returncode == 0
    assert program(*suite, "--results", "two", "--jobs", "2").returncode == 0
    one, two = (
        {key: (record["status"], record["test"], record["run_id"]) for key, record in runs(name).items()}
        for name in ("one", "two")
    )
    assert one == two


def test_full_disk_stops_the_suite_with_one_message_and_keeps_what_is_finished(program, runs, tmp_path):
    (tmp_path / "full.py").write_text(
        "import errno\n"
        "from fer_bench.records.store import ResultsFolder\n"
        "commit = ResultsFolder.commit\n"
        "def full(self, record, work):\n"
        "    if record.spec.model == 'pca-logistic':\n"
        "        raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "    commit(self, record, work)\n"
        "ResultsFolder.commit = full\n"
    )
    command = ("run", "--data", "tiny.npz", "--models", "majority,pca-logistic,pca-svm", "--strategies", "none")
    done = program(*command, "--plugin", "full.py")
    assert done.returncode == 2 and "no space left" in done.stderr and "Traceback" not in done.stderr
    assert program(*command).returncode == 0
    assert {record["status"] for record in runs().values()} == {"success"}


SCRIPT = """
import fer_bench

@fer_bench.register_model("mine", features="pixels", summary="a test")
def mine(task):
    from sklearn.naive_bayes import GaussianNB

    return GaussianNB()

if __name__ == "__main__":
    print(fer_bench.execution.run("tiny.npz", models="mine", strategies="none").failed)
"""


def test_models_of_a_script_run_too(tiny_npz, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT.replace("import fer_bench\n", "import fer_bench, fer_bench.execution\n"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    (record,) = (tmp_path / "results" / "tiny" / "runs").glob("*/record.json")
    assert json.loads(record.read_text())["plugin_code"]
