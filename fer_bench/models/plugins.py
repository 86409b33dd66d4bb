"""Models, features and strategies from outside: plugin files, installed packages, and cells of a notebook."""

import builtins
import hashlib
import importlib.util
import inspect
import io
import linecache
import symtable
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import chdir
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from modulefinder import _PKG_DIRECTORY, _PY_SOURCE, ModuleFinder  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any

from fer_bench import cache
from fer_bench.errors import FerBenchError

ENTRY_POINT_GROUP = "fer_bench.plugins"
PACKAGE = Path(__file__).parents[1]
CELL = "cell.py"
_loading: list[Path] = []  # plugin files that are being loaded, one by another
_registered: set[Path] = set()  # files for other processes: what they define is registered in this one already


def load_plugins(files: tuple[Path, ...]) -> None:
    """Import every installed plugin of the group `fer_bench.plugins`, then each of `files`, once.

    Raises FerBenchError naming the plugin, the line and what it raised.
    """
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            with chdir("."):  # wherever the plugin goes
                entry_point.load()
        except (Exception, SystemExit) as error:
            raise _failed(f"plugin {entry_point.name!r} ({entry_point.value})", error) from error
    for file in files:
        _load_file(file.resolve())


def _load_file(file: Path) -> None:
    place = cache.digest({"file": str(file)})  # other folders may have files of that name
    name = f"fer_bench_plugin_{file.stem}_{place}"
    if name in sys.modules or file in _registered:
        return
    if not file.is_file():
        raise FerBenchError(f"--plugin {file}: there is no such file")
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise FerBenchError(f"--plugin {file}: not a Python file (its name must end in .py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))  # helpers lie beside it; last, so that they hide no library
    _loading.append(file)
    try:
        with chdir("."):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _failed(f"--plugin {file}", error) from error
    finally:
        _loading.pop()


class _Finder(ModuleFinder):
    """Takes a folder without an `__init__.py`, at which ModuleFinder fails, for a package with an empty one."""

    def find_module(self, name: str, path: Any, parent: Any = None) -> Any:
        spec = PathFinder.find_spec(name, path or self.path)
        if spec is None and name == "__init__":
            return io.BytesIO(), "", ("", "", _PY_SOURCE)
        if spec and not spec.loader and spec.submodule_search_locations:
            return None, spec.submodule_search_locations[0], ("", "", _PKG_DIRECTORY)
        return super().find_module(name, path, parent)


def code_digest(function: Callable[..., Any]) -> str:
    """16 hexadecimal digits of the SHA-256 of the file, or of the notebook cell, that defines `function`.

    Of the files too that lie beside that of a plugin or script and that it imports, in functions or from one another.
    Raises FerBenchError where there is no source.
    """
    code = [_code(function), *(file.read_bytes() for file in _helpers(function))]
    return hashlib.sha256(b"".join(code)).hexdigest()[:16]


def _helpers(function: Callable[..., Any]) -> list[Path]:
    name = _file_name(function)
    if is_own(function) or is_cell(name) or _is_installed(function):
        return []
    file = Path(name).resolve()
    finder = _Finder([str(file.parent)], excludes=[PACKAGE.name])
    finder.run_script(str(file))
    found = (getattr(module, "__file__", None) for module in finder.modules.values())
    return sorted({Path(name) for name in found if name} - {file})


def plugin_files(functions: Iterable[Callable[..., Any]]) -> tuple[Path, ...]:
    """Files by which another process can register what defines `functions`, for `load_plugins`; each once.

    Scripts, modules and plugin files are their own; a notebook cell is written to a file in the cache. What the package
    itself or an installed plugin defines needs none.

    Raises FerBenchError for a function that has no source, for a cell that needs another one, and where a plugin that
    is being loaded asks: a script would start itself again and again.
    """
    if _loading:
        raise FerBenchError(
            f"{_loading[-1]} starts runs when it is loaded: put that under `if __name__ == '__main__':`"
        )
    needed = (function for function in map(inspect.unwrap, functions) if not is_own(function))
    files = [_file(function) for function in needed if not _is_installed(function)]
    _registered.update(files)
    return tuple(dict.fromkeys(files))


def is_own(function: Callable[..., Any]) -> bool:
    """Whether the package itself defines `function`."""
    return Path(_file_name(function)).is_relative_to(PACKAGE)


def _is_installed(function: Callable[..., Any]) -> bool:
    package = inspect.unwrap(function).__module__.partition(".")[0]
    return any(package == entry_point.module.partition(".")[0] for entry_point in entry_points(group=ENTRY_POINT_GROUP))


def is_cell(file_name: str) -> bool:
    """Whether the source of what is in `file_name` was typed into a notebook."""
    return not Path(file_name).is_file() and bool(linecache.getlines(file_name))


def _file(function: Callable[..., Any]) -> Path:
    name, code = _file_name(function), _code(function)
    if not is_cell(name):
        return Path(name).resolve()
    if missing := _names_from_elsewhere(code.decode()):
        raise FerBenchError(
            f"{function.__qualname__} is defined in a notebook cell that uses {', '.join(missing)} of other cells: "
            "put all that it needs, imports too, into one cell or a file"
        )

    def write(folder: Path) -> None:
        (folder / CELL).write_bytes(code)

    return cache.fetch("cells", code_digest(function), write) / CELL


def _names_from_elsewhere(code: str) -> list[str]:
    """The global names that `code` uses and does not define."""
    top = symtable.symtable(code, "cell", "exec")
    defined = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    used: set[str] = set()
    tables = [top]
    for table in tables:
        tables += table.get_children()
        used |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (s.is_global() or table is top)}
    return sorted(used - defined - set(dir(builtins)))


def _code(function: Callable[..., Any]) -> bytes:
    name = _file_name(function)
    if Path(name).is_file():
        return Path(name).read_bytes()
    if lines := linecache.getlines(name):
        return "".join(lines).encode()
    raise FerBenchError(
        f"{function.__qualname__} is defined in {name}, which is neither a file nor a notebook cell: other processes "
        "could not define it again"
    )


def _file_name(function: Callable[..., Any]) -> str:
    return inspect.unwrap(function).__code__.co_filename


def _failed(plugin: str, error: BaseException) -> FerBenchError:
    if isinstance(error, FerBenchError | SyntaxError):  # which name file and line
        return FerBenchError(f"{plugin}: {error}")
    last = traceback.extract_tb(error.__traceback__)[-1]
    return FerBenchError(f"{plugin}: {type(error).__name__}: {error} (at {last.filename}:{last.lineno})")
