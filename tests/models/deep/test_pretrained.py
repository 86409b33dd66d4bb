import socket
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.models.deep import pretrained
from fer_bench.models.deep.pretrained import (
    EFFICIENTNET_B0,
    INCEPTION_V3,
    MOBILENET_V2,
    RESNET50,
    VGG16,
    demand,
    is_there,
    load_backbone,
    load_file,
    resolve_weights,
    weights_request_id,
)
from fer_bench.models.registry import MODELS

FILES = ["vgg16_notop.h5", "resnet50_notop.h5"]


@pytest.fixture
def keras_cache(tmp_path, monkeypatch):
    """An empty Keras cache."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    folder = tmp_path / "keras" / "models"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def closed_port():
    """A port of this machine where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def no_network(monkeypatch, closed_port):
    monkeypatch.setattr(pretrained, "DOWNLOAD_URL", f"http://127.0.0.1:{closed_port}/")


@pytest.fixture(params=[200, 403])
def web_server(request):
    """A host that answers every request so; its URL and the requests it saw."""
    seen = []

    class Answering(BaseHTTPRequestHandler):
        def do_HEAD(self):
            seen.append(self.path)
            self.send_response(request.param)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/weights.h5", seen, request.param == 200
    server.shutdown()
    thread.join()
    server.server_close()


def weight_file(path):
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    return path


def test_none_asks_nobody(no_network, keras_cache):
    assert {found.weights for found in resolve_weights("none", FILES).values()} == {"none"}


@pytest.mark.parametrize("request_", ["auto", "imagenet"])
def test_cached_files_need_no_network(request_, no_network, keras_cache):
    for name in FILES:
        weight_file(keras_cache / name)
    assert {found.weights for found in resolve_weights(request_, FILES).values()} == {"imagenet"}


def test_missing_files_are_downloaded_where_the_host_has_them(web_server, keras_cache, monkeypatch):
    url, seen, has_them = web_server
    monkeypatch.setattr(pretrained, "DOWNLOAD_URL", url)
    found = resolve_weights("auto", FILES)
    assert {one.weights for one in found.values()} == {"imagenet" if has_them else "unavailable"}
    assert all(name in found[name].reason for name in FILES)
    assert seen == ["/weights.h5"]  # once for all files


def test_auto_without_network_says_loudly_that_weights_are_random(no_network, keras_cache):
    weight_file(keras_cache / FILES[0])
    found = resolve_weights("auto", FILES)
    assert found[FILES[1]].weights == "unavailable"
    assert "RANDOM" in found[FILES[1]].reason and FILES[1] in found[FILES[1]].reason
    assert found[FILES[0]].weights == "imagenet"  # one that is there is used, whichever else is missing
    assert "RANDOM" not in found[FILES[0]].reason
    demand(found)


def test_imagenet_without_network_names_files_and_folder(no_network, keras_cache):
    with pytest.raises(FerBenchError) as caught:
        demand(resolve_weights("imagenet", FILES))
    for part in (*FILES, str(keras_cache)):
        assert part in str(caught.value)


def test_a_host_that_accepts_and_says_nothing_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not is_there(f"http://127.0.0.1:{silent.getsockname()[1]}/", seconds=0.2)


def test_a_host_that_speaks_another_protocol_has_nothing_and_leaves_no_traceback(monkeypatch):
    raised = []
    monkeypatch.setattr(threading, "excepthook", raised.append)

    def answer():
        connection, _ = other.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"220 mail\r\n")

    with socket.create_server(("127.0.0.1", 0)) as other:
        threading.Thread(target=answer).start()
        assert not is_there(f"http://127.0.0.1:{other.getsockname()[1]}/", seconds=5)
    assert raised == []


def test_a_path_is_resolved_and_identified_by_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = weight_file(tmp_path / "a.weights.h5")
    assert {found.weights for found in resolve_weights("a.weights.h5", FILES).values()} == {str(first.resolve())}
    identity = weights_request_id("a.weights.h5")
    assert identity.startswith("sha256:")
    assert len(identity) == len("sha256:") + 16
    assert weights_request_id(str(weight_file(tmp_path / "copy.h5"))) == identity
    (tmp_path / "other.h5").write_bytes(first.read_bytes() + b"1")
    assert weights_request_id("other.h5") != identity


@pytest.mark.parametrize("request_", ["auto", "imagenet", "none"])
def test_words_identify_themselves(request_):
    assert weights_request_id(request_) == request_


@pytest.mark.parametrize("ask", [lambda request: resolve_weights(request, FILES), weights_request_id])
@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("gone.h5", None, "no such file"),
        ("~nobody-of-that-name/gone.h5", None, "no such file"),
        ("text.h5", b"hello", "not an HDF5 weight file"),
        ("empty.h5", b"", "not an HDF5 weight file"),
        ("weights.bin", b"\x89HDF\r\n\x1a\n", "not an HDF5 weight file"),
    ],
)
def test_what_is_no_weight_file_is_refused_by_name(tmp_path, monkeypatch, ask, name, content, complaint):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(FerBenchError, match=complaint) as caught:
        ask(name)
    assert name in str(caught.value)


BACKBONES = {
    "vgg16": VGG16,
    "resnet50": RESNET50,
    "inception-v3": INCEPTION_V3,
    "efficientnet-b0": EFFICIENTNET_B0,
    "mobilenet-v2": MOBILENET_V2,
}


@cache
def a_backbone(name):
    """The real backbone, at its default size, with random weights; built once."""
    backbone = BACKBONES[name]
    return load_backbone(backbone, backbone.image.size, pretrained.NONE)[0]


@pytest.mark.parametrize("name", BACKBONES)
def test_parameters_are_as_many_as_the_card_says_and_the_cut_leaves_a_part_of_them(name):
    import keras

    backbone = a_backbone(name)
    channels = backbone.output_shape[-1]
    scale = 4 * channels if name == "vgg16" else 0  # which has no BatchNormalization of its own
    assert MODELS[name].n_parameters == backbone.count_params() + scale + (channels + 1) * 256 + 257 * 7
    last_block = keras.Model(backbone.get_layer(BACKBONES[name].cut).output, backbone.output)  # a single tensor will do
    assert 0 < last_block.count_params() < backbone.count_params()


@pytest.mark.parametrize("name", BACKBONES)
def test_weights_of_another_backbone_are_refused(name, tiny_weights):
    with pytest.raises(FerBenchError, match=f"do not fit {BACKBONES[name].application}") as caught:
        load_file(a_backbone(name), BACKBONES[name].application, tiny_weights)
    assert tiny_weights in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_fit_images_of_any_size(tiny_backbone, tiny_weights):
    for size in (8, 24, 40):
        model, weights = load_backbone(tiny_backbone, size, tiny_weights)
        assert model.input_shape == (None, size, size, 3)
        assert weights == ("file", "tiny.weights.h5")


@pytest.mark.parametrize("name", ["cut.weights.h5", "cut.h5"])
def test_a_weight_file_cut_short_is_refused(tiny_backbone, tiny_weights, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(Path(tiny_weights).read_bytes()[:4096])
    with pytest.raises(FerBenchError, match=f"{name}.*do not fit Tiny"):
        load_backbone(tiny_backbone, 16, str(path))


@pytest.mark.parametrize("size", [16, 24])
def test_imagenet_weights_are_the_same_for_images_of_any_size(tiny_backbone, size):
    model, origin = load_backbone(tiny_backbone, size, pretrained.IMAGENET)
    assert origin == ("imagenet", "")
    assert model.input_shape == (None, size, size, 3)
    assert all((array == 0.25).all() for array in model.get_weights())


@pytest.fixture
def no_weights(tiny_backbone, monkeypatch):
    """Keras does not come to ImageNet weights; returns a function of the error that it raises instead."""
    import keras

    build_tiny = keras.applications.Tiny

    def because(error):
        def without(weights, **options):
            if weights == "imagenet":
                raise error
            return build_tiny(weights=weights, **options)

        monkeypatch.setattr(keras.applications, "Tiny", without)

    return because


OFFLINE = Exception("URL fetch failure")  # as Keras raises it without a network


def test_weights_out_of_reach_are_random_and_the_network_says_so(no_weights, tiny_backbone):
    no_weights(OFFLINE)
    assert load_backbone(tiny_backbone, 16, pretrained.UNAVAILABLE)[1] == ("random", pretrained.OUT_OF_REACH)


@pytest.mark.parametrize(
    "error", [MemoryError(), PermissionError(13, "denied"), OSError(28, "No space left on device")], ids=repr
)
def test_want_of_memory_rights_or_room_is_told_as_such(no_weights, tiny_backbone, error):
    no_weights(error)
    with pytest.raises(type(error)) as caught:
        load_backbone(tiny_backbone, 16, pretrained.IMAGENET)
    assert caught.value is error


def test_imagenet_that_cannot_be_downloaded_is_an_error(no_weights, tiny_backbone, monkeypatch, tmp_path):
    no_weights(OFFLINE)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(FerBenchError, match="URL fetch failure") as caught:
        load_backbone(tiny_backbone, 16, pretrained.IMAGENET)
    assert str(tmp_path / "models" / "tiny_notop.h5") in str(caught.value)


def test_an_efficientnet_divides_by_the_deviations_that_its_file_holds_as_variances(tmp_path):
    import keras
    from keras import Input, Model, layers

    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

    def a_model():
        pixels = Input((4, 4, 3))
        return Model(pixels, layers.Normalization(axis=3)(layers.Rescaling(1 / 255)(pixels)))

    saved = a_model()
    saved.layers[-1].set_weights([mean, deviation, np.array(0)])
    saved.save_weights(tmp_path / "efficientnet.weights.h5")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)
    loaded = load_file(a_model(), "EfficientNetB0", str(tmp_path / "efficientnet.weights.h5"))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(loaded(pixels)), (pixels / 255 - mean) / deviation, atol=1e-4)
