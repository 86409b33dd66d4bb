"""What all commands share: the terminal, the command as it was given, the leaderboard at the end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from fer_bench.records import ResultsFolder

INTERRUPTED = 130
console = Console(soft_wrap=False)


def say(*lines: str) -> None:
    """Print lines as they are, unbroken, so that paths and commands can be copied."""
    console.print(*lines, sep="\n", markup=False, highlight=False, soft_wrap=True)


def command_line() -> str:
    """The command as it was given, to be typed again."""
    return shlex.join(["python", "-m", "fer_bench", *sys.argv[1:]])


def load_registered(plugin: list[Path] | None) -> None:
    """Load plugin files and installed plugins."""
    from fer_bench.models.plugins import load_plugins

    load_plugins(tuple(plugin or ()))


def open_data(data: str, name: str | None, votes: Path | None, skip_bad: bool) -> Any:
    """The `OpenedDataset` that the options of those names ask for, with a bar while it is read."""
    from fer_bench.cli.console import reading_progress
    from fer_bench.data import open_dataset

    with reading_progress(console) as progress:
        return open_dataset(data, name=name, votes=votes, skip_bad=skip_bad, progress=progress)


def say_stopped(command: str) -> None:
    """Say that `command`, given again, goes on where it was stopped."""
    text = f"Stopped. What is finished is kept; to go on:\n  {command}"
    console.print(text, style="yellow", markup=False, soft_wrap=True)


def write_data_card(folder: ResultsFolder, command: str) -> Path:
    """Write the data card of a results folder where its audit is newer; returns where it is."""
    from fer_bench import report
    from fer_bench.records import Audit

    audit, card = folder.audit_path, folder.path / report.CARD_FILE
    if audit.exists() and not (card.exists() and card.stat().st_mtime_ns >= audit.stat().st_mtime_ns):
        report.write_data_card(folder.path, Audit.load(audit), command)
    return card


def write_leaderboard(
    folder: Any, command: str | None, split: tuple[str, str], formats: Sequence[str] | None = None
) -> Any:
    """Write the `Leaderboard` of a `ResultsFolder`, in the usual formats or `formats`; show it in short; return it."""
    from fer_bench.judging import freshness
    from fer_bench.judging.render import DEFAULT, file_name, terminal_table, write_leaderboard

    formats = formats or DEFAULT
    with folder.lock("leaderboard"):  # of runners that end together, the last sees the records of all
        made_from = freshness.state(folder.path)
        board = write_leaderboard(folder.records(), folder.path, command, split, formats)
        written = [folder.path / file_name(board, name) for name in formats]
        freshness.note_written(folder.path, split, made_from, written)
    console.print(terminal_table(board, console.width))
    say(f"Leaderboard: {written[0]}")
    return board


def show_leaderboard(folder: Any, command: str, split: tuple[str, str]) -> None:
    """Say where the leaderboard is if judging again would give the same; else write it."""
    from fer_bench.judging import freshness

    page = freshness.current(folder.path, split)
    if page:
        say(f"Leaderboard: {page}, up to date")
    elif any(folder.runs.glob("[!.]*/record.json")):
        write_leaderboard(folder, command, split)
    else:
        say("No run has ended yet, so there is no leaderboard.")
