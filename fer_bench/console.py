"""What a person sees while a suite runs: a line per finished run, a bar with the time left."""

from __future__ import annotations

from typing import Self

from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from fer_bench.execution import PlannedRun, Prepared, Trial, TuneWatcher, Watcher, describe, spell
from fer_bench.records import ResultsFolder
from fer_bench.screen import Screen

_COLORS = {"success": "green", "not-applicable": "dim", "cancelled": "yellow"}


class _Shown:
    """A bar while a `with` lasts; where output is a file, there is none."""

    def __init__(self, console: Screen, *columns: ProgressColumn) -> None:
        self._console = console
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=None, left="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()


class SuiteProgress(_Shown, Watcher):
    """A `Watcher` for terminals; where output is a file, the lines alone, which then tell the time left."""

    def __init__(self, console: Screen) -> None:
        super().__init__(
            console,
            TextColumn("{task.completed}/{task.total}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.description}", markup=False),
        )
        self._total, self._count = 0, 0
        self._results: ResultsFolder | None = None
        self._running: dict[str, str] = {}

    def starting(self, prepared: Prepared, n_due: int) -> None:
        """Say how much there is to do."""
        self._results, self._total = prepared.results, n_due
        self._bar.update(self._task, total=n_due)

    def waiting(self, what: str) -> None:
        """Show what is waited for."""
        self._bar.update(self._task, description=what)

    def progress(self, run_id: str, done: float, text: str) -> None:
        """Show how far a run has come."""
        self._running[run_id] = f"{run_id.rsplit('-', 1)[0]} {done:.0%} {text}"
        self._show()

    def ended(self, planned: PlannedRun, status: str, seconds: float, seconds_left: float) -> None:
        """Print the run's line and move the bar."""
        self._count += 1
        self._running.pop(planned.spec.run_id, None)
        left = f"about {spell(seconds_left)} left" if self._count < self._total else ""
        self._bar.update(self._task, completed=self._count, left=left)
        self._show()
        spec = planned.spec
        name = f"{spec.model} · {spec.strategy}" + (f" · seed {spec.seed}" if spec.seed else "")
        name += f" · fold {spec.fold_name}" if spec.fold else ""
        line = Text(f"{self._count:4}/{self._total}  {name:30}  ")
        line.append(self._outcome(planned, status), style=_COLORS.get(status, "red"))
        line.append(f"  {spell(seconds):>6}" + (f"  {left}" if self._bar.disable else ""), style="dim")
        self._console.print(line, soft_wrap=True)

    def _outcome(self, planned: PlannedRun, status: str) -> str:
        record = self._results.record(planned.spec.run_id) if self._results else None
        if record and record.test and status == "success":  # else it is that of an earlier run, which was kept
            return f"macro-F1 {record.test.macro_f1:.3f}"
        return status if record is None or not record.reason else f"{status}: {record.reason[:60]}"

    def _show(self) -> None:
        self._bar.update(self._task, description="; ".join(self._running.values()))


class TuneProgress(_Shown, TuneWatcher):
    """A `TuneWatcher` for terminals; where output is a file, the lines alone."""

    def __init__(self, console: Screen) -> None:
        super().__init__(
            console, BarColumn(bar_width=20), TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
        )

    def progress(self, done: float, text: str) -> None:
        """Show how far the search has come."""
        self._bar.update(self._task, total=1.0, completed=done, description=text)

    def note(self, text: str) -> None:
        """Print `text`."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def ended(self, trial: Trial, n_trials: int, seconds_left: float) -> None:
        """Print the trial's line."""
        score = f"failed: {trial.reason}" if trial.macro_f1 is None else f"macro-F1 {trial.macro_f1:.3f}"
        left = f"about {spell(seconds_left)} left" if seconds_left else ""
        line = Text(f"{trial.number:4}/{n_trials}  {score}  ")
        line.append(f"{describe(trial.parameters)}  {left}", style="dim")
        self._console.print(line, soft_wrap=True)
