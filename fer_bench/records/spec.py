"""RunSpec: one combination to run, frozen, with a stable id."""

from dataclasses import dataclass
from typing import ClassVar

from fer_bench.cache import digest

LATER_FIELDS = {"fold": "", "tuned": False, "parameters": (), "recipe": 1}
"""Left out of the id where they have this value, so that older ids stand."""


@dataclass(frozen=True)
class RunSpec:
    """One model under one strategy on one split with one seed.

    budget is "" for models that have none, weights is "" for models that never start from any:
    so the id changes only with what changes the run.
    weights otherwise is "auto", "imagenet", "none" or "sha256:" with the digest of a weight file.
    fold, n_folds: 2 and 5 are the second of five folds, 0 and 0 no folds; split_fingerprint is then that of all five.
    tuned: whether `parameters` come from a search. parameters: (name, value) of what differs from the builder's own
    values, sorted by name. recipe: the version of the model's own way of training, see `ModelCard`.
    Raises ValueError for a fold that there is not.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    model: str
    strategy: str
    seed: int
    data_fingerprint: str
    split_fingerprint: str
    budget: str = ""
    weights: str = ""
    fold: int = 0
    n_folds: int = 0
    tuned: bool = False
    parameters: tuple[tuple[str, bool | int | float | str | None], ...] = ()
    recipe: int = 1

    def __post_init__(self) -> None:
        if not (0 < self.fold <= self.n_folds < 1000 or self.fold == self.n_folds == 0):
            raise ValueError(f"there is no fold {self.fold} of {self.n_folds}")

    @property
    def fold_name(self) -> str:
        """`2/5` for the second of five folds, empty without folds."""
        return f"{self.fold}/{self.n_folds}" if self.n_folds else ""

    @property
    def run_id(self) -> str:
        """`<model>.<strategy>.s<seed>-<hash>`, with `.f<fold>` where there are folds: readable, unique, a safe name."""
        fields = {**vars(self), "fold": self.fold_name}
        del fields["n_folds"]
        content = {
            name: value for name, value in fields.items() if name not in LATER_FIELDS or value != LATER_FIELDS[name]
        }
        fold = f".f{self.fold}" if self.fold else ""
        return f"{self.model}.{self.strategy}.s{self.seed}{fold}-{digest(content)[:10]}"
