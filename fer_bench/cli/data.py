"""Commands about data: audit; data describe and make; demo leak."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_bench.cli.options import DataOptions, SplitOptions, with_options
from fer_bench.cli.terminal import console, reading_progress, say, write_data_card
from fer_bench.seeds import MOST_SEED

app = typer.Typer()
data_app = typer.Typer(no_args_is_help=True, help="Look at data, or write the built-in faces to a folder.")
app.add_typer(data_app, name="data")
demo_app = typer.Typer(no_args_is_help=True, help="See a mistake being made, and caught.")
app.add_typer(demo_app, name="demo")


@app.command(epilog="Example: `python -m fer_bench audit --data fer2013.csv --votes fer2013new.csv`")
@with_options
def audit(options: SplitOptions) -> None:
    """Look for copies, leaks and odd labels, and write the data card; exit code 1 where the data are suspect."""
    from fer_bench.analysis import against_data
    from fer_bench.data import Dataset, Split, stored_copies
    from fer_bench.execution import audit_data
    from fer_bench.records import Audit
    from fer_bench.report import audit_lines, write_copies

    with reading_progress() as progress:
        prepared = options.prepare(progress)
        prepared.results.prepare()
        prepared.results.claim(prepared.data_fingerprint)
        audit_data(prepared, progress)
        folder = prepared.results.path
        sheet = folder / "sheets" / "copies.png"
        dataset = Dataset.load(prepared.dataset_folder)
        write_copies(sheet, dataset, Split.load(prepared.split_folder), stored_copies(dataset))
    card = write_data_card(prepared.results)
    found = Audit.load(prepared.results.audit_path())
    say(*audit_lines(found), "", f"{card}, pairs to look at: {sheet}")
    if against_data(found):
        raise typer.Exit(1)


@demo_app.command(epilog="Example: `python -m fer_bench demo leak`")
def leak() -> None:
    """Over-sample before the split, as many notebooks do, and see the validation score lie."""
    from fer_bench.cli.demo import lines, ways

    with reading_progress() as progress:
        done = ways(progress=progress)
    say(*lines(done))


@data_app.command(epilog="Example: `python -m fer_bench data describe --data fer2013.csv`")
@with_options
def describe(options: DataOptions) -> None:
    """Show images, classes, subsets, and what is odd about them."""
    from fer_bench.data import describe as described
    from fer_bench.data import open_dataset

    with reading_progress() as progress:
        opened = open_dataset(options.data, name=options.name, options=options.reading(), progress=progress)
    say(*described(opened.load()))


@data_app.command(epilog="Example: `python -m fer_bench data make faces --n-images 500`")
def make(
    folder: Annotated[Path, typer.Argument(help="New folder; one sub-folder of PNGs per class.")],
    n_images: Annotated[int, typer.Option(min=100, help="How many faces.")] = 3000,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Another seed, other faces.")] = 0,
) -> None:
    """Write faces like the built-in ones as a folder of PNGs."""
    from fer_bench.data import make_synthetic, write_folder

    write_folder(make_synthetic(n_images, seed), folder)
    console.print(f"{n_images:,} faces in {folder}")
