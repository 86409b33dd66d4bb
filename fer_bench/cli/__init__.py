"""The command line: parses, calls, prints. No logic."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fer_bench import __version__, cache
from fer_bench.cli import data, deploy, results, runs
from fer_bench.cli.terminal import INTERRUPTED, command_line, console, say_stopped
from fer_bench.errors import FerBenchError, is_no_room
from fer_bench.screen import Screen


class _Stoppable(TyperGroup):
    """Commands that say at Ctrl-C how to go on."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was given."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say_stopped(command_line())
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="fer_bench",
    cls=_Stoppable,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Which facial-expression model, with which treatment of class imbalance - and can the answer be believed?",
    epilog="Start here: `python -m fer_bench run --suite all --jobs 2`",
)
for part in (runs.app, results.app, data.app, deploy.app):
    app.add_typer(part)


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
    Screen(stderr=True).print(f"fer_bench: {message}", style="red", highlight=False, soft_wrap=True)
    sys.exit(2)


def _kept() -> str:
    """That nothing is lost, of the commands whose parts are put on record one by one."""
    return ": what is finished is kept" if sys.argv[1:2] in (["run"], ["tune"], ["unpack"]) else ""


def main() -> None:
    """Run the command line. Exit code 0: all good; 1: some runs failed; 2: bad usage or data; 130: interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # not every terminal has every letter
    try:
        app()
    except FerBenchError as error:
        _refuse(str(error))
    except MemoryError as error:
        _refuse(f"not enough memory ({error}): free some, or take fewer or smaller images{_kept()}")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        advice = ""
        if is_no_room(error):
            advice = f"; make room there and give the same command again{_kept()}"
        elif error.filename and Path(error.filename).is_relative_to(cache.root()):
            advice = f"; set {cache.ENVIRONMENT_VARIABLE} to a folder that can be written"
        _refuse(f"{where}{error.strerror or error}{advice}")
