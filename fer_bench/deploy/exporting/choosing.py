"""Which run is exported, and the data that it was trained on, found again."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from fer_bench import cache
from fer_bench.analysis import Leaderboard, Predictions, Run, load_leaderboard
from fer_bench.data import Dataset, Split
from fer_bench.errors import FerBenchError
from fer_bench.models import FEATURES, MODELS
from fer_bench.records import Record, open_results

CONVERTERS = ("onnx", "onnxruntime", "skl2onnx", "tf2onnx")


@dataclass(frozen=True)
class Source:
    """The results of one split, the images they are about, and the runs in them.

    weights: what networks that start from trained weights start from, as `--weights` has it.
    """

    board: Leaderboard
    weights: str = "auto"

    @classmethod
    def open(cls, results: Path, weights: str = "auto") -> Source:
        """Those of the newest split without folds in the folder `results`.

        Raises FerBenchError where there are none, or what makes ONNX is missing.
        """
        _need_converters()
        folder = open_results(results)
        records = folder.records()
        if records and all(record.spec.n_folds for record in records):
            raise FerBenchError(_of_folds(str(results), records[-1]))
        return cls(load_leaderboard(folder), weights)

    @cached_property
    def dataset(self) -> Dataset:
        """The images. Raises FerBenchError where they are no longer in the cache."""
        return Dataset.load(stored_folder("datasets", self.predictions.split[0], self.board.command))

    @cached_property
    def split(self) -> Split:
        """How they are split. Raises FerBenchError where that is no longer in the cache."""
        return Split.load(stored_folder("splits", self.predictions.split[1], self.board.command))

    @property
    def predictions(self) -> Predictions:
        """What the leaderboard is judged by."""
        return self.board.predictions

    def run(self, run_id: str) -> Run:
        """The run of that id. Raises FerBenchError for an unknown one."""
        if run_id not in self.predictions.by_id:
            raise FerBenchError(f"no run {run_id!r} of this split in {self.predictions.folder.path}")
        return self.predictions.by_id[run_id]

    def record(self, run_id: str) -> Record:
        """Its record."""
        return self.run(run_id).record

    def parts(self, record: Record) -> list[Record]:
        """The members of an ensemble; of any other run it alone."""
        return [self.record(run_id) for run_id in record.members] or [record]

    def choose(self, model: str | None, strategy: str | None) -> str:
        """The id of the run to use: of several seeds the best on validation images.

        model: a run id, a model's name, or None for what the leaderboard picks. strategy: that of the model, by default
        the one picked on validation images. Raises FerBenchError where there is no such run, it cannot be exported,
        its data are no longer in the cache, or `strategy` is given without the name of a model.
        """
        runs = self.board.runs
        if strategy is not None and (model is None or model in runs.index):
            has_one = "without a model the one to use is" if model is None else f"{model} is a run, and its own is"
            raise FerBenchError(f"--strategy {strategy}: goes with the name of a model; {has_one} known already")
        if model in runs.index:
            return self._usable(str(model))
        for record in self.predictions.elsewhere:
            if model == record.run_id:
                other = "it is of other data, or another split, than the newest runs there"
                raise FerBenchError(_of_folds(model, record) if record.spec.n_folds else f"{model}: {other}")
        if model is None:
            if "all" not in self.board.picks:
                raise FerBenchError(f"{self.predictions.folder.path}: the leaderboard picks no model; name one")
            return self._best(runs[runs["row"] == self.board.picks["all"].row])
        of_model = self._of_model(model)
        if not len(of_model):
            raise FerBenchError(f"no run of {model!r} in {self.predictions.folder.path}; {self._hint(model)}")
        if strategy is None:
            best = self.board.best_of_model
            picked = best.index[best["model"].isin(of_model["model"])]
            return self._best(of_model[of_model["row"] == picked[0]] if len(picked) else of_model)
        chosen = of_model[of_model["strategy"] == strategy]
        if not len(chosen):
            there = ", ".join(dict.fromkeys(of_model["strategy"]))
            raise FerBenchError(f"no run of {model} under {strategy!r}; there are those under {there}")
        return self._best(chosen)

    def _hint(self, model: str) -> str:
        """What may have been meant by `model`: of what succeeded, first a run of the same model and strategy."""
        done = self.board.runs[self.board.runs["status"] == "success"]
        alike = [run_id for run_id in done.index if run_id.rpartition(".")[0] == model.rpartition(".")[0]]
        close = difflib.get_close_matches(model, alike, n=1, cutoff=0)
        close = close or difflib.get_close_matches(model, [*done["model"], *done.index], n=1)
        there = ", ".join(dict.fromkeys(done["model"])) or "none"
        return f"did you mean {close[0]!r}?" if close else f"there are {there}"

    def _of_model(self, model: str) -> pd.DataFrame:
        """The runs that the page calls so; where only the model's name is given, those of its newest recipe."""
        runs = self.board.runs
        if (runs["model"] == model).any():
            return runs[runs["model"] == model]
        recipes = {run_id: self.record(run_id).spec.recipe for run_id in runs.index[runs["model_name"] == model]}
        newest = max(recipes.values(), default=0)
        return runs.loc[[run_id for run_id, recipe in recipes.items() if recipe == newest]]

    def _best(self, runs: pd.DataFrame) -> str:
        scores = self.board.scores.reset_index("subset").query("subset == 'test'")
        known = scores["validation_macro_f1"].reindex(runs.index)
        return self._usable(runs.index[0] if known.isna().all() else known.idxmax())

    def _usable(self, run_id: str) -> str:
        """`run_id`, where it can be exported. Raises FerBenchError saying why not."""
        record = self.record(run_id)
        why = None
        if record.status != "success":
            why = f"its status is {record.status}: {record.reason or 'no reason is known'}"
        elif record.family == "external":
            why = "it is external: its predictions are known, its model is not"
        elif strange := {one.spec.model for one in self.parts(record)} - {card.name for card in MODELS}:
            why = f"{', '.join(sorted(strange))} is not registered; name its file with --plugin FILE"
        elif not all(MODELS[one.spec.model].trainable for one in self.parts(record)):
            why = "it guesses without looking at an image"
        elif others := self._without_graph(record):
            why = f"no graph is known for the features {', '.join(others)}: they are a plug-in's own"
        if why:
            raise FerBenchError(f"{run_id} cannot be exported: {why}")
        command = self.parts(record)[0].command  # an ensemble's own reads no data
        for kind, fingerprint in zip(("datasets", "splits"), self.predictions.split[:2], strict=True):
            stored_folder(kind, fingerprint, command)
        return run_id

    def _without_graph(self, record: Record) -> list[str]:
        """The features that its parts are given and that have none."""
        from fer_bench.deploy.exporting.features import has_graph

        cards = [FEATURES[name] for name in sorted({MODELS[one.spec.model].features for one in self.parts(record)})]
        return [card.name for card in cards if not has_graph(card.extractor())]


def _of_folds(what: str, record: Record) -> str:
    return (
        f"{what}: of folds, each of which has a model of its own: none is the one that was judged; train it on one "
        f"split, and export that: the same without --folds as in\n  {record.command}"
    )


def _need_converters() -> None:
    if missing := [name for name in CONVERTERS if find_spec(name) is None]:
        raise FerBenchError(f"not installed: {', '.join(missing)}; `pip install 'fer_bench[export]'` brings them")


def stored_folder(kind: str, fingerprint: str, command: str) -> Path:
    """The folder in the cache of the dataset or split of that fingerprint."""
    for about in sorted((cache.root() / kind).glob("*/about.json")):
        try:
            if json.loads(about.read_text())["fingerprint"] == fingerprint:
                return about.parent
        except (OSError, ValueError, LookupError):  # damaged, or being written: whoever needs it will say so
            continue
    raise FerBenchError(
        f"the {kind} of these runs (fingerprint {fingerprint}) are no longer in the cache {cache.root()}; `plan` "
        f"in the place of `run` reads them again, with the data and options of the command that made them:\n  {command}"
    )
