"""`tune`: search a model's parameters by trials on validation, resumable, with one machinery for all models.

Trials are scored on the validation images without a copy in train: copies make a search prefer models that remember.
"""

from __future__ import annotations

import time
import traceback
from contextlib import chdir
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench import metrics
from fer_bench.cache import digest
from fer_bench.data import Dataset, Split
from fer_bench.errors import FerBenchError
from fer_bench.execution.environment import KERAS, cores, environment, errors_in, is_full, set_defaults
from fer_bench.execution.estimate import spell
from fer_bench.execution.fitting import built, choosing_rows, fit, planned, predict
from fer_bench.execution.plan import BASE
from fer_bench.execution.preparation import Prepared
from fer_bench.execution.search import (
    BAYESIAN,
    HYPERBAND,
    HYPERBAND_EPOCHS,
    HYPERBAND_TRIALS,
    METHODS,
    OBJECTIVE,
    Trial,
    Tuned,
    chosen,
    describe,
    make_oracle,
    open_folder,
)
from fer_bench.models import (
    MODELS,
    STRATEGIES,
    ModelCard,
    check_backend,
    demand,
    forget_networks,
    model_features,
    plugin_code,
    resolve_weights,
    weights_request_id,
    why_not,
)
from fer_bench.models.deep.pretrained import AUTO, IMAGENET, NONE
from fer_bench.progress import Progress


@dataclass(frozen=True)
class TuneRequest:
    """What to search. n_trials: in all, the untuned one and those of an earlier call included."""

    model: str
    n_trials: int
    strategy: str = BASE
    method: str = BAYESIAN
    budget: str = "quick"
    seed: int = 0
    weights: str = "auto"
    command: str = ""


class TuneWatcher:
    """Who is told how a search goes on. This one keeps it to itself."""

    def progress(self, done: float, text: str) -> None:
        """The search has come to `done` (0..1)."""

    def note(self, text: str) -> None:
        """Something that holds for all trials."""

    def ended(self, trial: Trial, n_trials: int, seconds_left: float) -> None:
        """A trial ended; the rest should take `seconds_left`."""


def tune(request: TuneRequest, prepared: Prepared, watcher: TuneWatcher = TuneWatcher()) -> Tuned:  # noqa: B008
    """Search until there are `request.n_trials` trials, and write the best values for `run --tuned`.

    What an earlier call tried is not tried again; one that was stopped goes on where it was.
    Raises FerBenchError where there is nothing to search, the model fails with its own values, the folder of the
    search is damaged or another's, or somebody else is at it.
    """
    from filelock import Timeout

    card = searchable(request)
    check_backend()  # the machinery of searches is keras-tuner's, whatever the model
    prepared.results.prepare()
    search = _Search(request, prepared, card, watcher)
    try:
        with prepared.results.lock(search.folder.name).acquire(blocking=False):
            search.folder.mkdir(parents=True, exist_ok=True)
            with errors_in(search.folder / "log.txt"):
                tuned = search.all()
    except Timeout:
        raise FerBenchError(f"{search.folder}: this search is going on in another process") from None
    tuned.save(prepared.results.path)
    return tuned


def searchable(request: TuneRequest) -> ModelCard:
    """The card of the model to tune. Raises FerBenchError where there is nothing to search, or not in that way."""
    card, strategy = MODELS[request.model], STRATEGIES[request.strategy]
    if not card.search:
        raise FerBenchError(f"{card.name} has nothing to tune: its card has no search={{...}}")
    if reason := why_not(card, strategy):
        raise FerBenchError(f"{card.name} under {strategy.name} cannot be tuned: it {reason}")
    if strategy.starts_from:
        raise FerBenchError(f"{strategy.name} starts from the run under {BASE!r}: tune {card.name} under that")
    if request.method not in METHODS:
        raise FerBenchError(f"--method {request.method}: there are {', '.join(METHODS)}")
    if request.n_trials < 2:
        raise FerBenchError(f"--trials {request.n_trials}: at least 2, for the first one is the untuned model")
    if request.method == HYPERBAND and not card.steps:
        raise FerBenchError(f"--method {HYPERBAND} cuts training short, and {card.name} has no steps: use {BAYESIAN}")
    if request.method == HYPERBAND and request.n_trials < HYPERBAND_TRIALS:
        raise FerBenchError(
            f"--trials {request.n_trials}: {HYPERBAND} needs at least {HYPERBAND_TRIALS}, most of them short, "
            f"before one of them is trained to the end; use more, or {BAYESIAN}"
        )
    return card


class _Search:
    """The state of one search."""

    def __init__(self, request: TuneRequest, prepared: Prepared, card: ModelCard, watcher: TuneWatcher) -> None:
        self.request, self.prepared, self.card, self.watcher = request, prepared, card, watcher
        self.code = plugin_code(card, STRATEGIES[request.strategy])
        self.weights = self._resolved_weights(card.pretrained) if card.pretrained else NONE
        identity = self._identity()
        name = f"{card.name}.{request.strategy}.{request.method}.s{request.seed}-{digest(identity)[:10]}"
        self.identity, self.folder = identity, prepared.results.path / "tuning" / name
        self.left = ""

    def _resolved_weights(self, file_name: str) -> str:
        """`Task.weights`, the same for all trials: what is found for random ones says nothing of fine-tuning."""
        request = self.request.weights
        found = resolve_weights(IMAGENET if request == AUTO else request, [file_name])
        demand(found)
        self.watcher.note(found[file_name].reason)
        return found[file_name].weights

    def _identity(self) -> dict[str, Any]:
        """All that trials depend on."""
        request, card, prepared = self.request, self.card, self.prepared
        weights = weights_request_id(request.weights) if card.pretrained else ""
        return {
            "model": card.name,
            "strategy": request.strategy,
            "method": request.method,
            "budget": request.budget if card.steps else "",
            "seed": request.seed,
            "weights": weights,
            "recipe": card.recipe,
            "data": prepared.data_fingerprint,
            "split": prepared.split_fingerprint,
            "search": {name: [type(how).__name__, asdict(how)] for name, how in card.search.items()},
            **({"code": self.code} if self.code else {}),
        }

    def all(self) -> Tuned:
        """Do the trials that are missing; the best of all."""
        set_defaults(KERAS)
        self.watcher.progress(0.0, "loading libraries")
        request = self.request
        oracle = make_oracle(request.method, self.card.search, request.n_trials, request.seed)
        oracle.verbose = 0
        open_folder(oracle, self.folder, self.identity)
        if _n_finished(oracle) < request.n_trials:
            prepared = self.prepared
            dataset, split = Dataset.load(prepared.dataset_folder), Split.load(prepared.split_folder)
            data = dataset, split, choosing_rows(prepared, 0, self.watcher.progress)
            while (trial := oracle.create_trial("fer_bench")).status == "RUNNING":
                self._try(oracle, trial, data)
        return self._best([self._trial(oracle.trials[trial_id]) for trial_id in oracle.start_order])

    def _try(self, oracle: Any, trial: Any, data: tuple[Dataset, Split, np.ndarray]) -> None:
        """One trial; what it raises costs it alone, unless it is the model with its own values."""
        about, n_trials = self._trial(trial), self.request.n_trials
        checkpoint = self.folder / f"checkpoint-{trial.trial_id}.npz"
        start = time.monotonic()

        def progress(done: float, text: str) -> None:
            where = f"trial {about.number}/{n_trials}{self.left}"
            self.watcher.progress((about.number - 1 + done) / n_trials, f"{where}: {text}")

        progress(0.0, describe(about.parameters))
        try:
            with chdir("."):  # wherever the model goes
                score = self._score(about, *data, checkpoint, progress)
        except (Exception, SystemExit) as error:  # a model that ends the process fails like any other
            if is_full(error, self.prepared.results.path) or isinstance(error, MemoryError):
                raise  # says nothing about the parameters: the trial is done again when the search goes on
            traceback.print_exc()
            checkpoint.unlink(missing_ok=True)
            trial.message = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
            if about.number == 1:
                raise FerBenchError(f"{self.card.name} fails with its own values: {trial.message}") from error
            trial.status = "FAILED"
        else:
            oracle.update_trial(trial.trial_id, {OBJECTIVE: score, "seconds": time.monotonic() - start})
            trial.status = "COMPLETED"
        oracle.end_trial(trial)
        oracle.save()  # once more: what `end_trial` saved counts the trial as still going on
        self._report(oracle, trial)

    def _score(
        self, trial: Trial, dataset: Dataset, split: Split, choosers: np.ndarray, checkpoint: Path, progress: Progress
    ) -> float:
        """Macro-F1 of the model with a trial's parameters, on the validation images that choose: no test row counts."""
        card, request = self.card, self.request
        features = model_features(card, trial.parameters, dataset, split)
        wanted = dataset.labels[split.validation]
        X, y, plan, task = planned(
            request.strategy,
            features,
            dataset,
            split,
            request.seed,
            n_jobs=cores(),
            steps=max(1, round(trial.share * card.steps[request.budget])) if card.steps else None,
            weights=self.weights,
            parameters=trial.parameters,
            checkpoint=checkpoint,
            code=self.code,
            progress=progress,
        )
        classifier = built(card, task)
        try:
            fit(classifier, X, y, plan)
            rows = predict(classifier, features, ["validation"], wanted, task.n_classes)["validation"]
        finally:
            del classifier
            if card.is_network:
                forget_networks()
        return metrics.score(wanted[choosers], rows[choosers], dataset.class_names).macro_f1

    def _report(self, oracle: Any, trial: Any) -> None:
        seconds = [known.seconds for known in map(self._trial, oracle.trials.values()) if known.seconds is not None]
        left = (self.request.n_trials - _n_finished(oracle)) * sum(seconds) / len(seconds)
        self.left = f", about {spell(left)} left"
        self.watcher.ended(self._trial(trial), self.request.n_trials, left)

    def _trial(self, trial: Any) -> Trial:
        """A trial of keras-tuner's as one of ours."""
        values = trial.hyperparameters.values
        done = trial.status == "COMPLETED"
        return Trial(
            number=int(trial.trial_id) + 1,
            parameters=chosen(self.card.search, values),
            share=values.get("tuner/epochs", HYPERBAND_EPOCHS) / HYPERBAND_EPOCHS,
            macro_f1=trial.score if done else None,
            seconds=trial.metrics.get_last_value("seconds") if done else None,
            reason=trial.message,
        )

    def _best(self, trials: list[Trial]) -> Tuned:
        """The best of those trained to the end, the first of equals; the first of all is the untuned one."""
        whole = [trial for trial in trials if trial.share == 1 and trial.macro_f1 is not None]
        best = max(whole, key=lambda trial: trial.macro_f1 or 0.0)
        identity = self.identity
        return Tuned(
            model=self.card.name,
            parameters=best.parameters,
            macro_f1=best.macro_f1 or 0.0,
            untuned_macro_f1=trials[0].macro_f1 or 0.0,
            **{name: identity[name] for name in ("strategy", "method", "budget", "weights", "seed")},
            data_fingerprint=self.prepared.data_fingerprint,
            split_fingerprint=self.prepared.split_fingerprint,
            trials=tuple(asdict(trial) for trial in trials),
            command=self.request.command,
            versions=environment(cores()).versions,
            recipe=self.card.recipe,
        )


def _n_finished(oracle: Any) -> int:
    return sum(trial.status != "RUNNING" for trial in oracle.trials.values())
