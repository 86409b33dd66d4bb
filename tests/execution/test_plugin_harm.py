"""Models that do to their process what nobody expects: each costs itself alone, and leaves nothing behind."""

import json
import os
from pathlib import Path

import numpy as np

PLUGIN = r"""
import os, signal, subprocess, threading, time
from pathlib import Path
import numpy as np
from fer_bench import register_model

HERE = Path(__file__).parent
os.chdir("/")


class Fine:
    loss_curve_ = None

    def fit(self, X, y):
        self.k = len(set(y))
        self.harm()

    def harm(self):
        pass

    def predict_proba(self, X):
        return np.full((len(X), self.k), 1 / self.k)


class Leaves(Fine):
    def harm(self):
        threading.Thread(target=time.sleep, args=(600,)).start()
        stubborn = "trap '' TERM; sleep 600 & sleep 600; sleep 600"
        for command in (["sleep", "600"], ["sh", "-c", stubborn]):
            (HERE / "left.txt").open("a").write(f"{subprocess.Popen(command).pid}\n")


class LeavesAndHangs(Leaves):
    def harm(self):
        super().harm()
        os.closerange(3, 64)
        time.sleep(600)


class Exits(Fine):
    def __init__(self, code): self.code = code
    def harm(self): os._exit(self.code)


class Raises(Fine):
    def __init__(self, error): self.error = error
    def harm(self): raise self.error


class Mute(Exception):
    def __str__(self): raise RuntimeError


class Talks(Fine):
    def harm(self):
        os.makedirs("gone", exist_ok=True)
        os.chdir("gone")
        os.rmdir(os.getcwd())
        os.write(1, b"\xff\x1b[31mfirst")
        for _ in range(40):
            os.write(1, b"x" * (1 << 20))

    def get_params(self):
        return {"long": "x" * 10**6, "odd": "\x1b", "C": 1.0}

    loss_curve_ = range(10**6)


class Late(Fine):
    def predict_proba(self, X):
        return super().predict_proba(X) * 2


MAKERS = {
    "fine": Fine, "leaves": Leaves, "leaves-and-hangs": LeavesAndHangs, "talks": Talks, "late": Late,
    "exits-74": lambda: Exits(74), "exits-75": lambda: Exits(75), "interrupts": lambda: Raises(KeyboardInterrupt()),
    "mute": lambda: Raises(Mute()), "long": lambda: Raises(ValueError("\x1b[2Jno" * 10**6)),
}
for name, make in MAKERS.items():
    register = register_model(name, features="images", summary="[/a test] \x1b", sample_weight=False)
    register(lambda task, make=make: make())
"""
FAIL = "late,exits-74,exits-75,interrupts,mute,long"


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_whatever_a_model_does_costs_itself_alone_and_leaves_nothing_behind(program, records, tmp_path, monkeypatch):
    monkeypatch.setenv("FER_BENCH_CACHE", "cache")
    (tmp_path / "plugin.py").write_text(PLUGIN)
    command = ("run", "--data", "tiny.npz", "--plugin", "plugin.py", "--strategies", "none", "--models")
    hung = program(*command, "leaves-and-hangs", "--timeout", "3")
    done = program(*command, f"fine,leaves,talks,{FAIL}")
    assert hung.returncode == done.returncode == 1, done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr and "Traceback" not in done.stdout + done.stderr
    found = {model: record for (model, _, _), record in records(tmp_path / "results" / "tiny").items()}
    statuses = dict.fromkeys(FAIL.split(","), "failed") | dict.fromkeys(("fine", "leaves", "talks"), "success")
    assert {model: record["status"] for model, record in found.items()} == statuses | {"leaves-and-hangs": "timeout"}
    assert all(f"exit code {code}" in found[f"exits-{code}"]["reason"] for code in (74, 75))
    assert not any(is_alive(int(line)) for line in (tmp_path / "left.txt").read_text().split())
    for run in (tmp_path / "results" / "tiny" / "runs").iterdir():
        assert (run / "predictions.npz").exists() == (statuses.get(run.name.partition(".")[0]) == "success")
        assert {path.name: path.stat().st_size for path in run.iterdir() if path.stat().st_size > 2e6} == {}
        assert (run / "record.json").stat().st_size < 30_000
    assert found["talks"]["parameters"]["C"] == 1.0
    left = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}  # Python's own, of the imported plugin
    assert left == {"tiny.npz", "plugin.py", "left.txt", "cache", "results"}


NAMED = """
from fer_bench import register_model

@register_model("mine", features="pixels", summary="[/a test]\\x1b", sample_weight=False)
def mine(task):
    raise ValueError("\\x1b[31m" + __file__)
"""


def test_bytes_that_are_no_text_and_control_characters_are_shown_and_do_nothing(
    program, tiny_npz, tmp_path, monkeypatch
):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\x1b[31m"))
    folder.mkdir()
    monkeypatch.setenv("FER_BENCH_CACHE", str(folder / "cache"))
    with np.load(tiny_npz) as stored:
        np.savez(folder / "data.npz", **dict(stored) | {"class_names": np.array(["to\x1bp", "mi]d[/dle", "bottom"])})
    (folder / "plugin.py").write_text(NAMED)
    common = ("--plugin", str(folder / "plugin.py"))
    command = ("--data", str(folder / "data.npz"), "--results", str(folder / "results"), "--strategies", "none")
    said = [
        program(kind, *command, *common, "--models", "majority,mine", *further)
        for kind, further in (("plan", ()), ("run", ()), ("run", ("--budget", "\x1b")))
    ]
    said += [program("list", "models", "-v", *common), program("verify", str(folder / "results" / "data"))]
    assert [done.returncode for done in said] == [0, 1, 2, 0, 0], [done.stdout + done.stderr for done in said]
    assert not any("\x1b" in done.stdout + done.stderr or "Traceback" in done.stdout + done.stderr for done in said)
    assert "caf\\xe9\\x1b[31m" in said[1].stdout
    stored = [json.loads(path.read_text()) for path in folder.glob("results/data/runs/*/record.json")]
    assert sorted(record["status"] for record in stored) == ["failed", "success"]
