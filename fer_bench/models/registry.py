"""The one registry: models, features and strategies by name, as light cards with heavy builders."""

import difflib
import fnmatch
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, Literal, TypeVar, get_args

from fer_bench.cache import digest
from fer_bench.errors import FerBenchError
from fer_bench.models.plugins import code_digest, is_cell, is_own

Family = Literal["baseline", "classical", "deep"]
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
MIRROR = "mirror"
"""A parameter of features that is none of their extractor: whether images are learnt and judged with their mirrors."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What every registered thing carries: a name, unique in its registry, one line about it, where it is defined."""

    name: str
    summary: str
    source: str  # file and line


CardType = TypeVar("CardType", bound=Card)


class Registry(Generic[CardType]):
    """Cards by name, in the order they were registered. A name is a safe file name: a-z, 0-9 and dashes."""

    def __init__(self, kind: str, plural: str) -> None:
        self.kind, self.plural = kind, plural
        self._cards: dict[str, CardType] = {}

    def add(self, card: CardType) -> None:
        """Register `card`; anew where its file is loaded again, or a cell of a notebook run again.

        Raises FerBenchError on a malformed name or one that is taken.
        """
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", card.name):
            raise FerBenchError(
                f"{card.source}: {self.kind} name {card.name!r} must be lower-case letters, digits and single dashes"
            )
        earlier = self._cards.get(card.name, card)
        is_again = earlier.source == card.source or _place(earlier) == _place(card)
        if not is_again and not (_is_cell(earlier.source) and _is_cell(card.source)):
            raise FerBenchError(f"{card.source}: {self.kind} {card.name!r} is already registered by {earlier.source}")
        self._cards[card.name] = card

    def __getitem__(self, name: str) -> CardType:
        if name not in self._cards:
            raise FerBenchError(f"no {self.kind} {name!r}{self._suggestion(name)}")
        return self._cards[name]

    def __iter__(self) -> Iterator[CardType]:
        return iter(self._cards.values())

    def match(self, patterns: str) -> list[CardType]:
        """The cards that comma-separated names or shell patterns name, in the registry's order.

        Raises FerBenchError naming every pattern that matches nothing.
        """
        wanted = [pattern.strip() for pattern in patterns.split(",") if pattern.strip()]
        missing = [pattern for pattern in wanted if not fnmatch.filter(self._cards, pattern)]
        if missing or not wanted:
            names = "; ".join(f"no {self.kind} {pattern!r}{self._suggestion(pattern)}" for pattern in missing)
            raise FerBenchError(names or f"no {self.plural} named")
        return [card for card in self if any(fnmatch.fnmatch(card.name, pattern) for pattern in wanted)]

    def _suggestion(self, name: str) -> str:
        close = difflib.get_close_matches(name, self._cards, n=1, cutoff=0.5)
        return f"; did you mean {close[0]!r}?" if close else f"; `fer_bench list {self.plural}` shows them all"


@dataclass(frozen=True)
class ImageInput:
    """What a network wants to see: side in pixels, channels, and how 0..255 is scaled.

    scaling: "unit" x/255; "symmetric" x/127.5 - 1; "caffe" BGR less the ImageNet channel means
    (VGG16 and ResNet50 of keras.applications); "none" for networks that scale themselves.
    """

    size: int
    channels: Literal[1, 3] = 1
    scaling: Literal["unit", "symmetric", "caffe", "none"] = "unit"


@dataclass(frozen=True)
class Choice:
    """A parameter to tune: one of `values`, the first being the builder's own.

    Raises FerBenchError for values that a record cannot hold: all but strings, numbers, booleans and None.
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if odd := [value for value in self.values if not isinstance(value, int | float | str | None)]:
            raise FerBenchError(f"Choice: {odd[0]!r} is no string, number, boolean or None; name such values instead")
        if not self.values:
            raise FerBenchError("Choice: no values to choose from")

    @property
    def start(self) -> Any:
        """The builder's own value."""
        return self.values[0]


@dataclass(frozen=True)
class Range:
    """A parameter to tune: a number from `low` to `high`, drawn evenly or, with `log`, by its logarithm.

    default: the builder's own value; the middle unless given. Raises FerBenchError where there are no such numbers.
    """

    low: float
    high: float
    log: bool = False
    default: float | None = None

    def __post_init__(self) -> None:
        if self.low > self.high or (self.log and self.low <= 0):
            raise FerBenchError(f"{self}: from low up to high, and above 0 where logarithms are drawn")

    @property
    def start(self) -> float:
        """The builder's own value."""
        if self.default is not None:
            return self.default
        return (self.low * self.high) ** 0.5 if self.log else (self.low + self.high) / 2


Search = Mapping[str, Choice | Range]


@dataclass(frozen=True, kw_only=True)
class ModelCard(Card):
    """A model: features plus a classifier.

    build: `build(task) -> classifier`, see `register_model`.
    features: name of the registered features that the classifier's X holds ("pixels", "pca", "hog", "images", ...).
    losses: the losses it can be trained with; strategies that need another one do not apply.
    sample_weight: False where `fit` takes no weights. trainable: False for a guess that ignores its features.
    stochastic: False where another seed gives the same model, which is then run once.
    steps: gradient steps per budget ("quick", "standard", "full"), for models trained by steps.
    image: what a network of `KerasClassifier` wants to see. pretrained: file of its ImageNet weights in Keras' cache.
    recipe: version of the model and of how it is trained: rows of different ones are of different models.
    n_parameters: what a network has with seven classes. balanced_bootstrap: whether it heeds `task.balanced_bootstrap`.
    search: what `fer_bench tune` may try, by the names under which the builder looks into `task.parameters`;
    "<features>.<name>" is a parameter of its features.

    Raises FerBenchError for a family that there is not, and for steps, image and search of another kind.
    """

    build: Callable[..., Any]
    features: str
    family: Family = "classical"
    losses: tuple[str, ...] = ("cross-entropy",)
    sample_weight: bool = True
    trainable: bool = True
    stochastic: bool = True
    steps: Mapping[str, int] | None = None
    image: ImageInput | None = None
    pretrained: str | None = None
    n_parameters: int | None = None
    balanced_bootstrap: bool = False
    recipe: int = 1
    search: Search = field(default_factory=dict)

    def __post_init__(self) -> None:
        families = get_args(Family)
        spaces = self.search.values() if isinstance(self.search, Mapping) else [self.search]
        for option, fits, wanted in (
            ("family", self.family in families, " or ".join(families)),
            ("steps", isinstance(self.steps, Mapping | None), "a dict of numbers by budget"),
            ("image", isinstance(self.image, ImageInput | None), "an ImageInput"),
            (
                "search",
                all(isinstance(space, Choice | Range) for space in spaces),
                "a dict of Choice and Range by name",
            ),
        ):
            if not fits:
                value = getattr(self, option)
                raise FerBenchError(f"{self.source}: model {self.name!r}: {option} is {value!r}, not {wanted}")

    @property
    def is_network(self) -> bool:
        """Whether it is trained from images by `KerasClassifier`."""
        return self.image is not None


@dataclass(frozen=True, kw_only=True)
class FeaturesCard(Card):
    """A feature extractor: `build(**parameters)`, without `mirror`; see `register_features`."""

    build: Callable[..., Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def views(self) -> int:
        """Rows an image has: two with its mirror image's."""
        return 2 if self.parameters.get(MIRROR) else 1

    def extractor(self) -> Any:
        """What is built, not fitted yet."""
        return self.build(**{name: value for name, value in self.parameters.items() if name != MIRROR})


@dataclass(frozen=True, kw_only=True)
class StrategyCard(Card):
    """A treatment of class imbalance.

    plan: `plan(labels, n_classes, random_state) -> TrainingPlan`, see `register_strategy`.
    loss: the loss it trains with. needs_sample_weight: whether it weighs rows. makes_rows: whether it makes up rows
    of features. balanced_bootstrap: whether it draws each tree's rows evenly from all classes.
    starts_from: what it takes from the finished run of the same model under "none": its "probabilities", or its
    trained "weights". stochastic: whether another seed gives another plan.

    Raises FerBenchError where it would start from anything else.
    """

    plan: Callable[..., Any]
    needs_sample_weight: bool = False
    loss: str = "cross-entropy"
    stochastic: bool = False
    makes_rows: bool = False
    balanced_bootstrap: bool = False
    starts_from: Literal["probabilities", "weights"] | None = None

    def __post_init__(self) -> None:
        if self.starts_from not in (None, "probabilities", "weights"):
            what = f"starts_from is {self.starts_from!r}, not probabilities or weights"
            raise FerBenchError(f"{self.source}: strategy {self.name!r}: {what}")


MODELS: Registry[ModelCard] = Registry("model", "models")
FEATURES: Registry[FeaturesCard] = Registry("features", "features")
STRATEGIES: Registry[StrategyCard] = Registry("strategy", "strategies")


def register_model(name: str, *, features: str, summary: str, **options: Any) -> Decorator:
    """Register the decorated `build(task) -> classifier` under `name`.

    The classifier has scikit-learn's `fit(X, y[, sample_weight])` and `predict_proba` or `decision_function`,
    its columns in the order of `task.class_names`. `task` is a `fer_bench.models.task.Task`.

    features, options: fields of `ModelCard`, where they are described.
    Raises FerBenchError on a malformed or repeated name, and an option or a family that there is not.
    """
    return _registering(MODELS, ModelCard, "build", name, features=features, summary=summary, **options)


def register_features(name: str, *, summary: str, **parameters: Any) -> Decorator:
    """Register the decorated `build(**parameters) -> transformer` under `name`.

    The transformer has `fit(images, labels)`, called with training rows only, and `transform(images) -> array` with
    one row per image. `parameters` are part of the stored features' key. Where there is one called `mirror`, which
    `build` does not get, and it is true, classifiers learn from mirror images too, and answer by the mean over an image
    and its own. Raises FerBenchError on a bad name.
    """
    return _registering(FEATURES, FeaturesCard, "build", name, summary=summary, parameters=parameters)


def register_strategy(name: str, *, summary: str, **options: Any) -> Decorator:
    """Register the decorated `plan(labels, n_classes, random_state) -> TrainingPlan` under `name`.

    `labels` are training labels, int64 (n,), and all that a strategy may see. options: fields of `StrategyCard`.
    Raises FerBenchError on a bad name, and an option that there is not.
    """
    return _registering(STRATEGIES, StrategyCard, "plan", name, summary=summary, **options)


def _registering(registry: Registry, card: type[Any], role: str, name: str, **options: Any) -> Decorator:
    """A decorator that adds a `card` to `registry`, the decorated function being its field `role`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        source = _source(function)
        known = {field.name for field in fields(card)} - {"name", "source", role}
        if unknown := sorted(options.keys() - known):
            raise FerBenchError(
                f"{source}: {registry.kind} {name!r}: no option {', '.join(unknown)}; there are "
                f"{', '.join(sorted(known))}"
            )
        registry.add(card(name=name, source=source, **{role: function}, **options))
        return function

    return decorate


def why_not(model: ModelCard, strategy: StrategyCard) -> str | None:
    """The reason why `strategy` cannot be applied to `model`, or None where it can."""
    if strategy.name == "none":
        return None
    if not model.trainable:
        return "guesses without looking at an image: there is nothing to rebalance"
    if strategy.loss not in model.losses:
        return f"cannot be trained with {strategy.loss} loss, only with {', '.join(model.losses)}"
    if strategy.needs_sample_weight and not model.sample_weight:
        return "its fit takes no sample_weight"
    if strategy.makes_rows and model.features == "images":
        return "learns from images: a mean of two faces is none, so new rows are made of features only"
    if strategy.balanced_bootstrap and not model.balanced_bootstrap:
        return "is no ensemble of trees, each grown on rows of its own"
    if strategy.starts_from == "weights" and not model.is_network:
        return "has no features of its own making, which re-training would keep"
    return None


def plugin_code(model: ModelCard, strategy: StrategyCard) -> str:
    """A digest of the files in which plugins define `model`, its features and `strategy`.

    "" where all is the package's, which has a version. Raises FerBenchError where there are no features of that name.
    """
    functions = (model.build, FEATURES[model.features].build, strategy.plan)
    codes = sorted({code_digest(function) for function in functions if not is_own(function)})
    return digest({"files": codes}) if len(codes) > 1 else "".join(codes)


def _source(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        raise FerBenchError(f"{function!r} is no function: decorate one that returns it")
    return f"{code.co_filename}:{code.co_firstlineno}"


def _place(card: Any) -> str:
    """The file and the name of what a card is of, whatever line it is in now; the line of lambdas, all of one name."""
    function = inspect.unwrap(card.plan if isinstance(card, StrategyCard) else card.build)
    file, _, line = card.source.rpartition(":")
    name = function.__qualname__
    return f"{file}:{line if '<lambda>' in name else name}"


def _is_cell(source: str) -> bool:
    return is_cell(source.rpartition(":")[0])
