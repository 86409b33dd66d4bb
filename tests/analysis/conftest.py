"""A suite of models and strategies with stored probabilities, judged once."""

import pytest
from stored import StoredRuns

from fer_bench.analysis import Leaderboard, load_leaderboard
from fer_bench.records import Environment, Timing

STRATEGIES = ("none", "class-weights", "focal-loss", "over-sampling")
SKILLS = {"majority": 0.0, "pca-svm": 1.0, "hog-svm": 1.6, "cnn": 1.8, "vgg16": 0.9}
DEEP = ("cnn", "vgg16")
ENVIRONMENT = Environment(
    python="3.11.9", platform="Linux x86_64", processor="Example CPU", n_jobs=2,
    versions={"numpy": "2.4.0", "scikit-learn": "1.9.0"}, git_revision="abc1234",
)  # fmt: skip


def add_cell(runs: StoredRuns, model: str, strategy: str, seed: int, skill: float) -> None:
    """One run of the suite: some fail, and some strategies do not apply."""
    about = {"strategy": strategy, "seed": seed, "family": "deep" if model in DEEP else "classical"}
    about |= {"environment": ENVIRONMENT, "data_notes": ["2 bad rows dropped"]}
    if model == "majority":
        about["family"] = "baseline"
    if model in DEEP:
        about["asked"] = {"budget": "quick", "weights": "auto" if model == "vgg16" else ""}
    if model == "majority" and strategy != "none":
        runs.add(model, status="not-applicable", reason="majority guesses", **about)
    elif strategy == "focal-loss" and model not in DEEP:
        runs.add(model, status="not-applicable", reason=f"{model} knows cross-entropy", **about)
    elif (model, strategy, seed) == ("cnn", "focal-loss", 1):
        runs.add(model, status="timeout", reason="stopped after 600 s", **about)
    elif (model, strategy) == ("vgg16", "over-sampling"):
        runs.add(model, status="out-of-memory", reason="killed at 4.0 GiB", **about)
    else:
        number = sum(map(ord, model + strategy)) + 1000 * seed
        weights = "random" if model in DEEP else None
        runs.add(
            model, runs.predictions(skill, seed=number), initial_weights=weights, ms_per_image=0.4,
            seconds=Timing(fit=1000 * skill if model in DEEP else 10 * skill, features=5), stochastic=model in DEEP,
            device="cpu" if model in DEEP else None, **about,
        )  # fmt: skip


@pytest.fixture(scope="session")
def suite(tmp_path_factory) -> StoredRuns:
    """Five models under four strategies, the CNN with two seeds; failures, and strategies that do not apply."""
    runs = StoredRuns(tmp_path_factory.mktemp("suite") / "faces")
    for model, skill in SKILLS.items():
        for number, strategy in enumerate(STRATEGIES):
            for seed in range(2 if model == "cnn" else 1):
                add_cell(runs, model, strategy, seed, skill + 0.1 * number)
    return runs


@pytest.fixture(scope="session")
def board(suite) -> Leaderboard:
    """That of `suite`."""
    return load_leaderboard(suite.folder)
