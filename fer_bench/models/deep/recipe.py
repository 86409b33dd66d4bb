"""Recipe: what may be asked of the training of any network, by name in `Task.parameters`. Neither NumPy nor Keras."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fer_bench.errors import FerBenchError

AUTO, COSINE, PLATEAU = "auto", "cosine", "plateau"
GEOMETRIC = ("mirror", "rotation", "zoom", "shift", "crop")
PHOTOMETRIC = ("brightness", "contrast")
AUGMENTATIONS = (*GEOMETRIC, *PHOTOMETRIC, "erasing")
DEFAULT_AUGMENTATION = ("mirror", "rotation", "zoom", "shift")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    batch_size: None for the network's own. learning_rate: a factor on that of every phase. mixup: its alpha, 0 for
    none. precision: "auto", "float32" or "bfloat16". schedule: "cosine" or "plateau". patience: evaluations without a
    better one after which a phase ends, 0 for never. ema: momentum of the average of weights that is evaluated and kept
    in place of the latest ones, 0 for none.
    """

    batch_size: int | None = None
    learning_rate: float = 1.0
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    augmentation: tuple[str, ...] = DEFAULT_AUGMENTATION
    mixup: float = 0.0
    precision: str = AUTO
    schedule: str = COSINE
    patience: int = 0
    ema: float = 0.0

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> "Recipe":
        """What `parameters` ask for; names that are no field here are a builder's own.

        Raises FerBenchError for the first value that training cannot use.
        """
        return cls(**{name: _READ[name](name, value) for name, value in parameters.items() if name in _READ})


def augmentation_names(text: str) -> tuple[str, ...]:
    """The augmentations named in `text`, with commas between them, in the order of `AUGMENTATIONS`; () for "none".

    Raises FerBenchError where one of them is unknown.
    """
    asked = {name.strip() for name in text.split(",")}
    if asked == {"none"}:
        return ()
    if unknown := sorted(asked - set(AUGMENTATIONS)):
        names, known = ", ".join(map(repr, unknown)), ", ".join(AUGMENTATIONS)
        raise FerBenchError(f"augmentation: no {names}; give some of {known} with commas between, or none")
    return tuple(name for name in AUGMENTATIONS if name in asked)


def _number(
    low: float, high: float = float("inf"), above: bool = False, whole: bool = False
) -> Callable[[str, Any], float]:
    """Reads a number from `low`, which is left out where it is to be `above`, to below `high`."""
    kind, start = "a whole number" if whole else "a number", "above" if above else "of at least"
    wanted = f"{kind} {start} {low:g}" + (f" and below {high:g}" if high < float("inf") else "")

    def read(name: str, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        fits = low < number < high if above else low <= number < high
        if not fits or (whole and number % 1):
            raise FerBenchError(f"{name} is {value!r}, not {wanted}")
        return int(number) if whole else number

    return read


def _one_of(*choices: str) -> Callable[[str, Any], str]:
    def read(name: str, value: Any) -> str:
        if value not in choices:
            raise FerBenchError(f"{name} is {value!r}, not one of {', '.join(choices)}")
        return value

    return read


_READ: dict[str, Callable[[str, Any], Any]] = {
    "precision": _one_of(AUTO, "float32", "bfloat16"),
    "schedule": _one_of(COSINE, PLATEAU),
    "batch_size": _number(1, whole=True),
    "patience": _number(0, whole=True),
    "learning_rate": _number(0, above=True),
    "weight_decay": _number(0),
    "label_smoothing": _number(0, high=1),
    "mixup": _number(0),
    "ema": _number(0, high=1),
    "augmentation": lambda name, value: augmentation_names(str(value)),
}
COMMON = {"label_smoothing": Recipe().label_smoothing, "augmentation": ",".join(DEFAULT_AUGMENTATION)}
"""What every network is trained with where nothing else is asked for, as `Task.parameters` have it."""
