"""The Python face: run a benchmark, load its results, and look at them as pandas frames."""

from __future__ import annotations

import html
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fer_bench.errors import FerBenchError

if TYPE_CHECKING:
    import pandas as pd

    from fer_bench.analysis import Leaderboard

SHOWN = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "macro_f1_low", "macro_f1_high", "in_best_set")
"""Columns of the leaderboard that a notebook shows."""


@dataclass(frozen=True)
class Results:
    """The runs on one dataset, judged when they are first looked at.

    folder: the results folder, as `load_results` takes it. n_folds: of cross-validation, 0 for one split. split: the
    fingerprint of the split or folds that is meant; without, that of the newest run.
    """

    folder: Path
    n_folds: int = 0
    split: str | None = None

    @cached_property
    def board(self) -> Leaderboard:
        """Everything that pages show. Raises FerBenchError where no run is on record, or records are damaged."""
        from fer_bench.analysis import load_leaderboard, newest_splits
        from fer_bench.records import open_results

        source = open_results(self.folder)
        newest = {split[2]: split for split in newest_splits(source.records())}
        if self.n_folds not in newest:
            known = ", ".join(f"n_folds={n_folds}" for n_folds in newest)
            raise FerBenchError(f"no runs of n_folds={self.n_folds} in {self.folder}; there are {known or 'none'}")
        data, split, n_folds = newest[self.n_folds]
        return load_leaderboard(source, (data, self.split or split, n_folds))

    @property
    def leaderboard(self) -> pd.DataFrame:
        """A line per model and strategy, best macro-F1 on the test images first: scores from 0 to 1, seconds, ranks."""
        return self.board.rows

    @property
    def runs(self) -> pd.DataFrame:
        """A line per run, indexed by run id: what was asked for, how it ended, what it cost, and its test scores."""
        board = self.board
        known = "test" in board.scores.index.get_level_values("subset")
        return board.runs.join(board.scores.xs("test", level="subset")) if known else board.runs

    @property
    def effects(self) -> pd.DataFrame:
        """What each strategy did to each model, against the same model without one, on the test images."""
        return self.board.effects["test"]

    @property
    def slices(self) -> pd.DataFrame:
        """A line per row and slice of the test images: scores, intervals, the worst; empty without slices."""
        return self.board.slices

    def compare(self, first: str, second: str, subset: str = "test") -> pd.DataFrame:
        """How much higher row `second` scores than row `first`: value and 95 % interval (low, high) by measure.

        Rows are named as in `leaderboard`; subset: "test" or "clean". Raises FerBenchError for an unknown name.
        """
        import pandas as pd

        from fer_bench.analysis import difference

        draws = self.board.draws.get(subset)
        if draws is None:
            raise FerBenchError(f"subset {subset!r} is not known here; there are {', '.join(self.board.draws)}")
        for name in (first, second):
            if name not in draws.rows:
                raise FerBenchError(f"no row {name!r}; the rows are {', '.join(draws.rows)}")
        changes = {measure: difference(draws, first, second, measure) for measure in draws.measures}
        return pd.DataFrame({name: vars(one) for name, one in changes.items()}).T

    def predictions(self, run: str) -> pd.DataFrame:
        """The stored probabilities of the test images by a run: index sample_id, a column per class.

        run: a run id, or a row, for its first run. Raises FerBenchError for an unknown one.
        """
        import pandas as pd

        run_id, known = self._run_id(run), self.board.predictions
        rows = known.probabilities(known.by_id[run_id], "test")
        return pd.DataFrame(rows, index=pd.Index(known.ids["test"], name="sample_id"), columns=known.class_names)

    def confusion(self, run: str) -> pd.DataFrame:
        """Test images by true class (index) and predicted class (columns), of a run or of a row's first run."""
        import pandas as pd

        from fer_bench.metrics import confusion_matrix

        board = self.board
        names = list(board.data.class_names)
        counts = confusion_matrix(board.labels, board.predicted[self._run_id(run)], len(names))
        return pd.DataFrame(counts, index=pd.Index(names, name="true"), columns=pd.Index(names, name="predicted"))

    def report(self, path: Path | str | None = None) -> Path:
        """Write report.html, one file that opens anywhere, and return where: `path`, or in the results folder."""
        from fer_bench.report import write_html

        target = Path(path) if path else self.folder / f"report{self.board.suffix}.html"
        write_html(self.board, target)
        return target

    def _repr_html_(self) -> str:
        from fer_bench.report import in_short

        board = self.board
        shown = board.rows[[name for name in SHOWN if name in board.rows]].round(3)
        said = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in in_short(board))
        return f"<h3>{html.escape(board.data.name)}</h3><ul>{said}</ul>{shown.to_html(escape=True, max_rows=20)}"

    def _run_id(self, run: str) -> str:
        board = self.board
        if run in board.rows.index:
            return board.rows.at[run, "runs"][0]
        if run not in board.predicted:
            raise FerBenchError(f"no run or row {run!r} with scores; `runs` and `leaderboard` list them")
        return run


def run(
    data: str | Path = "synthetic",
    *,
    suite: str = "all",
    models: str | Sequence[str] | None = None,
    strategies: str | Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
    results: str | Path = "results",
    plugins: str | Path | Sequence[str | Path] = (),
    folds: int | Literal["people"] = 0,
    **options: Any,
) -> Results:
    """Train and score every combination that is not done yet, each in a process of its own; judge when looked at.

    data: "synthetic", "fer2013", or the path of a CSV, an .npz or a folder. suite: "all", "classical", "deep", "zoo" or
    "smoke"; models and strategies: names or patterns, instead of the suite's. results: folder of all results. plugins:
    files that register models of yours; those registered in a notebook's cells run too. options: those of
    `fer_bench.execution.run`, such as budget, weights, timeout and jobs, and of `fer_bench.data.ReadOptions`, such as
    groups, slices and classes.

    Raises FerBenchError for bad data and options, and for models registered where no other process can find them.
    """
    from fer_bench import execution
    from fer_bench.console import SuiteProgress
    from fer_bench.screen import Screen

    plugins = (plugins,) if isinstance(plugins, str | Path) else plugins
    folds = folds if isinstance(folds, str) else operator.index(folds)  # NumPy's, too
    with SuiteProgress(Screen()) as watcher:
        finished = execution.run(
            data, suite=suite, models=models, strategies=strategies, seeds=seeds, results=results,
            plugins=plugins, folds=folds, watcher=watcher, **options,
        )  # fmt: skip
    prepared = finished.prepared
    return Results(prepared.results.path, prepared.n_folds, prepared.fingerprints[1])


def load_results(folder: Path | str, n_folds: int = 0) -> Results:
    """The results in `folder`: `results/<data>` of your own runs, or `results/published/<data>`.

    Raises FerBenchError where there are none.
    """
    from fer_bench.records import open_results

    return Results(open_results(Path(folder)).path, n_folds)
