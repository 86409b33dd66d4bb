"""The command line: parses, calls, prints. No logic."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fer_bench import __version__
from fer_bench.errors import FerBenchError
from fer_bench.options import (
    Budget,
    BudgetOption,
    Data,
    Method,
    Name,
    Plugin,
    Rerun,
    Results,
    ResultsName,
    Selection,
    SkipBad,
    SplitSeed,
    Votes,
    Weights,
    parse_seeds,
    with_selection,
)

INTERRUPTED = 130

app = typer.Typer(
    name="fer_bench",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Which facial-expression model, with which treatment of class imbalance - and can the answer be believed?",
    epilog="Start here: `python -m fer_bench run --suite all`",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at data, or write the built-in faces to a folder.")
app.add_typer(data_app, name="data")
demo_app = typer.Typer(no_args_is_help=True, help="See a mistake being made, and caught.")
app.add_typer(demo_app, name="demo")
console = Console(soft_wrap=False)


class Format(StrEnum):
    """What a leaderboard is written as."""

    md = "md"
    csv = "csv"
    json = "json"
    latex = "latex"


class Kind(StrEnum):
    """What there is to list."""

    models = "models"
    features = "features"
    strategies = "strategies"
    suites = "suites"


@app.command(epilog="Example: `python -m fer_bench run --suite classical --data fer2013.csv --jobs 2`")
@with_selection
def run(
    selection: Selection,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at once; the cores are shared out.")] = 1,
    timeout: Annotated[float | None, typer.Option(min=1, help="Seconds a run may take.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
) -> None:
    """Train and score every combination that is not done yet, then write the leaderboard."""
    from fer_bench.execution.runner import Options, run_plan

    prepared, plan, plugins = _plan(selection)
    if dry_run:
        _show_plan(prepared, plan, selection.rerun)
        return
    command = _command()
    options = Options(selection.rerun.value, jobs, timeout, selection.weights, plugins, command)
    due = sum(planned.is_due(selection.rerun) and planned.reason is None for planned in plan)
    _say_start(prepared, plan, due)
    from fer_bench.console import SuiteProgress

    with SuiteProgress(console, prepared.results, due) as progress:
        summary = run_plan(plan, prepared, options, progress)
    _write_leaderboard(prepared.results, command, prepared.fingerprints)
    if summary.interrupted:
        _say_stopped(command)
        raise typer.Exit(INTERRUPTED)
    if summary.failed:
        console.print(f"{len(summary.failed)} runs did not succeed:", style="red")
        for run_id in summary.failed:
            console.print(f"  {prepared.results.runs / run_id / 'log.txt'}", markup=False, soft_wrap=True)
        raise typer.Exit(1)


@app.command(epilog="Example: `python -m fer_bench plan --models 'hog-*' --seeds 0,1,2`")
@with_selection
def plan(selection: Selection) -> None:
    """Show what `run` would do: what is due and how long it may take, what is done, what does not apply and why."""
    prepared, planned, _ = _plan(selection)
    _show_plan(prepared, planned, selection.rerun)


@app.command(epilog="Example: `python -m fer_bench tune hog-svm --trials 20`")
def tune(
    model: Annotated[str, typer.Argument(help="The model to tune; `list models -v` shows what each can vary.")],
    trials: Annotated[int, typer.Option(help="How many in all; the first is the untuned model.")] = 10,
    method: Annotated[Method, typer.Option(help="hyperband, for networks, cuts most trials short.")] = Method.bayesian,
    strategy: Annotated[str, typer.Option(help="Against imbalance, in every trial.")] = "none",
    data: Data = "synthetic",
    budget: BudgetOption = Budget.quick,
    weights: Weights = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the search and of every trial.")] = 0,
    results: Results = Path("results"),
    name: Name = None,
    votes: Votes = None,
    plugin: Plugin = None,
    split_seed: SplitSeed = 0,
    skip_bad: SkipBad = False,
) -> None:
    """Search a model's parameters on the validation images, for `run --tuned`. Stopped, it goes on where it was."""
    from fer_bench.console import TuneProgress, reading_progress
    from fer_bench.execution.prepare import prepare
    from fer_bench.execution.tuned import tuned_path, tuned_table
    from fer_bench.execution.tuning import TuneRequest
    from fer_bench.execution.tuning import tune as search

    _load_plugins(plugin)
    with reading_progress(console) as progress:
        prepared = prepare(data, results, name, votes, skip_bad, split_seed, progress=progress)
    request = TuneRequest(model, trials, strategy, method.value, budget.value, seed, weights, command=_command())
    try:
        with TuneProgress(console) as watcher:
            tuned = search(request, prepared, watcher)
    except KeyboardInterrupt:
        _say_stopped(request.command)
        raise typer.Exit(INTERRUPTED) from None
    console.print(tuned_table(tuned))
    path = tuned_path(prepared.results.path, model)
    console.print(f"Written to {path}; `run --tuned` uses it", markup=False, highlight=False, soft_wrap=True)


@app.command(name="list", epilog="Example: `python -m fer_bench list models -v`")
def list_(
    kind: Annotated[Kind | None, typer.Argument(help="models, features, strategies or suites; all without.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Everything on the cards.")] = False,
    plugin: Plugin = None,
) -> None:
    """List what is registered, with one line about each."""
    from fer_bench.listing import tables

    _load_plugins(plugin)
    for table in tables(kind.value if kind else None, verbose):
        console.print(table)


@app.command(epilog="Example: `python -m fer_bench report --name fer2013`")
def report(
    name: ResultsName = "synthetic",
    results: Results = Path("results"),
    format_: Annotated[
        list[Format] | None, typer.Option("--format", help="md, csv, json or latex; may repeat; md and csv without.")
    ] = None,
) -> None:
    """Judge all runs anew from what is stored, and write the leaderboard."""
    _write_leaderboard(_results_folder(results / name), None, formats=format_ or (Format.md, Format.csv))


@app.command(epilog="Example: `python -m fer_bench judge predictions.csv --name fer2013 --as my-model`")
def judge(
    predictions: Annotated[
        Path, typer.Argument(help="CSV: sample_id, and a column of probabilities per class or one called label.")
    ],
    name: ResultsName = "synthetic",
    results: Results = Path("results"),
    as_: Annotated[str | None, typer.Option("--as", help="Name of the row; by default the file's.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Put this file in the place of another.")] = False,
) -> None:
    """Score anyone's predictions, put them on record as external, and write the leaderboard."""
    from fer_bench.judging.external import put_on_record

    evidence = _evidence(results / name)
    record, is_new = put_on_record(evidence, predictions, as_, replace, _command())
    _say_row(record, "put on record" if is_new else "on record already, nothing added")
    _write_leaderboard(evidence.folder, None, (evidence.data_fingerprint, evidence.split_fingerprint))


@app.command(epilog="Example: `python -m fer_bench verify results/fer2013 --against rerun/fer2013`")
def verify(
    folder: Annotated[Path, typer.Argument(help="A dataset's folder under the results.")],
    against: Annotated[
        Path | None, typer.Option(help="The same dataset's folder with runs of the same specs.", metavar="DIR")
    ] = None,
) -> None:
    """Compute every figure again from the stored probabilities; exit code 1 where one does not follow."""
    from fer_bench.judging.verify import report, verify

    found = verify(_results_folder(folder), _results_folder(against) if against else None)
    for line in report(found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if not found.is_sound:
        raise typer.Exit(1)


@app.command(epilog="Example: `python -m fer_bench ensemble --name fer2013`")
def ensemble(name: ResultsName = "synthetic", results: Results = Path("results")) -> None:
    """Choose an ensemble of finished runs on the validation images, and rank it as a row of its own."""
    from fer_bench.judging.ensemble import put_on_record

    evidence = _evidence(results / name)
    record, is_new = put_on_record(evidence, command=_command())
    _say_row(record, "put on record" if is_new else "on record already, unchanged")
    _write_leaderboard(evidence.folder, None, (evidence.data_fingerprint, evidence.split_fingerprint))


@app.command(name="hard-faces", epilog="Example: `python -m fer_bench hard-faces --data fer2013.csv`")
def hard_faces(
    data: Data = "synthetic",
    results: Results = Path("results"),
    name: Name = None,
    votes: Votes = None,
    skip_bad: SkipBad = False,
) -> None:
    """Draw the test images that every run misses, and each run's most confident mistakes."""
    from fer_bench.console import reading_progress
    from fer_bench.data.readers import open_dataset
    from fer_bench.judging.hard_faces import hard_faces, tables, trained, write_sheets

    with reading_progress(console) as progress:
        opened = open_dataset(data, name=name, votes=votes, skip_bad=skip_bad, progress=progress)
    evidence = _evidence(results / opened.name)
    sheets = write_sheets(evidence, opened.load())
    for line in tables(evidence, hard_faces(evidence, trained(evidence))):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"\n{sheets[0]}, and a sheet per run beside it", markup=False, highlight=False, soft_wrap=True)


@app.command(epilog="Example: `python -m fer_bench audit --data fer2013.csv --votes fer2013new.csv`")
def audit(
    data: Data = "synthetic",
    results: Results = Path("results"),
    name: Name = None,
    votes: Votes = None,
    split_seed: SplitSeed = 0,
    skip_bad: SkipBad = False,
) -> None:
    """Look for copies, leaks and odd labels, and write the data card; exit code 1 where the data are suspect."""
    from fer_bench.console import reading_progress
    from fer_bench.execution.auditing import audit_data, write_sheet
    from fer_bench.execution.prepare import prepare
    from fer_bench.judging.data_card import CARD_FILE, terminal_lines
    from fer_bench.judging.gate import data_suspicions

    with reading_progress(console) as progress:
        prepared = prepare(data, results, name, votes, skip_bad, split_seed, progress=progress)
        found = audit_data(prepared, _command(), progress)
        sheet = write_sheet(prepared)
    for line in (*terminal_lines(found), "", f"{prepared.results.path / CARD_FILE}, pairs to look at: {sheet}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if data_suspicions(found):
        raise typer.Exit(1)


@demo_app.command(epilog="Example: `python -m fer_bench demo leak`")
def leak() -> None:
    """Over-sample before the split, as many notebooks do, and see the validation score lie."""
    from fer_bench.console import reading_progress
    from fer_bench.execution.demo import leak as demonstration

    with reading_progress(console) as progress:
        lines = demonstration(progress)
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@data_app.command(epilog="Example: `python -m fer_bench data describe --data fer2013.csv`")
def describe(
    data: Data = "synthetic",
    name: Name = None,
    votes: Votes = None,
    skip_bad: SkipBad = False,
) -> None:
    """Show images, classes, subsets, and what is odd about them."""
    from fer_bench.console import reading_progress
    from fer_bench.data.description import describe as described
    from fer_bench.data.readers import open_dataset

    with reading_progress(console) as progress:
        opened = open_dataset(data, name=name, votes=votes, skip_bad=skip_bad, progress=progress)
    for line in described(opened.load()):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@data_app.command(epilog="Example: `python -m fer_bench data make faces --n-images 500`")
def make(
    folder: Annotated[Path, typer.Argument(help="New folder; one sub-folder of PNGs per class.")],
    n_images: Annotated[int, typer.Option(min=100, help="How many faces.")] = 3000,
    seed: Annotated[int, typer.Option(help="Another seed, other faces.")] = 0,
) -> None:
    """Write the built-in synthetic faces as a folder of PNGs."""
    from fer_bench.data.synthetic import make_synthetic, write_folder

    write_folder(make_synthetic(n_images, seed), folder)
    console.print(f"{n_images:,} faces in {folder}", markup=False)


def _plan(selection: Selection) -> tuple[Any, Any, tuple[Path, ...]]:
    from fer_bench.console import reading_progress
    from fer_bench.data.splits import fold_names
    from fer_bench.execution.plan import Wanted, find_suite, make_plan
    from fer_bench.execution.prepare import prepare
    from fer_bench.execution.tuned import load_all_tuned
    from fer_bench.models.deep.pretrained import weights_request_id

    wants = selection
    plugins = _load_plugins(wants.plugin)
    suite = find_suite(wants.suite)
    request, seeds, recipe = weights_request_id(wants.weights), parse_seeds(wants.seeds), wants.recipe()
    folds = fold_names(wants.folds)
    with reading_progress(console) as progress:
        prepared = prepare(
            wants.data, wants.results, wants.name, wants.votes, wants.skip_bad, wants.split_seed, wants.folds, progress
        )
    models = wants.models or suite.models
    tuned = load_all_tuned(prepared.results.path, prepared.fingerprints, models) if wants.tuned else {}
    wanted = Wanted(
        models, wants.strategies or suite.strategies, seeds, folds,
        wants.budget.value, request, recipe, tuned,
    )  # fmt: skip
    return prepared, make_plan(prepared.results, prepared.fingerprints, wanted), plugins


def _command() -> str:
    return shlex.join(["python", "-m", "fer_bench", *sys.argv[1:]])


def _load_plugins(plugin: list[Path] | None) -> tuple[Path, ...]:
    from fer_bench.models.plugins import load_plugins

    plugins = tuple(plugin or ())
    load_plugins(plugins)
    return plugins


def _say_start(prepared: Any, plan: list, due: int) -> None:
    n_train, n_validation, n_test = next(iter(prepared.counts.values()))
    each = f" in each of {len(prepared.counts)} folds" if len(prepared.counts) > 1 else ""
    done = sum(planned.status == "success" for planned in plan)
    excluded = sum(planned.reason is not None for planned in plan)
    lines = (
        f"{prepared.name}: {n_train:,} train, {n_validation:,} validation, {n_test:,} test images{each}",
        f"split: {prepared.split_source}",
        f"{due} runs to do, {done} done before, {excluded} do not apply",
    )
    console.print(*lines, sep="\n", highlight=False, markup=False, soft_wrap=True)


def _show_plan(prepared: Any, plan: list, rerun: Rerun) -> None:
    from fer_bench.execution.estimate import Estimate, spell
    from fer_bench.listing import plan_table

    estimate = Estimate(prepared.results.raw_records(), prepared.n_train)
    console.print(plan_table(plan, rerun.value, prepared.name, estimate))
    for reason in dict.fromkeys(planned.reason for planned in plan if planned.reason):
        models = dict.fromkeys(planned.spec.model for planned in plan if planned.reason == reason)
        console.print(f"n/a: {', '.join(models)}: {reason}", markup=False, highlight=False)
    due = [planned for planned in plan if planned.is_due(rerun) and planned.reason is None]
    seconds = [estimate.measured(planned) for planned in due]
    known = [value for value in seconds if value is not None]
    took = f", about {spell(sum(known))}" if known else ""
    unknown = f"; {len(due) - len(known)} of them of models never timed here" if len(known) < len(due) else ""
    console.print(f"{len(due)} of {len(plan)} runs due{took}{unknown}", highlight=False)


def _say_stopped(command: str) -> None:
    told = f"Stopped. What is finished is kept; to go on:\n  {command}"
    console.print(told, style="yellow", markup=False, soft_wrap=True)


def _results_folder(path: Path) -> Any:
    from fer_bench.records.store import ResultsFolder

    folder = ResultsFolder(path)
    if not folder.runs.is_dir():
        known = ", ".join(sorted(other.parent.name for other in path.parent.glob("*/runs"))) or "none"
        raise FerBenchError(f"no runs in {path}; results in {path.parent}: {known}")
    return folder


def _evidence(path: Path) -> Any:
    """What the newest split's runs in a results folder are judged by."""
    from fer_bench.judging.evidence import Evidence

    evidence = Evidence.newest(_results_folder(path))
    for record in evidence.elsewhere:
        console.print(f"left out, of another split: {record.run_id}", markup=False, highlight=False, soft_wrap=True)
    return evidence


def _say_row(record: Any, what: str) -> None:
    scores = f"macro-F1 {record.test.macro_f1:.3f}, accuracy {record.test.accuracy:.1%}"
    told = [f"{record.run_id}: {scores} on {record.test.n_images:,} test images; {what}", *record.notes]
    console.print(*told, sep="\n", markup=False, highlight=False, soft_wrap=True)


def _write_leaderboard(
    folder: Any,
    command: str | None,
    fingerprints: tuple[str, str] | None = None,
    formats: Sequence[Format] = (Format.md, Format.csv),
) -> None:
    from fer_bench.judging.render import FORMATS, file_stem, terminal_table, write_leaderboard

    leaderboard = write_leaderboard(folder.records(), folder.path, command, fingerprints, formats)
    console.print(terminal_table(leaderboard))
    written = folder.path / f"{file_stem(leaderboard)}{FORMATS[formats[0]][0]}"
    console.print(f"Leaderboard: {written}", markup=False, highlight=False, soft_wrap=True)


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"fer_bench {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Options of the program itself."""


def _refuse(message: str) -> None:
    Console(stderr=True).print(f"fer_bench: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(2)


def main() -> None:
    """Run the command line. Exit code 0: all good; 1: some runs failed; 2: bad usage or data; 130: interrupted."""
    try:
        app()
    except FerBenchError as error:
        _refuse(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _refuse(f"{where}{error.strerror or error}")
