"""What the README, the other pages and the help promise is what the code does."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from fer_bench.cli import app
from fer_bench.version import __version__

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, *(path.read_text() for path in DOCS)]

COMMAND = re.compile(r"(?:\w+=\S* )*python -m fer_bench (.*)")
PROGRAM = get_command(app)


def commands(page: str = README) -> list[list[str]]:
    """Arguments of every command of the program on indented lines, behind `&&` and variables too."""
    parts = [part.strip() for line in page.splitlines() if line.startswith("    ") for part in line.split("&&")]
    return [shlex.split(found[1], comments=True) for part in parts if (found := COMMAND.fullmatch(part))]


def parse(arguments: list[str]) -> Any:
    """The command that `arguments` call. Raises what the program says where it refuses them."""
    command, rest = PROGRAM, list(arguments)
    context = command.make_context("fer_bench", list(rest))
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, list(rest), parent=context)
    return command


def registered(group: Any, *words: str) -> Iterator[tuple[str, Any]]:
    """Every command with what it is called by, such as "data make"."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from registered(command, *words, name)
        else:
            yield " ".join([*words, name]), command


@pytest.mark.parametrize("arguments", [one for page in PAGES for one in commands(page)], ids=" ".join)
def test_every_command_shown_parses(arguments):
    assert parse(arguments).callback


def test_no_command_shown_is_overlooked():
    assert [len(commands(page)) for page in PAGES] == [page.count("python -m fer_bench ") for page in PAGES]


@pytest.mark.parametrize(("name", "command"), [pytest.param(*one, id=one[0]) for one in registered(PROGRAM)])
def test_help_has_a_worked_example_that_parses(name, command):
    example = re.fullmatch(r"Example: `(.*)`", command.epilog)[1]
    assert [parse(arguments) for arguments in commands(f"    {example}")] == [command]
    done = CliRunner().invoke(app, [*name.split(), "--help"])
    assert done.exit_code == 0 and f"Example: {example}" in " ".join(done.output.split())


def test_the_help_starts_where_the_readme_does():
    start = re.fullmatch(r"Start here: `(.*)`", PROGRAM.epilog)[1]
    assert commands()[0] == commands(f"    {start}")[0]


def test_the_readme_is_short_and_every_page_is_linked_from_it_once():
    assert len(README.splitlines()) <= 128
    for page in DOCS:
        assert README.count(f"](docs/{page.name})") == 1, page.name


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in DOCS)])
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_the_example_model_runs_as_shown(program, tmp_path):
    code = re.search(r"```python\n# my_models.py\n(.*?)```", README, re.S).group(1)
    assert len(code.strip().splitlines()) < 10
    (tmp_path / "my_models.py").write_text(code)
    arguments = next(given for given in commands() if "my_models.py" in given)
    done = program(*arguments, "--data", "tiny.npz")
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "results" / "tiny" / "leaderboard.md").read_text()
    assert "knn-hog" in page and "hog-svm" in page and "over-sampling" in page


def test_the_example_in_python_runs_as_shown(tiny_npz, tmp_path):
    code = re.search(r"```python\nimport fer_bench\n.*?```", README, re.S)[0].strip("`").removeprefix("python\n")
    tiny_npz.rename(tmp_path / "faces.npz")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    shown = 'print(sorted(again.leaderboard.index), results.confusion("hog-svm / none").to_numpy().sum())'
    done = subprocess.run(
        [sys.executable, "-c", code + shown], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [f"{model} / {strategy}" for model in ("hog-svm", "pca-svm") for strategy in ("none", "over-sampling")]
    assert done.stdout.splitlines()[-1] == f"{rows} 12"
    assert (tmp_path / "report.html").is_file()


def test_ci_calls_the_second_command():
    second = next(line.strip() for line in README.splitlines() if line.strip().endswith(".venv/bin/tox"))
    assert second in (ROOT / ".ci" / "run").read_text()


def test_whoever_cites_names_this_version():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
