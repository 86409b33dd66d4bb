"""What a search found for a model: the small file that `run --tuned` reads, and its table. Light."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.cache import write_atomic
from fer_bench.errors import FerBenchError
from fer_bench.execution.estimate import spell
from fer_bench.models.registry import MODELS

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Trial:
    """One set of parameters that was tried; the first of a search are the builder's own values.

    parameters: those that differ from the builder's own. share: of the budget's steps. macro_f1: as in
    `Tuned`, None where the trial failed, and `reason` says why.
    """

    number: int
    parameters: dict[str, Any]
    share: float = 1.0
    macro_f1: float | None = None
    seconds: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Tuned:
    """The best of a search's trials by macro-F1 on validation images without a copy in train. No test image counted.

    parameters: those that differ from the builder's own; none where nothing was better than these.
    untuned_macro_f1: what the builder's own values reach. trials: all of them, as dicts of `Trial`.
    """

    model: str
    parameters: dict[str, Any]
    macro_f1: float
    untuned_macro_f1: float
    strategy: str
    method: str
    budget: str
    weights: str
    seed: int
    data_fingerprint: str
    split_fingerprint: str
    trials: tuple[dict[str, Any], ...]
    command: str
    versions: dict[str, str]

    def save(self, results: Path) -> Path:
        """Write the file that `run --tuned` reads into the folder of a dataset's `results`; returns its path."""
        path = tuned_path(results, self.model)
        write_atomic(path, json.dumps(asdict(self), indent=1) + "\n")
        return path


def tuned_path(results: Path, model: str) -> Path:
    """Where the values found for `model` are or will be."""
    return results / "tuned" / f"{model}.json"


def load_tuned(results: Path, model: str, fingerprints: tuple[str, str]) -> dict[str, Any] | None:
    """Parameters of `model` that a search found on the data and split `fingerprints`, or None where there was none.

    Raises FerBenchError for a damaged file, one for other data, and parameters that the model has no more.
    """
    path = tuned_path(results, model)
    try:
        stored = json.loads(path.read_bytes())
        tuned = Tuned(**{name: value for name, value in stored.items() if name != "recipe"})  # of earlier versions
        names = set(tuned.parameters)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError) as error:
        raise FerBenchError(f"{path}: not as `tune` wrote it ({error}); remove it, or tune again") from error
    if tuned.model != model:
        raise FerBenchError(f"{path}: these are the values of {tuned.model}, not of {model}; remove it")
    if (tuned.data_fingerprint, tuned.split_fingerprint) != fingerprints:
        raise FerBenchError(
            f"{path}: found on other data or another split; use the --data, --split-seed and so on of its search "
            "(and no --folds: rows that validated would be test rows), remove it, or tune again"
        )
    gone = sorted(names - set(MODELS[model].search))
    if gone:
        raise FerBenchError(f"{path}: {model} has no parameter {', '.join(gone)} to tune (any more); tune again")
    return tuned.parameters


def load_all_tuned(results: Path, fingerprints: tuple[str, str], models: str = "*") -> dict[str, dict[str, Any]]:
    """Parameters by model, for those of `models` (names or patterns) that were tuned.

    Raises FerBenchError as `load_tuned` does, and where none of them was.
    """
    found = {card.name: load_tuned(results, card.name, fingerprints) for card in MODELS.match(models)}
    tuned = {name: parameters for name, parameters in found.items() if parameters is not None}
    if not tuned:
        raise FerBenchError(f"--tuned: nothing was tuned in {results / 'tuned'}; `fer_bench tune MODEL` does it")
    return tuned


def tuned_table(tuned: Tuned) -> Table:
    """The trials of a search, the best first, those on a part of the steps and those that failed at the end."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    gain = tuned.macro_f1 - tuned.untuned_macro_f1
    table = Table(
        title=Text(f"{tuned.model} · {tuned.strategy}: macro-F1 on validation"),
        caption=Text(f"untuned {tuned.untuned_macro_f1:.3f}, tuned {tuned.macro_f1:.3f} ({gain:+.3f})"),
        box=box.SIMPLE_HEAD,
    )
    for name in ("trial", "macro-F1", "steps", "time"):
        table.add_column(name, justify="right")
    table.add_column("parameters", overflow="fold")
    trials = [Trial(**trial) for trial in tuned.trials]
    for trial in sorted(trials, key=lambda trial: (trial.macro_f1 is None, -trial.share, -(trial.macro_f1 or 0))):
        score = "failed" if trial.macro_f1 is None else f"{trial.macro_f1:.3f}"
        seconds = "" if trial.seconds is None else spell(trial.seconds)
        what = describe(trial.parameters) + (f": {trial.reason}" if trial.reason else "")
        table.add_row(*map(Text, (str(trial.number), score, f"{trial.share:.0%}", seconds, what)))
    return table


def describe(parameters: dict[str, Any]) -> str:
    """`parameters` for people: "C 12.3, gamma 0.8", or that they are the model's own."""
    return ", ".join(f"{name} {value}" for name, value in parameters.items()) or "its own values"
