"""From a suite, patterns and seeds to a plan of frozen run specs."""

from dataclasses import dataclass

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


CLASSICAL = "majority,stratified-guess,pca-*,hog-*"
SUITES = {
    suite.name: suite
    for suite in (
        Suite("all", "*", "*", "every registered model under every strategy"),
        Suite("classical", CLASSICAL, "*", "baselines, SVM, Random Forest and MLP under every strategy"),
        Suite("deep", "cnn,vgg16,resnet50", "*", "the networks under every strategy"),
        Suite("smoke", "majority,pca-logistic,pca-forest", "none,class-weights", "seconds: does it work here?"),
    )
}


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan. reason: why it does not apply, or None. status: what is on disk, or None."""

    spec: RunSpec
    card: ModelCard
    reason: str | None
    status: str | None

    def is_due(self, rerun: str) -> bool:
        """Whether `rerun` asks for this run: "missing", "failed" (missing or not finished), or "all"."""
        return rerun == "all" or self.status is None or (rerun == "failed" and self.status not in FINISHED)


def find_suite(name: str) -> Suite:
    """The suite `name`. Raises FerBenchError listing all for an unknown one."""
    if name not in SUITES:
        raise FerBenchError(f"no suite {name!r}; there are {', '.join(SUITES)}")
    return SUITES[name]


def make_plan(
    results: ResultsFolder,
    fingerprints: tuple[str, str],
    models: str,
    strategies: str,
    seeds: tuple[int, ...] = (0,),
    budget: str = "quick",
    weights: str = "auto",
) -> list[PlannedRun]:
    """Every combination of `models` and `strategies` (patterns) and `seeds` on the data and split `fingerprints`.

    A combination that no seed can change is planned once, with the first seed. Cheap families come first, so that
    the leaderboard fills early. Raises FerBenchError for names that match nothing.
    """
    order = {"baseline": 0, "classical": 1, "deep": 2}
    cards = sorted(MODELS.match(models), key=lambda card: order[card.family])
    plan: dict[str, PlannedRun] = {}
    for card in cards:
        for strategy in STRATEGIES.match(strategies):
            for seed in seeds if card.stochastic or strategy.stochastic else seeds[:1]:
                planned = _planned(results, card, strategy, seed, fingerprints, budget, weights)
                plan.setdefault(planned.spec.run_id, planned)
    return list(plan.values())


def _planned(
    results: ResultsFolder,
    card: ModelCard,
    strategy: StrategyCard,
    seed: int,
    fingerprints: tuple[str, str],
    budget: str,
    weights: str,
) -> PlannedRun:
    reason = why_not(card, strategy)
    spec = RunSpec(
        model=card.name,
        strategy=strategy.name,
        seed=seed,
        data_fingerprint=fingerprints[0],
        split_fingerprint=fingerprints[1],
        budget=budget if card.steps else "",
        weights=weights if card.pretrained else "",
    )
    return PlannedRun(spec, card, reason, results.status(spec.run_id))
