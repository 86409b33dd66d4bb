"""Commands that train: run, plan, tune; and list, which shows what there is to train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fer_bench.cli.options import Budget, PlanOptions, Plugin, SplitOptions, Weights, parse_folds, with_options
from fer_bench.cli.terminal import (
    command_line,
    console,
    load_registered,
    reading_progress,
    say,
    show_pages,
)
from fer_bench.errors import FerBenchError
from fer_bench.seeds import MOST_SEED

if TYPE_CHECKING:
    from fer_bench.execution import PlannedRun, Prepared

app = typer.Typer()


@app.command(epilog="Example: `python -m fer_bench run --suite classical --data fer2013.csv --jobs 2`")
@with_options
def run(
    options: PlanOptions,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at once; the cores are shared out.")] = 1,
    timeout: Annotated[float | None, typer.Option(min=1, help="Seconds a run may take.")] = None,
    executor: Annotated[
        Literal["processes", "dask"], typer.Option(help="This machine's processes, or a Dask cluster.")
    ] = "processes",
    scheduler: Annotated[str | None, typer.Option(help="Of the cluster: host:port.", metavar="ADDRESS")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
) -> None:
    """Train and score every combination that is not done yet, then write the leaderboard."""
    if dry_run:
        _show_plan(*_plan(options), options.rerun)
        return
    from fer_bench.console import SuiteProgress
    from fer_bench.execution import Options, connected, run_plan

    if (executor == "dask") != (scheduler is not None) or (scheduler and jobs != 1):
        raise FerBenchError("--executor dask and --scheduler ADDRESS go together, and without --jobs")
    command = command_line()
    with connected(scheduler) as place:
        prepared, planned = _plan(options)
        due = sum(run.is_due(options.rerun) and run.reason is None for run in planned)
        _say_start(prepared, planned, due, options.rerun)
        how = Options(options.rerun, timeout, tuple(options.plugin or ()), jobs, command)
        with SuiteProgress(console) as progress:
            finished = run_plan(planned, prepared, how, progress, place)
    show_pages(prepared)
    if finished.interrupted:
        raise KeyboardInterrupt
    if finished.failed:
        console.print(f"{len(finished.failed)} runs did not succeed:", style="red")
        say(*(f"  {prepared.results.runs / run_id / 'log.txt'}" for run_id in finished.failed))
        raise typer.Exit(1)


@app.command(epilog="Example: `python -m fer_bench plan --models 'hog-*' --seeds 0,1,2`")
@with_options
def plan(options: PlanOptions) -> None:
    """Show what `run` would do: what is due and how long it may take, what is done, what does not apply and why."""
    _show_plan(*_plan(options), options.rerun)


@app.command(epilog="Example: `python -m fer_bench tune hog-svm --trials 20`")
@with_options
def tune(
    options: SplitOptions,
    model: Annotated[str, typer.Argument(help="The model to tune; `list models -v` shows what each can vary.")],
    trials: Annotated[int, typer.Option(help="How many in all; the first is the untuned model.")] = 10,
    method: Annotated[
        Literal["bayesian", "hyperband"], typer.Option(help="hyperband, for networks, cuts most trials short.")
    ] = "bayesian",
    strategy: Annotated[str, typer.Option(help="Against imbalance, in every trial.")] = "none",
    budget: Budget = "quick",
    weights: Weights = "auto",
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Of the search and of every trial.")] = 0,
    plugin: Plugin = None,
) -> None:
    """Search a model's parameters on the validation images, for `run --tuned`. Stopped, it goes on where it was."""
    from fer_bench.cli.listing import tuned_table
    from fer_bench.console import TuneProgress
    from fer_bench.execution import TuneRequest, searchable, tuned_path
    from fer_bench.execution import tune as search

    load_registered(plugin)
    request = TuneRequest(model, trials, strategy, method, budget, seed, weights, command=command_line())
    searchable(request)
    with reading_progress() as progress:
        prepared = options.prepare(progress)
    with TuneProgress(console) as watcher:
        tuned = search(request, prepared, watcher)
    console.print(tuned_table(tuned))
    say(f"Written to {tuned_path(prepared.results.path, model)}; `run --tuned` uses these values and none found before")


@app.command(name="list", epilog="Example: `python -m fer_bench list models -v`")
def list_(
    kind: Annotated[
        Literal["models", "features", "strategies", "suites"] | None,
        typer.Argument(help="models, features, strategies or suites; all without."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Everything on the cards.")] = False,
    plugin: Plugin = None,
) -> None:
    """List what is registered, with one line about each."""
    from fer_bench.cli.listing import tables

    load_registered(plugin)
    for table in tables(kind, verbose):
        console.print(table)


def _plan(options: PlanOptions) -> tuple[Prepared, list[PlannedRun]]:
    from fer_bench.execution import make_plan

    load_registered(options.plugin)
    selection = options.selection()
    selection.chosen()  # before data are read
    with reading_progress() as progress:
        prepared = options.prepare(progress, parse_folds(options.folds))
    return prepared, make_plan(prepared, selection)


def _say_start(prepared: Prepared, plan: list[PlannedRun], due: int, rerun: str) -> None:
    from fer_bench.execution import OUTDATED

    n_train, n_validation, n_test = next(iter(prepared.counts.values()))
    each = f" in each of {prepared.n_folds} folds" if prepared.n_folds else ""
    done = sum(planned.status in ("success", OUTDATED) and not planned.is_due(rerun) for planned in plan)
    excluded = sum(planned.reason is not None for planned in plan)
    if prepared.is_renamed:
        say(f"other data have this name: the results of these go to {prepared.results.path}")
    say(
        f"{prepared.name}: {n_train:,} train, {n_validation:,} validation, {n_test:,} test images{each}",
        f"split: {prepared.split_source}",
        f"{due} {'run' if due == 1 else 'runs'} to do, {done} done before, {excluded} do not apply",
    )
    outdated = sorted({planned.spec.model for planned in plan if planned.status == OUTDATED and planned.is_due(rerun)})
    if outdated:
        say(f"done again, as they or what they start from changed since: {', '.join(outdated)}")


def _show_plan(prepared: Prepared, plan: list[PlannedRun], rerun: str) -> None:
    from fer_bench.cli.listing import plan_table
    from fer_bench.execution import Estimate, spell

    estimate = Estimate(prepared.results.raw_records(), prepared.n_train)
    console.print(plan_table(plan, rerun, prepared.name, estimate))
    for reason in dict.fromkeys(planned.reason for planned in plan if planned.reason):
        models = dict.fromkeys(planned.spec.model for planned in plan if planned.reason == reason)
        console.print(f"n/a: {', '.join(models)}: {reason}", highlight=False)
    due = [planned for planned in plan if planned.is_due(rerun) and planned.reason is None]
    seconds = [estimate.measured(planned) for planned in due]
    known = [value for value in seconds if value is not None]
    took = f", about {spell(sum(known))}" if known else ""
    unknown = f"; {len(due) - len(known)} of them of models never timed here" if len(known) < len(due) else ""
    console.print(f"{len(due)} of {len(plan)} runs due{took}{unknown}", highlight=False)
