"""What all commands share: the terminal, the command as it was given, the leaderboard at the end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from fer_bench.screen import Screen

if TYPE_CHECKING:
    from fer_bench.analysis import Leaderboard
    from fer_bench.analysis.predictions import Split
    from fer_bench.data import Dataset
    from fer_bench.execution import Prepared
    from fer_bench.records import ReadableFolder

INTERRUPTED = 130
PATIENCE_SECONDS = 2.0
console = Screen(soft_wrap=False)


def say(*lines: str) -> None:
    """Print lines as they are, unbroken, so that paths and commands can be copied."""
    console.print(*lines, sep="\n", highlight=False, soft_wrap=True)


def command_line() -> str:
    """The command as it was given, to be typed again."""
    return shlex.join(["python", "-m", "fer_bench", *sys.argv[1:]])


def load_registered(plugin: list[Path] | None) -> None:
    """Load plugin files and installed plugins."""
    from fer_bench.models import load_plugins

    load_plugins(tuple(plugin or ()))


@contextmanager
def reading_progress() -> Iterator[Callable[[float, str], None]]:
    """A bar for decoding and rendering, shown once it has lasted for two seconds."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task, began = bar.add_task("", total=1.0), bar.get_time()

    def report(done: float, text: str) -> None:
        if not bar.live.is_started and bar.get_time() - began > PATIENCE_SECONDS:
            bar.start()
        bar.update(task, completed=done, description=text)

    try:
        yield report
    finally:
        bar.stop()


def say_stopped(command: str) -> None:
    """Say that `command`, given again, goes on where it was stopped, which `--rerun all` does not."""
    again = "all over again, as --rerun all asks for" if "--rerun all" in command.replace("=", " ") else "to go on"
    text = f"Stopped. What is finished is kept; {again}:\n  {command}"
    console.print(text, style="yellow", soft_wrap=True)


def write_data_card(folder: ReadableFolder) -> Path:
    """Write the data card of a results folder that has an audit; returns where it is."""
    from fer_bench import report
    from fer_bench.records import Audit

    audit = folder.audit_path()
    if audit.exists():
        report.write_data_card(folder.path, Audit.load(audit))
    return folder.path / report.CARD_FILE


def write_pages(
    folder: ReadableFolder, split: Split, formats: Sequence[str] = (), dataset: Dataset | None = None
) -> Leaderboard:
    """Write the data card and the pages of `split`, in the usual formats or `formats`; show them in short.

    dataset: that of the runs, for galleries in the report.
    """
    from fer_bench.records import ResultsFolder
    from fer_bench.report import overview, write
    from fer_bench.report.writing import DEFAULT

    lock = folder.lock("pages") if isinstance(folder, ResultsFolder) else nullcontext()
    with lock:  # of runners that end together, the last sees the records of all
        write_data_card(folder)
        board, paths = write(folder, formats or DEFAULT, split, dataset)
    say(*overview(board, max(40, min(console.width, 100))), "", *(f"{path}" for path in paths))
    return board


def show_pages(prepared: Prepared) -> None:
    """Say where the pages are if judging again would give the same; else write them."""
    from fer_bench.report import up_to_date

    folder, split = prepared.results, (*prepared.fingerprints, prepared.n_folds)
    if page := up_to_date(folder.path, split):
        say(f"Up to date: {page}")
    elif any(folder.runs.glob("[!.]*/record.json")):
        write_pages(folder, split)
    else:
        say("No run has ended yet, so there is nothing to judge.")
