"""Commands that judge what is on record: report, judge, verify, publish, ensemble, hard-faces."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from fer_bench.cli.options import Data, Name, Results, ResultsName, SkipBad, Votes
from fer_bench.cli.terminal import command_line, open_data, say, write_leaderboard
from fer_bench.errors import FerBenchError

app = typer.Typer()


class Format(StrEnum):
    """What a leaderboard is written as."""

    md = "md"
    csv = "csv"
    json = "json"
    latex = "latex"


@app.command(epilog="Example: `python -m fer_bench report --name fer2013`")
def report(
    name: ResultsName = "synthetic",
    results: Results = Path("results"),
    format_: Annotated[
        list[Format] | None, typer.Option("--format", help="md, csv, json or latex; may repeat; md and csv without.")
    ] = None,
) -> None:
    """Judge all runs anew from what is stored, and write the leaderboard."""
    from fer_bench.judging.leaderboard import newest_splits

    folder = _results_folder(results / name)
    splits = newest_splits(folder.records())
    if not splits:
        raise FerBenchError(f"no records in {folder.runs}; `fer_bench run` makes some")
    for split in splits:
        write_leaderboard(folder, None, split, format_)


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
    record, is_new = put_on_record(evidence, predictions, as_, replace, command_line())
    _say_row(record, "put on record" if is_new else "on record already, nothing added")
    board = write_leaderboard(evidence.folder, None, (evidence.data_fingerprint, evidence.split_fingerprint))
    for one in board.unranked:
        if one.row.run_id == record.run_id:
            say(*(f"Not ranked: {reason}" for reason in one.reasons))


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
    say(*report(found))
    if not found.is_sound:
        raise typer.Exit(1)


@app.command(epilog="Example: `python -m fer_bench publish results/fer2013`")
def publish(
    folder: Annotated[Path, typer.Argument(help="A dataset's folder under the results.")],
    to: Annotated[
        Path | None, typer.Option(help="By default `published/` beside it, under its name.", metavar="DIR")
    ] = None,
) -> None:
    """Write all runs of a dataset as a few files to share, which `report` and `verify` read like the folder itself."""
    from fer_bench.analysis import publish

    target = to or folder.parent / "published" / folder.name
    publish(_results_folder(folder), target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    say(f"{target}: {size / 1e6:.1f} MB")


@app.command(epilog="Example: `python -m fer_bench ensemble --name fer2013`")
def ensemble(name: ResultsName = "synthetic", results: Results = Path("results")) -> None:
    """Choose an ensemble of finished runs on the validation images, and rank it as a row of its own."""
    from fer_bench.judging.ensemble import put_on_record

    evidence = _evidence(results / name)
    record, is_new = put_on_record(evidence, command=command_line())
    _say_row(record, "put on record" if is_new else "on record already, unchanged")
    write_leaderboard(evidence.folder, None, (evidence.data_fingerprint, evidence.split_fingerprint))


@app.command(name="hard-faces", epilog="Example: `python -m fer_bench hard-faces --data fer2013.csv`")
def hard_faces(
    data: Data = "synthetic",
    results: Results = Path("results"),
    name: Name = None,
    votes: Votes = None,
    skip_bad: SkipBad = False,
) -> None:
    """Draw the test images that every run misses, and each run's most confident mistakes."""
    from fer_bench.judging.hard_faces import hard_faces, tables, trained, write_sheets

    opened = open_data(data, name, votes, skip_bad)
    evidence = _evidence(results / opened.name)
    sheets = write_sheets(evidence, opened.load())
    told = tables(evidence, hard_faces(evidence, trained(evidence)))
    say(*told, "", f"{sheets[0]}, and a sheet per run beside it")


def _results_folder(path: Path) -> Any:
    from fer_bench.records import ResultsFolder

    folder = ResultsFolder(path)
    if not folder.runs.is_dir():
        near = next((place for place in (path, path.parent, Path("results")) if any(place.glob("*/runs"))), path.parent)
        known = ", ".join(sorted(other.parent.name for other in near.glob("*/runs"))) or "none"
        raise FerBenchError(f"no runs in {path}; results in {near}: {known}")
    return folder


def _evidence(path: Path) -> Any:
    """What the newest split's runs in a results folder are judged by."""
    from fer_bench.judging.evidence import Evidence

    evidence = Evidence.newest(_results_folder(path))
    for record in evidence.elsewhere:
        say(f"left out, of another split: {record.run_id}")
    return evidence


def _say_row(record: Any, what: str) -> None:
    scores = f"macro-F1 {record.test.macro_f1:.3f}, accuracy {record.test.accuracy:.1%}"
    members = sorted(record.members.items(), key=lambda pair: (-pair[1], pair[0]))
    mean = [f"mean of {', '.join(f'{run_id} ({weight:.2f})' for run_id, weight in members)}"] if members else []
    told = [f"{record.run_id}: {scores} on {record.test.n_images:,} test images; {what}", *mean, *record.notes]
    say(*told)
