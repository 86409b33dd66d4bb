"""Commands about what is on record: report, publish, unpack, judge, verify, ensemble."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_bench.cli.options import ReadingOptions, Results, ResultsName, with_options
from fer_bench.cli.terminal import command_line, reading_progress, say, write_data_card, write_pages
from fer_bench.errors import FerBenchError

if TYPE_CHECKING:
    from fer_bench.analysis import Predictions
    from fer_bench.data import Dataset
    from fer_bench.records import PublishedFolder, ReadableFolder, ResultsFolder
    from fer_bench.records.schema import Record

app = typer.Typer()
PUBLISHED = Path("results") / "published"


class Format(StrEnum):
    """What a leaderboard is written as."""

    md = "md"
    html = "html"
    csv = "csv"
    json = "json"
    latex = "latex"


@app.command(epilog="Example: `python -m fer_bench report --name fer2013`")
@with_options
def report(
    options: ReadingOptions,
    name: ResultsName = "synthetic",
    results: Results = Path("results"),
    format_: Annotated[
        list[Format] | None, typer.Option("--format", help="May repeat; md, html and csv without.")
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="Data of the runs: the report shows their hardest faces.", metavar="WHAT")
    ] = None,
) -> None:
    """Judge all runs anew from what is stored, and write page, report and table."""
    from fer_bench.analysis import newest_splits
    from fer_bench.data import check_name
    from fer_bench.records import open_results

    check_name(name)
    options.need(images, "--images")
    folder = open_results(results / name)
    splits = newest_splits(folder.records())
    if not splits:
        raise FerBenchError(f"no records in {folder.path}; `fer_bench run` makes some")
    dataset = None
    if images:
        from fer_bench.data import open_dataset

        try:
            with reading_progress() as progress:
                dataset = open_dataset(images, name=name, options=options.reading(), progress=progress).load()
        except FerBenchError as error:  # most commands call the same data so
            raise FerBenchError(re.sub(r"(?<!\S)--data(?!\S)", "--images", str(error))) from error
    for split in splits:
        write_pages(folder, split, [one.value for one in format_ or ()], dataset)


@app.command(epilog="Example: `python -m fer_bench publish results/fer2013`")
def publish(
    folder: Annotated[Path, typer.Argument(help="A dataset's folder under the results.")],
    to: Annotated[Path, typer.Option(help="Folder of all published results.", metavar="DIR")] = PUBLISHED,
) -> None:
    """Pack the evidence of all runs into a few files, with pages, for others to read and verify."""
    from fer_bench.analysis import newest_splits
    from fer_bench.analysis import publish as pack
    from fer_bench.report import write

    source = _own_runs(folder)
    target = to / source.name

    def add_pages(folder: PublishedFolder) -> None:
        write_data_card(folder)
        for split in newest_splits(folder.records()):
            write(folder, split=split)

    pack(source, target, add_pages)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    say(f"Published: {target}, {size / 1e6:.1f} MB")


@app.command(epilog="Example: `python -m fer_bench unpack results/published/fer2013`")
def unpack(
    folder: Annotated[Path, typer.Argument(help="A dataset's folder of published results.")],
    results: Results = Path("results"),
) -> None:
    """Make published results a folder of runs, for runs and predictions of your own to be ranked beside them."""
    from fer_bench.analysis import unpack as take
    from fer_bench.records import PublishedFolder, ResultsFolder, open_results

    source = open_results(folder)
    if not isinstance(source, PublishedFolder):
        raise FerBenchError(f"{folder}: is a folder of runs already")
    target = ResultsFolder(results / source.name)
    with reading_progress() as progress:
        added = take(source, target, progress)
    say(f"{target.path}: {added} runs added")


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
    from fer_bench.analysis.evidence import ensemble, external
    from fer_bench.models import MODELS
    from fer_bench.report import sentences

    folder, known = _newest(results, name)
    taken = {ensemble.MODEL, *(card.name for card in MODELS)}
    record, is_new = external.put_on_record(known, folder, predictions, as_, replace, command_line(), taken)
    _say_row(record, "put on record" if is_new else "on record already, nothing added")
    board = write_pages(folder, known.split)
    row = board.runs.at[record.run_id, "row"]
    if row in board.unranked.index:
        say(*(f"Not ranked: {text}" for text in sentences(board.unranked.at[row, "reasons"])))


@dataclass(frozen=True)
class VerifyOptions(ReadingOptions):
    """What the runs are held against, and how the data are read."""

    against: Annotated[
        Path | None, typer.Option(help="The same dataset's folder with runs of the same specs.", metavar="DIR")
    ] = None
    data: Annotated[
        str | None, typer.Option(help="Data of the runs, read as they were: split and audit follow.", metavar="WHAT")
    ] = None


@app.command(epilog="Example: `python -m fer_bench verify results/fer2013 --data fer2013 --against rerun/fer2013`")
@with_options
def verify(
    options: VerifyOptions, folder: Annotated[Path, typer.Argument(help="A dataset's folder under the results.")]
) -> None:
    """Compute every figure again from the stored probabilities; exit code 1 where one does not follow."""
    from fer_bench.analysis import verify as verify_records
    from fer_bench.records import open_results
    from fer_bench.report import page_faults, verify_lines

    source = open_results(folder)
    against = open_results(options.against) if options.against else None
    found = verify_records(source, against, _read_again(source, options))
    faults = page_faults(source)
    say(*verify_lines(found, faults))
    if faults or not found.is_sound:
        raise typer.Exit(1)


def _read_again(folder: ReadableFolder, options: VerifyOptions) -> Dataset | None:
    """The data that were given, at the size that the runs saw."""
    from fer_bench.data import open_dataset

    options.need(options.data, "--data")
    if options.data is None:
        return None
    asked = [dict(record.spec.parameters).get("image_size") for record in folder.read()[0]]
    reading = options.reading()
    side = max([reading.side, *(size for size in asked if isinstance(size, int))])
    with reading_progress() as progress:
        return open_dataset(options.data, options=dataclasses.replace(reading, side=side), progress=progress).load()


@app.command(epilog="Example: `python -m fer_bench ensemble --name fer2013`")
def ensemble(name: ResultsName = "synthetic", results: Results = Path("results")) -> None:
    """Choose an ensemble of finished runs on the validation images, and rank it as a row of its own."""
    from fer_bench.analysis.evidence import ensemble

    folder, known = _newest(results, name)
    record, is_new = ensemble.put_on_record(known, folder, command_line())
    _say_row(record, "put on record" if is_new else "on record already, unchanged")
    members = sorted(record.members.items(), key=lambda pair: (-pair[1], pair[0]))
    say(*(f"  {weight:.2f} {run_id}" for run_id, weight in members))
    write_pages(folder, known.split)


def _own_runs(path: Path) -> ResultsFolder:
    """A results folder that can be written. Raises FerBenchError for published evidence, which is read alone."""
    from fer_bench.records import ResultsFolder, open_results

    folder = open_results(path)
    if not isinstance(folder, ResultsFolder):
        raise FerBenchError(
            f"{path}: is published evidence, which nothing is added to; `unpack` makes it a folder of runs"
        )
    return folder


def _newest(results: Path, name: str) -> tuple[ResultsFolder, Predictions]:
    """The results folder of the data called `name`, and the labels and runs of its newest split."""
    from fer_bench.analysis import Predictions
    from fer_bench.data import check_name
    from fer_bench.report.text import counted

    check_name(name)
    folder = _own_runs(results / name)
    found = Predictions.newest(folder)
    if n := len(found.elsewhere):
        say(f"left out, as they are of another split, or of folds: {counted(n, 'run')}")
    return folder, found


def _say_row(record: Record, what: str) -> None:
    assert record.test
    scores = f"macro-F1 {record.test.macro_f1:.3f}, accuracy {record.test.accuracy:.1%}"
    say(f"{record.run_id}: {scores} on {record.test.n_images:,} test images; {what}", *record.notes)
