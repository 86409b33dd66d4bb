"""The schema of a record: everything known about one run, without NaN."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from fer_bench.records.spec import RunSpec
from fer_bench.records.upgrade import upgrade

Status = Literal["success", "failed", "timeout", "out-of-memory", "not-applicable", "cancelled"]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Correlation = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]


class Part(BaseModel):
    """Of a file that is ours alone: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ClassScores(Part):
    """One class: fractions, and support in images."""

    name: str
    precision: Fraction
    recall: Fraction
    f1: Fraction
    support: NonNegativeInt


class Scores(Part):
    """How one subset was predicted. confusion[i][j]: images of class i predicted as class j.

    The fields from `weighted_precision` on are None in records from before they were computed.
    pr_auc: macro average. brier: 0 to 2. ece: expected calibration error.
    """

    n_images: PositiveInt
    accuracy: Fraction
    balanced_accuracy: Fraction
    macro_precision: Fraction
    macro_recall: Fraction
    macro_f1: Fraction
    per_class: list[ClassScores]
    confusion: list[list[NonNegativeInt]]
    weighted_precision: Fraction | None = None
    weighted_recall: Fraction | None = None
    weighted_f1: Fraction | None = None
    mcc: Correlation | None = None
    kappa: Correlation | None = None
    pr_auc: Fraction | None = None
    log_loss: NotNegative | None = None
    brier: NotNegative | None = None
    ece: Fraction | None = None
    top2_accuracy: Fraction | None = None


class VoteScores(Part):
    """How one subset was predicted, by the votes of several taggers per image instead of its label.

    Of images where one of the classes alone got most votes. cross_entropy: nats, to the distribution of the votes.
    sided: the share of predictions other than the label that are that class, None where there are none.
    """

    accuracy: Fraction
    macro_f1: Fraction
    cross_entropy: NotNegative
    sided: Fraction | None


class Timing(Part):
    """Seconds per phase. features: what the stored features cost when they were computed, once, for all runs."""

    load: NotNegative = 0
    features: NotNegative = 0
    fit: NotNegative = 0
    predict: NotNegative = 0
    score: NotNegative = 0


class Environment(Part):
    """Where a run ran."""

    python: str
    platform: str
    processor: str
    n_jobs: int
    versions: dict[str, str]
    git_revision: str | None


class Record(Part):
    """One run. Scores, timing and the like are None where the status is not "success".

    device, precision: what the network was trained on and in. initial_weights: what it started from, in words in
    weights_note.
    members: run ids of an ensemble and their weights. adjusted_from: the run whose probabilities this one adjusted.
    plugin_code: digest of what plugins defined of it. base_predictions: digest of the predictions it started from.
    epochs: passes of a network over the rows it was trained on; None in records from before they were counted.
    cpu_seconds: of all cores together, from the start of the run's process to the end of its last sitting.
    stochastic: whether another seed gives another run; None in records from before it was noted.
    """

    schema_version: Literal[2] = 2
    run_id: str
    status: Status
    spec: RunSpec
    dataset: str
    family: str
    features: str
    class_names: list[str]
    n_train: int
    n_validation: int
    n_test: int
    split_source: str
    data_notes: list[str] = []
    reason: str | None = None
    traceback: str | None = None
    device: Literal["cpu", "gpu"] | None = None
    precision: Literal["float32", "bfloat16"] | None = None
    initial_weights: Literal["random", "imagenet", "file"] | None = None
    weights_note: str = ""
    members: dict[str, Fraction] = {}
    adjusted_from: str | None = None
    plugin_code: str | None = None
    base_predictions: str | None = None
    notes: list[str] = []
    n_rows: int | None = None
    steps: int | None = None
    epochs: NotNegative | None = None
    stochastic: bool | None = None
    n_parameters: int | None = None
    ms_per_image: NotNegative | None = None
    peak_memory_mb: NotNegative | None = None
    cpu_seconds: NotNegative | None = None
    seconds: Timing | None = None
    test: Scores | None = None
    validation: Scores | None = None
    parameters: dict[str, Any] = {}
    environment: Environment | None = None
    started: str
    command: str = ""

    @property
    def base_id(self) -> str:
        """The run under "none" that this one was adjusted or re-trained from, where it was not trained anew."""
        return self.adjusted_from or replace(self.spec, strategy="none").run_id

    @property
    def adjusts_nothing(self) -> bool:
        """Whether its answers are those of the run that it adjusted."""
        return self.adjusted_from is not None and self.parameters.get("tau") == 0

    @property
    def is_labels_only(self) -> bool:
        """Whether it answered with labels, so that what is computed from probabilities says nothing about it."""
        return self.test is not None and self.test.log_loss is None

    @model_validator(mode="before")
    @classmethod
    def _of_the_present_schema(cls, raw: Any) -> Any:
        return upgrade(raw)

    @model_validator(mode="after")
    def _scores_every_class(self) -> "Record":
        for name, scores in (("test", self.test), ("validation", self.validation)):
            if scores and [one.name for one in scores.per_class] != self.class_names:
                raise ValueError(f"{name}.per_class is not of the classes {', '.join(self.class_names)} in order")
        return self


class PublishedLine(Part):
    """A run in published evidence: its record and more. ids: names of the sample ids that its probabilities are of."""

    record: Record
    history: list[dict[str, str | float]]
    log: str
    ids: dict[Literal["validation", "test"], str]


def first_problem(error: ValidationError) -> str:
    """Where the first thing is that does not follow a schema, and what."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
