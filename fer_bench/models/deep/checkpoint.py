"""Checkpoint: the state of unfinished training on disk, exact enough that going on equals never having stopped."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_bench.cache import digest, replacing
from fer_bench.models.deep.frozen import weights_digest
from fer_bench.version import __version__

if TYPE_CHECKING:
    from fer_bench.models.deep.training import KerasClassifier
    from fer_bench.models.deep.watch import Watch
    from fer_bench.models.task import Task

SECONDS_BETWEEN = 60.0
FORMAT = 1


class Checkpoint:
    """Saves and restores weights, optimizer, best weights, history and step of a classifier in `task.checkpoint`.

    Batches are numbered and drawn from their number, so they need no state. Does nothing without a file.
    """

    def __init__(self, classifier: KerasClassifier, watch: Watch) -> None:
        from keras import ops

        self.classifier, self.watch, self.path = classifier, watch, classifier.task.checkpoint
        network = classifier.network
        models = [network.model, *(phase.model for phase in network.phases if phase.model)]
        self.variables = list({id(v): v for model in models for v in model.variables}.values())
        self.training = identity(classifier, watch.n_rows, weights_digest(map(ops.convert_to_numpy, self.variables)))
        self.optimizer: list[np.ndarray] = []
        self.saved = time.monotonic()

    def load(self) -> int:
        """Restore everything but the optimizer, and return the steps done; 0 where there is nothing to go on from."""
        if self.path is None or not self.path.exists():
            return 0
        try:
            with np.load(self.path, allow_pickle=False) as state:
                about = json.loads(str(state["about"]))
                arrays = {kind: _numbered(state, kind) for kind in ("variable", "best", "optimizer", "generator")}
        except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError) as error:
            return self._refuse(f"could not be read ({type(error).__name__})")
        if about.get("format") != FORMAT or about["training"] != self.training:
            return self._refuse("belongs to another training")
        for variable, array in zip(self.variables, arrays["variable"], strict=True):
            variable.assign(array)
        self.optimizer = arrays["optimizer"]
        _restore_generators(arrays["generator"])
        self._resume(about, arrays["best"])
        return self.watch.step

    def _resume(self, about: dict[str, Any], best: list[np.ndarray]) -> None:
        watch, classifier = self.watch, self.classifier
        watch.step, watch.best_score, watch.worse_in_a_row = about["step"], about["best_score"], about["worse"]
        watch.made, watch.best_weights, watch.since = about["made"], best or None, about["since"]
        watch.started -= about["seconds"]
        classifier.history_ += about["history"]
        classifier.earlier_seconds_ = about["seconds"]
        classifier.notes_.append(f"went on from step {watch.step} after an interruption")

    def _refuse(self, why: str) -> int:
        self.classifier.notes_.append(f"the checkpoint of an earlier attempt {why}: training began anew")
        return 0

    def restore_optimizer(self, model: Any) -> None:
        """Give the optimizer of `model`, just compiled, the state it had."""
        for variable, array in zip(model.optimizer.variables, self.optimizer, strict=True):
            variable.assign(array)

    def save_now_and_then(self, model: Any) -> None:
        """Save, if the last time is a minute ago."""
        if self.path is not None and time.monotonic() - self.saved > SECONDS_BETWEEN:
            self.save(model)

    def save(self, model: Any) -> None:
        """Write the state, `model` being trained, in place of an earlier one; a reader never sees a part of it."""
        from keras import ops

        watch = self.watch
        about = {
            "format": FORMAT, "training": self.training, "step": watch.step, "made": watch.made,
            "best_score": watch.best_score, "worse": watch.worse_in_a_row, "seconds": watch.seconds - self._passed,
            "since": watch.since, "history": self.classifier.history_,
        }  # fmt: skip
        state = {
            "variable": map(ops.convert_to_numpy, self.variables),
            "optimizer": map(ops.convert_to_numpy, model.optimizer.variables),
            "best": watch.best_weights or [],
            "generator": _generators(),
        }
        arrays = {f"{kind}.{i}": array for kind, values in state.items() for i, array in enumerate(values)}
        assert self.path is not None
        with replacing(self.path) as work, work.open("wb") as file:
            np.savez(file, allow_pickle=False, about=np.array(json.dumps(about)), **arrays)
        self.saved = time.monotonic()

    @property
    def _passed(self) -> float:
        """Seconds of this sitting's passes of a frozen part, which are booked as features."""
        frozen = self.classifier.frozen_
        return frozen.seconds if frozen else 0.0


@contextmanager
def needed_by(task: Task) -> Iterator[None]:
    """Around training: its file goes once that has ended, or diverged. What interrupts it leaves the file."""
    try:
        yield
    except FloatingPointError:
        _forget(task)
        raise
    _forget(task)


def _forget(task: Task) -> None:
    if task.checkpoint is not None:
        task.checkpoint.unlink(missing_ok=True)
        for part in task.checkpoint.parent.glob(f".{task.checkpoint.name}.*"):  # of a process killed while it saved
            part.unlink(missing_ok=True)


def identity(classifier: KerasClassifier, n_rows: int, starts_from: str) -> str:
    """A digest of all that the steps depend on but the inputs; starts_from: that of the first weights."""
    import keras

    task = classifier.task
    content = {
        "versions": [__version__, keras.__version__], "code": task.code, "starts_from": starts_from,
        "backend": keras.backend.backend(), "policy": classifier.policy,
        "steps": task.steps, "batch_size": classifier.batch_size, "seed": task.random_state, "rows": n_rows,
        "loss": asdict(task.loss), "parameters": dict(task.parameters), "weights": classifier.weights_,
        "phases": [(phase.name, phase.share, phase.learning_rate) for phase in classifier.network.phases],
    }  # fmt: skip
    return digest(content)


def _generators() -> list[np.ndarray]:
    """States of torch's generators, from which its layers draw; other backends' layers keep theirs in variables."""
    import keras

    if keras.backend.backend() != "torch":
        return []
    import torch

    return [state.cpu().numpy() for state in (torch.get_rng_state(), *torch.cuda.get_rng_state_all())]


def _restore_generators(states: list[np.ndarray]) -> None:
    if states:
        import torch

        own, *gpus = (torch.from_numpy(state) for state in states)
        torch.set_rng_state(own)
        torch.cuda.set_rng_state_all(gpus)


def _numbered(state: Any, kind: str) -> list[np.ndarray]:
    names = sorted((name for name in state.files if name.startswith(f"{kind}.")), key=lambda n: int(n.split(".")[1]))
    return [state[name] for name in names]
