"""Two hundred clients at once, for a minute: whoever is not answered soon is told when to come again."""

import asyncio
import re
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_bench.data import make_synthetic

CLIENTS, SECONDS = 200, 60
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n'
    b"Content-Type: image/png\r\n\r\n%s\r\n--b--\r\n"
)
HEAD = (
    "POST /predict?faces={faces} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    "Content-Length: {length}\r\n\r\n"
)


def photo() -> np.ndarray:
    """Three faces before blurred noise, 1600 x 1200."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    wall = cv2.resize(noise, (1600, 1200), interpolation=cv2.INTER_CUBIC)
    for at, face in enumerate(make_synthetic(100, 0).images[:3]):
        wall[300:600, 100 + 450 * at : 400 + 450 * at] = cv2.resize(face, (300, 300))[..., None]
    return wall


@pytest.mark.long
@pytest.mark.parametrize("kind", ["face", "photo"])
def test_two_hundred_clients_at_once_are_answered_or_told_to_come_again(server, kind, capsys):
    url, process = server
    image = photo() if kind == "photo" else make_synthetic(100, 0).images[0]
    body = FORM % cv2.imencode(".jpg" if kind == "photo" else ".png", image)[1].tobytes()
    request = HEAD.format(faces=str(kind == "photo").lower(), length=len(body)).encode() + body
    port, took, statuses, end = int(url.rpartition(":")[2]), [], Counter(), time.monotonic() + SECONDS

    async def client() -> None:
        while time.monotonic() < end:
            start = time.monotonic()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            took.append(time.monotonic() - start)
            statuses[int(head.split(b" ", 2)[1])] += 1
            if again := re.search(rb"retry-after: (\d+)", head):
                await asyncio.sleep(int(again[1]))

    async def together() -> None:
        await asyncio.gather(*(client() for _ in range(CLIENTS)))

    asyncio.run(together())
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())[1]) // 1024
    p50, p99 = np.quantile(took, (0.5, 0.99))
    with capsys.disabled():
        print(f"\n{kind}: {dict(statuses)}, p50 {p50:.1f} s, p99 {p99:.1f} s, at most {peak} MB")
    assert statuses.keys() <= {200, 503} and statuses[200] and p99 < 10 and peak < 500
