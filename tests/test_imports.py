"""Imports point one way, and what only lists, plans and reports stays light."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fer_bench.execution import prepare

ROOT = Path(__file__).parents[1]
IMPORT_AND_TELL = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*{name.partition(".")[0] for name in sys.modules})
"""


def all_modules() -> list[str]:
    """Every module of the package but `__main__`, which runs."""
    files = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / "fer_bench").rglob("*.py"))
    return sorted(".".join(file.parts).removesuffix(".__init__") for file in files if file.name != "__main__")


def imported_with(*modules: str) -> set[str]:
    """The top-level packages that a fresh interpreter holds after importing `modules`."""
    told = subprocess.run(
        [sys.executable, "-c", IMPORT_AND_TELL, *modules], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert told.returncode == 0, told.stderr
    return set(told.stdout.split())


def test_import_contracts_hold():
    linter = Path(sys.executable).with_name("lint-imports")
    told = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("module", ["fer_bench", "fer_bench.models", "fer_bench.cli"])
def test_the_light_half_imports_no_framework(module):
    imported = imported_with(module)
    assert "fer_bench" in imported
    assert not imported & {"tensorflow", "keras", "sklearn"}


RUN_AND_TELL = """
import atexit, runpy, sys
atexit.register(lambda: print(*{name.partition(".")[0] for name in sys.modules}))
runpy.run_module("fer_bench", run_name="__main__")
"""


def imported_while_running(command: str, folder: Path) -> set[str]:
    """The top-level packages that the program holds at the end of `command`, given in `folder`."""
    told = subprocess.run(
        [sys.executable, "-c", RUN_AND_TELL, *command.split()],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    imported = {*told.stdout.splitlines()[-1].split()}
    assert "fer_bench" in imported
    return imported


HEAVY = {"numpy", "cv2", "pandas", "pydantic", "scipy", "sklearn", "matplotlib", "tensorflow", "keras", "joblib", "PIL"}


@pytest.mark.parametrize("command", ["--help", "run --help", "list", "list models -v"])
def test_help_and_lists_import_no_library_of_arrays_tables_or_schemas(command, tmp_path):
    assert not HEAVY & imported_while_running(command, tmp_path)


def test_a_plan_of_data_that_are_decoded_imports_none_either(tiny_npz, tmp_path):
    prepare(tiny_npz, tmp_path / "results")
    assert not HEAVY & imported_while_running("plan --data tiny.npz", tmp_path)


def test_a_report_trains_nothing(stored_runs, tmp_path):
    assert not {"tensorflow", "keras", "sklearn"} & imported_while_running("report --name faces", tmp_path)


def test_a_command_given_again_stays_light(program, tmp_path):
    command = "run --data tiny.npz --models majority --strategies none"
    assert program(*command.split()).returncode == 0
    imported = imported_while_running(command, tmp_path)
    assert not {"tensorflow", "keras", "sklearn", "scipy", "matplotlib"} & imported


def test_no_module_imports_tensorflow_until_a_network_is_built():
    imported = imported_with(*all_modules())
    assert {"fer_bench", "numpy"} <= imported
    assert not imported & {"tensorflow", "keras"}
