"""From a suite, patterns and seeds to a plan of frozen run specs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fer_bench.errors import FerBenchError
from fer_bench.models.deep.parameters import COMMON
from fer_bench.models.registry import MODELS, STRATEGIES, ModelCard, StrategyCard, plugin_code, why_not
from fer_bench.models.task import FOCAL
from fer_bench.records.spec import RunSpec
from fer_bench.records.store import FINISHED, ResultsFolder, Standing


@dataclass(frozen=True)
class Suite:
    """Models and strategies by comma-separated names or shell patterns."""

    name: str
    models: str
    strategies: str
    summary: str


BASE = "none"
OUTDATED = "outdated"
"""The status of a success that is not what would be made today."""
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

    reason: why it does not apply, or None. status: what was on disk, or None. record_digest: of the record
    that was there, or None. asked: whether it was asked for, not brought along as the base of what was.
    """

    spec: RunSpec
    card: ModelCard
    reason: str | None
    status: str | None
    record_digest: str | None
    asked: bool = True

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


def find_suite(name: str) -> Suite:
    """The suite `name`. Raises FerBenchError listing all for an unknown one."""
    if name not in SUITES:
        raise FerBenchError(f"no suite {name!r}; there are {', '.join(SUITES)}")
    return SUITES[name]


@dataclass(frozen=True)
class Wanted:
    """What to combine: models and strategies (patterns), seeds, folds, and what is set for all of them.

    n_folds: 0 for the one split. weights: a request's id. recipe: parameters that networks are asked to train
    with, by name. tuned: parameters that a search found, by model.
    """

    models: str
    strategies: str
    seeds: tuple[int, ...] = (0,)
    n_folds: int = 0
    budget: str = "quick"
    weights: str = "auto"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    tuned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def make_plan(results: ResultsFolder, fingerprints: tuple[str, str], wanted: Wanted) -> list[PlannedRun]:
    """Every combination that is `wanted`, on the data and split `fingerprints`.

    A combination that no seed can change is planned once, as seed 0. A strategy that starts from the run
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
    for card in cards:
        for strategy in _with_base(card, strategies):
            reason, code = why_not(card, strategy), plugin_code(card, strategy)
            for seed in wanted.seeds if card.stochastic or strategy.stochastic else (0,):
                for fold in range(1, wanted.n_folds + 1) or (0,):
                    spec = _spec(card, strategy, seed, fold, fingerprints, wanted)
                    run_id = spec.run_id
                    standing = results.standing(run_id)
                    status = _status(standing, reason, code)
                    if status == "success" and strategy.starts_from and _base_differs(spec, standing, plan, results):
                        status = OUTDATED
                    is_asked = strategy in strategies
                    plan.setdefault(run_id, PlannedRun(spec, card, reason, status, standing.digest, is_asked))
    return list(plan.values())


def _status(standing: Standing, reason: str | None, code: str) -> str | None:
    """The status on disk, but where plugins now define by `code` what they defined otherwise.

    A success is OUTDATED then; what did not apply, and has no `reason` not to any more, is missing.
    """
    if code and standing.plugin_code != code:
        if standing.status == "success" and standing.plugin_code is not None:
            return OUTDATED
        if standing.status == "not-applicable" and reason is None:
            return None
    return standing.status


def _base_differs(spec: RunSpec, standing: Standing, plan: Mapping[str, PlannedRun], results: ResultsFolder) -> bool:
    """Whether the run under "none" that a finished one started from answers otherwise now, or is about to be done."""
    base = replace(spec, strategy=BASE).run_id
    is_due = base in plan and plan[base].is_due("failed")
    return is_due or standing.base not in (None, results.predictions_digest(base))


def _with_base(card: ModelCard, strategies: list[StrategyCard]) -> list[StrategyCard]:
    """`strategies`, after "none" where one of them starts from its run and applies."""
    if any(strategy.starts_from and why_not(card, strategy) is None for strategy in strategies):
        return [STRATEGIES[BASE], *(strategy for strategy in strategies if strategy.name != BASE)]
    return strategies


def _parameters(card: ModelCard, strategy: StrategyCard, wanted: Wanted) -> dict[str, Any]:
    """What a search found for a model, and before it what somebody asks of networks, where that makes a difference.

    The recipe is nothing to what is no network, fine-tuning nothing to what starts from no weights, and label smoothing
    nothing to the focal loss; what the model is trained with anyway is left out.
    """
    tuned = wanted.tuned.get(card.name, {})
    if not card.is_network:
        return dict(tuned)
    is_idle = {
        "fine_tune": not card.pretrained,
        "label_smoothing": strategy.loss == FOCAL and not strategy.starts_from,  # whose spec is that of its base
    }
    asked = {name: value for name, value in wanted.recipe.items() if not is_idle.get(name)}
    own = {**COMMON, **{name: how.start for name, how in card.search.items()}}
    return {name: value for name, value in {**tuned, **asked}.items() if own.get(name) != value}


def _spec(
    card: ModelCard, strategy: StrategyCard, seed: int, fold: int, fingerprints: tuple[str, str], wanted: Wanted
) -> RunSpec:
    return RunSpec(
        model=card.name,
        strategy=strategy.name,
        seed=seed,
        data_fingerprint=fingerprints[0],
        split_fingerprint=fingerprints[1],
        budget=wanted.budget if card.steps else "",
        weights=wanted.weights if card.pretrained else "",
        fold=fold,
        n_folds=wanted.n_folds,
        tuned=bool(wanted.tuned.get(card.name)),
        parameters=tuple(sorted(_parameters(card, strategy, wanted).items())),
    )
