"""What the README and the other pages promise is what the code does."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [README, *(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))]


def commands(page: str = README) -> list[list[str]]:
    lines = [line.strip().split("#")[0] for line in page.splitlines() if line.startswith("    python -m fer_bench ")]
    return [shlex.split(line)[3:] for line in lines]


@pytest.mark.parametrize("arguments", [one for page in PAGES for one in commands(page)], ids=" ".join)
def test_every_command_shown_parses(arguments):
    from typer.main import get_command

    from fer_bench.cli import app

    command = get_command(app)
    context = command.make_context("fer_bench", list(arguments), resilient_parsing=False)
    name, group, rest = command.resolve_command(context, [*context._protected_args, *context.args])
    if hasattr(group, "commands"):
        name, rest = rest[0], rest[1:]
        group = group.commands[name]
    parsed = group.make_context(name, list(rest))
    assert parsed.params or not group.params


def test_the_example_model_runs_as_shown(program, tmp_path):
    code = re.search(r"```python\n# my_models.py\n(.*?)```", README, re.S).group(1)
    assert len(code.strip().splitlines()) < 10
    (tmp_path / "my_models.py").write_text(code)
    arguments = next(given for given in commands() if "my_models.py" in given)
    done = program(*arguments, "--data", "tiny.npz")
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "results" / "tiny" / "leaderboard.md").read_text()
    assert "knn-hog" in page and "hog-svm" in page and "over-sampling" in page


def test_ci_calls_the_second_command():
    second = next(line.strip() for line in README.splitlines() if line.strip().endswith(".venv/bin/tox"))
    assert second in (ROOT / ".ci" / "run").read_text()
