"""What is registered and what is planned, as tables for a terminal."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from fer_bench.execution import OUTDATED, SUITES, Estimate, PlannedRun, Trial, Tuned, describe, spell
from fer_bench.models import FEATURES, MODELS, STRATEGIES, Choice, ModelCard, Range, StrategyCard, why_not


def tables(kind: str | None, verbose: bool) -> Iterator[Table]:
    """The table of `kind` ("models", "features", "strategies", "suites"), or all four."""
    makers: dict[str, Callable[[bool], Table]] = {
        "models": _models,
        "features": _features,
        "strategies": _strategies,
        "suites": _suites,
    }
    for name in [kind] if kind else makers:
        table = makers[name](verbose)
        for column in table.columns:
            column.overflow = "fold"
        table.columns[0].no_wrap = True
        yield table


def plan_table(plan: list[PlannedRun], rerun: str, name: str, estimate: Estimate) -> Table:
    """A line per model: what is due under the policy `rerun`, what is done, what does not apply.

    And how long a run should take: "?" where none of the model has been measured.
    """
    table = Table(title=f"Plan for {name}")
    for column in ("model", "due", "done", "failed", "n/a", "a run takes"):
        table.add_column(column, justify="left" if column in ("model", "due") else "right", no_wrap=column == "model")
    for model in dict.fromkeys(planned.spec.model for planned in plan):
        runs = [planned for planned in plan if planned.spec.model == model]
        apply = [planned for planned in runs if not planned.reason]
        due = Counter(planned.spec.strategy for planned in apply if planned.is_due(rerun))
        names = ", ".join(f"{strategy} x {n}" if n > 1 else strategy for strategy, n in due.items())
        left = Counter(planned.status for planned in apply if not planned.is_due(rerun))
        done, excluded = left.pop("success", 0), left.pop("not-applicable", 0) + len(runs) - len(apply)
        done += left.pop(OUTDATED, 0)
        seconds = next((estimate.measured(planned) for planned in apply if not planned.needs_base), None)
        takes = "?" if seconds is None else spell(seconds)
        table.add_row(model, names, str(done), str(left.total()), str(excluded), takes)
    return table


def tuned_table(tuned: Tuned) -> Table:
    """The trials of a search, the best first, those on a part of the steps and those that failed at the end."""
    gain = tuned.macro_f1 - tuned.untuned_macro_f1
    table = Table(
        title=Text(f"{tuned.model} · {tuned.strategy}: macro-F1 on validation"),
        caption=Text(f"untuned {tuned.untuned_macro_f1:.3f}, tuned {tuned.macro_f1:.3f} ({gain:+.3f})"),
        box=box.SIMPLE_HEAD,
    )
    for name in ("trial", "macro-F1", "steps", "time"):
        table.add_column(name, justify="right")
    table.add_column("parameters", overflow="fold")
    trials = [Trial(**trial) for trial in tuned.trials]
    for trial in sorted(trials, key=lambda trial: (trial.macro_f1 is None, -trial.share, -(trial.macro_f1 or 0))):
        score = "failed" if trial.macro_f1 is None else f"{trial.macro_f1:.3f}"
        seconds = "" if trial.seconds is None else spell(trial.seconds)
        what = describe(trial.parameters) + (f": {trial.reason}" if trial.reason else "")
        table.add_row(*map(Text, (str(trial.number), score, f"{trial.share:.0%}", seconds, what)))
    return table


def _models(verbose: bool) -> Table:
    if not verbose:
        table = Table("model", "family", "features", "about", title="Models")
        for card in MODELS:
            table.add_row(card.name, card.family, card.features, card.summary)
        return table
    table = Table("model", "about", title="Models", show_lines=True)
    for card in MODELS:
        table.add_row(card.name, "\n".join(_model_lines(card)))
    return table


def _model_lines(card: ModelCard) -> Iterator[str]:
    yield card.summary
    yield f"{card.family}, on {card.features}"
    if card.image:
        yield f"input {card.image.size}x{card.image.size}x{card.image.channels}, scaling {card.image.scaling}"
    if card.n_parameters:
        yield f"parameters: {card.n_parameters:,} with seven classes"
    if card.pretrained:
        yield f"starts from: {card.pretrained}"
    if card.steps:
        yield "gradient steps: " + ", ".join(f"{budget} {steps:,}" for budget, steps in card.steps.items())
    if card.search:
        yield "tune: " + "; ".join(f"{name} {_space(space)}" for name, space in card.search.items())
    applicable = [strategy.name for strategy in STRATEGIES if why_not(card, strategy) is None]
    yield "strategies: " + ", ".join(applicable)
    yield _where(card.source)


def _space(space: Choice | Range) -> str:
    """Say "0.3 to 3 (log)", or "0.1 | 0 | 0.2"."""
    if isinstance(space, Range):
        return f"{space.low:g} to {space.high:g}{' (log)' if space.log else ''}"
    return " | ".join(str(value) for value in space.values)


def _features(verbose: bool) -> Table:
    table = Table("features", "about", *(["parameters", "where"] if verbose else []), title="Features")
    for card in FEATURES:
        parameters = ", ".join(f"{key}={value}" for key, value in card.parameters.items())
        table.add_row(card.name, card.summary, *([parameters, _where(card.source)] if verbose else []))
    return table


def _strategies(verbose: bool) -> Table:
    table = Table("strategy", "about", *(["needs", "where"] if verbose else []), title="Strategies")
    for card in STRATEGIES:
        table.add_row(card.name, card.summary, *([_needs(card), _where(card.source)] if verbose else []))
    return table


def _needs(card: StrategyCard) -> str:
    """What a model must have for the strategy to apply."""
    needs = {
        "sample_weight": card.needs_sample_weight,
        f"{card.loss} loss": card.loss != "cross-entropy",
        "features, not images": card.makes_rows,
        "an ensemble of trees": card.balanced_bootstrap,
        f"{card.starts_from} of its run under none": card.starts_from,
    }
    return ", ".join(need for need, needed in needs.items() if needed) or "-"


def _suites(verbose: bool) -> Table:
    table = Table("suite", "about", *(["models", "strategies"] if verbose else []), title="Suites")
    for suite in SUITES.values():
        names = [names.replace(",", ", ") for names in (suite.models, suite.strategies)]
        table.add_row(suite.name, suite.summary, *(names if verbose else []))
    return table


def _where(source: str) -> str:
    """File and line, the file relative to the current folder where it lies below it."""
    file, line = source.rsplit(":", 1)
    path = Path(file)
    return f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}:{line}"
