"""The server: it answers as the bundle does, whatever is sent; what is too large, too many or too slow is sent away."""

import asyncio
import base64
import shutil
import signal
import socket
import tempfile
import threading

import cv2
import httpx
import numpy as np
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

from fer_bench.deploy.serving import connection
from fer_bench.deploy.serving.app import MOST_IMAGES, make_app
from fer_bench.deploy.serving.connection import Server
from fer_bench.deploy.serving.guard import Guard, Limits, Refused, Turns
from fer_bench.deploy.serving.server import serve
from fer_bench.errors import FerBenchError

CHROMIUM = shutil.which("chromium")


def png(image) -> bytes:
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 60, 60, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def client(bundle):
    with TestClient(make_app(bundle), base_url="http://localhost", raise_server_exceptions=False) as opened:
        yield opened


def test_it_answers_as_the_bundle_does_to_forms_and_json(bundle, client, images):
    expected = bundle.predict(images)
    files = [("images", (f"{at}.png", png(image))) for at, image in enumerate(images)]
    texts = [base64.b64encode(png(image)).decode() for image in images]
    of_form = client.post("/predict?faces=false", files=files)
    of_json = client.post("/predict?faces=false", json={"images": [f"data:image/png;base64,{texts[0]}", *texts[1:]]})
    assert of_form.status_code == of_json.status_code == 200
    for answer in (of_form.json(), of_json.json()):
        found = [list(one["faces"][0]["probabilities"].values()) for one in answer["images"]]
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert [one["name"] for one in of_form.json()["images"]] == ["0.png", "1.png", "2.png"]
    assert client.post("/predict", files=files[:1]).json()["images"][0]["faces"] == []  # noise has no face
    assert client.get("/model").json() == bundle.card and client.get("/health").json()["status"] == "ok"


def test_what_cannot_be_answered_is_told_as_json_and_with_the_headers_of_every_answer(client, images):
    good = ("images", ("good.png", png(images[0])))
    one_bad = client.post("/predict?faces=false", files=[good, ("images", ("bad\x1b[31m.png", b"no image"))])
    assert one_bad.status_code == 200 and [bool(one["problem"]) for one in one_bad.json()["images"]] == [False, True]
    assert "\x1b" not in one_bad.text
    json = {"content-type": "application/json"}
    form = {"content-type": "multipart/form-data"}
    for status, answer in (
        (422, client.post("/predict", files=[("images", ("bad.png", b"no image"))])),
        (400, client.post("/predict", files=[("others", ("good.png", png(images[0])))])),
        (400, client.post("/predict", content=b"--", headers=form)),
        (400, client.post("/predict", files=[good] * (MOST_IMAGES + 1))),
        (400, client.post("/predict", content=b'{"images": ["?"]}', headers=json)),
        (400, client.post("/predict", content=b'{"images": []}', headers=json)),
        (400, client.post("/predict", content=b"\xff", headers=json)),
        (415, client.post("/predict", content=b"x")),
        (422, client.post("/predict?faces=perhaps", files=[good])),
        (413, client.post("/predict", content=bytes(10_000_001))),
        (404, client.get("/nothing")),
        (405, client.get("/predict")),
        (421, client.get("/health", headers={"host": "elsewhere.example"})),
    ):
        assert answer.status_code == status, answer.text
        assert answer.json()["error"].keys() == {"code", "message"}
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_damaged_images_are_refused_and_nothing_else_happens(client, images):
    rng, whole = np.random.default_rng(0), [png(images[0]), cv2.imencode(".jpg", images[1])[1].tobytes()]
    for _ in range(40):
        files = []
        for at in range(MOST_IMAGES // 2):
            content = np.frombuffer(whole[at % 2], np.uint8).copy()
            content[rng.integers(0, len(content), rng.integers(1, 20))] = rng.integers(0, 256)
            files.append(("images", ("damaged", content[: rng.integers(len(content)) + 1].tobytes())))
        answer = client.post("/predict", files=files)
        assert answer.status_code in (200, 422), answer.text


@pytest.mark.parametrize("mode", schemathesis.GenerationMode)
def test_every_answer_is_one_that_is_described(client, mode):
    description = schemathesis.openapi.from_asgi("/openapi.json", client.app, headers={"host": "localhost"})
    assert {*description["/predict"]["POST"].definition.raw["responses"]} >= {"400", "413", "415", "421", "422", "503"}
    which_images_can_be_read = schemathesis.checks.CHECKS.get_one("positive_data_acceptance")
    given_something = [description["/predict"]["POST"]]
    without = [description["/model"]["GET"], description["/health"]["GET"]]
    for operation in given_something + (without if mode.is_positive else []):

        @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            case.call_and_validate(headers={"host": "localhost"}, excluded_checks=[which_images_can_be_read])

        ask()


def asked(app, *parts, limits) -> tuple[int, dict[str, str]]:
    """Status and headers of what `app` behind a guard answers to a body that comes in `parts`; None: it never ends."""
    waiting, sent = list(parts), []

    async def receive():
        part = waiting.pop(0) if waiting else None
        await asyncio.sleep(60 if part is None else 0)
        return {"type": "http.request", "body": part, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"localhost:80")]}
    asyncio.run(Guard(app, limits)(scope, receive, send))
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


async def slow(scope, receive, send):
    await asyncio.sleep(60)


def test_an_error_of_ours_has_no_trace_and_nothing_large_goes_to_disk(client, monkeypatch, capsys):
    async def broken(scope, receive, send):
        raise RuntimeError("secret")

    status, headers = asked(broken, b"1", limits=Limits())
    assert status == 500 and "content-security-policy" in headers and "secret" in capsys.readouterr().err
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", None)
    large = np.random.default_rng(0).integers(0, 256, (800, 800, 3), dtype=np.uint8)
    assert client.post("/predict?faces=false", files=[("images", ("large.png", png(large)))]).status_code == 200


def test_what_is_too_large_too_slow_or_too_much_at_once_is_sent_away():
    assert asked(slow, b"12345", b"67890", b"1", limits=Limits(body_bytes=10))[0] == 413
    brief = Limits(seconds=0.05, linger=0.05)
    assert asked(slow, b"1", None, limits=brief)[0] == 503  # the body does not come
    assert asked(slow, b"1", limits=brief)[0] == 503  # the answer does not
    status, headers = asked(slow, b"1", limits=Limits(at_once=0, patience=3))
    assert (status, headers["retry-after"]) == (503, "3")


def test_who_has_no_turn_in_time_is_sent_away_and_work_that_nobody_waits_for_ends():
    begun, go, done = threading.Event(), threading.Event(), []

    def step():
        begun.set()
        go.wait(60)
        done.append(1)

    async def three():
        turns = Turns(1, patience=0.05)
        first = asyncio.create_task(turns.do([step] * 100))
        await asyncio.to_thread(begun.wait, 60)
        with pytest.raises(Refused):
            await turns.do([step])
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        go.set()
        turns.patience = 60
        assert await turns.do([lambda: "third"]) == ["third"]

    asyncio.run(three())
    assert len(done) == 1


def test_connections_that_dawdle_are_ended_and_those_beyond_the_bound_sent_away(client, monkeypatch):
    monkeypatch.setattr(connection, "CONNECTIONS", 4)
    monkeypatch.setattr(connection, "SECONDS", 0.5)

    async def sent(port: int, *parts: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.1)
        answer = await reader.read()
        writer.close()
        return answer

    async def asking() -> list[bytes]:
        server, health = Server(client.app), b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port, running = listening.getsockname()[1], asyncio.create_task(server.serve([listening]))
            silent, partial, kept, garbage = (
                asyncio.create_task(sent(port, *parts))
                for parts in ([], [b"GET", b" /hea"], [health + b"\r\n", b"GET /"], [b"\0\r\n\r\n"])
            )
            answers = [await garbage]
            crowd = [asyncio.create_task(sent(port)) for _ in range(4)]
            answers += await asyncio.wait_for(asyncio.gather(kept, silent, partial, *crowd), 5)
            monkeypatch.setattr(connection, "SECONDS", 60)  # nobody is ended: all stay who come before the last
            opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
            answers.append(await sent(port, health + b"\r\n"))
            for _, writer in opened:
                writer.close()
            server.should_exit = True
            await running
        return answers

    garbage, kept, *others, crowded = asyncio.run(asking())
    for answer, status in ((garbage, b"400"), (crowded, b"503"), (kept, b"200")):
        assert answer.startswith(b"HTTP/1.1 " + status) and b"nosniff" in answer
    assert b"retry-after" in crowded and not any(others)


def test_a_port_in_use_is_told(bundle):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(FerBenchError, match=f"--port {port}"):
            serve(bundle, "127.0.0.1", port)


@pytest.mark.parametrize(
    "origin", ["*", "example.org", "https://", "https://a.b/c", "https://a:99999", "ftp://a", "http://u@a"]
)
def test_an_origin_that_no_browser_names_is_refused(bundle, origin):
    with pytest.raises(FerBenchError, match="--allow-origin"):
        serve(bundle, "127.0.0.1", 0, [origin])


def test_scripts_of_allowed_pages_alone_may_read_answers(bundle):
    with TestClient(make_app(bundle, origins=["https://a.example"]), base_url="http://localhost") as client:
        for origin, allowed in (("https://a.example", "https://a.example"), ("https://b.example", None)):
            answer = client.get("/health", headers={"origin": origin})
            assert answer.headers.get("access-control-allow-origin") == allowed


def test_who_is_being_answered_when_the_server_is_stopped_gets_the_answer(server, images):
    url, process = server
    host, port = url.removeprefix("http://").split(":")
    body = b'{"images": ["' + base64.b64encode(png(images[0])) + b'"]}'
    head = (
        f"POST /predict?faces=false HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + body[:10])
        httpx.get(f"{url}/health")  # by now the other request is inside
        process.send_signal(signal.SIGTERM)
        connection.sendall(body[10:])
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200") and b"probabilities" in answer
    assert process.wait(20) in (0, -signal.SIGTERM)
    assert "Traceback" not in process.stdout.read()


def test_ctrl_c_is_how_a_server_ends(server):
    _, process = server
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert process.stdout.read() == ""


@pytest.mark.skipif(not CHROMIUM, reason="not tried in a browser: no chromium on this machine")
def test_the_page_answers_to_a_photo_and_to_the_webcam(server, images, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    url, _ = server
    film = tmp_path / "film.mjpeg"
    film.write_bytes(10 * cv2.imencode(".jpg", cv2.resize(images[1], (320, 240)))[1].tobytes())
    arguments = [
        "--no-sandbox", "--disable-gpu", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    ]  # fmt: skip
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page, troubles = browser.new_page(), []
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda one: one.url.startswith((url, "data:", "blob:")) or troubles.append(one.url))
        page.goto(url)
        page.uncheck("#faces")
        bad = {"name": "<b>x", "mimeType": "image/png", "buffer": b"none"}
        good = [{"name": name, "mimeType": "image/png", "buffer": png(images[at])} for at, name in enumerate("abc")]
        page.set_input_files("#file", [good[0], bad, *good[1:]])
        page.wait_for_selector("#found article:nth-of-type(3) meter")
        assert page.locator("#found h2").all_inner_texts() == ["a", "b", "c"]
        assert sorted(page.locator("article:nth-of-type(1) th").all_inner_texts()) == ["bottom", "middle", "top"]
        assert "<b>x" in page.inner_text("#found .wrong")
        page.click("#camera")
        page.wait_for_selector("#found meter")
        page.click("#camera")
        assert page.get_attribute("#camera", "aria-pressed") == "false"
        page.goto(f"{url}/docs")
        page.wait_for_selector("dt")
        assert not troubles
        browser.close()
