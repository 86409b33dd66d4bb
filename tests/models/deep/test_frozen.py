from types import SimpleNamespace

import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.models.deep import frozen
from fer_bench.models.deep.frozen import BATCH_SIZE, FrozenPass, Stored, weights_digest, without_batch_norm

SIDE, N = 8, BATCH_SIZE + 3  # a full batch and a rest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_BENCH_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (N, SIDE, SIDE), dtype=np.uint8)


def make(factor=1.0):
    """Columns of the image, 0..1, and its mean, both times `factor`."""
    from keras import Input, Model, ops

    pixels = Input((SIDE, SIDE, 1), dtype="uint8")
    x = ops.cast(pixels, "float32") / 255 * factor
    return Model(pixels, [ops.mean(x, axis=1), ops.mean(x, axis=(1, 2))])


def a_pass(build=make, about="weights 1", **options):
    return FrozenPass(build, ("columns", "mean"), {"weights": about}, **options)


def never():
    raise AssertionError("the pass was done before")


def test_both_outputs_of_images_and_mirror_images_are_those_of_the_model(images):
    stored = a_pass().outputs(images)
    columns = images.mean(axis=1) / 255
    assert stored["columns"].shape == (2, N, SIDE, 1)
    assert {array.dtype for array in stored.values()} == {np.dtype(np.float16)}
    np.testing.assert_allclose(stored["columns"][0, ..., 0], columns, atol=1e-3)
    np.testing.assert_allclose(stored["columns"][1, ..., 0], columns[:, ::-1], atol=1e-3)
    np.testing.assert_allclose(stored["mean"][0, :, 0], images.mean(axis=(1, 2)) / 255, atol=1e-3)


def test_the_second_to_ask_reads_what_the_first_has_stored(images):
    first = a_pass()
    expected = first.outputs(images)
    second = a_pass(never)
    np.testing.assert_array_equal(second.outputs(images.copy())["mean"], expected["mean"])
    assert first.seconds > 0 == second.seconds
    assert second.ms_per_image == pytest.approx(1000 * first.seconds / N)
    assert "took" in str(first)
    assert "read from the cache" in str(second)
    assert all(f"over {N} images" in str(each) and "float16" in str(each) for each in (first, second))


@pytest.mark.parametrize("change", ["image", "shape", "weights"])
def test_anything_else_is_another_pass(images, change):
    a_pass().outputs(images)
    other = {"image": images.copy(), "shape": images.reshape(-1, SIDE, SIDE // 2), "weights": images}[change]
    if change == "image":
        other[5, 3, 3] ^= 1
    with pytest.raises(AssertionError, match="done before"):
        a_pass(never, about="weights 2" if change == "weights" else "weights 1").outputs(other)


def test_it_tells_how_far_it_is(images):
    texts = []
    a_pass(progress=lambda share, text: texts.append(text)).outputs(images)
    assert texts == [f"frozen part: image 0 of {N}", f"frozen part: image {BATCH_SIZE} of {N}"]


def test_what_half_precision_cannot_hold_is_stored_in_single(images):
    stored = a_pass(lambda: make(factor=1e6)).outputs(images)
    assert {array.dtype for array in stored.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(stored["mean"][0, :, 0], images.mean(axis=(1, 2)) / 255 * 1e6, rtol=1e-4)


def test_values_that_are_not_finite_are_refused_and_not_stored(images, own_cache):
    with pytest.raises(FloatingPointError, match="not finite"):
        a_pass(lambda: make(factor=float("nan"))).outputs(images)
    assert not list(own_cache.rglob("*.npy"))


def test_a_disk_too_small_is_said_before_the_pass(images, own_cache, monkeypatch):
    monkeypatch.setattr(frozen.shutil, "disk_usage", lambda folder: SimpleNamespace(free=2 * N * (SIDE + 1) * 2 - 1))
    with pytest.raises(FerBenchError, match=r"needs 0\.0 GB.*FER_BENCH_CACHE") as caught:
        a_pass().outputs(images)
    assert str(own_cache) in str(caught.value)
    monkeypatch.setattr(frozen.shutil, "disk_usage", lambda folder: SimpleNamespace(free=2 * N * (SIDE + 1) * 2))
    assert len(a_pass().outputs(images)["mean"][0]) == N


def test_an_entry_that_lost_a_file_is_computed_anew(images, own_cache):
    a_pass().outputs(images)
    (lost,) = own_cache.rglob("columns.npy")
    lost.unlink()
    assert a_pass().outputs(images)["columns"].shape == (2, N, SIDE, 1)
    assert lost.exists()


def test_no_images_are_no_trouble():
    stored = a_pass().outputs(np.zeros((0, SIDE, SIDE), np.uint8))
    assert stored["columns"].shape == (2, 0, SIDE, 1)


@pytest.mark.parametrize("application", ["MobileNetV2", "EfficientNetB0", "InceptionV3"])
def test_normalization_goes_into_the_convolution_before_it(application):
    """Depthwise convolutions, inputs that are normalised too, normalization without gamma."""
    import keras

    rng, side = np.random.default_rng(0), 75 if application == "InceptionV3" else 32
    backbone = getattr(keras.applications, application)(include_top=False, weights=None, input_shape=(side, side, 3))
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, array.shape) for array in layer.get_weights()])
    joined, images = without_batch_norm(backbone), rng.uniform(0, 1, (2, side, side, 3)).astype(np.float32)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in joined.layers)
    expected, made = (keras.ops.convert_to_numpy(model(images)) for model in (backbone, joined))  # without a graph
    assert np.abs(made - expected).max() < 1e-4 * expected.std()


def test_training_sees_each_image_or_its_mirror_image_at_random():
    copies = np.stack([np.arange(100), -np.arange(100)]).astype(np.float16)
    rows = np.array([7, 7, 50, 3] * 50)
    drawn = Stored(copies).augmented(rows, np.random.default_rng(0))
    assert drawn.dtype == np.float32
    np.testing.assert_array_equal(np.abs(drawn), rows)
    assert 60 < (drawn < 0).sum() < 140
    np.testing.assert_array_equal(drawn, Stored(copies).augmented(rows, np.random.default_rng(0)))
    np.testing.assert_array_equal(Stored(copies, mirror=False).augmented(rows, np.random.default_rng(0)), rows)


def test_evaluation_sees_rows_in_order_as_they_are_or_mirrored():
    stored = Stored(np.stack([np.arange(5), -np.arange(5)]).astype(np.float16))
    assert len(stored) == 5
    np.testing.assert_array_equal(stored.plain(slice(3, 9), mirrored=False), [3, 4])
    np.testing.assert_array_equal(stored.plain(slice(3, 9), mirrored=True), [-3, -4])


def test_the_digest_is_that_of_the_weights():
    from keras import Input, Model, layers

    x = Input((3,))
    model = Model(x, layers.Dense(2)(x))
    before = weights_digest(model.get_weights())
    assert weights_digest(model.get_weights()) == before
    weights = model.get_weights()
    weights[0][1, 1] += 1e-6
    model.set_weights(weights)
    assert weights_digest(model.get_weights()) != before


def test_leftovers_of_a_pass_that_failed_do_not_stay(images, own_cache):
    def fails():
        raise RuntimeError("no such backbone")

    with pytest.raises(RuntimeError, match="no such backbone"):
        a_pass(fails).outputs(images)
    assert [path.suffix for path in (own_cache / "backbones").iterdir()] == [".lock"]
