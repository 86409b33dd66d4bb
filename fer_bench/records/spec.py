"""RunSpec: one combination to run, frozen, with a stable id."""

from dataclasses import asdict, dataclass

from fer_bench.cache import digest


@dataclass(frozen=True)
class RunSpec:
    """One model under one strategy on one split with one seed.

    budget is "" for models that have none, weights is "" for models that never start from any:
    so the id changes only with what changes the run.
    weights otherwise is "auto", "imagenet", "none" or "sha256:" with the digest of a weight file.
    """

    model: str
    strategy: str
    seed: int
    data_fingerprint: str
    split_fingerprint: str
    budget: str = ""
    weights: str = ""

    @property
    def run_id(self) -> str:
        """`<model>.<strategy>.s<seed>-<hash>`: readable, unique, a safe folder name."""
        return f"{self.model}.{self.strategy}.s{self.seed}-{digest(asdict(self))[:10]}"
