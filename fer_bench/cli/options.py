"""The options that `run` and `plan` share: what data, which combinations, how networks are trained."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from fer_bench.errors import FerBenchError
from fer_bench.seeds import MOST_SEED, checked_seeds

if TYPE_CHECKING:
    from fer_bench.data import ReadOptions
    from fer_bench.execution import Prepared, Selection
    from fer_bench.progress import Progress


Results = Annotated[Path, typer.Option(help="Folder of all results.", metavar="DIR")]
ResultsName = Annotated[str, typer.Option("--name", help="The data's folder under the results.")]
Budget = Annotated[
    Literal["quick", "standard", "full"], typer.Option(help="Gradient steps of networks and perceptrons.")
]
Weights = Annotated[str, typer.Option(help="Where networks start: auto, imagenet, none, or a weight file.")]
Plugin = Annotated[list[Path] | None, typer.Option(help="Python file with models of yours.", metavar="FILE")]

reading_option = partial(typer.Option, rich_help_panel="How the data are read, where not as they come")
recipe_option = partial(typer.Option, rich_help_panel="How networks are trained, where not by their own recipe")


@dataclass(frozen=True)
class ReadingOptions:
    """How the data are read."""

    groups: Annotated[
        str | None, reading_option(help="People: a column, a pattern of file names, or a CSV.", metavar="WHAT")
    ] = None
    slices: Annotated[str | None, reading_option(help="Columns to tell scores apart by, e.g. age,gender.")] = None
    classes: Annotated[str | None, reading_option(help="Rename, merge, drop: 'ANGER=angry,1=sad,contempt='.")] = None
    votes: Annotated[Path | None, reading_option(help="FER+ votes (fer2013new.csv), joined by row.", metavar="CSV")] = (
        None
    )
    crop_faces: Annotated[bool, reading_option("--crop-faces", help="Cut the face out of each photograph.")] = False
    copies: Annotated[
        Literal["exact", "near", "none"] | None,
        reading_option(help="What counts as a copy; without, as the data suggest."),
    ] = None
    skip_bad: Annotated[bool, reading_option("--skip-bad", help="Drop bad rows and files, and say so.")] = False

    def need(self, data: str | None, option: str) -> None:
        """Raise FerBenchError where it is said how to read data, and none are named by `option`."""
        given = [field.name for field in fields(ReadingOptions) if getattr(self, field.name) != field.default]
        if given and data is None:
            raise FerBenchError(f"--{given[0].replace('_', '-')} is about reading data: name them by {option}")

    def reading(self) -> ReadOptions:
        """How the data are read."""
        from fer_bench.data import ReadOptions

        given = {name: getattr(self, name) for name in ("votes", "skip_bad", "groups", "classes", "crop_faces")}
        return ReadOptions(**given, slices=self.slices or "", copies=self.copies or "")


@dataclass(frozen=True)
class DataOptions(ReadingOptions):
    """What data, and how they are read."""

    data: Annotated[
        str,
        typer.Option(
            help="synthetic, fer2013, a folder or .zip of images, a list of them, a .csv, .npz or .parquet.",
            metavar="WHAT",
        ),
    ] = "synthetic"
    name: Annotated[str | None, typer.Option(help="Name of the data's folder under the results.")] = None


@dataclass(frozen=True)
class SplitOptions(DataOptions):
    """What data, under which split, with which results."""

    results: Results = Path("results")
    split_seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of a split that is drawn.")] = 0

    def prepare(self, progress: Progress, folds: int | Literal["people"] = 0) -> Prepared:
        """Open the data and make their split, or `folds`. Raises FerBenchError for bad data."""
        from fer_bench.execution import prepare

        return prepare(self.data, self.results, self.name, self.reading(), self.split_seed, folds, progress)


@dataclass(frozen=True)
class PlanOptions(SplitOptions):
    """What `run` and `plan` are about."""

    suite: Annotated[str, typer.Option(help="all, classical, deep, zoo or smoke.")] = "all"
    models: Annotated[str | None, typer.Option(help="Names or patterns, e.g. 'hog-*,cnn', instead of the suite's.")] = (
        None
    )
    strategies: Annotated[str | None, typer.Option(help="Names or patterns, instead of the suite's.")] = None
    seeds: Annotated[str, typer.Option(help="Comma-separated, e.g. 0,1,2.")] = "0"
    folds: Annotated[str, typer.Option(help="Cross-validate on so many folds, or by people.", metavar="K")] = "0"
    budget: Budget = "quick"
    weights: Weights = "auto"
    tuned: Annotated[bool, typer.Option("--tuned", help="Use the values that `tune` found.")] = False
    no_mirror: Annotated[bool, typer.Option("--no-mirror", help="Features of images without their mirrors.")] = False
    plugin: Plugin = None
    rerun: Annotated[
        Literal["missing", "failed", "all"], typer.Option(help="missing; failed: missing and failed; or all.")
    ] = "failed"
    image_size: Annotated[
        int | None, recipe_option(help="Side of the images they see; each has its own.", metavar="PIXELS", min=8)
    ] = None
    augment: Annotated[str | None, recipe_option(help="Names with commas, e.g. mirror,shift,erasing; or none.")] = None
    mixup: Annotated[float | None, recipe_option(help="Alpha of mixup; 0.2 is usual.", min=0)] = None
    label_smoothing: Annotated[float | None, recipe_option(help="0.1 without; not under focal losses.", min=0)] = None
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"], recipe_option(help="Number format of their arithmetic.")
    ] = "auto"
    schedule: Annotated[Literal["cosine", "plateau"], recipe_option(help="Schedule of the learning rate.")] = "cosine"
    patience: Annotated[
        int | None, recipe_option(help="Stop after so many evaluations without a better one.", min=1)
    ] = None
    fine_tune: Annotated[
        Literal["head", "last-block", "all"] | None,
        recipe_option(help="How far from the head pre-trained ones are tuned; last-block without."),
    ] = None

    def reading(self) -> ReadOptions:
        """How the data are read: larger images are kept where networks are to see more of them."""
        options = super().reading()
        return replace(options, side=max(options.side, self.image_size or 0))

    def selection(self) -> Selection:
        """What to combine. Raises FerBenchError for seeds and augmentations that there are not."""
        from fer_bench.execution import Selection

        return Selection(
            self.suite, self.models, self.strategies, parse_seeds(self.seeds), self.budget, self.weights,
            self.recipe(), self.tuned, not self.no_mirror,
        )  # fmt: skip

    def recipe(self) -> dict[str, Any]:
        """What was asked of networks, as `Task.parameters`, augmentations in the order of their list.

        "auto", "cosine" and no mixup leave it to the model. An image size or a depth of fine-tuning is another run even
        where it is the model's own.
        """
        from fer_bench.models import augmentation_names

        asked = {
            "image_size": self.image_size,
            "augmentation": None if self.augment is None else ",".join(augmentation_names(self.augment)) or "none",
            "mixup": self.mixup or None,
            "label_smoothing": self.label_smoothing,
            "precision": None if self.precision == "auto" else self.precision,
            "schedule": None if self.schedule == "cosine" else self.schedule,
            "patience": self.patience,
            "fine_tune": self.fine_tune,
        }
        return {name: value for name, value in asked.items() if value is not None}


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes the fields of its first parameter's class as options, before those it has besides them."""
    types = get_type_hints(command, include_extras=True)
    first, *others = inspect.signature(command).parameters.values()
    options = types[first.name]
    hints = get_type_hints(options, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter(field.name, keyword, default=field.default, annotation=hints[field.name])
        for field in fields(options)
    ]
    own = [parameter.replace(kind=keyword, annotation=types[parameter.name]) for parameter in others]
    names = [parameter.name for parameter in shared]

    @wraps(command)
    def flat(**given: Any) -> None:
        command(options(**{name: given.pop(name) for name in names}), **given)

    flat.__signature__ = inspect.Signature([*shared, *own])  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in [*shared, *own]}
    del flat.__wrapped__  # typer would look behind it
    return flat


def parse_seeds(text: str) -> tuple[int, ...]:
    """Numbers with commas between them, each once. Raises FerBenchError for anything else."""
    try:
        return checked_seeds(int(part) for part in text.split(","))
    except ValueError:
        raise FerBenchError(f"--seeds {text}: whole numbers with commas between them, e.g. 0,1,2") from None


def parse_folds(text: str) -> int | Literal["people"]:
    """A number of folds, or "people". Raises FerBenchError for anything else."""
    if text == "people":
        return "people"
    if not text.isdecimal():
        raise FerBenchError(f"--folds {text}: a number, or people, to leave one person out at a time")
    return int(text)
