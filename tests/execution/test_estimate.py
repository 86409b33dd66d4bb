"""How long is left: the best evidence counts, and what was never measured is said to be unknown."""

import pytest

from fer_bench.execution.estimate import Estimate, spell
from fer_bench.execution.plan import Selection, make_plan
from fer_bench.models import MODELS


@pytest.fixture
def plan(facts):
    def make(models, strategies="none", budget="quick"):
        return make_plan(facts(), Selection("all", models, strategies, budget=budget))

    return make


def record(model, strategy="none", budget="", steps=None, fit=10.0, status="success"):
    seconds = {"load": 1.0, "features": 500.0, "fit": fit, "predict": 1.0, "score": 0.0}
    spec = {"model": model, "strategy": strategy, "budget": budget}
    spec |= {"recipe": MODELS[model].recipe} if model in {card.name for card in MODELS} else {}
    return {"status": status, "spec": spec, "steps": steps, "seconds": seconds if status == "success" else None}


def test_runs_on_record_count_without_what_is_shared(plan):
    estimate = Estimate([record("hog-svm"), record("hog-svm", fit=20.0), record("hog-svm", status="failed")], 3000)
    assert estimate.measured(plan("hog-svm")[0]) == pytest.approx(17)


def test_gradient_steps_carry_over_to_another_budget(plan):
    (planned,) = plan("cnn", budget="standard")
    quick = planned.card.steps["quick"]
    estimate = Estimate([record("cnn", budget="quick", steps=quick, fit=0.1 * quick)], 3000)
    assert estimate.measured(planned) == pytest.approx(0.1 * planned.card.steps["standard"])
    fewer = [record("cnn", budget="quick", steps=65, fit=0.1 * quick)]  # as patience, or a head alone, makes
    assert Estimate(fewer, 3000).measured(planned) == estimate.measured(planned)
    fewer[0]["spec"]["recipe"] -= 1
    assert Estimate(fewer, 3000).measured(planned) is None
    assert Estimate([record("somebody's", budget="quick", steps=65)], 3000).measured(planned) is None


def test_what_was_never_measured_is_unknown_and_guessed_only_for_the_time_left(plan):
    estimate = Estimate([], 3000)
    (planned,) = plan("cnn")
    assert estimate.measured(planned) is None and estimate.seconds(planned) > 0
    estimate.learn(planned, 40.0)
    assert estimate.measured(planned) == 40.0


def test_a_damaged_record_tells_nothing(plan):
    (planned,) = plan("cnn")
    damaged = record("cnn", budget="quick") | {"seconds": {"predict": 1.0}}
    assert Estimate([damaged], 3000).measured(planned) == 1.0
    (standard,) = plan("cnn", budget="standard")
    assert Estimate([damaged], 3000).measured(standard) is None


def test_runs_derived_from_others_cost_little_and_teach_nothing(plan):
    base, derived = plan("hog-svm", "none,post-hoc-adjustment")
    estimate = Estimate([record("hog-svm"), record("hog-svm", "post-hoc-adjustment", fit=1000.0)], 3000)
    assert estimate.measured(base) == 12
    assert 0 < estimate.measured(derived) < 3


def test_what_does_not_apply_takes_no_time(plan):
    planned = next(p for p in plan("majority", "class-weights") if p.reason)
    assert Estimate([], 3000).seconds(planned) == 0


@pytest.mark.parametrize(("seconds", "told"), [(4.4, "4 s"), (130, "2 min"), (7500, "2 h 05 min")])
def test_times_are_for_people(seconds, told):
    assert spell(seconds) == told
