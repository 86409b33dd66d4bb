"""Intervals and verdicts on simulated tables where the truth is known."""

import math

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from fer_bench.judging import inference
from fer_bench.judging.effects import (
    HELPS,
    HURTS,
    NO_EVIDENCE,
    SAME,
    TRADE_OFF,
    StrategyEffect,
    least_gain,
    minority,
    strategy_effects,
)
from fer_bench.judging.resampling import ACCURACY, ALPHA, ECE, MACRO_F1, Resamples, Sample, mean_of, sample_run

SIZES = {"a rare class": (30, 90, 60, 100, 70), "equal classes": (50, 50, 50)}
N_DRAWS = 600


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Thousands of small products are fastest on one core."""
    with threadpool_limits(1, user_api="blas"):
        yield


def labels_of(sizes: tuple[int, ...]) -> np.ndarray:
    return np.repeat(np.arange(len(sizes)), sizes)


class Faces:
    """Images of `sizes` per class whose difficulty all models share in part; a new test set on every call of `draw`."""

    def __init__(self, sizes: tuple[int, ...], seed: int, n_draws: int = N_DRAWS) -> None:
        self.labels, self.rng, self.k = labels_of(sizes), np.random.default_rng(seed), len(sizes)
        self.resamples = Resamples.of(self.labels, self.k, n_draws)

    def draw(self, n_models: int, skill: float | np.ndarray = 1.4, shared: float = 0.8) -> np.ndarray:
        """Probabilities (n_models, n, k) of equally good models on fresh images."""
        return self.probabilities(n_models, self.labels, skill, shared)

    def probabilities(self, n_models: int, labels: np.ndarray, skill: float | np.ndarray, shared: float) -> np.ndarray:
        noise = self.rng.standard_normal((n_models, len(labels), self.k)) * math.sqrt(1 - shared**2)
        logits = noise + shared * self.rng.standard_normal((len(labels), self.k))
        logits[:, np.arange(len(labels)), labels] += skill
        logits[:, :, 0] -= 0.4
        weights = np.exp(1.5 * logits)
        return weights / weights.sum(axis=2, keepdims=True)

    def samples(self, n_models: int, **options: float | np.ndarray) -> list[Sample]:
        return [sample_run(self.resamples, rows) for rows in self.draw(n_models, **options)]

    def truth(self, skill: float = 1.4) -> tuple[float, float]:
        """Accuracy and macro-F1 on 200 times as many images of the same classes."""
        labels = np.tile(self.labels, 200)
        predicted = self.probabilities(1, labels, skill, 0.8)[0].argmax(axis=1)
        confusion = np.bincount(labels * self.k + predicted, minlength=self.k**2).reshape(self.k, self.k)
        f1 = 2 * np.diag(confusion) / (confusion.sum(axis=0) + confusion.sum(axis=1))
        return np.trace(confusion) / len(labels), f1.mean()


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_intervals_cover_the_truth_93_to_97_times_in_100(sizes):
    faces = Faces(sizes, seed=1)
    truth, covered = faces.truth(), []
    for _ in range(250):
        for sample in faces.samples(4, shared=0.0):
            intervals = [sample.interval(column) for column in (ACCURACY, MACRO_F1)]
            covered.append([one.low <= value <= one.high for one, value in zip(intervals, truth, strict=True)])
    shares = np.mean(covered, axis=0)
    assert (shares > 0.93).all() and (shares < 0.97).all(), shares


@pytest.mark.parametrize("n_models", [2, 10])
def test_equal_rows_are_told_apart_at_most_5_times_in_100(n_models):
    faces, found = Faces(SIZES["a rare class"], seed=2), []
    for _ in range(400):
        rows = inference.standings(faces.samples(n_models))
        found.append([any(row.band > 1 for row in rows), any(row.accuracy_p < ALPHA for row in rows)])
    assert_rarely(found)


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_strategies_that_do_nothing_get_no_verdict_95_times_in_100(n_seeds):
    faces, found = Faces(SIZES["a rare class"], seed=3), []
    names = [(f"model {m}", strategy) for m in range(3) for strategy in ("none", "a", "b")]
    for _ in range(360 // n_seeds):
        samples = iter(faces.samples(len(names) * n_seeds))
        table = {name: {seed: next(samples) for seed in range(n_seeds)} for name in names}
        effects = strategy_effects(table, faces.labels)
        assert len(effects) == 6
        cells = [change.p for effect in effects for change in effect.recall if change]
        found.append([any(effect.verdict != NO_EVIDENCE for effect in effects), min(cells) < ALPHA])
    assert_rarely(found)


def test_equal_models_whose_runs_differ_by_training_are_told_apart_at_most_5_times_in_100():
    """Normal quantiles, as if the spread of three runs were known, find differences 6 to 8 times in 100 here."""
    faces, found = Faces(SIZES["a rare class"], seed=5), []
    for _ in range(400):
        runs = faces.samples(6, skill=1.4 + 0.1 * faces.rng.standard_normal((6, 1)))
        rows = mean_of(runs[:3]), mean_of(runs[3:])
        apart = inference.pairwise_scores(rows, MACRO_F1)[1][0, 1], inference.pairwise_accuracy(rows)[0, 1]
        paired = inference.compare_scores(*rows, MACRO_F1), inference.compare_shares(*rows, faces.labels, range(5))
        found.append([p < ALPHA for p in (*apart, *(change.p for change in paired))])
    assert_rarely(found)


def assert_rarely(found: list[list[bool]]) -> None:
    """Each kind of finding came in at most 5 % of the simulations, give or take what chance does to so many."""
    n, shares = len(found), np.mean(found, axis=0)
    assert (shares <= 0.05 + 1.64 * math.sqrt(0.05 * 0.95 / n)).all(), shares


def test_paired_intervals_cover_93_to_97_times_in_100_and_at_least_93_where_counts_are_small():
    faces, covered = Faces(SIZES["a rare class"], seed=4), []
    for _ in range(1000):
        pair = faces.samples(2)
        changes = [inference.compare_scores(*pair, column) for column in (MACRO_F1, ECE)]
        changes += [inference.compare_shares(*pair, faces.labels, classes) for classes in (range(5), [0])]
        covered.append([change.low <= 0 <= change.high for change in changes])
    macro_f1, ece, accuracy, minority_recall = np.mean(covered, axis=0)
    assert 0.93 < macro_f1 < 0.97
    assert 0.93 < accuracy < 0.97
    assert ece > 0.93
    assert minority_recall > 0.93


def test_effects_that_are_there_are_found_and_named():
    faces = Faces((60, 300, 300), seed=6)
    plain = faces.draw(1)[0]
    samples = {}
    rare = faces.labels == 0
    better, traded = plain.copy(), plain.copy()
    better[::3] = 0.05 + 0.85 * np.eye(3)[faces.labels[::3]]
    traded[rare] = 0.05 + 0.85 * np.eye(3)[0]
    traded[~rare & (np.arange(len(rare)) % 3 == 0)] = 0.05 + 0.85 * np.eye(3)[0]
    changed = {"none": plain, "up": better, "swap": traded, "same": plain}
    samples = {("m", name): {0: sample_run(faces.resamples, rows)} for name, rows in changed.items()}
    effects = {effect.strategy: effect for effect in strategy_effects(samples, faces.labels)}
    assert (effects["up"].verdict, effects["up"].worse, effects["up"].against) == (HELPS, (), ())
    assert {"macro_f1", "accuracy"} <= set(effects["up"].better)
    assert effects["swap"].verdict == TRADE_OFF
    assert ("minority_recall" in effects["swap"].better, "accuracy" in effects["swap"].worse) == (True, True)
    assert effects["same"].verdict == SAME
    assert [change.value for change in effects["same"].changes.values()] == [0, 0, 0, 0]
    back = {("m", "none"): samples["m", "up"], ("m", "worse"): samples["m", "none"]}
    assert strategy_effects(back, faces.labels)[0].verdict == HURTS


def test_a_change_of_its_own_on_the_other_side_makes_a_trade_off():
    """20 more of the 60 images of a rare class are found, 36 of the 600 others lost: p is 0.04 before correction."""
    faces = Faces((60, 300, 300), seed=12)
    labels, sure = faces.labels, 0.05 + 0.85 * np.eye(3)
    right = np.arange(660) >= 20
    before = sample_run(faces.resamples, sure[np.where(right, labels, (labels + 1) % 3)])
    right[:20], right[400:436] = True, False
    after = sample_run(faces.resamples, sure[np.where(right, labels, 3 - labels)])
    for pair, rare, way in (((before, after), "better", -1), ((after, before), "worse", 1)):
        table = {("m", name): {0: sample} for name, sample in zip(("none", "s"), pair, strict=True)}
        (effect,) = strategy_effects(table, labels)
        assert "minority_recall" in getattr(effect, rare) and "accuracy" not in (*effect.better, *effect.worse)
        assert (effect.verdict, effect.against) == (TRADE_OFF, ("accuracy",))
        assert effect.changes["accuracy"].value * way > 0


def test_the_least_gain_is_what_holm_finds_beyond_chance_beside_the_others():
    p = np.array([1e-9, 0.3, 1.0, 0.004, 0.6, 1.0])
    changes = {str(i): inference.Change(0, 0, 0, adjusted) for i, adjusted in enumerate(inference.holm(p))}
    gain = least_gain([StrategyEffect("m", "s", 1, changes, ())])
    assert gain == 8
    for images, is_found in ((gain, True), (gain - 1, False)):
        p[-1] = inference.mcnemar(images, images)
        assert (inference.holm(p)[-1] < ALPHA) == is_found


def test_effects_use_the_seeds_that_both_have_and_no_others():
    faces = Faces((40, 60), seed=7, n_draws=50)
    a, b, c = faces.samples(3)
    samples = {("m", "none"): {0: a, 1: b}, ("m", "s"): {1: c, 2: a}, ("alone", "s"): {0: a}}
    (effect,) = strategy_effects(samples, faces.labels)
    assert (effect.label, effect.strategy, effect.n_runs) == ("m", "s", 1)
    assert effect.changes["macro_f1"].value == pytest.approx(c.values[0, MACRO_F1] - b.values[0, MACRO_F1])
    assert strategy_effects({("m", "none"): {0: a}}, faces.labels) == ()


def test_several_seeds_that_disagree_widen_the_interval():
    faces = Faces((40, 60), seed=8, n_draws=200)
    low, high = faces.draw(1, skill=0.5)[0], faces.draw(1, skill=3.0)[0]
    weak, strong = sample_run(faces.resamples, low), sample_run(faces.resamples, high)
    steady = mean_of([weak, weak]), mean_of([strong, strong])
    swinging = mean_of([weak, strong]), mean_of([strong, weak])
    for compare in (
        lambda pair: inference.compare_scores(*pair, MACRO_F1),
        lambda pair: inference.compare_shares(*pair, faces.labels, [0, 1]),
    ):
        assert compare(swinging).high - compare(swinging).low > 3 * (compare(steady).high - compare(steady).low)
        assert compare(steady).p < 0.001 < compare(swinging).p


def test_scores_of_a_sample_are_those_of_the_metrics():
    from sklearn.metrics import f1_score

    from fer_bench import metrics

    faces = Faces((30, 90, 60), seed=9, n_draws=300)
    probabilities = faces.draw(1)[0]
    sample, scores = sample_run(faces.resamples, probabilities), metrics.score(faces.labels, probabilities, "abc")
    recall = [one.recall for one in scores.per_class]
    assert sample.values[0] == pytest.approx([scores.accuracy, scores.macro_f1, scores.ece, *recall], abs=1e-6)
    predicted, weights = probabilities.argmax(axis=1), np.empty(len(faces.labels))
    for rows, times in zip(faces.resamples.rows, faces.resamples.times, strict=True):
        weights[rows] = times[7] * len(rows) / (len(rows) - 1)
    redrawn = f1_score(faces.labels, predicted, average="macro", sample_weight=weights)
    assert sample.values[7, MACRO_F1] == pytest.approx(redrawn, abs=1e-6)
    assert sample.values[7, ACCURACY] == pytest.approx(np.average(predicted == faces.labels, weights=weights), abs=1e-6)
    assert sample.values[1:, MACRO_F1].std() == pytest.approx(np.linalg.norm(sample.influence[:, MACRO_F1]), rel=0.2)


def test_redraws_keep_the_class_counts_and_repeat():
    labels = np.array([2, 0, 0, 1, 2, 2, 0])
    first, again = Resamples.of(labels, 4, 20), Resamples.of(labels, 4, 20)
    assert all((one == other).all() for one, other in zip(first.times, again.times, strict=True))
    sums = first.sums(np.eye(4, dtype=np.float32)[labels])
    assert sums.shape == (4, 21, 4)
    for label, n in enumerate([3, 1, 3, 0]):
        assert sums[label, :, label] == pytest.approx(n)
        assert (first.times[label][0] == 1).all()
    assert len(np.unique(first.times[0], axis=0)) > 2


def test_mcnemar_and_holm_agree_with_known_values():
    from scipy.stats import binomtest

    for won, lost in [(0, 0), (3, 0), (7, 2), (40, 61), (500, 420)]:
        expected = binomtest(won, won + lost).pvalue if won + lost else 1
        assert inference.mcnemar(won - lost, won + lost) == pytest.approx(expected)
    assert inference.holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert inference.holm(np.array([])).tolist() == []


def test_pairs_agree_with_single_comparisons():
    faces = Faces((30, 90, 60), seed=10, n_draws=200)
    samples = faces.samples(3)
    scores, shares = inference.pairwise_scores(samples, MACRO_F1)[1], inference.pairwise_accuracy(samples)
    for i, j in [(0, 1), (2, 0)]:
        assert scores[i, j] == pytest.approx(inference.compare_scores(samples[i], samples[j], MACRO_F1).p, abs=1e-4)
        change = inference.compare_shares(samples[i], samples[j], faces.labels, range(3))
        assert shares[i, j] == pytest.approx(change.p)
    twice = [samples[0], samples[0]]
    assert (inference.pairwise_scores(twice, MACRO_F1)[1] == 1).all()
    (alone,) = inference.standings(samples[:1])
    assert (alone.band, alone.behind.value, alone.accuracy_p) == (1, 0, 1)


def test_rows_far_apart_stand_apart_and_equal_ones_together():
    faces = Faces((30, 90, 60), seed=11, n_draws=200)
    weak, strong = faces.draw(1, skill=0.5)[0], faces.draw(1, skill=3.0)[0]
    rows = inference.standings([sample_run(faces.resamples, one) for one in (weak, strong, weak, strong)])
    assert [row.band for row in rows] == [2, 1, 2, 1]
    assert rows[1].behind.value == rows[3].behind.value == 0
    assert rows[0].behind.low > 0
    assert rows[0].accuracy_behind > 0.2
    assert rows[0].accuracy_p < 0.01


def test_bands_start_anew_with_the_best_that_is_left():
    p = np.ones((5, 5))
    for worse, better in [(2, 0), (3, 0), (4, 0), (4, 2), (1, 0)]:
        p[worse, better] = p[better, worse] = 0.01
    assert inference.bands(np.array([0.5, 0.3, 0.4, 0.35, 0.1]), p) == [1, 2, 2, 2, 3]
    assert inference.bands(np.array([0.2]), np.ones((1, 1))) == [1]


def test_a_row_that_nothing_is_told_from_stays_where_its_score_is():
    p = np.where(np.eye(4), 1.0, 0.01)
    p[3] = p[:, 3] = 1.0  # the lowest, of a large spread
    assert inference.bands(np.array([0.9, 0.7, 0.5, 0.1]), p) == [1, 2, 3, 3]


def test_minority_classes():
    assert minority([491, 55, 528, 879, 594, 416, 626]) == [1]
    assert minority([10, 10, 100, 100]) == [0, 1]
    assert minority([50, 40, 60]) == minority([0, 50, 40]) == []
    assert minority([0, 50, 10]) == [2]
