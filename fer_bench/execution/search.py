"""A search on disk: keras-tuner's oracle, which chooses what to try next and survives kills; and what it found."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fer_bench.cache import write_atomic
from fer_bench.errors import FerBenchError
from fer_bench.models import MODELS, Choice, Search

METHODS = BAYESIAN, HYPERBAND = "bayesian", "hyperband"
OBJECTIVE = "val_macro_f1"
FIRST_GUESSES = 2  # random trials before the Gaussian process has its say, besides one per parameter
HYPERBAND_EPOCHS, HYPERBAND_FACTOR = 9, 3  # the smallest share of the steps is a ninth, of which a third goes on
HYPERBAND_TRIALS = 14  # the builder's own values and the first bracket: 9 trials, the 3 best of them, the best of these


@dataclass(frozen=True)
class Trial:
    """One set of parameters that was tried; the first of a search are the builder's own values.

    parameters: those that differ from the builder's own. share: of the budget's steps. macro_f1: as in
    `Tuned`, None where the trial failed, and `reason` says why.
    """

    number: int
    parameters: dict[str, Any]
    share: float = 1.0
    macro_f1: float | None = None
    seconds: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Tuned:
    """The best of a search's trials by macro-F1 on validation images without a copy in train. No test image counted.

    parameters: those that differ from the builder's own; none where nothing was better than these.
    untuned_macro_f1: what the builder's own values reach. trials: all of them, as dicts of `Trial`.
    recipe: the model's; None where an earlier version did not note it.
    """

    model: str
    parameters: dict[str, Any]
    macro_f1: float
    untuned_macro_f1: float
    strategy: str
    method: str
    budget: str
    weights: str
    seed: int
    data_fingerprint: str
    split_fingerprint: str
    trials: tuple[dict[str, Any], ...]
    command: str
    versions: dict[str, str]
    recipe: int | None = None

    def save(self, results: Path) -> Path:
        """Write the file that `run --tuned` reads into the folder of a dataset's `results`; returns its path."""
        path = tuned_path(results, self.model)
        write_atomic(path, json.dumps(asdict(self), indent=1) + "\n")
        return path


def tuned_path(results: Path, model: str) -> Path:
    """Where the values found for `model` are or will be."""
    return results / "tuned" / f"{model}.json"


def load_tuned(results: Path, model: str, fingerprints: tuple[str, str]) -> dict[str, Any] | None:
    """Parameters of `model` that a search found on the data and split `fingerprints`, or None where there was none.

    Raises FerBenchError for a damaged file, one for other data, and parameters that the model has no more.
    """
    path = tuned_path(results, model)
    try:
        tuned = Tuned(**json.loads(path.read_bytes()))
        names = set(tuned.parameters)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError) as error:
        raise FerBenchError(f"{path}: not as `tune` wrote it ({error}); remove it, or tune again") from error
    if tuned.model != model:
        raise FerBenchError(f"{path}: these are the values of {tuned.model}, not of {model}; remove it")
    if (tuned.data_fingerprint, tuned.split_fingerprint) != fingerprints:
        raise FerBenchError(
            f"{path}: found on other data or another split; use the --data, --split-seed and so on of its search "
            "(and no --folds: rows that validated would be test rows), remove it, or tune again"
        )
    if tuned.recipe not in (None, MODELS[model].recipe):
        raise FerBenchError(f"{path}: found for another recipe of {model}; tune again")
    gone = sorted(names - set(MODELS[model].search))
    if gone:
        raise FerBenchError(f"{path}: {model} has no parameter {', '.join(gone)} to tune (any more); tune again")
    return tuned.parameters


def load_all_tuned(results: Path, fingerprints: tuple[str, str], models: str = "*") -> dict[str, dict[str, Any]]:
    """Parameters by model, for those of `models` (names or patterns) that were tuned.

    Raises FerBenchError as `load_tuned` does, and where none of them was.
    """
    found = {card.name: load_tuned(results, card.name, fingerprints) for card in MODELS.match(models)}
    tuned = {name: parameters for name, parameters in found.items() if parameters is not None}
    if not tuned:
        raise FerBenchError(f"--tuned: nothing was tuned in {results / 'tuned'}; `fer_bench tune MODEL` does it")
    return tuned


def describe(parameters: dict[str, Any]) -> str:
    """`parameters` for people: "C 12.3, gamma 0.8", or that they are the model's own."""
    return ", ".join(f"{name} {value}" for name, value in parameters.items()) or "its own values"


def make_oracle(method: str, search: Search, n_trials: int, seed: int) -> Any:
    """An oracle for `n_trials` trials in all, the first of them with the builder's own values.

    Bayesian: a Gaussian process and its upper confidence bound. Hyperband: successive halving (Li et al. 2018), whose
    "tuner/epochs" of HYPERBAND_EPOCHS are the share of the steps that a trial is trained for.
    """
    from keras_tuner import Objective, oracles

    options = {
        "objective": Objective(OBJECTIVE, "max"),
        "hyperparameters": _space(search),
        "seed": seed + 1,  # keras-tuner takes 0 for none
        "max_consecutive_failed_trials": n_trials + 1,  # a failed trial costs itself only
    }
    if method == HYPERBAND:
        oracle = _resumable(oracles.HyperbandOracle, {"tuner/epochs": HYPERBAND_EPOCHS})(
            max_epochs=HYPERBAND_EPOCHS, factor=HYPERBAND_FACTOR, hyperband_iterations=n_trials, **options
        )
        oracle.max_trials = n_trials
        return oracle
    return _resumable(oracles.BayesianOptimizationOracle, {})(
        max_trials=n_trials, num_initial_points=len(search) + FIRST_GUESSES, **options
    )


def _resumable(base: Any, first: dict[str, Any]) -> Any:
    """A subclass of the oracle `base` that starts from the builder's own values and goes on as if never stopped.

    first: values of the first trial besides.
    """
    from numpy.random import RandomState
    from threadpoolctl import threadpool_limits

    class Oracle(base):
        """Its files are written atomically, and its draws depend on what was tried alone."""

        def populate_space(self, trial_id: str) -> dict[str, Any]:
            """Values of the next trial."""
            if not self.trials:
                own = {parameter.name: parameter.default for parameter in self.hyperparameters.space}
                return {"status": "RUNNING", "values": {**own, **first}}
            self._random_state = RandomState(self.seed + len(self.trials))
            with threadpool_limits(1):  # thousands of tiny products, which threads slow down many times
                response = super().populate_space(trial_id)
            if hasattr(self, "gpr") and response["values"] and self._duplicate(response["values"]):
                return self._random_populate_space()
            return response

        def save(self) -> None:
            """Write the state."""
            write_atomic(Path(self._get_oracle_fname()), json.dumps(self.get_state()))

        def _save_trial(self, trial: Any) -> None:
            write_atomic(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", json.dumps(trial.get_state()))

    return Oracle


def open_folder(oracle: Any, folder: Path, identity: dict[str, Any]) -> None:
    """Let `oracle` live in `folder` and know what was tried there before.

    identity: all that the search depends on, JSON-like. Raises FerBenchError where the folder is that of another
    search, or damaged.
    """
    about, state = folder / "about.json", folder / "oracle.json"
    wanted = json.loads(json.dumps(identity))
    oracle._set_project_dir(folder.parent, folder.name)
    if not about.exists() and not state.exists():
        write_atomic(about, json.dumps(identity, indent=1))
        return
    try:
        stored = json.loads(about.read_bytes())
        differs = sorted(name for name in stored.keys() | wanted.keys() if stored.get(name) != wanted.get(name))
        if not differs and state.exists():
            oracle.reload()
            oracle.trials = {trial_id: oracle.trials[trial_id] for trial_id in oracle.start_order}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise FerBenchError(f"{folder}: damaged ({why}); remove the folder to begin the search anew") from error
    if differs:
        raise FerBenchError(f"{folder}: belongs to another search ({', '.join(differs)} differ); remove or rename it")


def _space(search: Search) -> Any:
    from keras_tuner import HyperParameters

    space = HyperParameters()
    for name, values in search.items():
        if isinstance(values, Choice):
            texts = [json.dumps(value) for value in _in_order(values.values)]
            space.Choice(name, texts, default=json.dumps(values.start))
        else:
            sampling = "log" if values.log else "linear"
            space.Float(name, float(values.low), float(values.high), sampling=sampling, default=float(values.start))
    return space


def _in_order(values: tuple[Any, ...]) -> list[Any]:
    """Numbers by size, so that neighbours are alike to a Gaussian process; others as they come."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return sorted(values) if numbers else list(values)


def chosen(search: Search, values: dict[str, Any]) -> dict[str, Any]:
    """The parameters of `search` in a trial's `values` that differ from the builder's own; numbers to four digits."""
    decoded = {
        name: json.loads(values[name]) if isinstance(how, Choice) else _rounded(values[name])
        for name, how in search.items()
    }
    own = {name: how.start if isinstance(how, Choice) else _rounded(how.start) for name, how in search.items()}
    return {name: value for name, value in decoded.items() if value != own[name]}


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
