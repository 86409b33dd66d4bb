import re
import zipfile

import numpy as np
import pytest

from fer_bench.models.deep import checkpoint as checkpoints
from fer_bench.models.deep.checkpoint import Checkpoint
from fer_bench.models.deep.precision import resolve_precision
from fer_bench.models.deep.training import Network, Phase
from fer_bench.models.deep.watch import Watch
from fer_bench.models.task import LOGIT_ADJUSTED, Loss

STEPS = 20  # eight of them in the first phase
RECIPES = {
    "cosine": {"mixup": 0.3},
    "plateau": {"schedule": "plateau", "patience": 50},  # never better after a while: the learning rate falls
    "impatient": {"learning_rate": 1e-9, "patience": 1},  # never better than the first time: steps are left out
}


@pytest.fixture
def regime(tiny, tmp_path):
    """Training of a network with dropout in two phases, the first with more dropout."""

    class Regime:
        file = tmp_path / "work" / "checkpoint.npz"

        def task(self, recipe="cosine", checkpoint=None, **changes):
            defaults = {
                "steps": STEPS,
                "parameters": RECIPES[recipe],
                "loss": Loss(LOGIT_ADJUSTED, log_prior=(-1, -1.2, -1.1)),
            }
            validation = tiny.bars(6, seed=1)
            return tiny.task(**{**defaults, "checkpoint": checkpoint, "validation": validation, **changes})

        def build(self):
            return tiny.two_phases(dropout=0.3)

        def fit(self, recipe="cosine", **changes):
            task = self.task(recipe, checkpoint=self.file, **changes)
            return tiny.fitted(task, self.build, sample_weight=np.linspace(0.5, 1.5, 60))

        def cut(self, monkeypatch, step, recipe="cosine"):
            """Train until `step`, save there, and be interrupted."""

            def save_and_stop(checkpoint, model):
                if checkpoint.watch.step == step:
                    checkpoint.save(model)
                    raise KeyboardInterrupt

            with monkeypatch.context() as patch:
                patch.setattr(Checkpoint, "save_now_and_then", save_and_stop)
                with pytest.raises(KeyboardInterrupt):
                    self.fit(recipe)

    return Regime()


def assert_same_training(one, other):
    for a, b in zip(one.network.model.get_weights(), other.network.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    lines = [[{**row, "seconds": None} for row in classifier.history_] for classifier in (one, other)]
    assert lines[0] == lines[1]
    assert one.steps_ == other.steps_


@pytest.mark.parametrize(("recipe", "cuts"), [("cosine", (1, 8, 20)), ("plateau", (5, 17)), ("impatient", (1, 9))])
def test_training_that_was_cut_off_ends_as_if_it_had_not_been(tiny, regime, monkeypatch, recipe, cuts):
    undisturbed = regime.fit(recipe)
    assert not regime.file.exists()
    for step in cuts:
        regime.cut(monkeypatch, step, recipe)
    resumed = regime.fit(recipe)
    assert_same_training(undisturbed, resumed)
    images, _ = tiny.bars(10, seed=3)
    np.testing.assert_array_equal(undisturbed.predict_proba(images), resumed.predict_proba(images))
    assert f"went on from step {cuts[-1]} after an interruption" in resumed.notes_
    assert resumed.earlier_seconds_ > 0
    assert [row["seconds"] for row in resumed.history_] == sorted(row["seconds"] for row in resumed.history_)
    if recipe == "plateau":
        rates = [row["learning_rate"] for row in undisturbed.history_ if row["phase"] == "all layers"]
        assert rates[0] > rates[-1]
    assert [path.name for path in regime.file.parent.iterdir()] == []


def test_an_interruption_at_any_moment_costs_the_steps_since_the_last_checkpoint(tiny, regime, monkeypatch):
    undisturbed = regime.fit()
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", -1.0)

    told = []

    def stop(share, text):
        told.append(round(share * STEPS))
        if share >= 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        regime.fit(progress=stop)
    resumed = regime.fit()
    assert_same_training(undisturbed, resumed)
    assert f"went on from step {told[-1] - 1} after an interruption" in resumed.notes_


def test_a_checkpoint_is_saved_only_now_and_then(regime, monkeypatch):
    saved = []
    monkeypatch.setattr(Checkpoint, "save", lambda self, model: saved.append(self.watch.step))
    regime.fit(steps=3)
    assert saved == []
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", -1.0)
    regime.fit(steps=3)
    assert saved == [1, 2, 3]


def untrained(tiny, regime, build=None, **changes):
    """A checkpoint of a classifier that has not made a step yet, and the classifier."""
    classifier = tiny.classifier(regime.task(checkpoint=regime.file, **changes), build or regime.build)
    classifier.create()
    classifier.compile(classifier.network.model, 0.01, STEPS)
    classifier.history_, classifier.notes_ = [], []
    watch = Watch(classifier, frozenset(), n_rows=60)
    watch.step = 3
    return Checkpoint(classifier, watch), classifier


def refusal(tiny, regime, build=None, **changes):
    """What training notes about the checkpoint that there is; "" where it goes on from it."""
    checkpoint, classifier = untrained(tiny, regime, build, **changes)
    return classifier.notes_[0] if checkpoint.load() == 0 else ""


@pytest.fixture
def saved(tiny, regime):
    """The file of a checkpoint that is in order."""
    checkpoint, classifier = untrained(tiny, regime)
    checkpoint.save(classifier.network.model)
    assert refusal(tiny, regime) == ""
    return regime.file


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_a_checkpoint_cut_short_is_refused_with_a_note(tiny, regime, saved, kept):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(kept * len(content))])
    assert re.fullmatch(
        r"the checkpoint of an earlier attempt could not be read \(\w+\): training began anew", refusal(tiny, regime)
    )


def test_after_a_refusal_training_begins_anew_and_ends_well(tiny, regime, saved):
    saved.write_bytes(saved.read_bytes()[:1000])
    classifier = regime.fit(steps=2)
    assert any("training began anew" in note for note in classifier.notes_)
    assert int(classifier.network.model.optimizer.iterations) > 0
    assert classifier.history_[-1]["step"] == 2
    assert classifier.earlier_seconds_ == 0
    assert not saved.exists()


def test_a_checkpoint_with_a_changed_byte_is_refused(tiny, regime, saved):
    content = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        content[archive.getinfo("variable.0.npy").header_offset + 250] ^= 255  # past the headers
    saved.write_bytes(content)
    assert "could not be read (BadZipFile)" in refusal(tiny, regime)


def test_a_checkpoint_of_another_network_is_refused(tiny, regime, saved):
    def larger():
        from keras import Model, layers

        network = regime.build()
        x = layers.Dense(3, dtype="float32")(network.model.output)
        return Network(Model(network.model.input, x), network.phases)

    assert "belongs to another training" in refusal(tiny, regime, larger)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 3}, {"parameters": {"batch_size": 8}}, {"random_state": 5}, {"loss": Loss("focal", gamma=1)},
        {"code": "of a plugin"},
    ],
)  # fmt: skip
def test_a_checkpoint_of_another_training_is_refused(tiny, regime, saved, changes):
    assert "belongs to another training" in refusal(tiny, regime, **changes)


@pytest.mark.parametrize("what", ["precision", "backend"])
def test_a_checkpoint_of_another_precision_or_backend_is_refused(tiny, regime, saved, monkeypatch, what):
    """What "auto" is depends on the machine, and machines may share a cache."""
    import keras

    if what == "precision":
        other = {"float32": "mixed_bfloat16", "mixed_bfloat16": "float32"}[resolve_precision("auto")]
        monkeypatch.setattr("fer_bench.models.deep.training.resolve_precision", lambda request: other)
    else:
        monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert "belongs to another training" in refusal(tiny, regime)


def test_two_that_save_at_once_leave_one_whole_file(tiny, regime, monkeypatch):
    (one, classifier), (other, _) = (untrained(tiny, regime) for _ in range(2))
    savez = np.savez

    def save_both(*arguments, **arrays):
        monkeypatch.setattr(np, "savez", savez)
        other.save(classifier.network.model)
        savez(*arguments, **arrays)

    monkeypatch.setattr(np, "savez", save_both)
    one.save(classifier.network.model)
    assert one.load() == 3
    assert list(regime.file.parent.iterdir()) == [regime.file]


def test_what_a_kill_while_saving_left_goes_once_training_has_ended(regime):
    regime.file.parent.mkdir()
    regime.file.with_name(f".{regime.file.name}.0123abcd").write_bytes(b"a part")
    regime.fit(steps=3)
    assert list(regime.file.parent.iterdir()) == []


def test_a_file_that_is_no_checkpoint_is_refused(tiny, regime):
    regime.file.parent.mkdir()
    np.savez(regime.file, about=np.array('{"format": 0}'))
    assert "belongs to another training" in refusal(tiny, regime)
    np.savez(regime.file, weights=np.zeros(3))
    assert "could not be read (KeyError)" in refusal(tiny, regime)


def test_a_loss_that_is_not_finite_leaves_no_checkpoint(tiny, regime, monkeypatch):
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", -1.0)
    phases = (Phase("sane", 0.5, 0.01), Phase("mad", 0.5, float("inf")))
    saved = []
    save = Checkpoint.save
    monkeypatch.setattr(Checkpoint, "save", lambda self, model: (saved.append(1), save(self, model)))
    task = regime.task(checkpoint=regime.file)
    with pytest.raises(FloatingPointError, match="mad"):
        tiny.fitted(task, lambda: tiny.network(phases=phases))
    assert saved
    assert not regime.file.exists()
