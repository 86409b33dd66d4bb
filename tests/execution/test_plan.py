"""Plans: what is expanded, collapsed, due, and why something is not."""

import json
from dataclasses import replace

import pytest

from fer_bench.errors import FerBenchError
from fer_bench.execution import plan as planning
from fer_bench.execution.plan import OUTDATED, SUITES, Job, Selection, make_plan
from fer_bench.models.deep import pretrained
from fer_bench.models.registry import MODELS, STRATEGIES, plugin_code
from fer_bench.records.spec import RunSpec
from fer_bench.records.store import ResultsFolder


@pytest.fixture
def plan(facts, monkeypatch):
    def make(models="*", strategies="*", n_folds=0, tuned=None, **options):
        monkeypatch.setattr(planning, "load_all_tuned", lambda *_: tuned)
        return make_plan(facts(n_folds), Selection("all", models, strategies, tuned=bool(tuned), **options))

    return make


@pytest.fixture
def on_disk(tmp_path):
    """Put a record of a planned run on disk."""

    def write(planned, status, **fields):
        path = ResultsFolder(tmp_path).record_path(planned.spec.run_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"status": status, **fields}))

    return write


def test_every_model_meets_every_strategy(plan):
    planned = plan()
    assert {(p.spec.model, p.spec.strategy) for p in planned} == {(m.name, s.name) for m in MODELS for s in STRATEGIES}
    assert len({p.spec.run_id for p in planned}) == len(planned)
    assert all(p.is_due("failed") for p in planned)


def test_what_no_seed_changes_is_planned_once(plan):
    seeds = [
        (p.spec.model, p.spec.strategy, p.spec.seed)
        for p in plan("hog-svm,hog-forest", "none,over-sampling", seeds=(0, 1))
    ]
    assert ("hog-svm", "none", 1) not in seeds
    assert ("hog-svm", "over-sampling", 1) in seeds and ("hog-forest", "none", 1) in seeds


def test_what_no_seed_changes_is_the_same_run_whatever_seeds_are_asked_for(plan):
    assert plan("hog-svm", "none", seeds=(1, 2)) == plan("hog-svm", "none", seeds=(0, 1))


def test_budget_and_weights_change_only_models_that_have_them(plan):
    quick = {p.spec.model: p.spec for p in plan("hog-svm,hog-mlp,cnn,vgg16", "none", budget="quick", weights="auto")}
    full = {p.spec.model: p.spec for p in plan("hog-svm,hog-mlp,cnn,vgg16", "none", budget="full", weights="none")}
    assert quick["hog-svm"].run_id == full["hog-svm"].run_id
    assert quick["hog-mlp"].run_id != full["hog-mlp"].run_id
    assert (full["cnn"].weights, full["vgg16"].weights) == ("", "none")


def test_reasons_stand_in_the_plan(plan):
    reasons = {(p.spec.model, p.spec.strategy): p.reason for p in plan("majority,hog-svm,cnn")}
    assert "nothing to rebalance" in reasons["majority", "class-weights"]
    assert "focal loss" in reasons["hog-svm", "focal-loss"]
    assert reasons["cnn", "focal-loss"] is None


@pytest.mark.parametrize(
    ("status", "due"),
    [
        (None, {"missing", "failed", "all"}),
        ("success", {"all"}),
        ("not-applicable", {"all"}),
        *((status, {"failed", "all"}) for status in ("failed", "timeout", "out-of-memory", "cancelled")),
    ],
)
def test_what_each_policy_does_again(plan, on_disk, status, due):
    if status:
        on_disk(plan("hog-svm", "none")[0], status)
    (planned,) = plan("hog-svm", "none")
    assert {rerun for rerun in ("missing", "failed", "all") if planned.is_due(rerun)} == due


def test_a_run_of_a_plugin_s_model_is_due_again_once_the_plugin_has_changed(plan, on_disk, monkeypatch):
    monkeypatch.setitem(MODELS._cards, "mine", replace(MODELS["hog-svm"], name="mine", build=lambda task: 1))
    (before,) = plan("mine", "none")
    today = plugin_code(MODELS["mine"], STRATEGIES["none"])
    for code, status in ((today, "success"), ("another", OUTDATED), (None, "success")):
        on_disk(before, "success", plugin_code=code)
        (planned,) = plan("mine", "none")
        assert planned.status == status
        assert planned.is_due("failed") is (status == OUTDATED) and not planned.is_due("missing")


def test_a_run_under_a_plugin_s_strategy_is_due_again_once_that_has_changed(plan, on_disk, monkeypatch):
    on_disk(plan("hog-svm", "smote")[0], "success", plugin_code="another")
    assert plan("hog-svm", "smote")[0].status == "success"  # the package's own, which have a version
    monkeypatch.setitem(STRATEGIES._cards, "smote", replace(STRATEGIES["smote"], plan=lambda labels, n, seed: 1))
    assert plan("hog-svm", "smote")[0].status == OUTDATED


def test_what_did_not_apply_to_a_plugin_s_model_is_missing_once_it_may(plan, on_disk, monkeypatch):
    mine = replace(MODELS["hog-svm"], name="mine", build=lambda task: 1, sample_weight=False)
    monkeypatch.setitem(MODELS._cards, "mine", mine)
    (planned,) = plan("mine", "class-weights")
    on_disk(planned, "not-applicable", reason=planned.reason)
    (still,) = plan("mine", "class-weights")
    assert still.reason and still.status == "not-applicable"
    monkeypatch.setitem(MODELS._cards, "mine", replace(mine, sample_weight=True))
    (mended,) = plan("mine", "class-weights")
    assert mended.is_due("failed") and mended.is_due("missing")
    today = plugin_code(MODELS["mine"], STRATEGIES["class-weights"])
    on_disk(planned, "not-applicable", plugin_code=today)  # as its classifier turned out to be
    assert not plan("mine", "class-weights")[0].is_due("failed")


def test_unknown_names_are_told(plan):
    with pytest.raises(FerBenchError, match="no suite 'al'"):
        make_plan(None, Selection("al"))
    with pytest.raises(FerBenchError, match="no model 'cnnn'"):
        plan("cnnn")


def test_names_come_as_text_or_as_a_list(plan):
    assert plan(["hog-svm", "pca-*"], ["none"]) == plan("hog-svm,pca-*", "none")


def test_parameters_that_nothing_can_be_trained_with_are_refused(plan):
    with pytest.raises(FerBenchError, match="mixup is -1"):
        plan("cnn", "none", parameters={"mixup": -1})


def test_every_suite_names_what_is_registered(plan):
    for suite in SUITES.values():
        assert plan(suite.models, suite.strategies)


def test_suite_of_built_in_models_needs_no_second_look(plan):
    """`classical` and `deep` together are the built-in part of `zoo`."""
    named = {p.spec.model for suite in ("classical", "deep") for p in plan(SUITES[suite].models, "none")}
    assert named == {card.name for card in MODELS if "fer_bench" in card.source}
    assert {p.spec.model for p in plan(SUITES["zoo"].models, "none")} == {card.name for card in MODELS}


def test_a_strategy_that_starts_from_none_brings_that_run_along_and_comes_after_it(plan):
    planned = plan("hog-svm,majority", "post-hoc-adjustment,smote")
    told = [(p.spec.model, p.spec.strategy, p.needs_base) for p in planned if not p.reason]
    assert told == [
        ("hog-svm", "none", False), ("hog-svm", "post-hoc-adjustment", True), ("hog-svm", "smote", False),
    ]  # fmt: skip


def test_whatever_the_seeds_of_a_strategy_its_base_is_a_run_of_the_plan(plan, facts, monkeypatch):
    card = replace(STRATEGIES["post-hoc-adjustment"], stochastic=True)  # as a plug-in may have it
    monkeypatch.setitem(STRATEGIES._cards, card.name, card)
    for model, bases in (("hog-svm", 1), ("hog-forest", 2)):
        planned = plan(model, card.name, seeds=(0, 1))
        assert [p.needs_base for p in planned] == [False] * bases + [True] * 2
        started_from = {Job(p.spec, "classical", "hog", facts()).base_id for p in planned if p.needs_base}
        assert started_from == {p.spec.run_id for p in planned if not p.needs_base}


def test_a_base_that_is_only_brought_along_is_not_done_again_when_finished(plan, on_disk):
    base, _ = plan("hog-svm", "post-hoc-adjustment")
    for status, due in (("success", False), ("failed", True)):
        on_disk(base, status)
        assert [p.is_due("all") for p in plan("hog-svm", "post-hoc-adjustment")] == [due, True]
        assert [p.is_due("all") for p in plan("hog-svm", "none,post-hoc-adjustment")] == [True, True]


@pytest.mark.parametrize(
    ("of_base", "started_from", "of_derived"),
    [
        ("success", "this", "success"),
        ("success", "another", OUTDATED),
        ("success", None, "success"),  # not known: records from before it was noted
        ("failed", "this", OUTDATED),
        (None, "another", OUTDATED),
    ],
)
@pytest.mark.parametrize("strategy", ["post-hoc-adjustment", "classifier-retraining"])
def test_what_started_from_another_base_than_there_is_or_will_be_is_done_again(
    plan, on_disk, tmp_path, of_base, started_from, of_derived, strategy
):
    results = ResultsFolder(tmp_path)
    base, derived = plan("cnn", strategy)
    if of_base:
        on_disk(base, of_base, started="2026-01-03T00:00:00+00:00")
    answers = results.runs / base.spec.run_id / "predictions.npz"
    answers.parent.mkdir(parents=True, exist_ok=True)
    answers.write_bytes(b"answers")
    digest = results.predictions_digest(base.spec.run_id) if started_from == "this" else started_from
    on_disk(derived, "success", started="2026-01-02T00:00:00+00:00", base_predictions=digest)  # no clock has a say
    _, planned = plan("cnn", strategy)
    assert planned.status == of_derived and planned.is_due("failed") is (of_derived == OUTDATED)


def test_folds_multiply_runs_and_share_nothing(plan):
    planned = plan("hog-svm,hog-forest", "none", seeds=(0, 1), n_folds=3)
    assert [(p.spec.model, p.spec.seed, p.spec.fold) for p in planned][:4] == [
        ("hog-svm", 0, 1), ("hog-svm", 0, 2), ("hog-svm", 0, 3), ("hog-forest", 0, 1),
    ]  # fmt: skip
    assert len({p.spec.run_id for p in planned}) == 3 + 6
    assert planned[1].spec.run_id.startswith("hog-svm.none.s0.f2-")


def test_recipes_are_for_networks_and_tuned_values_for_their_model(plan):
    options = {"parameters": {"mixup": 0.2}, "tuned": {"cnn": {"dropout": 0.3}, "hog-svm": {"C": 9.0}}}
    specs = {p.spec.model: p.spec for p in plan("cnn,hog-svm,pca-svm,cnn-small", "none", **options)}
    assert specs["cnn"].parameters == (("dropout", 0.3), ("mixup", 0.2)) and specs["cnn"].tuned
    assert specs["cnn-small"].parameters == (("mixup", 0.2),) and not specs["cnn-small"].tuned
    assert specs["hog-svm"].parameters == (("C", 9.0),) and specs["hog-svm"].tuned
    assert specs["pca-svm"].parameters == ()
    plain = {p.spec.model: p.spec.run_id for p in plan("pca-svm,hog-svm", "none")}
    assert specs["pca-svm"].run_id == plain["pca-svm"] and specs["hog-svm"].run_id != plain["hog-svm"]


def test_networks_whose_weights_cannot_be_had_run_under_none_alone_until_they_can(plan, on_disk, monkeypatch):
    monkeypatch.setattr(pretrained, "is_there", lambda *url: False)
    asked = "class-weights,none,post-hoc-adjustment"

    def reasons(**options):
        return {(p.spec.model, p.spec.strategy): p.reason for p in plan("cnn,vgg16", asked, **options)}

    without = reasons()
    assert {key for key, reason in without.items() if reason} == {
        ("vgg16", "class-weights"), ("vgg16", "post-hoc-adjustment"),
    }  # fmt: skip
    assert not any(reasons(weights="none").values())
    assert [p.reason is None for p in plan("vgg16", "post-hoc-adjustment")] == [False]  # whose base nobody needs then
    for planned in plan("vgg16", asked):
        on_disk(planned, "not-applicable" if planned.reason else "success", initial_weights="random")
    assert not any(p.is_due("failed") for p in plan("vgg16", asked))
    monkeypatch.setattr(pretrained, "is_there", lambda *url: True)
    found = plan("vgg16", asked)
    assert [p.weights.weights for p in found] == ["imagenet"] * 3 and all(p.is_due("failed") for p in found)
    assert {p.spec.strategy: p.status for p in found} == {
        "none": OUTDATED, "class-weights": None, "post-hoc-adjustment": None,
    }  # fmt: skip


def test_what_is_asked_for_goes_before_what_a_search_found_and_without_effect_is_left_out(plan):
    recipe = {"mixup": 0.2, "fine_tune": "head"}
    options = {"parameters": recipe, "tuned": {"vgg16": {"mixup": 0.4, "dropout": 0.3}}}
    specs = {p.spec.model: p.spec for p in plan("cnn,vgg16", "none", **options)}
    assert dict(specs["vgg16"].parameters) == {"mixup": 0.2, "dropout": 0.3, "fine_tune": "head"}
    assert dict(specs["cnn"].parameters) == {"mixup": 0.2}  # it starts from no weights that could be tuned


def test_what_a_network_is_trained_with_anyway_makes_no_other_run(plan):
    own = {"label_smoothing": 0.1, "augmentation": "mirror,rotation,zoom,shift"}
    plain, asked = (plan("cnn,vgg16", "none", parameters=recipe) for recipe in ({}, own))
    assert [p.spec for p in plain] == [p.spec for p in asked]
    found = {"cnn": {"label_smoothing": 0.2, "dropout": 0.4}}
    (planned,) = plan("cnn", "none", parameters=own, tuned=found)
    assert planned.spec.parameters == (("dropout", 0.4),)


def test_label_smoothing_is_nothing_to_the_focal_loss(plan):
    for strategies, runs in (("focal-loss,balanced-focal-loss", [(), ()]), ("none", [(("label_smoothing", 0.2),)])):
        planned = plan("cnn", strategies, parameters={"label_smoothing": 0.2})
        assert [p.spec.parameters for p in planned] == runs
    (planned,) = plan("cnn", "focal-loss", tuned={"cnn": {"label_smoothing": 0.2}})
    assert planned.spec.parameters  # what a search found goes together


def test_ids_of_plain_runs_never_change():
    """Records on disk are found by them."""
    spec = RunSpec("cnn", "none", 0, "d" * 16, "s" * 16, "quick")
    assert spec.run_id == "cnn.none.s0-a7b5c493d5"
