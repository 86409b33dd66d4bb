import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.models.deep import backend
from fer_bench.models.deep.backend import backend_name, check_backend, dtype_policy, resolve_precision
from fer_bench.models.features import ImageRows

HERE = Path(__file__).parent
SMOKE = """
import json, runpy, sys
from dataclasses import replace
from pathlib import Path
import keras
import numpy as np
from fer_bench.models.deep import backend
from fer_bench.models.deep.batches import Batches, DevicePixels, Pixels
from fer_bench.models.deep.checkpoint import Checkpoint
from fer_bench.models.deep.assembly import muon
from fer_bench.models.task import Loss

tiny, file = runpy.run_path(sys.argv[1]), Path(sys.argv[2])

def build():
    return replace(tiny["two_phases"](dropout=0.1), optimizer=muon())

def fit(loss, weights=None):
    task = tiny["a_task"](steps=150, loss=loss, parameters={"mixup": 0.1, "ema": 0.9}, checkpoint=file)
    classifier = tiny["fitted"](task, build, sample_weight=weights)
    right = classifier.predict_proba(task.validation[0]).argmax(axis=1) == task.validation[1]
    return classifier, float(right.mean())

adjusted = Loss("logit-adjusted", log_prior=(-1.0, -1.2, -1.1))
focal = Loss("focal", alpha=(1.0, 0.9, 1.1))
whole, accuracy = fit(focal)

def save_and_stop(checkpoint, state, others):
    if state.step == 100:
        checkpoint.save(state, others)
        raise KeyboardInterrupt

def steps(pieces, gpu=True, inputs=None, pixels=None):
    # losses and accuracies of 20 steps, put together as `pieces` say, and the weights; Keras' own steps without
    images, labels = tiny["bars"](60)
    inputs = inputs or Pixels(images, tiny["SIDE"])
    classifier = tiny["classifier"](tiny["a_task"](loss=adjusted, parameters={"precision": "float32"}), build)
    classifier.create()
    model = classifier.network.model
    classifier.compile(model, 0.01, 20)
    batches = Batches(np.arange(60), labels, np.linspace(0.5, 1.5, 60), 3, 20, 16, 0)
    if not pieces:
        made = [model.train_on_batch(*batches.make(inputs, i)) for i in range(20)]
        return np.array(made), model.get_weights()
    backend.has_gpu = lambda: gpu
    program, made, numbers = backend.Program(model, backend.Average(0.0, model), 20, pixels), [], iter(range(20))
    for piece in pieces:
        made.extend(program([batches.make(inputs, next(numbers)) for _ in range(piece)]))
    return np.array(made), model.get_weights()

def apart(one, other):
    return max(float(np.abs(a - b).max()) for a, b in zip([one[0], *one[1]], [other[0], *other[1]]))

has_gpu = backend.has_gpu
on_device = DevicePixels(tiny["bars"](60)[0], tiny["SIDE"])
together = steps([20])
programs = {
    "split": apart(together, steps([3, 1, 9, 7])),
    "stepwise": apart(together, steps([])),
    "cpu": apart(together, steps([20], False)),
    "device": float(np.abs(together[0] - steps([20], True, on_device, on_device.tensor)[0])[:, 0].max()),
} if keras.backend.backend() != "torch" else {}

backend.PROGRAM_SECONDS, backend.has_gpu = 0, has_gpu
now_and_then, Checkpoint.save_now_and_then = Checkpoint.save_now_and_then, save_and_stop
try:
    fit(focal)
except KeyboardInterrupt:
    Checkpoint.save_now_and_then = now_and_then
resumed, _ = fit(focal)
weights = [np.concatenate([w.ravel() for w in c.network.model.get_weights()]) for c in (whole, resumed)]
print(json.dumps({
    "backend": keras.backend.backend(),
    "notes": resumed.notes_,
    "difference": float(np.abs(weights[0] - weights[1]).max()),
    "programs": programs,
    "phases": list(dict.fromkeys(row["phase"] for row in whole.history_)),
    "accuracy": {"focal": accuracy, "adjusted": fit(adjusted, np.linspace(0.8, 1.2, 60))[1]},
}))
"""


@pytest.mark.parametrize("name", ["tensorflow", "jax", "torch"])
def test_networks_learn_and_go_on_after_a_cut_with(name, tmp_path):
    """Two phases, Muon, mixup, averaged weights, weighted rows, focal and logit-adjusted loss, a checkpoint."""
    pytest.importorskip(name)
    environment = {**os.environ, "KERAS_BACKEND": name, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HERE.parents[2])}
    command = [sys.executable, "-c", SMOKE, str(HERE / "conftest.py"), str(tmp_path / "checkpoint.npz")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert run.returncode == 0, run.stderr[-3000:]
    told = json.loads(run.stdout.splitlines()[-1])
    assert told["backend"] == name
    assert (f"computed by {name}" in told["notes"]) is (name != "tensorflow")
    assert told["phases"] == ["other", "all layers"]
    assert "went on from step 100 after an interruption" in told["notes"]
    assert told["difference"] == 0
    if name != "torch":  # whose steps are Keras' own
        assert told["programs"]["split"] == 0
        assert max(told["programs"]["stepwise"], told["programs"]["cpu"]) < 1e-5
        assert told["programs"]["device"] < 0.01  # of a pixel's rounding, in the loss
    assert min(told["accuracy"].values()) > 0.8


@pytest.fixture
def keras_home(monkeypatch, tmp_path):
    """An empty home of Keras, and no backend asked for."""
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path


def test_the_backend_is_that_of_the_environment_else_the_file_else_tensorflow(monkeypatch, keras_home):
    assert backend_name() == "tensorflow"
    (keras_home / "keras.json").write_text('{"backend": "jax"}')
    assert backend_name() == "jax"
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert backend_name() == "torch"


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"floatx": "float32"}', '"jax"'])
def test_a_file_that_names_none_leaves_tensorflow(keras_home, text):
    (keras_home / "keras.json").write_text(text)
    assert backend_name() == "tensorflow"


def test_a_backend_that_is_installed_passes_and_keras_is_not_imported(keras_home):
    code = (
        "import sys; from fer_bench.models.deep.backend import check_backend; check_backend();"
        "print([name for name in ('keras', 'tensorflow', 'jax') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[2])}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (run.stdout, run.returncode) == ("[]\n", 0), run.stderr


def test_a_backend_that_is_not_installed_is_refused_with_what_to_do(monkeypatch, keras_home):
    def without_torch(name):
        return None if name == "torch" else importlib.util.find_spec(name)

    monkeypatch.setattr(backend, "find_spec", without_torch)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(FerBenchError, match=r"KERAS_BACKEND is 'torch', which is not installed: `pip install torch`"):
        check_backend()
    monkeypatch.delenv("KERAS_BACKEND")
    (keras_home / "keras.json").write_text('{"backend": "torch"}')
    with pytest.raises(FerBenchError, match=r"keras\.json is 'torch', which is not installed"):
        check_backend()


@pytest.mark.parametrize("name", ["numpy", "openvino", "tensorflow2"])
def test_a_backend_that_cannot_train_is_refused(monkeypatch, keras_home, name):
    monkeypatch.setenv("KERAS_BACKEND", name)
    with pytest.raises(FerBenchError, match=f"KERAS_BACKEND is '{name}': networks are trained with tensorflow, jax"):
        check_backend()


@pytest.mark.parametrize(
    ("gpu", "fast", "policy"),
    [(False, False, "float32"), (False, True, "mixed_bfloat16"), (True, False, "mixed_bfloat16")],
)
def test_auto_is_bfloat16_where_the_hardware_multiplies_it(monkeypatch, gpu, fast, policy):
    monkeypatch.setattr(backend, "has_gpu", lambda: gpu)
    monkeypatch.setattr(backend, "has_fast_bfloat16", lambda: fast)
    assert resolve_precision("auto") == policy
    for name, wanted in (("float32", "float32"), ("bfloat16", "mixed_bfloat16")):
        assert resolve_precision(name) == wanted


@pytest.mark.parametrize(
    ("flags", "fast"),
    [("fpu avx512f avx512_bf16", True), ("fpu amx_bf16 amx_tile", True), ("fpu avx512f avx2", False), (None, False)],
)
def test_fast_bfloat16_is_read_from_the_processor_s_flags(monkeypatch, tmp_path, flags, fast):
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(f"processor : 0\nflags : {flags}\n")
    monkeypatch.setattr(backend, "Path", lambda path: cpuinfo)
    assert backend.has_fast_bfloat16() is fast


def test_a_gpu_is_what_the_backend_calls_one(monkeypatch):
    import keras

    for devices, gpu in ((["cpu:0"], False), (["cpu:0", "gpu:0"], True), (["cuda:0"], True), ([], False)):
        monkeypatch.setattr(keras.distribution, "list_devices", lambda devices=devices: devices)
        assert backend.has_gpu() is gpu


@pytest.mark.parametrize("gpu", [False, True])
def test_torch_is_asked_itself_as_keras_lists_no_devices_for_it(monkeypatch, gpu):
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    monkeypatch.setattr(keras.distribution, "list_devices", None)
    cuda = SimpleNamespace(is_available=lambda: gpu)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert backend.has_gpu() is gpu


def test_the_policy_is_put_back_after_an_error_too():
    import keras

    before = keras.config.dtype_policy().name
    with pytest.raises(OSError, match="halfway"), dtype_policy("mixed_bfloat16"):
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        raise OSError("halfway")
    assert keras.config.dtype_policy().name == before


def test_a_network_trained_on_a_gpu_says_so(tiny, monkeypatch):
    """Its images are looked up, as those of a run are."""
    monkeypatch.setattr("fer_bench.models.deep.training.has_gpu", lambda: True)
    images, labels = tiny.bars(60)
    classifier = tiny.classifier(tiny.task(steps=1, parameters={"precision": "float32"}))
    classifier.fit(ImageRows(images, np.arange(60)), labels)
    assert (classifier.precision_, classifier.device_) == ("float32", "gpu")


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_network_computes_as_asked_weighs_in_float32_and_leaves_no_trace(tiny, name):
    import keras

    before = keras.config.dtype_policy().name
    classifier = tiny.fitted(tiny.task(steps=1, parameters={"precision": name}))
    model = classifier.network.model
    assert (classifier.precision_, classifier.notes_) == (name, [])
    assert model.get_layer("convolution").compute_dtype == name
    assert model.get_layer("logits").compute_dtype == "float32"
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    assert keras.config.dtype_policy().name == before
    assert classifier.predict_proba(tiny.bars(3)[0]).dtype == np.float32


@pytest.mark.parametrize(("policy", "tolerance"), [("float32", 1e-4), ("mixed_bfloat16", 0.05)])
def test_fused_batch_normalisation_is_keras_own(policy, tolerance):
    import keras
    import tensorflow as tf

    rng = np.random.default_rng(0)
    maps = tf.constant(rng.normal(3.0, 2.0, (16, 3, 3, 5)), "bfloat16" if policy == "mixed_bfloat16" else "float32")
    slopes = tf.constant(rng.normal(size=(16, 3, 3, 5)), maps.dtype)
    found = []
    for cls in (keras.layers.BatchNormalization, backend.batch_normalization()):
        with dtype_policy(policy):
            layer = cls(momentum=0.5)
        layer.build(maps.shape)
        layer.gamma.assign(np.linspace(0.5, 1.5, 5))
        with tf.GradientTape() as tape:
            tape.watch(maps)
            outputs = layer(maps, training=True)
        assert outputs.dtype == maps.dtype
        gradients = tape.gradient(outputs, [maps, layer.gamma.value, layer.beta.value], slopes)
        arrays = [outputs, *gradients, layer.moving_mean.value, layer.moving_variance.value, layer(maps)]
        layer.trainable = False
        found.append([np.asarray(tf.cast(each, "float32")) for each in (*arrays, layer(maps, training=True))])
    assert backend.batch_normalization() is not keras.layers.BatchNormalization
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, atol=tolerance * np.abs(one).max())
    assert np.abs(found[1][4] - 1.5).max() < 0.3  # moved half way to the mean of 3
