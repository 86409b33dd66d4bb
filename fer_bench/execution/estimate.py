"""How long runs take: from what runs of the same model took, here or on record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from fer_bench.errors import FerBenchError
from fer_bench.execution.plan import PlannedRun
from fer_bench.models import MODELS, STRATEGIES

_PRIOR_SECONDS = {"baseline": 1.0, "classical": 4.0, "deep": 30.0}
_PRIOR_ROWS = 2400
_DERIVED_SHARE = 0.1  # of its model's seconds, for a run that starts from a finished one


class _Means:
    """Means of numbers that come one by one and are not kept: they are asked for of every waiting run, after each."""

    def __init__(self) -> None:
        self._sums: dict[Hashable, tuple[float, int]] = defaultdict(lambda: (0.0, 0))

    def add(self, key: Hashable, number: float) -> None:
        total, count = self._sums[key]
        self._sums[key] = total + number, count + 1

    def get(self, key: Hashable) -> float | None:
        total, count = self._sums.get(key, (0.0, 0))
        return total / count if count else None


class Estimate:
    """Expected seconds of runs.

    Best evidence first: the same model, budget and recipe, its gradient steps with others, its family, a guess.

    records: as JSON has them; those of successful runs count. n_train: training rows.
    """

    def __init__(self, records: Iterable[Mapping[str, Any]], n_train: int) -> None:
        self._scale = max(1.0, n_train / _PRIOR_ROWS)
        self._by_recipe, self._by_step, self._by_family = _Means(), _Means(), _Means()
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
        card = MODELS[spec["model"]]
        if spec.get("recipe", 1) != card.recipe:
            return
        self._by_recipe.add((spec["model"], spec["budget"], str(spec.get("parameters", []))), spent)
        if spec["budget"] and card.steps:  # planned: patience, or a head alone, makes fewer
            self._by_step.add(spec["model"], seconds["fit"] / card.steps[spec["budget"]])

    def learn(self, planned: PlannedRun, seconds: float) -> None:
        """`planned` took `seconds`."""
        if not planned.needs_base:
            self._by_recipe.add(_recipe(planned), seconds)
            self._by_family.add(planned.card.family, seconds)

    def measured(self, planned: PlannedRun) -> float | None:
        """Expected seconds of `planned` from runs of the same model, or None where none has ended."""
        if planned.reason:
            return 0.0
        seconds = self._by_recipe.get(_recipe(planned))
        per_step = self._by_step.get(planned.spec.model)
        if seconds is None and planned.card.steps and per_step is not None:
            seconds = per_step * planned.card.steps[planned.spec.budget]
        return None if seconds is None else _share(planned) * seconds

    def seconds(self, planned: PlannedRun) -> float:
        """Expected seconds of `planned`; 0 where it does not apply."""
        measured = self.measured(planned)
        if measured is not None:
            return measured
        family = planned.card.family
        seconds = self._by_family.get(family)
        if seconds is None:  # networks train for a number of steps, the others grow with the rows
            seconds = _PRIOR_SECONDS[family] * (1 if family == "deep" else self._scale)
        return _share(planned) * seconds


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
