"""The columns of a leaderboard: what each is called, how it is computed, how it is shown, what it means.

CSV, JSON, LaTeX, the page and the report show these and no others: a further figure is a further entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

    from fer_bench.analysis.leaderboard import Leaderboard

Kind = Literal["fraction", "percent", "number", "seconds", "count", "flag", "text"]
MISSING = "–"


@dataclass(frozen=True)
class Column:
    """One figure of a row of the leaderboard.

    name: in files. title: as a heading. kind: fractions and percents are stored from 0 to 1; percents are shown times
    100. sentence: what it means, in plain words. higher_is_better: None where neither is. shown: in the report before
    anybody chooses columns. has_interval: `<name>_low` and `<name>_high` are known too; has_spread: `<name>_sd`, the
    standard deviation over seeds. compute: from the frame `rows` of a leaderboard; by default its column `name`.
    """

    name: str
    title: str
    kind: Kind
    sentence: str
    higher_is_better: bool | None = None
    shown: bool = False
    has_interval: bool = False
    has_spread: bool = False
    compute: Callable[[pd.DataFrame], pd.Series | None] | None = None

    def of(self, rows: pd.DataFrame) -> pd.Series:
        """Its values, index `row`; all missing where `rows` does not know it."""
        values = self.compute(rows) if self.compute else rows.get(self.name)
        return (rows.index.to_series().map(lambda _: None) if values is None else values).rename(self.name)

    def text(self, value: Any) -> str:
        """One value as a person reads it; MISSING where it is not known."""
        return show(value, self.kind)

    def cell(self, line: Any, to: str = "–") -> str:
        """Its value in a line of `rows`, or of `values`, with the interval in brackets: "0.697 (0.677–0.714)"."""
        text, ends = self.text(line[self.name]), [line.get(part) for part in self.parts[1:3]]
        if not self.has_interval or any(end is None or end != end for end in ends):
            return text
        return f"{text} ({to.join(map(self.text, ends))})"

    @property
    def parts(self) -> tuple[str, ...]:
        """Its own name and those of its interval and spread, as they are called in `rows` and in files."""
        endings = [*("_low", "_high") * self.has_interval, *("_sd",) * self.has_spread]
        return (self.name, *(self.name + ending for ending in endings))


def show(value: Any, kind: Kind) -> str:
    """A value as a person reads it: percents with one decimal, fractions with three, seconds in their natural unit."""
    if value is None or (isinstance(value, float) and value != value) or value == "":
        return MISSING
    match kind:
        case "fraction":
            return f"{value:.3f}"
        case "percent":
            return f"{100 * value:.1f}"
        case "number":
            return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"
        case "count":
            return f"{value:,.0f}"
        case "seconds":
            return duration(value)
        case "flag":
            return "yes" if value else "no"
        case _:
            return str(value)


def duration(seconds: float) -> str:
    """About how long: "0.03 s", "4.2 s", "62 s", "25 min", "3.4 h"."""
    if seconds < 0.095:
        return f"{seconds:.1g} s"
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"


def _clean_rank(rows: pd.DataFrame) -> pd.Series | None:
    known = rows.get("clean_macro_f1")
    return None if known is None else known.round(4).rank(ascending=False, method="min")


COLUMNS: tuple[Column, ...] = (
    Column(
        "rank", "rank", "count",
        "Place by macro-F1; a range holds the places among all rows that it may have, each end at 95 % confidence.",
        False, True, has_interval=True,
    ),
    Column("model", "model", "text", "In brackets: its training budget and what else differs from its own recipe.",
           shown=True),
    Column("strategy", "strategy", "text",
           "What was done about rare classes while training; `none` changes nothing.", shown=True),
    Column("family", "family", "text",
           "Baseline, classical (features and a classifier), deep (a network), ensemble (a mean of several rows) or "
           "external (predictions from elsewhere)."),
    Column("macro_f1", "macro-F1", "fraction",
           "The plain average of the F1 of each class, so that a rare class counts as much as a common one.",
           True, True, True, True),
    Column("accuracy", "accuracy %", "percent", "The share of test images that were recognised.",
           True, True, True, True),
    Column("in_best_set", "may be best", "flag",
           "Whether the test images cannot tell this row from the best one by macro-F1, at 95 % confidence.", True),
    Column("macro_precision", "precision", "fraction",
           "Of the answers that name a class, the share that is right; averaged over the classes alike.",
           True, True, has_spread=True),
    Column("macro_recall", "recall", "fraction",
           "Of the images of a class, the share that is found; averaged over the classes alike.",
           True, True, has_spread=True),
    Column("clean_macro_f1", "clean macro-F1", "fraction",
           "Macro-F1 on the test images that have no copy among the training images.", True, True, True, True),
    Column("clean_accuracy", "clean accuracy %", "percent",
           "Accuracy on the test images that have no copy among the training images.", True, False, True, True),
    Column("clean_rank", "clean rank", "count",
           "The same as rank, on the test images without a copy among the training images.",
           False, has_interval=True, compute=_clean_rank),
    Column("clean_in_best_set", "may be best, clean", "flag",
           "The same as may be best, on the test images without a copy among the training images.", True),
    Column("n_seeds", "seeds", "count",
           "How many trainings, each from another random start, stand behind the row; its scores are their means.",
           True, True),
    Column("seconds", "training", "seconds",
           "Time to train once, computing the features included; for an ensemble, that of all its members.",
           False, True),
    Column("n_parameters", "parameters", "count",
           "Numbers that are kept to predict with; stored training images of an SVM count too.", False, True),
    Column("ms_per_image", "ms per image", "number",
           "Milliseconds from an image to its answer, computing its features included.", False),
    Column("on_gpu", "on GPU", "flag", "Whether all its trainings ran on a graphics processor."),
    Column("validation_macro_f1", "validation macro-F1", "fraction",
           "Macro-F1 on the validation images without a copy in train, by which rows are picked.", True),
    Column("fitted", "fitted to validation", "flag",
           "Whether something of it was fitted to the validation images, so that these cannot pick it."),
    Column("speaks", "beats a constant", "flag",
           "Whether it is right more often than the answer that always names the most frequent class.", True),
    Column("balanced_accuracy", "balanced accuracy %", "percent",
           "Recall averaged over the classes that have test images.", True, has_spread=True),
    Column("weighted_precision", "weighted precision", "fraction",
           "Precision averaged over the classes by how many images they have.", True, has_spread=True),
    Column("weighted_recall", "weighted recall", "fraction",
           "Recall averaged over the classes by how many images they have; the same as accuracy.",
           True, has_spread=True),
    Column("weighted_f1", "weighted F1", "fraction",
           "F1 averaged over the classes by how many images they have.", True, has_spread=True),
    Column("mcc", "MCC", "fraction", "Matthews' coefficient: agreement beyond chance, from -1 to 1.",
           True, has_spread=True),
    Column("kappa", "kappa", "fraction", "Cohen's coefficient: agreement beyond chance, from -1 to 1.",
           True, has_spread=True),
    Column("pr_auc", "PR-AUC", "fraction",
           "Average precision over all thresholds of each class against the rest, averaged over the classes.",
           True, has_spread=True),
    Column("top2_accuracy", "top-2 accuracy %", "percent",
           "How often the label is among the two most probable classes.", True, has_spread=True),
    Column("log_loss", "log loss", "number",
           "How little probability the label had: the mean of its negative logarithm.", False, has_spread=True),
    Column("brier", "Brier score", "fraction",
           "Squared distance between the probabilities and the label, summed over the classes: 0 to 2.",
           False, has_spread=True),
    Column("ece", "calibration error", "fraction",
           "The mean gap between how sure the model is and how often it is right, in 15 bins.", False, has_spread=True),
    Column("ece_scaled", "calibration error, scaled", "fraction",
           "The same once its probabilities are rescaled by one number fitted to the validation images, which changes "
           "no answer.", False),
    Column("temperature", "temperature", "number",
           "The number that they are rescaled by: above 1, the model was too sure."),
    Column("votes_accuracy", "votes accuracy %", "percent",
           "Accuracy against the class that got most votes of the image's taggers, where one did.", True),
    Column("votes_macro_f1", "votes macro-F1", "fraction",
           "Macro-F1 against the class that got most votes of the image's taggers.", True),
    Column("votes_cross_entropy", "votes cross-entropy", "number",
           "How far its probabilities are from the taggers' votes, in nats.", False),
    Column("votes_sided", "taggers side with it %", "percent",
           "Of its mistakes by the dataset's labels, the share that are the class with most votes."),
    Column("peak_memory_mb", "memory, MB", "count", "The most memory that a training held.", False),
    Column("feature_seconds", "features", "seconds",
           "Time to compute the features, which rows with the same features share.", False),
    Column("fit_seconds", "fitting", "seconds", "Time to train on features that are there.", False),
    Column("initial_weights", "started from", "text",
           "What a network really started from: random numbers, weights learned on ImageNet, or a file."),
    Column("tuned", "tuned", "flag", "Whether a search on the validation images found its settings."),
    Column("parameters", "settings", "text", "What differs from the model's own recipe."),
    Column("runs", "runs", "text", "Names of the folders of its trainings under `runs/`.",
           compute=lambda rows: rows["runs"].map(" ".join)),
)  # fmt: skip
"""In the order in which they are shown."""


def recall_columns(class_names: Sequence[str]) -> tuple[Column, ...]:
    """A column per class, `recall_<class>`, and after them one per class on test-clean, `clean_recall_<class>`."""
    share = "The share of the test images of this class that were found"
    return tuple(
        Column(f"{prefix}recall_{name}", f"{words}recall of {name}", "fraction", f"{share}{where}.", True)
        for prefix, words, where in (("", "", ""), ("clean_", "clean ", ", of those without a copy in train"))
        for name in class_names
    )


def columns(board: Leaderboard) -> tuple[Column, ...]:
    """COLUMNS and those of its classes, without those of which nothing is known."""
    frame = _rows_with_recall(board)
    known = (*COLUMNS, *recall_columns(board.data.class_names))
    return tuple(
        one for one in known if one.name in ("model", "strategy") or one.of(frame).replace("", None).notna().any()
    )


def values(board: Leaderboard) -> pd.DataFrame:
    """A line per row, best first, index `row`; a column per part of `columns(board)`: values, intervals, spreads."""
    import pandas as pd

    frame = _rows_with_recall(board)
    series = [
        one.of(frame) if part == one.name else frame[part]
        for one in columns(board)
        for part in one.parts
        if part == one.name or part in frame
    ]
    return pd.concat(series, axis=1)


def _rows_with_recall(board: Leaderboard) -> pd.DataFrame:
    """`board.rows`, and the recall of each class beside it."""
    found = board.rows
    for subset, prefix in (("test", ""), ("clean", "clean_")):
        if subset in board.recall.index.get_level_values("subset"):
            own = board.recall.xs(subset, level="subset").add_prefix(f"{prefix}recall_")
            found = found.join(own)
    return found
