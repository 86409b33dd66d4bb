"""Intervals, sets and verdicts on simulated tables where the truth is known: are they right as often as they say?"""

import math

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from fer_bench.analysis.bootstrap import Resamples, bca_interval, influence, score_draws
from fer_bench.analysis.comparisons import best_set, difference, row_draws
from fer_bench.analysis.effects import DECIDING, NO_EVIDENCE, Changes, strategy_effects

SHARES = np.array([491, 55, 528, 879, 594, 416, 626]) / 3589
"""Of the classes in FER2013."""
MEASURES = ("accuracy", "macro_f1", *"abcdefg")
SKILL = 1.4
GAPS = {"none": 0.0, "small": 0.04, "medium": 0.15, "large": 0.5}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Thousands of small products are fastest on one core."""
    with threadpool_limits(1, user_api="blas"):
        yield


class Faces:
    """Images of seven unequal classes and the answers of models to them; other images on every call of `answers`.

    How hard an image is is in part shared by all models, in part by the runs of a model, in part a run's own.
    """

    def __init__(self, n_images: int, seed: int, n_draws: int = 500) -> None:
        sizes = np.maximum(3, np.round(SHARES * n_images)).astype(int)
        self.labels, self.rng = np.repeat(np.arange(7), sizes), np.random.default_rng(seed)
        self.resamples = Resamples.of(self.labels, 7, n_draws)

    def answers(self, skill: list[float], n_seeds: list[int], spread: float = 0.0, times: int = 1) -> np.ndarray:
        """Predicted classes, int (runs, n), of models of some skill; spread: by how much seeds change it."""
        labels = np.tile(self.labels, times)
        right = np.eye(7, dtype=np.float32)[labels]
        shared, answers = self._normal(labels, 0.7), []
        for own_skill, n in zip(skill, n_seeds, strict=True):
            model = shared + self._normal(labels, 0.5) + own_skill * right
            for _ in range(n):
                luck = self.rng.normal(0, spread, 7).astype(np.float32) + right * self.rng.normal(0, spread)
                answers.append((model + self._normal(labels, 0.5) + luck).argmax(axis=1))
        return np.array(answers)

    def _normal(self, labels: np.ndarray, scale: float) -> np.ndarray:
        return scale * self.rng.standard_normal((len(labels), 7), dtype=np.float32)

    def runs(self, rows: list[str], n_seeds: list[int], answers: np.ndarray) -> tuple[dict, pd.DataFrame]:
        """The draws of runs, and the runs."""
        name, seed = np.repeat(rows, n_seeds), np.concatenate([np.arange(n) for n in n_seeds])
        index = [f"{row}-{number}" for row, number in zip(name, seed, strict=True)]
        runs = pd.DataFrame({"row": name, "seed": seed, "family": "deep", "stochastic": True}, index=index)
        runs["adjusted_from"] = None
        return dict(zip(index, score_draws(self.resamples, answers), strict=True)), runs

    def draws(self, skill: list[float], n_seeds: list[int], spread: float = 0.0):
        rows = [f"row {i:02}" for i in range(len(skill))]
        run_draws, runs = self.runs(rows, n_seeds, self.answers(skill, n_seeds, spread))
        return row_draws(run_draws, runs, MEASURES)

    def truth(self, skill: float) -> np.ndarray:
        """Accuracy and macro-F1 on very many images."""
        (predicted,) = self.answers([skill], [1], times=600_000 // len(self.labels))
        labels = np.tile(self.labels, 600_000 // len(self.labels))
        confusion = np.bincount(labels * 7 + predicted, minlength=49).reshape(7, 7)
        f1 = 2 * np.diag(confusion) / (confusion.sum(axis=0) + confusion.sum(axis=1))
        return np.array([np.trace(confusion) / len(labels), f1.mean()])


SEEDS = {"one seed": (1, 1), "three seeds": (3, 3), "one and three": (1, 3), "three and one": (3, 1)}
"""Of the best row and every second, and of the others."""


def covers(n_images: int, n_rows: int, seeds: str, gap: float, n: int, spread: float = 0.02) -> tuple[float, float]:
    """How often the best row, or each of equal ones, is in the set; and how often rank_high of the last is right."""
    faces, skill = Faces(n_images, seed=n_rows), [SKILL] + [SKILL - gap] * (n_rows - 1)
    n_seeds, found = [SEEDS[seeds][row % 2] for row in range(n_rows)], []
    for _ in range(n):
        draws = faces.draws(skill, n_seeds, 0.0 if seeds == "one seed" else spread)
        rows = best_set(draws)
        assert_nothing_contradicts(draws, rows)
        best, last = (rows, rows) if gap == 0 else (rows.iloc[:1], rows.iloc[1:])
        found.append([best["in_best_set"].mean(), (last["rank_high"] == n_rows).mean()])
    in_set, high = np.mean(found, axis=0)
    return in_set, high


def assert_nothing_contradicts(draws, rows):
    """Set, ranks and places agree, and a row that the best one puts out is behind it by the interval too."""
    scores = draws.of("macro_f1")[0]
    place = 1 + (scores[:, None] < scores).sum(axis=1)
    assert (rows["in_best_set"] == (rows["rank_low"] == 1)).all()
    assert (rows["rank_low"] <= place).all() and (place <= rows["rank_high"]).all()
    if len(rows) == rows["in_best_set"].sum() + 1:
        (out,) = rows.index[~rows["in_best_set"]]
        assert max(difference(draws, out, other, "macro_f1").low for other in rows.index.drop(out)) > 0


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("seeds", SEEDS)
def test_the_best_row_is_in_the_set_of_the_best(seeds, gap):
    in_set, high = covers(200, 4, seeds, GAPS[gap], 75)
    assert in_set >= 0.93 and high >= 0.93


@pytest.mark.long
@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("n_rows", [4, 30])
@pytest.mark.parametrize("n_images", [200, 3589])
def test_the_best_row_is_in_the_set_of_the_best_in_many_tables(n_images, n_rows, seeds, gap):
    in_set, high = covers(n_images, n_rows, seeds, GAPS[gap], 500)
    assert in_set >= 0.93 and high >= 0.93


def test_seeds_that_matter_do_not_put_the_best_row_out():
    """One row has three lucky or unlucky seeds, the others one; what seeds do is larger than what images do."""
    for seeds in ("three and one", "one and three"):
        in_set, _ = covers(200, 4, seeds, 0.0, 100, spread=0.15)
        assert in_set >= 0.93


def test_more_seeds_make_a_row_easier_to_tell_apart():
    shares = []
    for n_seeds in (1, 2, 4, 8):
        faces, rows = Faces(800, seed=6), []
        for _ in range(60):
            rows.append(best_set(faces.draws([1.5, 1.4, 1.4, 1.25], [3, 3, 3, n_seeds], 0.05)).iloc[-1])
        shares.append(1 - np.mean([row["in_best_set"] for row in rows]))
    assert (np.diff(shares) > -0.05).all() and shares[-1] > shares[0] + 0.1, shares


@pytest.mark.parametrize("n_images", [200, 1000])
def test_intervals_cover(n_images):
    """BCa of one run, and paired differences between runs, on equal and on different skill."""
    faces, covered = Faces(n_images, seed=17), []
    truth = faces.truth(SKILL)
    gap = faces.truth(1.2) - truth
    for _ in range(500):
        answers = faces.answers([SKILL, 1.2], [1, 1])
        run_draws, runs = faces.runs(["a", "b"], [1, 1], answers)
        runs["stochastic"] = False
        draws, effects = row_draws(run_draws, runs, MEASURES), influence(faces.labels, 7, answers[0])
        values = run_draws["a-0"]
        own = [bca_interval(values[0, i], values[1:, i], effects[:, i]) for i in range(2)]
        between = [difference(draws, "a", "b", measure) for measure in MEASURES[:2]]
        covered.append(
            [low <= value <= high for (low, high), value in zip(own, truth, strict=True)]
            + [one.low <= value <= one.high for one, value in zip(between, gap, strict=True)]
        )
    shares = np.mean(covered, axis=0)
    assert (shares > 0.925).all(), shares


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("n_images", [200, 800])
def test_strategies_that_do_nothing_get_no_verdict(n_images, seeds):
    found = verdicts(n_images, seeds, 60)
    assert found.mean() <= 0.05 + 1.64 * math.sqrt(0.05 * 0.95 / len(found))


@pytest.mark.long
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("n_images", [200, 3589])
def test_strategies_that_do_nothing_get_no_verdict_in_many_tables(n_images, seeds):
    assert verdicts(n_images, seeds, 1000).mean() <= 0.06


def verdicts(n_images: int, seeds: int, n: int) -> np.ndarray:
    """Whether any strategy of three models, none of which does anything, gets a verdict: bool (n,)."""
    faces = Faces(n_images, seed=8)
    rows = [f"{model} / {strategy}" for model in "xyz" for strategy in ("none", "s", "t")]
    support, found = np.bincount(faces.labels), []
    for _ in range(n):
        answers = faces.answers([SKILL] * 9, [seeds] * 9, 0.02 * (seeds > 1))
        run_draws, runs = faces.runs(rows, [seeds] * 9, answers)
        runs[["model", "strategy"]] = [row.split(" / ") for row in runs["row"]]
        effects = strategy_effects(Changes.of(run_draws, runs, MEASURES, support))
        found.append((effects["verdict"] != NO_EVIDENCE).any())
        no_zero = [(effects[f"{m}_low"] > 0) | (effects[f"{m}_high"] < 0) for m in DECIDING]
        assert (np.any(no_zero, axis=0) == (effects["verdict"] != NO_EVIDENCE)).all()
    return np.array(found)


def covers_people(n_people: int, each: int, n: int, whole: bool = True) -> np.ndarray:
    """How often intervals of accuracy and macro-F1, and of the difference of two models, are right: float (4,).

    Right is what is true of all people like these. Each has `each` images of every class; some are easier to read.
    """
    labels, people = np.tile(np.arange(7), n_people * each), np.repeat(np.arange(n_people), 7 * each)
    resamples = Resamples.of(labels, 7, 500, people if whole else None)
    rng, right = np.random.default_rng(5), np.eye(7, dtype=np.float32)

    def answers(labels: np.ndarray, people: np.ndarray, m: int) -> np.ndarray:
        face = rng.normal(0, 1, (m, 7, 7))[people, labels] + rng.normal(0, 0.8, (m, 1))[people] * right[labels]
        noise = face + rng.normal(0, 0.7, (len(labels), 7))
        models = [noise + rng.normal(0, 0.5, (m, 7, 7))[people, labels] for _ in range(2)]
        return np.stack(
            [(one + skill * right[labels]).argmax(axis=1) for one, skill in zip(models, (1.6, 1.4), strict=True)]
        )

    many = np.repeat(np.arange(4000), 7), np.tile(np.arange(7), 4000)
    found = answers(many[1], many[0], 4000)
    truth = score_draws(Resamples.of(many[1], 7, 1), found)[:, 0, :2]
    covered = []
    for _ in range(n):
        predicted = answers(labels, people, n_people)
        values = score_draws(resamples, predicted)
        effects = influence(labels, 7, predicted[0], people if whole else None)
        own = [bca_interval(values[0, 0, i], values[0, 1:, i], effects[:, i]) for i in range(2)]
        draws = row_draws(*two_runs(values), MEASURES)
        between = [difference(draws, "a", "b", measure) for measure in MEASURES[:2]]
        covered.append(
            [low <= value <= high for (low, high), value in zip(own, truth[0], strict=True)]
            + [one.low <= value <= one.high for one, value in zip(between, truth[1] - truth[0], strict=True)]
        )
    return np.mean(covered, axis=0)


def two_runs(values: np.ndarray) -> tuple[dict, pd.DataFrame]:
    runs = pd.DataFrame(
        {"row": ["a", "b"], "seed": 0, "family": "classical", "stochastic": False}, index=["a-0", "b-0"]
    )
    return dict(zip(runs.index, values, strict=True)), runs


@pytest.mark.parametrize("n_people", [3, 5, 10, 30])
def test_intervals_of_whole_people_cover(n_people):
    assert (covers_people(n_people, 3, 200) > 0.9).all()


def test_intervals_of_images_of_few_people_would_not_cover():
    assert covers_people(10, 6, 100, whole=False)[:2].max() < 0.85
