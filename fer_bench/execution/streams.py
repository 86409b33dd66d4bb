"""Where what a process writes goes."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path


@contextmanager
def errors_in(file: Path) -> Iterator[None]:
    """Inside, what is written to standard error, by libraries written in C too, goes to the end of `file`."""
    kept = os.dup(2)
    with file.open("ab") as end:
        os.dup2(end.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def import_quietly(modules: Iterable[str]) -> None:
    """Import `modules` without a word: TensorFlow's C++ writes notes before anyone can ask it not to.

    One that cannot be imported is left out: whoever needs it will say why.
    """
    with errors_in(Path(os.devnull)):
        for module in modules:
            with suppress(Exception):
                import_module(module)


def redirect_output(log: Path) -> None:
    """Send everything printed from here on, by libraries written in C too, to `log`."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115  lives as long as the child
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
