"""RunSpec: one combination to run, frozen, with a stable id."""

from dataclasses import dataclass
from typing import Any

from fer_bench.cache import digest

LATER_FIELDS = ("fold", "tuned", "parameters")  # left out of the id where empty, so that older ids stand


@dataclass(frozen=True)
class RunSpec:
    """One model under one strategy on one split with one seed.

    budget is "" for models that have none, weights is "" for models that never start from any:
    so the id changes only with what changes the run.
    weights otherwise is "auto", "imagenet", "none" or "sha256:" with the digest of a weight file.
    fold: "2/5" is the second of five folds, "" without folds; split_fingerprint is then that of all five.
    tuned: whether `parameters` come from a search. parameters: (name, value) of what differs from the builder's own
    values, sorted by name; values are strings, numbers or booleans.
    """

    model: str
    strategy: str
    seed: int
    data_fingerprint: str
    split_fingerprint: str
    budget: str = ""
    weights: str = ""
    fold: str = ""
    tuned: bool = False
    parameters: tuple[tuple[str, Any], ...] = ()

    @property
    def run_id(self) -> str:
        """`<model>.<strategy>.s<seed>-<hash>`, with `.f<fold>` where there are folds: readable, unique, a safe name."""
        content = {name: value for name, value in vars(self).items() if value or name not in LATER_FIELDS}
        fold = f".f{self.fold.partition('/')[0]}" if self.fold else ""
        return f"{self.model}.{self.strategy}.s{self.seed}{fold}-{digest(content)[:10]}"
