import sys
import zipfile
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest

from fer_bench.cache import replacing
from fer_bench.models.deep import backend
from fer_bench.models.deep import checkpoint as checkpoints
from fer_bench.models.deep.backend import resolve_precision
from fer_bench.models.deep.batches import Pixels
from fer_bench.models.deep.checkpoint import Checkpoint
from fer_bench.models.deep.training import Network, Phase
from fer_bench.models.deep.watch import TrainingState, Watch
from fer_bench.models.task import LOGIT_ADJUSTED, Loss

STEPS = 20  # eight of them in the first phase
RECIPES = {
    "cosine": {"mixup": 0.3, "ema": 0.8},
    "plateau": {"schedule": "plateau", "patience": 50},  # never better after a while: the learning rate falls
    "impatient": {"learning_rate": 1e-9, "patience": 1},  # never better than the first time: steps are left out
}


@pytest.fixture
def regime(tiny, tmp_path, monkeypatch):
    """Training of a network with dropout in two phases, the first with more dropout."""

    class Regime:
        file = tmp_path / "work" / "checkpoint.npz"

        def build(self):
            return tiny.two_phases(dropout=0.3)

        def classifier(self, recipe="cosine", build=None, **changes):
            defaults = {
                "steps": STEPS,
                "parameters": RECIPES[recipe],
                "loss": Loss(LOGIT_ADJUSTED, log_prior=(-1, -1.2, -1.1)),
                "validation": tiny.bars(6, seed=1),
                "checkpoint": self.file,
            }
            return tiny.classifier(tiny.task(**{**defaults, **changes}), build or self.build)

        def fit(self, *how, **changes):
            return self.classifier(*how, **changes).fit(*tiny.bars(60), np.linspace(0.5, 1.5, 60))

        def cut(self, step, recipe="cosine", **changes):
            """Train until `step`, save there, and be interrupted."""

            def save_and_stop(checkpoint, state, others):
                if state.step == step:
                    checkpoint.save(state, others)
                    raise KeyboardInterrupt

            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(backend, "PROGRAM_SECONDS", 0.0)  # undisturbed, many steps go together
                patch.setattr(Checkpoint, "save_now_and_then", save_and_stop)
                self.fit(recipe, **changes)

        def found(self, **changes):
            """What training that begins says of the file that there is."""

            def stop(*arguments, **options):
                raise KeyboardInterrupt

            classifier = self.classifier(**changes)
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(Watch, "begin", stop)
                classifier.fit(*tiny.bars(60))
            return classifier.notes_[-1]

    return Regime()


def assert_same_training(one, other):
    for a, b in zip(one.network.model.get_weights(), other.network.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    lines = [[{**row, "seconds": None} for row in classifier.history_] for classifier in (one, other)]
    assert lines[0] == lines[1]
    assert one.steps_ == other.steps_


@pytest.mark.parametrize(("recipe", "cuts"), [("cosine", (1, 8, 13, 20)), ("plateau", (5, 17)), ("impatient", (1, 9))])
def test_training_that_was_cut_off_ends_as_if_it_had_not_been(tiny, regime, recipe, cuts):
    undisturbed = regime.fit(recipe)
    assert not regime.file.exists()
    for step in cuts:
        regime.cut(step, recipe)
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


def test_an_interruption_at_any_moment_costs_the_steps_since_the_last_checkpoint(regime, monkeypatch):
    undisturbed = regime.fit()
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", -1.0)
    monkeypatch.setattr(backend, "PROGRAM_SECONDS", 0.0)
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


def test_a_checkpoint_is_saved_only_now_and_then_and_goes_in_the_end(regime, monkeypatch):
    saved = []
    monkeypatch.setattr(Checkpoint, "save", lambda self, state, others: saved.append(state.step))
    with suppress(KeyboardInterrupt), replacing(regime.file) as left:
        raise KeyboardInterrupt
    left.write_bytes(b"what a kill while saving left")
    regime.fit(steps=3)
    assert saved == []
    assert list(regime.file.parent.iterdir()) == []
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", -1.0)
    monkeypatch.setattr(backend, "PROGRAM_SECONDS", 0.0)
    regime.fit(steps=3)
    assert saved == [1, 2, 3]


@pytest.fixture
def saved(regime):
    """The file of a checkpoint that is in order."""
    regime.cut(3)
    assert regime.found() == "went on from step 3 after an interruption"
    return regime.file


def test_a_checkpoint_cut_short_or_changed_is_refused_and_training_begins_anew(regime, saved):
    content = saved.read_bytes()
    with zipfile.ZipFile(saved) as archive:
        value = archive.getinfo("variable.0.npy").header_offset + 250  # past the headers
    damaged = [content[: int(kept * len(content))] for kept in (0.0, 0.1, 0.5, 0.99)]
    flags, method = (content.index(b"PK\1\2") + offset for offset in (8, 10))  # of the first entry of the directory
    changed = [content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :] for at in (value, flags, method)]
    for broken in (*damaged, *changed):
        saved.write_bytes(broken)
        assert "could not be read" in regime.found()
    classifier = regime.fit(steps=2)
    assert any("training began anew" in note for note in classifier.notes_)
    assert classifier.history_[-1]["step"] == 2 and int(classifier.network.model.optimizer.iterations) > 0
    assert classifier.earlier_seconds_ == 0
    assert not saved.exists()


def test_a_checkpoint_of_another_training_is_refused(regime, saved, monkeypatch):
    """What precision "auto" is depends on the machine, and machines may share a cache."""
    import keras

    def larger():
        from keras import Model, layers

        network = regime.build()
        return Network(Model(network.model.input, layers.Dense(3)(network.model.output)), network.phases)

    for changes in (
        {"build": larger}, {"steps": 3}, {"parameters": {"batch_size": 8}}, {"random_state": 5},
        {"loss": Loss("focal", gamma=1)}, {"code": "of a plugin"},
    ):  # fmt: skip
        assert "belongs to another training" in regime.found(**changes), changes
    other = {"float32": "mixed_bfloat16", "mixed_bfloat16": "float32"}[resolve_precision("auto")]
    with monkeypatch.context() as patch:
        patch.setattr("fer_bench.models.deep.training.resolve_precision", lambda request: other)
        assert "belongs to another training" in regime.found()
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert "belongs to another training" in regime.found()


def test_a_file_that_is_no_checkpoint_is_refused(regime):
    regime.file.parent.mkdir()
    np.savez(regime.file, about=np.array('{"format": 0}'))
    assert "belongs to another training" in regime.found()
    np.savez(regime.file, weights=np.zeros(3))
    assert "could not be read (KeyError)" in regime.found()


def test_a_state_comes_back_as_it_was_also_where_two_save_at_once(tmp_path, monkeypatch):
    import keras

    state = TrainingState(3, 2, 0.1, 1, 1 / 3, [(0.1, 0.2)], [{"step": 2, "loss": 1e-9}], [np.arange(3.0)])
    variable, optimizer, file = keras.Variable([1.5]), keras.optimizers.AdamW(), tmp_path / "checkpoint.npz"
    one, other = (Checkpoint(file, [variable], {}) for _ in range(2))
    savez = np.savez

    def save_both(*arguments, **arrays):
        monkeypatch.setattr(np, "savez", savez)
        other.save(state, optimizer.variables)
        savez(*arguments, **arrays)

    monkeypatch.setattr(np, "savez", save_both)
    one.save(state, optimizer.variables)
    variable.assign([9.0])
    loaded = one.load()
    assert (loaded.step, loaded.made, loaded.seconds, loaded.worse_in_a_row, loaded.best_score) == (3, 2, 0.1, 1, 1 / 3)
    assert (loaded.history, [tuple(logs) for logs in loaded.since]) == (state.history, state.since)
    np.testing.assert_array_equal(loaded.best_weights, state.best_weights)
    assert float(variable[0]) == 1.5
    assert list(tmp_path.iterdir()) == [file]


def test_a_loss_that_is_not_finite_leaves_no_checkpoint(tiny, regime, monkeypatch):
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", -1.0)
    monkeypatch.setattr(backend, "PROGRAM_SECONDS", 0.0)
    phases = (Phase("sane", 0.5, 0.01), Phase("mad", 0.5, float("inf")))
    seen, save = [], Checkpoint.save

    def noted(checkpoint, *arguments):
        save(checkpoint, *arguments)
        seen.append(regime.file.exists())

    monkeypatch.setattr(Checkpoint, "save", noted)
    with pytest.raises(FloatingPointError, match="mad"):
        tiny.fitted(tiny.task(checkpoint=regime.file), lambda: tiny.network(phases=phases))
    assert any(seen)
    assert not regime.file.exists()


class State:
    """A generator's state, a tensor of bytes; on a GPU until `cpu` fetches it."""

    def __init__(self, values, is_here=False):
        self.values, self.is_here = values, is_here

    def cpu(self):
        return State(self.values, is_here=True)

    def numpy(self):
        assert self.is_here
        return np.array(self.values, dtype=np.uint8)


@pytest.mark.parametrize("gpus", [[], [[4, 5], [6, 7]]])
def test_what_torch_s_layers_draw_from_is_saved_and_restored(tmp_path, monkeypatch, gpus):
    """torch is no dependency: a stand-in with a generator of its own and those of GPUs."""
    import keras

    torch = SimpleNamespace(own=[1, 2, 3], gpus=gpus)
    torch.get_rng_state = lambda: State(torch.own)
    torch.set_rng_state = lambda state: setattr(torch, "own", state.values)
    torch.from_numpy = lambda array: State(array.tolist(), is_here=True)
    torch.cuda = SimpleNamespace(
        get_rng_state_all=lambda: [State(values) for values in torch.gpus],
        set_rng_state_all=lambda states: setattr(torch, "gpus", [state.values for state in states]),
    )
    optimizer = keras.optimizers.AdamW()
    checkpoint = Checkpoint(tmp_path / "checkpoint.npz", [], {})
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    checkpoint.save(TrainingState(), optimizer.variables)
    torch.own, torch.gpus = [0], [[0] for _ in gpus]
    checkpoint.load()
    assert (torch.own, torch.gpus) == ([1, 2, 3], gpus)


def test_smaller_images_come_first_and_a_cut_on_either_side_of_the_change_costs_nothing(tiny, regime):
    """The schedule and the optimizer's state go on across the change."""

    def build():
        from keras import Input, Model, layers

        pixels = Input((None, None, 1), dtype="uint8")
        x = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(pixels))
        x = layers.Dense(3, name="logits", dtype="float32")(layers.GlobalAveragePooling2D()(x))
        return Network(Model(pixels, x), (Phase("all layers", 1.0, 0.01, coarse=(0.5, 6)),))

    seen, make = [], Pixels.augmented

    def spy(pixels, rows, rng):
        made = make(pixels, rows, rng)
        seen.append(made.shape[1])
        return made

    regime.build, changes = build, {"steps": 6, "parameters": {"ema": 0.8}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pixels, "augmented", spy)
        undisturbed = regime.fit(**changes)
    assert sorted(seen) == [6] * 3 + [tiny.side] * 3
    for cut in (2, 3, 4):
        regime.cut(cut, **changes)
        assert_same_training(undisturbed, regime.fit(**changes))
