from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fer_bench.analysis.comparisons import Draws, TrainingNoise, best_set, difference, pick, row_draws

MEASURES = ("accuracy", "macro_f1")


def of_runs(rng, means, n_draws=2000, spread=0.01):
    """Draws of runs that score `means`, (M,) each, and share half of what images do to them."""
    shared = rng.standard_normal((n_draws, 2))
    draws = {}
    for run, mean in means.items():
        noise = (shared + rng.standard_normal((n_draws, 2))) * spread / np.sqrt(2)
        draws[run] = (np.vstack([np.zeros((1, 2)), noise]) + mean).astype(np.float32)
    return draws


def frame(**rows):
    """Runs of rows, from each row's number of runs, family and stochastic."""
    lines = {f"{row}-{i}": (row, *rest) for row, (n, *rest) in rows.items() for i in range(n)}
    return pd.DataFrame.from_dict(lines, orient="index", columns=["row", "family", "stochastic"])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def made_of(values, names=None):
    """Draws of one measure, float (1 + draws, R)."""
    names = names or tuple(f"r{i}" for i in range(values.shape[1]))
    return Draws(names, ("macro_f1",), values[:, :, None].astype(np.float32), {})


def test_rows_are_means_of_their_runs_and_come_out_sorted(rng):
    runs = frame(b=(2, "classical", False), a=(1, "classical", False))
    draws = of_runs(rng, {run: rng.random(2) for run in runs.index})
    rows = row_draws(draws, runs, MEASURES)
    assert rows.rows == ("a", "b") and rows.measures == MEASURES
    assert (rows.values.dtype, rows.values.shape) == (np.float32, (2001, 2, 2))
    assert rows.values[:, 1] == pytest.approx((draws["b-0"] + draws["b-1"]) / 2, abs=1e-6)
    assert (rows.values[:, 0] == draws["a-0"]).all()
    assert rows.seed_spread_known == {"classical": True}


def test_rows_with_one_run_have_the_spread_of_their_family_and_means_have_less_of_it(rng):
    rows = {f"m{i:02}": (3, "deep", True) for i in range(40)}
    runs = frame(**rows, one=(1, "deep", True), sure=(1, "deep", False), alone=(1, "classical", True))
    seeds = {run: 0.5 + 0.05 * rng.standard_normal(2) for run in runs.index}
    draws = of_runs(rng, seeds, spread=0.001)
    result = row_draws(draws, runs, MEASURES)
    spread = dict(zip(result.rows, result.values[1:, :, 1].std(axis=0), strict=True))
    assert spread["one"] == pytest.approx(0.05, rel=0.25)
    assert spread["m00"] == pytest.approx(0.05 / np.sqrt(3), rel=0.25)
    assert spread["sure"] == pytest.approx(0.001, rel=0.1) and spread["alone"] == pytest.approx(0.001, rel=0.1)
    assert result.seed_spread_known == {"deep": True, "classical": False}


def test_noise_does_not_depend_on_the_other_rows_nor_on_order(rng):
    runs = frame(a=(3, "deep", True), b=(1, "deep", True), c=(1, "deep", True))
    draws = of_runs(rng, {run: rng.random(2) for run in runs.index})
    every = row_draws(draws, runs, MEASURES)
    some = row_draws(draws, runs[runs["row"] != "b"][::-1], MEASURES)
    assert (every.values[:, [0, 2]] == some.values).all()


def pooled(values):
    """The noise of rows, from draws of their runs, (rows, runs, 1 + draws, M)."""
    return TrainingNoise.pooled([list(row) for row in values])


def noise_of(noise):
    return noise.of([SimpleNamespace(row="row")])


def test_the_share_of_images_in_the_spread_between_seeds_is_not_counted_twice(rng):
    """Runs that differ by the images that they get right, and by nothing else, differ as much on redraws."""
    images, seeds = rng.standard_normal((30, 3, 2001, 1)) * 0.01, rng.standard_normal((30, 3, 1, 1)) * 0.01
    by_images, by_seeds = pooled(0.5 + images), pooled(0.5 + images / 100 + seeds)
    assert by_images.df == 60
    assert noise_of(by_images).std() < 0.8 * noise_of(by_seeds).std()
    assert noise_of(by_seeds).std() == pytest.approx(0.01, rel=0.2)


def test_few_degrees_of_freedom_widen_the_noise(rng):
    flat = np.zeros((1, 1, 2001, 1))
    for n_rows, quantile in ((40, 1.99), (2, 2.776), (1, 2.776)):  # of t with 80 and 4 degrees; of fewer as of 4
        noise = pooled(0.5 + 0.01 * rng.standard_normal((n_rows, 3, 1, 1)) + flat)
        reach = np.quantile(np.abs(noise_of(noise)), 0.95)
        assert reach == pytest.approx(quantile * noise.root[0, 0], rel=0.15)


def test_measures_of_a_row_share_its_luck(rng):
    lucky = rng.standard_normal((40, 3, 1, 1)) * np.array([0.01, 0.02])
    noise = noise_of(pooled(0.5 + lucky + np.zeros((1, 1, 2001, 1))))
    assert np.corrcoef(noise.T)[0, 1] > 0.99
    assert noise.std(axis=0)[1] / noise.std(axis=0)[0] == pytest.approx(2, rel=0.1)


def test_rows_far_apart_are_ranked_and_equal_answers_tie(rng):
    draws = 0.002 * rng.standard_normal((2001, 5)) + [0.9, 0.7, 0.7, 0.5, 0.9]
    draws[0] = [0.9, 0.7, 0.7, 0.5, 0.9]
    draws[:, 2], draws[:, 4] = draws[:, 1], draws[:, 0]
    rows = best_set(made_of(draws))
    assert rows["in_best_set"].tolist() == [True, False, False, False, True]
    assert rows["rank_low"].tolist() == [1, 3, 3, 5, 1]
    assert rows["rank_high"].tolist() == [2, 4, 4, 5, 2]
    assert rows.index.name == "row" and rows["in_best_set"].dtype == bool


def test_means_of_equal_answers_tie_in_spite_of_rounding(rng):
    answers = 0.01 * rng.standard_normal((2001, 1)) + 0.7
    rounded = np.nextafter(answers.astype(np.float32), np.float32(1))
    assert best_set(made_of(np.hstack([answers, rounded])))["in_best_set"].all()


def test_constant_answers_are_told_apart_without_any_spread():
    assert best_set(made_of(np.full((501, 2), [0.25, 0.17])))["rank_low"].tolist() == [1, 2]
    assert best_set(made_of(np.full((501, 1), 0.25))).iloc[0].tolist() == [True, 1, 1]


def test_ranks_hold_the_place_of_the_estimate(rng):
    scores = rng.random(40) * 0.05
    draws = scores + 0.01 * rng.standard_normal((1001, 40))
    draws[0] = scores
    rows = best_set(made_of(draws))
    place = 1 + np.argsort(np.argsort(-scores))
    assert (rows["rank_low"] <= place).all() and (place <= rows["rank_high"]).all()
    assert (rows["in_best_set"] == (rows["rank_low"] == 1)).all()


def test_a_difference_is_paired(rng):
    images = 0.02 * rng.standard_normal((2001, 1))
    draws = np.hstack([images, images]) + 0.002 * rng.standard_normal((2001, 2)) + [0.5, 0.52]
    draws[0] = [0.5, 0.52]
    change = difference(made_of(draws), "r0", "r1", "macro_f1")
    reach = 1.96 * 0.002 * np.sqrt(2)
    assert (change.value, change.low, change.high) == pytest.approx((0.02, 0.02 - reach, 0.02 + reach), abs=5e-4)


def test_picks_of_those_within_one_standard_error_the_surest_that_are_fast_and_of_these_the_best(rng):
    scores = np.array([0.600, 0.598, 0.597, 0.596, 0.599, 0.5])
    draws = scores + 0.01 * rng.standard_normal((2001, 6))
    draws[0] = scores
    names = ("best", "seeds, slow", "seeds, fast", "seeds, fastest", "one seed", "bad")
    rows = pd.DataFrame({"n_seeds": [1, 3, 3, 3, 1, 3], "seconds": [60, 1140, 1080, 540, np.nan, 6]}, index=names)
    picked = pick(made_of(draws, names), rows)
    assert (picked.row, picked.best) == ("seeds, fast", "best")
    assert pick(made_of(draws, names), rows.assign(seconds=rows["seconds"] / 60)).row == "seeds, slow"  # by ten seconds
    timeless = rows.assign(seconds=np.nan)
    assert pick(made_of(draws, names), timeless).row == "seeds, slow"
    assert set(picked.within) == set(names) - {"bad"}
    among = rows.loc[["best", "one seed"]]
    assert pick(made_of(draws, names), among).row == "best"
    assert pick(made_of(draws, names), among.assign(seconds=1.0)[::-1]).row == "best"
    assert pick(made_of(draws, names), rows.loc[["bad"]]).within == ("bad",)
