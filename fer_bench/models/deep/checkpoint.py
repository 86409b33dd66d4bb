"""Checkpoint: the state of unfinished training on disk, exact enough that going on equals never having stopped."""

import json
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench.cache import digest, replacing
from fer_bench.models.deep.backend import assign
from fer_bench.models.deep.frozen import weights_digest
from fer_bench.models.deep.watch import TrainingState

SECONDS_BETWEEN = 60.0
FORMAT = 3
ARRAYS = ("variable", "best", "other", "generator")


class Checkpoint:
    """Keeps `TrainingState`, the values of Keras `variables` and of others in a file; nowhere without `path`.

    Batches are numbered and drawn from their number, so they need no state.
    about: all that the steps depend on but the inputs and the variables' first values; JSON-like.
    note: what there is to say of the file that was found, or "".
    """

    def __init__(self, path: Path | None, variables: list[Any], about: Mapping[str, Any]) -> None:
        self.path, self.variables, self.note = path, variables, ""
        self.training = digest({**about, "starts_from": weights_digest(_values(variables))}) if path else ""
        self.others: list[np.ndarray] = []
        self.saved = time.monotonic()

    def load(self) -> TrainingState:
        """Restore the variables and return the state; a new one where there is nothing to go on from."""
        if self.path is None or not self.path.exists():
            return TrainingState()
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                about = json.loads(str(stored["about"]))
                arrays = {kind: [stored[name] for name in stored.files if name.startswith(kind)] for kind in ARRAYS}
        except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError, RuntimeError) as error:
            return self._refuse(f"could not be read ({type(error).__name__})")
        if about.get("format") != FORMAT or about["training"] != self.training:
            return self._refuse("belongs to another training")
        assign(self.variables, arrays["variable"])
        self.others = arrays["other"]
        _restore_generators(arrays["generator"])
        state = TrainingState(**about["state"], best_weights=arrays["best"])
        self.note = f"went on from step {state.step} after an interruption"
        return state

    def _refuse(self, why: str) -> TrainingState:
        self.note = f"the checkpoint of an earlier attempt {why}: training began anew"
        return TrainingState()

    def restore(self, others: list[Any]) -> None:
        """Give the variables beside the network's, just made, the values they had."""
        assign(others, self.others)

    def save_now_and_then(self, state: TrainingState, others: list[Any]) -> None:
        """Save, if the last time is a minute ago. others: see `restore`."""
        if self.path is not None and time.monotonic() - self.saved > SECONDS_BETWEEN:
            self.save(state, others)

    def save(self, state: TrainingState, others: list[Any]) -> None:
        """Write all that there is in place of an earlier file; a reader never sees a part of it."""
        plain = {name: value for name, value in vars(state).items() if name != "best_weights"}
        about = {"format": FORMAT, "training": self.training, "state": plain}
        values = (_values(self.variables), state.best_weights, _values(others), _generators())
        arrays = {
            f"{kind}.{i}": array for kind, each in zip(ARRAYS, values, strict=True) for i, array in enumerate(each)
        }
        assert self.path is not None
        with replacing(self.path) as work, work.open("wb") as file:
            np.savez(file, allow_pickle=False, about=np.array(json.dumps(about)), **arrays)
        self.saved = time.monotonic()

    @contextmanager
    def needed(self) -> Iterator[None]:
        """Around training: the file goes once that has ended, or diverged. What interrupts it leaves the file."""
        try:
            yield
        except FloatingPointError:
            self._forget()
            raise
        self._forget()

    def _forget(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            for part in self.path.parent.glob(f".{self.path.stem}.????????.npz"):  # of a process killed while it saved
                part.unlink(missing_ok=True)


def _values(variables: list[Any]) -> Iterator[np.ndarray]:
    from keras import ops

    return map(ops.convert_to_numpy, variables)


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
