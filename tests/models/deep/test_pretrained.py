import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from fer_bench.errors import FerBenchError
from fer_bench.models.deep import pretrained
from fer_bench.models.deep.pretrained import host_answers, resolve_weights, weights_request_id

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


@pytest.fixture
def web_server():
    """A host that answers every request with 404; its URL and the requests it saw."""
    seen = []

    class NotFound(BaseHTTPRequestHandler):
        def do_HEAD(self):
            seen.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), NotFound)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/weights/", seen
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
    for found in resolve_weights(request_, FILES).values():
        assert found.weights == request_
        assert "Keras' cache" in found.reason


def test_missing_files_are_downloaded_where_the_host_answers(web_server, keras_cache, monkeypatch):
    url, seen = web_server
    monkeypatch.setattr(pretrained, "DOWNLOAD_URL", url)
    found = resolve_weights("auto", FILES)
    assert {name: one.weights for name, one in found.items()} == dict.fromkeys(FILES, "auto")
    assert all(f"downloaded by Keras: {name}" in found[name].reason for name in FILES)
    assert seen == ["/weights/"]  # once for all files


def test_auto_without_network_says_loudly_that_weights_are_random(no_network, keras_cache):
    weight_file(keras_cache / FILES[0])
    found = resolve_weights("auto", FILES)
    assert found[FILES[1]].weights == "unavailable"
    assert "RANDOM" in found[FILES[1]].reason and FILES[1] in found[FILES[1]].reason
    assert found[FILES[0]].weights == "auto"  # one that is there is used, whichever else is missing
    assert "RANDOM" not in found[FILES[0]].reason


def test_imagenet_without_network_names_files_and_folder(no_network, keras_cache):
    with pytest.raises(FerBenchError) as caught:
        resolve_weights("imagenet", FILES)
    for part in (*FILES, str(keras_cache)):
        assert part in str(caught.value)


def test_a_host_that_accepts_and_says_nothing_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not host_answers(f"http://127.0.0.1:{silent.getsockname()[1]}/", seconds=0.2)


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
        ("text.h5", b"hello", "not an HDF5 weight file"),
        ("empty.h5", b"", "not an HDF5 weight file"),
        ("weights.bin", b"\x89HDF\r\n\x1a\n", "not an HDF5 weight file"),
    ],
)
def test_what_is_no_weight_file_is_refused_by_name(tmp_path, ask, name, content, complaint):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FerBenchError, match=complaint) as caught:
        ask(str(path))
    assert name in str(caught.value)


def test_cards_and_weights_need_no_keras():
    code = "import fer_bench.models.deep.assembly, fer_bench.models.deep.pretrained, sys; print('keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
