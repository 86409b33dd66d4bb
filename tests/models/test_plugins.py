import linecache
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from fer_bench.errors import FerBenchError
from fer_bench.models import plugins
from fer_bench.models.plugins import ENTRY_POINT_GROUP, code_digest, load_plugins, plugin_files
from fer_bench.models.registry import FEATURES, MODELS, STRATEGIES


def test_files_of_one_name_in_several_folders_are_loaded_once_each(tmp_path, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr("builtins.told_by_plugins", told, raising=False)
    files = tuple(tmp_path / folder / "mine.py" for folder in ("one", "two"))
    for file in files:
        file.parent.mkdir()
        file.write_text(f"told_by_plugins.append({file.parent.name!r})\n")
    load_plugins(files)
    load_plugins((Path(files[0]), files[1]))
    assert told == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("raise SystemExit(3)", r"SystemExit: 3 \(at .*mine\.py:1\)"),
        ("x = (", r"'\(' was never closed \(mine\.py, line 1\)"),
    ],
)
def test_a_plugin_that_fails_is_named_with_the_file_and_the_line(tmp_path, monkeypatch, text, why):
    """Also where it is installed, or another file imports it."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "mine.py").write_text(f"{text}\n")
    (tmp_path / "other.py").write_text("import mine\n")
    for file in ("mine", "other"):
        with pytest.raises(FerBenchError, match=rf"{file}\.py: {why}"):
            load_plugins((tmp_path / f"{file}.py",))
    installed = EntryPoint("own", "mine", ENTRY_POINT_GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [installed])
    with pytest.raises(FerBenchError, match=rf"plugin 'own' \(mine\): {why}"):
        load_plugins(())


def test_digest_covers_what_a_plugin_imports_from_its_own_folder(tmp_path, monkeypatch):
    """From folders without an __init__.py too, which others may have the name of a library."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("builtins.found", found := [], raising=False)
    for folder in ("pack", "plain/deep", "torch"):
        (tmp_path / folder).mkdir(parents=True)
    for module in ("helper", "late", "pack/__init__", "pack/part", "plain/deep/net", "other"):
        (tmp_path / f"{module}.py").write_text("")
    (tmp_path / "helper.py").write_text("from pack import part\n")
    (tmp_path / "plugin.py").write_text(
        "import os, helper\nfrom plain.deep import net\nos.chdir('/')\n"
        "def kinds(): import late, numpy, torch, fer_bench\nfound.append(kinds)\n"
    )
    here = Path.cwd()
    load_plugins((tmp_path / "plugin.py",))
    assert Path.cwd() == here
    digests = [code_digest(found[0])]
    for module in ("helper", "late", "pack/part", "plain/deep/net"):
        with (tmp_path / f"{module}.py").open("a") as file:
            file.write("KIND = 1\n")
        digests.append(code_digest(found[0]))
    (tmp_path / "other.py").write_text("KIND = 1\n")
    assert len(set(digests)) == 5 and code_digest(found[0]) == digests[-1]


CELL = """
import fer_bench

K = 3

def helper(task, k=K):
    return [k for _ in range(k)], len(task.class_names)

@fer_bench.register_model("from-a-cell", features="pca", summary="typed")
def mine(task):
    return helper(task)
"""


LOAD = """
import sys
from pathlib import Path
from types import SimpleNamespace
from fer_bench.models.plugins import code_digest, load_plugins
from fer_bench.models.registry import MODELS
load_plugins((Path(sys.argv[1]),))
build = MODELS["from-a-cell"].build
print(code_digest(build), len(build(SimpleNamespace(class_names="ab"))[0]))
"""


@pytest.fixture
def run_cell(monkeypatch):
    """What a notebook does with a cell: its source is in `linecache`, under the name of no file."""
    cells: list[str] = []
    monkeypatch.setattr(MODELS, "_cards", dict(MODELS._cards))

    def run(text, namespace=None):
        cells.append(f"<ipython-input-{len(cells)}>")
        monkeypatch.setitem(linecache.cache, cells[-1], (len(text), None, text.splitlines(keepends=True), cells[-1]))
        namespace = {"__name__": "__main__"} if namespace is None else namespace
        exec(compile(text, cells[-1], "exec"), namespace)
        return namespace

    return run


def test_a_notebook_cell_becomes_a_plugin_file_of_the_same_digest(run_cell):
    mine = run_cell(CELL)["mine"]
    (file,) = plugin_files([MODELS["from-a-cell"].build])
    assert file.read_text() == CELL and file.suffix == ".py"
    assert MODELS["from-a-cell"].build is mine
    load_plugins((file,))
    assert MODELS["from-a-cell"].build is mine  # which is registered here already
    told = subprocess.run([sys.executable, "-c", LOAD, str(file)], capture_output=True, text=True, check=True)
    assert told.stdout.split() == [code_digest(mine), "3"]


def test_a_cell_run_again_replaces_what_it_registered(run_cell):
    first, second = run_cell(CELL)["mine"], run_cell(CELL.replace("K = 3", "K = 4"))["mine"]
    assert MODELS["from-a-cell"].build is second
    assert code_digest(first) != code_digest(second)
    (file,) = plugin_files([MODELS["from-a-cell"].build])
    assert "K = 4" in file.read_text()


@pytest.mark.parametrize(("taken_out", "missing"), [("import fer_bench\n", "fer_bench"), ("K = 3\n", "K")])
def test_a_cell_that_needs_another_one_is_refused_and_says_what(run_cell, taken_out, missing):
    namespace = run_cell(taken_out, {"__name__": "__main__"})
    mine = run_cell(CELL.replace(taken_out, ""), namespace)["mine"]
    with pytest.raises(FerBenchError, match=f"mine .* uses {missing} of other cells"):
        plugin_files([mine])


def test_a_file_is_its_own_plugin_and_the_package_needs_none():
    assert plugin_files([test_a_file_is_its_own_plugin_and_the_package_needs_none]) == (Path(__file__).resolve(),)
    assert plugin_files([MODELS["cnn"].build, FEATURES["pca"].build, STRATEGIES["none"].plan]) == ()


def test_what_has_no_source_is_refused():
    module: dict = {"__name__": "nowhere"}
    exec("def mine(task): return 1", module)
    for ask in (code_digest, lambda function: plugin_files([function])):
        with pytest.raises(FerBenchError, match="mine is defined in <string>"):
            ask(module["mine"])


def test_a_script_that_would_start_itself_again_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from fer_bench.models.plugins import plugin_files\nplugin_files([])\n")
    with pytest.raises(FerBenchError, match="__main__"):
        load_plugins((script,))
