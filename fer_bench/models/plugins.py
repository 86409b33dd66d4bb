"""Models, features and strategies from outside: files named on the command line and installed packages."""

import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from fer_bench.cache import digest
from fer_bench.errors import FerBenchError

ENTRY_POINT_GROUP = "fer_bench.plugins"
SCALARS = (bool, int, float, str, type(None))


def load_plugins(files: tuple[Path, ...]) -> None:
    """Import every installed plugin of the group `fer_bench.plugins`, then each of `files`, once.

    Raises FerBenchError naming the plugin, the line and what it raised.
    """
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry_point.load()
        except Exception as error:
            raise _failed(f"plugin {entry_point.name!r} ({entry_point.value})", error) from error
    for file in files:
        _load_file(file.resolve())


def _load_file(file: Path) -> None:
    name = f"fer_bench_plugin_{file.stem}_{digest({'file': str(file)})}"  # other folders may have files of that name
    if name in sys.modules:
        return
    if not file.is_file():
        raise FerBenchError(f"--plugin {file}: there is no such file")
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise FerBenchError(f"--plugin {file}: not a Python file (its name must end in .py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _failed(f"--plugin {file}", error) from error


def source_digest(function: Callable[..., Any]) -> str:
    """A digest of the source of `function` and of all in its module that it uses by name; empty where there is none.

    Objects in its module are left out, but for functions, classes and plain values.
    """
    found: dict[str, str] = {}
    due: list[Any] = [function]
    while due:
        thing = due.pop()
        try:
            source = inspect.getsource(thing)
        except (OSError, TypeError):
            return ""
        found[thing.__qualname__] = source
        for name in sorted(function.__globals__.keys() & set(re.findall(r"\w+", source))):
            used = function.__globals__[name]
            if _is_plain(used):
                found[name] = repr(used)
            elif (inspect.isfunction(used) or inspect.isclass(used)) and used.__module__ == function.__module__:
                due += [used] * (used.__qualname__ not in found)
    return digest(found)


def _is_plain(value: Any) -> bool:
    """Whether the text of `value` tells all of it, and is the same in every process."""
    if type(value) is dict:  # a defaultdict tells the address of its function
        return all(map(_is_plain, [*value, *value.values()]))
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return isinstance(value, SCALARS)


def _failed(plugin: str, error: BaseException) -> FerBenchError:
    if isinstance(error, FerBenchError):
        return FerBenchError(f"{plugin}: {error}")
    if isinstance(error, SyntaxError):
        return FerBenchError(f"{plugin}: line {error.lineno}: {error.msg}")
    last = traceback.extract_tb(error.__traceback__)[-1]
    return FerBenchError(f"{plugin}: {type(error).__name__}: {error} (at {last.filename}:{last.lineno})")
