"""What may be asked of the training of any network, by name in `Task.parameters`. No Keras here."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from fer_bench.errors import FerBenchError
from fer_bench.models.deep.augmentation import DEFAULT, check_names
from fer_bench.models.deep.losses import LABEL_SMOOTHING
from fer_bench.models.deep.precision import AUTO, POLICIES
from fer_bench.models.deep.watch import COSINE, PLATEAU


class Limits(NamedTuple):
    """What numbers a parameter takes: from `low`, which is left out where it is `above`, to below `high`."""

    low: float
    high: float = float("inf")
    above: bool = False
    whole: bool = False

    def admit(self, value: Any) -> bool:
        """Whether `value` is such a number."""
        try:
            number = float(value)
        except (TypeError, ValueError):
            return False
        fits = self.low < number < self.high if self.above else self.low <= number < self.high
        return fits and not (self.whole and number % 1)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        end = f" and below {self.high:g}" if self.high < float("inf") else ""
        return f"{kind} {'above' if self.above else 'of at least'} {self.low:g}{end}"


COMMON = {"label_smoothing": LABEL_SMOOTHING, "augmentation": ",".join(DEFAULT)}
"""What networks are trained with where nothing else is asked for."""
CHOICES = {"precision": (AUTO, *POLICIES), "schedule": (COSINE, PLATEAU)}
NUMBERS = {
    "batch_size": Limits(1, whole=True),
    "patience": Limits(0, whole=True),
    "learning_rate": Limits(0, above=True),
    "weight_decay": Limits(0),
    "label_smoothing": Limits(0, high=1),
    "mixup": Limits(0),
}


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Raise FerBenchError for the first value that training cannot use; names it does not know are a builder's own."""
    for name, choices in CHOICES.items():
        if parameters.get(name, choices[0]) not in choices:
            raise FerBenchError(f"{name} is {parameters[name]!r}, not one of {', '.join(choices)}")
    for name, limits in NUMBERS.items():
        if name in parameters and not limits.admit(parameters[name]):
            raise FerBenchError(f"{name} is {parameters[name]!r}, not {limits}")
    if "augmentation" in parameters:
        check_names(parameters["augmentation"])
