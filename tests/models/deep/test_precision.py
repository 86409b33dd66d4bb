import sys
from types import SimpleNamespace

import numpy as np
import pytest

from fer_bench.models.deep import precision
from fer_bench.models.deep.precision import dtype_policy, resolve_precision


@pytest.mark.parametrize(
    ("gpu", "fast", "policy"),
    [(False, False, "float32"), (False, True, "mixed_bfloat16"), (True, False, "mixed_bfloat16")],
)
def test_auto_is_bfloat16_where_the_hardware_multiplies_it(monkeypatch, gpu, fast, policy):
    monkeypatch.setattr(precision, "has_gpu", lambda: gpu)
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: fast)
    assert resolve_precision("auto") == policy


def test_what_is_asked_for_is_given_on_any_hardware(monkeypatch):
    for fast in (True, False):
        monkeypatch.setattr(precision, "has_gpu", lambda fast=fast: fast)
        monkeypatch.setattr(precision, "has_fast_bfloat16", lambda fast=fast: fast)
        assert resolve_precision("float32") == "float32"
        assert resolve_precision("bfloat16") == "mixed_bfloat16"


@pytest.mark.parametrize(
    ("flags", "fast"),
    [("fpu avx512f avx512_bf16", True), ("fpu amx_bf16 amx_tile", True), ("fpu avx512f avx2", False), (None, False)],
)
def test_fast_bfloat16_is_read_from_the_processor_s_flags(monkeypatch, tmp_path, flags, fast):
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(f"processor : 0\nflags : {flags}\n")
    monkeypatch.setattr(precision, "Path", lambda path: cpuinfo)
    assert precision.has_fast_bfloat16() is fast


def test_a_gpu_is_what_the_backend_calls_one(monkeypatch):
    import keras

    for devices, gpu in ((["cpu:0"], False), (["cpu:0", "gpu:0"], True), (["cuda:0"], True), ([], False)):
        monkeypatch.setattr(keras.distribution, "list_devices", lambda devices=devices: devices)
        assert precision.has_gpu() is gpu


@pytest.mark.parametrize("gpu", [False, True])
def test_torch_is_asked_itself_as_keras_lists_no_devices_for_it(monkeypatch, gpu):
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    monkeypatch.setattr(keras.distribution, "list_devices", None)
    cuda = SimpleNamespace(is_available=lambda: gpu)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert precision.has_gpu() is gpu


def test_the_policy_is_put_back_after_an_error_too():
    import keras

    before = keras.config.dtype_policy().name
    with pytest.raises(OSError, match="halfway"), dtype_policy("mixed_bfloat16"):
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        raise OSError("halfway")
    assert keras.config.dtype_policy().name == before


def test_a_network_trained_on_a_gpu_says_so(tiny, monkeypatch):
    monkeypatch.setattr("fer_bench.models.deep.training.has_gpu", lambda: True)
    classifier = tiny.fitted(tiny.task(steps=1, parameters={"precision": "float32"}))
    assert (classifier.notes_, classifier.device_) == (["float32"], "gpu")


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_network_computes_as_asked_weighs_in_float32_and_leaves_no_trace(tiny, name):
    import keras

    before = keras.config.dtype_policy().name
    classifier = tiny.fitted(tiny.task(steps=1, parameters={"precision": name}))
    model = classifier.network.model
    assert classifier.notes_ == [name]
    assert model.get_layer("convolution").compute_dtype == name
    assert model.get_layer("logits").compute_dtype == "float32"
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    assert keras.config.dtype_policy().name == before
    assert classifier.predict_proba(tiny.bars(3)[0]).dtype == np.float32
