"""The registry: names, typos, duplicates, origins."""

import subprocess
import sys
from dataclasses import replace

import pytest

from fer_bench import register_model, register_strategy
from fer_bench.errors import FerBenchError
from fer_bench.models.plugins import code_digest
from fer_bench.models.registry import (
    FEATURES,
    MODELS,
    STRATEGIES,
    Choice,
    ModelCard,
    Range,
    Registry,
    plugin_code,
    why_not,
)


def _card(name: str, **fields) -> ModelCard:
    fields = {"features": "pca", "summary": "", "source": "here.py:1", **fields}
    return ModelCard(name=name, build=lambda task: None, **fields)


def a_function_of(file):
    """A function that `file` defines."""
    file.write_text(f"def made():\n    return {file.name!r}\n")
    namespace: dict = {"__name__": file.stem}
    exec(compile(file.read_text(), str(file), "exec"), namespace)
    return namespace["made"]


@pytest.fixture
def registry() -> Registry[ModelCard]:
    registry: Registry[ModelCard] = Registry("model", "models")
    for name in ("pca-svm", "hog-svm", "hog-forest"):
        registry.add(_card(name))
    return registry


def test_duplicate_raises_and_says_where_the_first_one_is(registry):
    with pytest.raises(FerBenchError, match=r"'pca-svm' is already registered by here\.py:1"):
        registry.add(_card("pca-svm", source="there.py:1"))


@pytest.mark.parametrize("name", ["../evil", "UPPER", "a b", "", "-a", "a--b", "a.b"])
def test_names_are_safe_file_names(registry, name):
    with pytest.raises(FerBenchError, match="lower-case letters"):
        registry.add(_card(name))


def test_typo_gets_a_suggestion(registry):
    with pytest.raises(FerBenchError, match="no model 'hog-swm'; did you mean 'hog-svm'"):
        registry["hog-swm"]


def test_patterns_match_in_registry_order_and_all_misses_are_named_together(registry):
    assert [card.name for card in registry.match("hog-*,pca-svm")] == ["pca-svm", "hog-svm", "hog-forest"]
    with pytest.raises(FerBenchError) as error:
        registry.match("pca-svn,zzz,hog-*")
    assert "'pca-svn'" in str(error.value) and "'zzz'" in str(error.value)
    with pytest.raises(FerBenchError, match="no models named"):
        registry.match(" , ")


def test_every_entry_knows_its_file_and_line():
    for registry in (MODELS, FEATURES, STRATEGIES):
        assert list(registry)
        for card in registry:
            file, line = card.source.rsplit(":", 1)
            assert file.endswith(".py") and int(line) > 0
            assert card.summary


def test_decorator_returns_the_builder_and_a_name_is_taken_once(monkeypatch):
    def build(task):
        return None

    monkeypatch.setattr(MODELS, "_cards", dict(MODELS._cards))
    register = register_model("registry-test-model", features="pca", summary="a test")
    assert register(build) is build is register(build)  # a file loaded again
    with pytest.raises(FerBenchError, match="already registered"):
        register(lambda task: None)


def test_an_edited_file_is_loaded_again_and_another_file_takes_no_name(registry, tmp_path):
    build = a_function_of(tmp_path / "mine.py")
    for line in (1, 7):
        registry.add(replace(_card("mine", source=f"mine.py:{line}"), build=build))
    assert registry["mine"].source == "mine.py:7"
    with pytest.raises(FerBenchError, match=r"already registered by mine\.py:7"):
        registry.add(replace(_card("mine", source="other.py:7"), build=build))
    registry.add(_card("unnamed", source="lambdas.py:1"))
    with pytest.raises(FerBenchError, match=r"already registered by lambdas\.py:1"):
        registry.add(_card("unnamed", source="lambdas.py:2"))


@pytest.mark.parametrize("options", [{"familly": "deep"}, {"family": "deeep"}, {"source": "here.py:1"}, {"build": len}])
def test_options_that_a_card_has_not_are_refused_where_the_model_is_defined(options):
    with pytest.raises(FerBenchError, match=rf"{__file__}:\d+: model 'mine': .*famil"):
        register_model("mine", features="pca", summary="", **options)(lambda task: None)
    with pytest.raises(FerBenchError, match="no function"):
        register_model("mine", features="pca", summary="")(FerBenchError)


@pytest.mark.parametrize(("option", "value"), [("steps", 48), ("image", 48), ("search", 48), ("search", {"C": 48})])
def test_options_of_another_kind_are_refused(option, value):
    with pytest.raises(FerBenchError, match=rf"^here\.py:1: model 'mine': {option} is .*48.*, not a"):
        _card("mine", **{option: value})


def test_strategies_that_start_from_nothing_there_is_are_refused():
    with pytest.raises(FerBenchError, match=r"strategy 'mine': starts_from is 'logits', not probabilities or weights"):
        register_strategy("mine", summary="", starts_from="logits")(lambda labels, n_classes, random_state: None)


@pytest.mark.parametrize(
    ("model", "strategy", "reason"),
    [
        ("majority", "none", None),
        ("majority", "over-sampling", "nothing to rebalance"),
        ("majority", "post-hoc-adjustment", "nothing to rebalance"),
        ("pca-svm", "focal-loss", "cannot be trained with"),
        ("pca-mlp", "logit-adjusted-loss", "cannot be trained with"),
        ("cnn", "focal-loss", None),
        ("weightless", "class-weights", "takes no sample_weight"),
        ("weightless", "under-sampling", None),
        ("pca-forest", "sqrt-weights", None),
        ("cnn", "smote", "a mean of two faces"),
        ("hog-svm", "smote", None),
        ("hog-svm", "balanced-bootstrap", "ensemble of trees"),
        ("hog-forest", "balanced-bootstrap", None),
        ("pca-svm", "classifier-retraining", "no features of its own"),
        ("cnn", "classifier-retraining", None),
        ("pca-svm", "post-hoc-adjustment", None),
    ],
)
def test_what_does_not_apply_says_why(model, strategy, reason):
    card = _card(model, sample_weight=False) if model == "weightless" else MODELS[model]
    why = why_not(card, STRATEGIES[strategy])
    assert why is None if reason is None else reason in why


def test_what_plugins_define_of_a_run_is_told_by_the_files_of_its_model_features_and_strategy(monkeypatch, tmp_path):
    """Each of them alone, and all together; a file that defines several counts once."""
    mine, other = (a_function_of(tmp_path / name) for name in ("mine.py", "other.py"))
    model, strategy = MODELS["hog-svm"], STRATEGIES["smote"]
    assert plugin_code(model, strategy) == ""
    assert plugin_code(replace(model, build=mine), strategy) == code_digest(mine)
    assert plugin_code(replace(model, build=mine), replace(strategy, plan=mine)) == code_digest(mine)
    assert plugin_code(model, replace(strategy, plan=other)) == code_digest(other)
    both = plugin_code(replace(model, build=mine), replace(strategy, plan=other))
    monkeypatch.setitem(FEATURES._cards, "hog", replace(FEATURES["hog"], build=other))
    assert plugin_code(model, strategy) == code_digest(other) != code_digest(mine)
    assert plugin_code(replace(model, build=mine), strategy) == both not in (code_digest(mine), code_digest(other))


@pytest.mark.parametrize("values", [(), ((1,), (32, 16)), (1.0, [2])])
def test_choices_that_no_record_can_hold_are_refused(values):
    with pytest.raises(FerBenchError, match=r"^Choice: "):
        Choice(values)


@pytest.mark.parametrize("bounds", [(2, 1), (0, 1, True), (-1, 1, True)])
def test_ranges_that_hold_no_number_are_refused(bounds):
    with pytest.raises(FerBenchError, match=r"^Range\(low="):
        Range(*bounds)


def test_cards_are_light():
    """`list` and `plan` read them all."""
    code = "import sys, fer_bench.models; print({'numpy', 'cv2', 'pandas', 'pydantic', 'keras'} & sys.modules.keys())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"
