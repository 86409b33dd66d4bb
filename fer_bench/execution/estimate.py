"""How long runs take: from what runs of the same model took, here or on record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from fer_bench.errors import FerBenchError
from fer_bench.execution.plan import PlannedRun
from fer_bench.models.registry import MODELS, STRATEGIES

_PRIOR_SECONDS = {"baseline": 1.0, "classical": 4.0, "deep": 30.0}
_PRIOR_ROWS = 2400
_DERIVED_SHARE = 0.1  # of its model's seconds, for a run that starts from a finished one


class _Known:
    """The mean of numbers that come one by one and are not kept: it is asked for of every waiting run, after each."""

    mean, _count = 0.0, 0

    def add(self, number: float) -> None:
        self._count += 1
        self.mean += (number - self.mean) / self._count


class Estimate:
    """Expected seconds of runs.

    Best evidence first: the same model, budget and recipe, its gradient steps with others, its family, a guess.

    records: as JSON has them; those of successful runs count. n_train: training rows.
    """

    def __init__(self, records: Iterable[Mapping[str, Any]], n_train: int) -> None:
        self._scale = max(1.0, n_train / _PRIOR_ROWS)
        self._by_recipe: dict[tuple[str, str, str], _Known] = defaultdict(_Known)
        self._by_step: dict[str, _Known] = defaultdict(_Known)
        self._by_family: dict[str, _Known] = defaultdict(_Known)
        derived = {card.name for card in STRATEGIES if card.starts_from}  # they cost next to nothing
        for record in records:
            try:
                self._take(record, derived)
            except (AttributeError, FerBenchError, KeyError, TypeError, ZeroDivisionError):
                continue  # a damaged record, which reports name; it only tells nothing here

    def _take(self, record: Mapping[str, Any], derived: set[str]) -> None:
        spec, seconds = record["spec"], record.get("seconds")
        if record["status"] != "success" or not seconds or spec["strategy"] in derived:
            return
        spent = sum(value for phase, value in seconds.items() if phase != "features")
        self._by_recipe[spec["model"], spec["budget"], str(spec.get("parameters", []))].add(spent)
        planned = MODELS[spec["model"]].steps  # patience, or a head alone, makes fewer
        if spec["budget"] and planned:
            per_step = seconds["fit"] / planned[spec["budget"]]
            self._by_step[spec["model"]].add(per_step)

    def learn(self, planned: PlannedRun, seconds: float) -> None:
        """`planned` took `seconds`."""
        if not planned.needs_base:
            self._by_recipe[_recipe(planned)].add(seconds)
            self._by_family[planned.card.family].add(seconds)

    def measured(self, planned: PlannedRun) -> float | None:
        """Expected seconds of `planned` from runs of the same model, or None where none has ended."""
        if planned.reason:
            return 0.0
        if known := self._by_recipe.get(_recipe(planned)):
            return _share(planned) * known.mean
        if planned.card.steps and (known := self._by_step.get(planned.spec.model)):
            return _share(planned) * known.mean * planned.card.steps[planned.spec.budget]
        return None

    def seconds(self, planned: PlannedRun) -> float:
        """Expected seconds of `planned`; 0 where it does not apply."""
        measured = self.measured(planned)
        if measured is not None:
            return measured
        if known := self._by_family.get(planned.card.family):
            return _share(planned) * known.mean
        # networks train for a number of steps, the others grow with the rows
        scale = 1 if planned.card.family == "deep" else self._scale
        return _share(planned) * _PRIOR_SECONDS[planned.card.family] * scale


def _recipe(planned: PlannedRun) -> tuple[str, str, str]:
    """Model, budget and parameters, as JSON has these."""
    return planned.spec.model, planned.spec.budget, str([list(one) for one in planned.spec.parameters])


def _share(planned: PlannedRun) -> float:
    """Of the time of a whole run: one that starts from a finished run takes little of it."""
    return _DERIVED_SHARE if planned.needs_base else 1.0


def spell(seconds: float) -> str:
    """`seconds` for people: "40 s", "3 min", "2 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
