"""From a suite, patterns and seeds to a plan of frozen run specs."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fer_bench.errors import FerBenchError
from fer_bench.models.registry import MODELS, STRATEGIES, ModelCard, StrategyCard, why_not
from fer_bench.records.spec import RunSpec
from fer_bench.records.store import FINISHED, ResultsFolder


@dataclass(frozen=True)
class Suite:
    """Models and strategies by comma-separated names or shell patterns."""

    name: str
    models: str
    strategies: str
    summary: str


BASE = "none"
FINE_TUNE = "fine_tune"
OUTDATED = "outdated"
CLASSICAL = "majority,stratified-guess,pca-*,hog-*"
DEEP = "cnn,cnn-*,mini-xception,vgg16,resnet50,inception-v3,efficientnet-b0,mobilenet-v2"
FIRST_MODELS = f"{CLASSICAL},cnn,vgg16,resnet50"
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
class PlannedRun:
    """One run of a plan.

    reason: why it does not apply, or None. status: what was on disk, or None, at the moment `since`, in epoch seconds.
    """

    spec: RunSpec
    card: ModelCard
    reason: str | None
    status: str | None
    since: float

    @property
    def needs_base(self) -> bool:
        """Whether it starts from the finished run under "none"."""
        return self.reason is None and STRATEGIES[self.spec.strategy].starts_from is not None

    def is_due(self, rerun: str) -> bool:
        """Whether `rerun` asks for this run: "missing", "failed" (missing or not finished), or "all"."""
        return rerun == "all" or self.status is None or (rerun == "failed" and self.status not in FINISHED)


def find_suite(name: str) -> Suite:
    """The suite `name`. Raises FerBenchError listing all for an unknown one."""
    if name not in SUITES:
        raise FerBenchError(f"no suite {name!r}; there are {', '.join(SUITES)}")
    return SUITES[name]


@dataclass(frozen=True)
class Wanted:
    """What to combine: models and strategies (patterns), seeds, folds, and what is set for all of them.

    folds: as `fold_names` gives them. weights: a request's id. recipe: parameters of networks that differ from their
    own, by name. tuned: parameters that a search found, by model.
    """

    models: str
    strategies: str
    seeds: tuple[int, ...] = (0,)
    folds: tuple[str, ...] = ("",)
    budget: str = "quick"
    weights: str = "auto"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    tuned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def make_plan(results: ResultsFolder, fingerprints: tuple[str, str], wanted: Wanted) -> list[PlannedRun]:
    """Every combination that is `wanted`, on the data and split `fingerprints`.

    A combination that no seed can change is planned once, with the first seed. A strategy that starts from the run
    under "none" brings that run along. Cheap families come first, so that the leaderboard fills early.
    Raises FerBenchError for names that match nothing, and for a budget that a model knows no steps for.
    """
    order = {"baseline": 0, "classical": 1, "deep": 2}
    cards = sorted(MODELS.match(wanted.models), key=lambda card: order[card.family])
    strategies = STRATEGIES.match(wanted.strategies)
    lacking = [card.name for card in cards if card.steps and wanted.budget not in card.steps]
    if lacking:
        raise FerBenchError(f"--budget {wanted.budget}: no gradient steps are registered for {', '.join(lacking)}")
    plan: dict[str, PlannedRun] = {}
    since = time.time()
    for card in cards:
        code = card.code
        for strategy in _with_base(card, strategies):
            for seed in wanted.seeds if card.stochastic or strategy.stochastic else wanted.seeds[:1]:
                for fold in wanted.folds:
                    spec = _spec(card, strategy.name, seed, fold, fingerprints, wanted)
                    run_id = spec.run_id
                    reason = why_not(card, strategy)
                    plan.setdefault(run_id, PlannedRun(spec, card, reason, _status(results, run_id, code), since))
    return list(plan.values())


def _status(results: ResultsFolder, run_id: str, code: str) -> str | None:
    """The status on disk; OUTDATED for a success of a plugin's model that was defined otherwise, not by `code`."""
    status = results.status(run_id)
    is_outdated = code and status == "success" and results.plugin_code(run_id) not in (None, code)
    return OUTDATED if is_outdated else status


def _with_base(card: ModelCard, strategies: list[StrategyCard]) -> list[StrategyCard]:
    """`strategies`, after "none" where one of them starts from its run and applies."""
    if any(strategy.starts_from and why_not(card, strategy) is None for strategy in strategies):
        return [STRATEGIES[BASE], *(strategy for strategy in strategies if strategy.name != BASE)]
    return strategies


def recipe_of(card: ModelCard, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What of a recipe for networks a model has: nothing if it is none, no fine-tuning if it starts from no weights."""
    return {name: value for name, value in recipe.items() if card.is_network and (card.pretrained or name != FINE_TUNE)}


def _spec(
    card: ModelCard, strategy: str, seed: int, fold: str, fingerprints: tuple[str, str], wanted: Wanted
) -> RunSpec:
    tuned = wanted.tuned.get(card.name, {})
    parameters = {**tuned, **recipe_of(card, wanted.recipe)}  # what somebody asks for goes first
    return RunSpec(
        model=card.name,
        strategy=strategy,
        seed=seed,
        data_fingerprint=fingerprints[0],
        split_fingerprint=fingerprints[1],
        budget=wanted.budget if card.steps else "",
        weights=wanted.weights if card.pretrained else "",
        fold=fold,
        tuned=bool(tuned),
        parameters=tuple(sorted(parameters.items())),
    )
