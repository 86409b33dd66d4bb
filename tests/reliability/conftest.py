"""What the tests of this folder share: a model that counts its fits, a small network, and what must never differ."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MEASURED = ("fit_seconds", "feature_seconds", "seconds", "ms_per_image", "peak_memory_mb")
PLUGIN = '''
"""Models that note every fit, and a network that trains for a moment, with a checkpoint after every step."""

from pathlib import Path

import numpy as np

from fer_bench import register_model
from fer_bench.models.deep import checkpoint
from fer_bench.models.registry import ImageInput

checkpoint.SECONDS_BETWEEN = -1.0


class Counted:
    def __init__(self, seed):
        self.seed = seed

    def fit(self, X, y):
        with open(Path(__file__).with_name("fits.txt"), "a") as file:
            file.write(f"{self.seed}\\n")
        self.shares = np.bincount(y) / len(y)
        return self

    def predict_proba(self, X):
        noise = np.random.default_rng(self.seed).random((len(X), len(self.shares)))
        return (noise + self.shares) / (noise + self.shares).sum(axis=1, keepdims=True)


class Raises(Counted):
    def fit(self, X, y):
        super().fit(X, y)
        raise RuntimeError("does not work")


for name, cls in {"counted": Counted, "raises": Raises}.items():
    register = register_model(name, features="images", summary="a test", family="baseline", sample_weight=False)
    register(lambda task, cls=cls: cls(task.random_state))


@register_model(
    "tiny-net", features="images", summary="a test", family="deep", losses=("cross-entropy", "focal"),
    image=ImageInput(12), steps=dict.fromkeys(("quick", "standard", "full"), 40),
)
def tiny_net(task):
    from fer_bench.models.deep.training import KerasClassifier, Network, Phase

    def build():
        from keras import Input, Model, layers

        pixels = Input((12, 12, 1), dtype="uint8")
        x = layers.Conv2D(8, 3, activation="relu")(layers.Rescaling(1 / 127.5, -1)(pixels))
        x = layers.Dropout(0.2)(layers.Flatten()(x))
        return Network(Model(pixels, layers.Dense(3, dtype="float32", name="logits")(x)), (Phase("all", 1.0, 0.01),))

    return KerasClassifier(task, ImageInput(12), build, 16)
'''


@pytest.fixture
def plugin(tmp_path) -> str:
    """`counted` and `raises`, which append a line to fits.txt per fit, and `tiny-net`, in a file for `--plugin`."""
    (tmp_path / "plugin.py").write_text(PLUGIN)
    return "plugin.py"


def outcome_of(folder: Path) -> dict[str, Any]:
    """All that a results folder says but times, memory and that a training was interrupted; every stored array."""
    with (folder / "leaderboard.csv").open(newline="") as file:
        table = [{name: cell for name, cell in row.items() if name not in MEASURED} for row in csv.DictReader(file)]
    found: dict[str, Any] = {"leaderboard.csv": table}
    for run in sorted(path for path in (folder / "runs").iterdir()):
        record = json.loads((run / "record.json").read_text())
        notes = [note for note in record["notes"] if not note.startswith("went on from step")]
        kept = ("status", "spec", "test", "validation", "reason", "n_rows", "steps", "parameters")
        found[run.name] = {name: record[name] for name in kept} | {"notes": notes}
        if (run / "predictions.npz").exists():
            with np.load(run / "predictions.npz", allow_pickle=False) as stored:
                found[run.name] |= {name: stored[name].tobytes() for name in stored.files}
    kept_files = (file for pattern in ("split-*", "images-*", "audit.json") for file in folder.glob(pattern))
    return found | {file.name: file.read_bytes() for file in kept_files}


@pytest.fixture
def outcome():
    """outcome(folder): what must be the same whatever happened on the way."""
    return outcome_of


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """fresh(name): from now on the program has an empty cache of that name; returns the results folder for it."""

    def begin(name: str) -> Path:
        monkeypatch.setenv("FER_BENCH_CACHE", str(tmp_path / f"cache-{name}"))
        return tmp_path / "results" / "tiny"

    return begin
