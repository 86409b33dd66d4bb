"""Muon: what is a matrix goes by orthogonal steps, all else as under AdamW."""

import numpy as np
import pytest

from fer_bench.models.deep.assembly import LOGITS
from fer_bench.models.deep.backend import copies

RATE = 0.01


@pytest.fixture(scope="module")
def stepped():
    """A network with a convolution of 3x3x5 to 7 channels, and by how much each variable moves in its first step."""
    import keras
    from keras import layers

    from fer_bench.models.deep.assembly import ADAM_SHARE, muon

    keras.utils.set_random_seed(0)
    x = keras.Input((6, 6, 5))
    maps = layers.BatchNormalization()(layers.Conv2D(7, 3, name="convolution")(x))
    model = keras.Model(x, layers.Dense(3, name=LOGITS)(layers.GlobalAveragePooling2D()(maps)))
    variables = model.trainable_variables
    optimizer = muon()(RATE, weight_decay=0.0)
    optimizer.build(variables)
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=each.shape).astype(np.float32) for each in variables]
    before = copies(variables)
    optimizer.apply([keras.ops.convert_to_tensor(each) for each in gradients], variables)
    paths = [each.path for each in variables]
    moved = dict(zip(paths, map(np.subtract, copies(variables), before), strict=True))
    return moved, dict(zip(paths, gradients, strict=True)), RATE * ADAM_SHARE


def test_a_kernel_makes_an_orthogonal_step_down_its_gradient(stepped):
    moved, gradients, _ = stepped
    step, slope = (each["convolution/kernel"].reshape(45, 7) for each in (moved, gradients))
    left, _, right = np.linalg.svd(slope, full_matrices=False)
    nearest = -left @ right * RATE * 0.2 * np.sqrt(45)  # of the orthogonal matrices, at the size of AdamW's steps
    cosine = np.vdot(step, nearest) / np.linalg.norm(step) / np.linalg.norm(nearest)
    sizes = np.linalg.svd(step, compute_uv=False) / (RATE * 0.2 * np.sqrt(45))
    assert cosine > 0.97
    assert sizes.min() > 0.6
    assert sizes.max() < 1.3


@pytest.mark.parametrize("shape", [(45, 7), (7, 45), (6, 6), (1, 4)])
def test_the_iteration_on_the_gram_matrix_is_keras_own(shape):
    import keras

    from fer_bench.models.deep.assembly import muon

    slope = np.random.default_rng(1).normal(size=shape).astype(np.float32) * np.geomspace(1, 1e-3, shape[1])
    own, kerass = muon()(RATE, weight_decay=0.0), keras.optimizers.Muon()
    one, other = (
        keras.ops.convert_to_numpy(each.zeropower_via_newtonschulz5(keras.ops.convert_to_tensor(slope, "float32"), 5))
        for each in (kerass, own)
    )
    np.testing.assert_allclose(other, one, atol=2e-3)  # small singular values are what is left of rounding


def test_logits_biases_and_normalisation_are_adamws(stepped):
    moved, gradients, rate = stepped
    others = set(moved) - {"convolution/kernel"}
    assert len(others) == 5
    for path in others:
        assert moved[path] == pytest.approx(-rate * np.sign(gradients[path]), rel=1e-3), path


def test_what_adamw_leaves_undecayed_stays_so():
    import keras

    from fer_bench.models.deep.assembly import muon

    bias, kernel, logits = (keras.Variable(np.ones(s, np.float32), name=n) for n, s in
                            (("bias", 2), ("kernel", (1, 1, 2, 2)), ("kernel", (2, 2))))  # fmt: skip
    optimizer = muon()(RATE, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    variables = [bias, kernel, logits]
    optimizer.build(variables)
    optimizer.apply([keras.ops.zeros_like(each) for each in variables], variables)
    assert [array.max() for array in copies(variables)] == pytest.approx([1, 1 - RATE * 0.5, 1 - RATE * 0.5])
