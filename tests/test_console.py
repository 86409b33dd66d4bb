"""What a suite says while it runs: lines that a terminal of 80 columns does not break."""

import io
from types import SimpleNamespace

import pytest

from fer_bench.console import SuiteProgress
from fer_bench.screen import Screen


@pytest.mark.parametrize(("status", "shown"), [("success", "macro-F1 0.500"), ("timeout", "timeout")])
def test_the_score_of_an_earlier_run_that_was_kept_is_not_shown_as_that_of_this_one(status, shown):
    screen = Screen(file=io.StringIO(), width=80, color_system=None)
    record = SimpleNamespace(test=SimpleNamespace(macro_f1=0.5), reason=None)
    watcher = SuiteProgress(screen)
    watcher.starting(SimpleNamespace(results=SimpleNamespace(record=lambda run_id: record)), 1)
    spec = SimpleNamespace(run_id="a-b", model="cnn", strategy="none", seed=0, fold=0)
    watcher.ended(SimpleNamespace(spec=spec), status, 60.0, 0.0)
    assert f"  {shown}  " in screen.file.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_time_left_is_in_the_bar_or_in_the_lines_of_a_file(is_terminal):
    screen = Screen(file=io.StringIO(), width=80, force_terminal=is_terminal, color_system=None)
    results = SimpleNamespace(record=lambda run_id: SimpleNamespace(test=SimpleNamespace(macro_f1=0.5)))
    spec = {"run_id": "a-b", "model": "cnn", "strategy": "effective-number-weights", "seed": 0, "fold": 0}
    watcher = SuiteProgress(screen)
    watcher.starting(SimpleNamespace(results=results), 1234)
    watcher.ended(SimpleNamespace(spec=SimpleNamespace(**spec)), "success", 3600.0, 7500.0)
    (line,) = screen.file.getvalue().splitlines()
    assert "cnn · effective-number-weights" in line and "macro-F1 0.500" in line and "1 h 00 min" in line
    assert ("2 h 05 min left" in line) is not is_terminal
    assert len(line) <= 80 or not is_terminal
