"""How long is left: from what runs of the same model took, here or on record."""

from __future__ import annotations

from collections import defaultdict
from statistics import mean
from typing import TYPE_CHECKING

from fer_bench.execution.plan import PlannedRun

if TYPE_CHECKING:
    from fer_bench.records.schema import Record

_PRIOR_SECONDS = {"baseline": 1.0, "classical": 4.0, "deep": 30.0}
_PRIOR_ROWS = 2400


class Estimate:
    """Expected seconds of runs. Best evidence first: the same model and budget, its family, a guess."""

    def __init__(self, records: list[Record], n_train: int) -> None:
        self._scale = max(1.0, n_train / _PRIOR_ROWS)
        self._by_model: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._by_family: dict[str, list[float]] = defaultdict(list)
        for record in records:
            if record.status == "success" and record.seconds:
                seconds = record.seconds
                spent = seconds.load + seconds.fit + seconds.predict + seconds.score
                self._by_model[record.spec.model, record.spec.budget].append(spent)

    def learn(self, planned: PlannedRun, seconds: float) -> None:
        """`planned` took `seconds`."""
        self._by_model[planned.spec.model, planned.spec.budget].append(seconds)
        self._by_family[planned.card.family].append(seconds)

    def seconds(self, planned: PlannedRun) -> float:
        """Expected seconds of `planned`; 0 where it does not apply."""
        if planned.reason:
            return 0.0
        known = self._by_model.get((planned.spec.model, planned.spec.budget))
        known = known or self._by_family.get(planned.card.family)
        if known:
            return mean(known)
        # networks train for a number of steps, the others grow with the rows
        return _PRIOR_SECONDS[planned.card.family] * (1 if planned.card.family == "deep" else self._scale)


def spell(seconds: float) -> str:
    """`seconds` for people: "40 s", "3 min", "2 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
