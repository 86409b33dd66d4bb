"""From a suite, patterns and seeds to a plan of frozen run specs, and each as a job for a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.errors import FerBenchError, readable
from fer_bench.execution.search import load_all_tuned
from fer_bench.models import (
    COMMON,
    FEATURES,
    FOCAL,
    IMAGENET,
    MIRROR,
    MODELS,
    STRATEGIES,
    UNAVAILABLE,
    ModelCard,
    Recipe,
    Resolution,
    StrategyCard,
    check_backend,
    plugin_code,
    resolve_weights,
    weights_request_id,
    why_not,
)
from fer_bench.records import FINISHED, ResultsFolder, RunSpec, RunState

if TYPE_CHECKING:
    from fer_bench.execution.preparation import Prepared
    from fer_bench.records import Record


@dataclass(frozen=True)
class Suite:
    """Models and strategies by comma-separated names or shell patterns."""

    name: str
    models: str
    strategies: str
    summary: str


BASE = "none"
LONGEST = {"reason": 600, "traceback": 10_000}
"""Characters of what a record says of a failure: a model may say anything."""
OUTDATED = "outdated"
"""The status of a success that is not what would be made today."""
NO_WEIGHTS = Resolution("", "")  # of a model that starts from none
NOTHING_TO_FINE_TUNE = (
    "has nothing to fine-tune, as its ImageNet weights could not be had: it runs under none alone, from random ones; "
    "--weights none trains it under every strategy"
)
CLASSICAL = "majority,stratified-guess,pca-*,hog-*,bovw-*"
DEEP = "cnn,cnn-*,mini-xception,vgg16,resnet50,inception-v3,efficientnet-b0,mobilenet-v2"
FIRST_MODELS = "majority,stratified-guess,pca-*,hog-svm,hog-forest,hog-mlp,cnn,vgg16,resnet50"
FIRST_STRATEGIES = "none,class-weights,focal-loss,over-sampling,under-sampling,post-hoc-adjustment"
SUITES = {
    suite.name: suite
    for suite in (
        Suite("all", FIRST_MODELS, FIRST_STRATEGIES, "a model of every kind under the usual strategies: minutes"),
        Suite("classical", CLASSICAL, "*", "baselines, SVM, Random Forest and MLP under every strategy"),
        Suite("deep", DEEP, "*", "the networks under every strategy"),
        Suite("zoo", "*", "*", "every registered model under every strategy: hours"),
        Suite("smoke", "majority,pca-logistic,pca-forest", "none,class-weights", "seconds: does it work here?"),
    )
}


@dataclass(frozen=True)
class Selection:
    """What to combine: models, strategies and seeds; and what is set for all of them.

    models, strategies: names or shell patterns, with commas or in a list; None: those of the suite. budget: of gradient
    steps. weights: where pre-trained networks start: "auto", "imagenet", "none" or a weight file. parameters: what
    networks are trained with where not by their own recipe, by the names of `Task.parameters`. tuned: whether to use
    the parameters that `tune` found. mirror: whether features that have mirror images are to be made with them.
    """

    suite: str = "all"
    models: str | Sequence[str] | None = None
    strategies: str | Sequence[str] | None = None
    seeds: Sequence[int] = (0,)
    budget: str = "quick"
    weights: str = "auto"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tuned: bool = False
    mirror: bool = True

    def patterns(self) -> tuple[str, str]:
        """Of models and of strategies, comma-separated. Raises FerBenchError listing all suites for an unknown one."""
        if self.suite not in SUITES:
            raise FerBenchError(f"no suite {self.suite!r}; there are {', '.join(SUITES)}")
        suite = SUITES[self.suite]
        models = suite.models if self.models is None else self.models
        strategies = suite.strategies if self.strategies is None else self.strategies
        return _joined(models), _joined(strategies)

    def chosen(self) -> tuple[list[ModelCard], list[StrategyCard]]:
        """The models and strategies to combine, without a look at data.

        Raises FerBenchError for names that match nothing, a budget that there is not, or that a model knows no steps
        for, parameters that networks cannot be trained with, and where Keras has no backend to train them by.
        """
        models, strategies = self.patterns()
        cards, wanted = MODELS.match(models), STRATEGIES.match(strategies)
        Recipe.of(self.parameters)
        budgets = dict.fromkeys(budget for card in MODELS for budget in card.steps or ())
        if self.budget not in budgets:
            raise FerBenchError(f"--budget {self.budget}: there are {', '.join(budgets)}")
        if lacking := [card.name for card in cards if card.steps and self.budget not in card.steps]:
            raise FerBenchError(f"--budget {self.budget}: no gradient steps are registered for {', '.join(lacking)}")
        if any(card.is_network for card in cards):
            check_backend()
        return cards, wanted


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan.

    reason: why it does not apply, or None. status: what was on disk, or None. record_digest: of the record that was
    there, or None. asked: whether it was asked for, not brought along as the base of what was. weights: what those
    asked for come down to on this machine.
    """

    spec: RunSpec
    card: ModelCard
    reason: str | None
    status: str | None
    record_digest: str | None
    asked: bool = True
    weights: Resolution = NO_WEIGHTS

    @property
    def needs_base(self) -> bool:
        """Whether it starts from the finished run under "none"."""
        return self.reason is None and STRATEGIES[self.spec.strategy].starts_from is not None

    def is_due(self, rerun: str) -> bool:
        """Whether `rerun` asks for this run: "missing", "failed" (missing or not finished), or "all".

        A base that is finished is not done again for being brought along.
        """
        if self.status is None or (rerun == "all" and self.asked):
            return True
        return rerun != "missing" and self.status not in FINISHED


@dataclass(frozen=True)
class Job:
    """One run to do. It holds paths and plain values only, so that it can travel to any process.

    plugins: files to load first. record_digest: of the record that was there when it was planned, or None; where
    another one is found, the run needs no repeat. weights: what `spec.weights` came down to on this machine: "none",
    "imagenet" or a path; "" where none are used. weights_reason: why, in words. stands: whether the record that was
    there is a success that still holds.
    """

    spec: RunSpec
    family: str
    features: str
    prepared: Prepared
    plugins: tuple[Path, ...] = ()
    command: str = ""
    n_jobs: int = 1
    record_digest: str | None = None
    weights: str = ""
    weights_reason: str = ""
    stands: bool = False

    @property
    def base_id(self) -> str:
        """The id of the run under "none" that this one would start from."""
        return _base_id(self.spec)

    def record(self, status: str, **known: Any) -> Record:
        """The record of this job with `status` and whatever else is `known`."""
        from fer_bench.execution.environment import environment
        from fer_bench.records import Record

        prepared = self.prepared
        known |= {name: readable(known[name], limit) for name, limit in LONGEST.items() if known.get(name)}
        n_train, n_validation, n_test = prepared.counts[self.spec.fold]
        return Record(
            run_id=self.spec.run_id,
            status=status,  # type: ignore[arg-type]  # pydantic checks it
            spec=self.spec,
            dataset=prepared.name,
            family=self.family,
            features=self.features,
            class_names=list(prepared.class_names),
            n_train=n_train,
            n_validation=n_validation,
            n_test=n_test,
            split_source=prepared.split_source,
            data_notes=list(map(readable, prepared.notes)),
            command=readable(self.command),
            **{"started": now(), "environment": environment(self.n_jobs), **known},
        )


def now() -> str:
    """This moment in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def make_plan(prepared: Prepared, selection: Selection) -> list[PlannedRun]:
    """Every combination of `selection` on the data, in each fold where there are folds.

    A combination that no seed can change is planned once, as seed 0. A strategy that starts from the run
    under "none" brings that run along. Cheap families come first, so that the leaderboard fills early.
    A network whose ImageNet weights cannot be had is planned under "none" alone, unless random ones are asked for.
    Raises FerBenchError as `Selection.chosen` does, and for a weight file that is none.
    """
    order = {"baseline": 0, "classical": 1, "deep": 2}
    cards, strategies = selection.chosen()
    cards.sort(key=lambda card: order[card.family])
    results = prepared.results
    tuned = load_all_tuned(results.path, prepared.fingerprints, selection.patterns()[0]) if selection.tuned else {}
    weights = weights_request_id(selection.weights)
    found = resolve_weights(selection.weights, {card.pretrained for card in cards if card.pretrained})
    plan: dict[str, PlannedRun] = {}
    for card in cards:
        first = found.get(card.pretrained or "", NO_WEIGHTS)
        for strategy in _with_base(card, strategies, first):
            reason, code = _why_not(card, strategy, first), plugin_code(card, strategy)
            parameters = _parameters(card, strategy, selection, tuned.get(card.name, {}))
            common = RunSpec(
                card.name, strategy.name, 0, *prepared.fingerprints,
                budget=selection.budget if card.steps else "",
                weights=weights if card.pretrained else "",
                tuned=bool(tuned.get(card.name)),
                parameters=tuple(sorted(parameters.items())),
                recipe=card.recipe,
            )  # fmt: skip
            for seed in selection.seeds if card.stochastic or strategy.stochastic else (0,):
                for fold in range(1, prepared.n_folds + 1) or (0,):
                    spec = replace(common, seed=seed, fold=fold, n_folds=prepared.n_folds)
                    state = results.state(spec.run_id)
                    status = _status(state, reason, code, first)
                    if status == "success" and strategy.starts_from and _base_differs(spec, state, plan, results):
                        status = OUTDATED
                    asked = strategy in strategies
                    plan.setdefault(spec.run_id, PlannedRun(spec, card, reason, status, state.digest, asked, first))
    return list(plan.values())


def _joined(names: str | Sequence[str]) -> str:
    return names if isinstance(names, str) else ",".join(names)


def _why_not(card: ModelCard, strategy: StrategyCard, weights: Resolution) -> str | None:
    """The reason why `strategy` cannot be applied to the model here, or None where it can."""
    if weights.weights == UNAVAILABLE and strategy.name != BASE:
        return NOTHING_TO_FINE_TUNE
    return why_not(card, strategy)


def _status(state: RunState, reason: str | None, code: str, weights: Resolution) -> str | None:
    """The status on disk, but where plugins now define by `code` what they defined otherwise, or weights can be had.

    A success is OUTDATED then; what did not apply, and has no `reason` not to any more, is missing.
    """
    are_had, is_redefined = weights.weights == IMAGENET, bool(code) and state.plugin_code != code
    if state.status == "not-applicable" and reason is None and (are_had or is_redefined):
        return None
    made_without = are_had and state.initial_weights == "random"
    if state.status == "success" and (made_without or (is_redefined and state.plugin_code is not None)):
        return OUTDATED
    return state.status


def _base_differs(spec: RunSpec, state: RunState, plan: Mapping[str, PlannedRun], results: ResultsFolder) -> bool:
    """Whether the run under "none" that a finished one started from answers otherwise now, or is about to be done."""
    base = _base_id(spec)
    is_due = base in plan and plan[base].is_due("failed")
    return is_due or state.base not in (None, results.predictions_digest(base))


def _base_id(spec: RunSpec) -> str:
    """The id of the run under "none" that the run of `spec` would start from: seed 0 where no seed changes it."""
    return replace(spec, strategy=BASE, seed=spec.seed if MODELS[spec.model].stochastic else 0).run_id


def _with_base(card: ModelCard, strategies: list[StrategyCard], weights: Resolution) -> list[StrategyCard]:
    """`strategies`, after "none" where one of them starts from its run and applies."""
    if any(strategy.starts_from and _why_not(card, strategy, weights) is None for strategy in strategies):
        return [STRATEGIES[BASE], *(strategy for strategy in strategies if strategy.name != BASE)]
    return strategies


def _parameters(
    card: ModelCard, strategy: StrategyCard, selection: Selection, tuned: Mapping[str, Any]
) -> dict[str, Any]:
    """What a search found for a model, and before it what somebody asks of it, where that makes a difference.

    The recipe is nothing to what is no network, fine-tuning nothing to what starts from no weights, and label smoothing
    nothing to the focal loss; what the model is trained with anyway is left out.
    """
    if not card.is_network:
        name = f"{card.features}.{MIRROR}"
        has_mirrors = tuned.get(name, FEATURES[card.features].parameters.get(MIRROR))
        return {**tuned, name: False} if has_mirrors and not selection.mirror else dict(tuned)
    is_idle = {
        "fine_tune": not card.pretrained,
        "label_smoothing": strategy.loss == FOCAL and not strategy.starts_from,  # whose spec is that of its base
    }
    wanted = {name: value for name, value in selection.parameters.items() if not is_idle.get(name)}
    own = {**COMMON, **{name: how.start for name, how in card.search.items()}}
    return {name: value for name, value in {**tuned, **wanted}.items() if own.get(name) != value}
