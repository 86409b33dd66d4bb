"""The lists for a terminal: what a card says is what is shown."""

import io
from dataclasses import replace
from types import SimpleNamespace

from rich.console import Console

from fer_bench.cli.listing import plan_table, tables
from fer_bench.execution import OUTDATED, Estimate, Selection, make_plan
from fer_bench.models.registry import MODELS, STRATEGIES, why_not
from fer_bench.records.store import ResultsFolder


def shown(kind, verbose, width=1000):
    """The table of `kind` as text, wide enough not to be wrapped."""
    console = Console(file=io.StringIO(), width=width)
    console.print(*tables(kind, verbose))
    return console.file.getvalue()


def entry(name):
    """What the verbose list says about the model `name`, as lines."""
    cells = [[cell.strip() for cell in line.split("│")[1:3]] for line in shown("models", True).splitlines()]
    rows = [cell for cell in cells if len(cell) == 2]
    start = [row[0] for row in rows].index(name)
    rest = rows[start + 1 :]
    end = next((i for i, row in enumerate(rest) if row[0]), len(rest))
    return [rows[start][1], *(row[1] for row in rest[:end])]


def test_the_short_list_has_a_line_for_every_model():
    lines = shown("models", False).splitlines()
    for card in MODELS:
        assert sum(f"│ {card.name} " in line and card.summary in line for line in lines) == 1


def test_nothing_is_cut_off_on_a_narrow_terminal():
    assert "…" not in shown(None, True, 80) and "balanced-focal-loss " in shown("strategies", True, 80)


def test_the_long_list_tells_input_parameters_and_what_may_be_tuned():
    lines = entry("mini-xception")
    assert "input 64x64x1, scaling symmetric" in lines
    assert "parameters: 58,423 with seven classes" in lines
    assert any(line.startswith("deep, on images") for line in lines)
    assert any(line.startswith("tune: learning_rate 0.3 to 3 (log)") for line in lines)
    assert any(line.startswith("gradient steps: quick ") for line in lines)


def test_the_long_list_tells_which_strategies_apply():
    for name in ("cnn", "hog-svm", "majority"):
        applicable = [strategy.name for strategy in STRATEGIES if why_not(MODELS[name], strategy) is None]
        assert f"strategies: {', '.join(applicable)}" in entry(name)


def test_models_without_a_network_say_nothing_about_one():
    assert not [line for line in entry("majority") if line.startswith(("input", "parameters", "starts from", "tune"))]


def test_a_success_that_is_outdated_and_not_asked_for_again_is_done(tmp_path):
    prepared = SimpleNamespace(results=ResultsFolder(tmp_path), fingerprints=("data", "split"), n_folds=0)
    plan = make_plan(prepared, Selection("all", "hog-svm", "none,smote,class-weights"))
    plan = [replace(run, status=status) for run, status in zip(plan, ("success", OUTDATED, "failed"), strict=True)]

    def row(rerun):
        columns = plan_table(plan, rerun, "made", Estimate([], 100)).columns
        return {column.header: next(iter(column.cells)) for column in columns}

    assert (row("missing")["due"], row("missing")["done"], row("missing")["failed"]) == ("", "2", "1")
    assert (row("failed")["done"], row("failed")["failed"]) == ("1", "0")
