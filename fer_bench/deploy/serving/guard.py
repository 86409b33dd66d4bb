"""What stands before the API: how large, how slow and how many requests may be, and the headers of every answer."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

T = TypeVar("T")

LOCAL = ("127.0.0.1", "localhost", "[::1]")
_PORT = re.compile(r":\d*$")
HEADERS = [
    (name.encode(), value.encode())
    for name, value in {
        "content-security-policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
            "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "permissions-policy": "camera=(self), microphone=(), geolocation=()",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-store",
    }.items()
]
"""Nothing from elsewhere, in no frame, remembered nowhere."""


@dataclass(frozen=True)
class Limits:
    """body_bytes: of a request, at most. at_once: requests whose bodies are held together; others are sent away.

    seconds: a body may take to arrive, and an answer to be made. patience: seconds that a request waits for its turn.
    linger: seconds for which the body of a request that is sent away is read and dropped, or the client, still writing,
    would never read why. hosts: names by which the server may be called, all if there are none: a page elsewhere whose
    name is made to point here is not served.
    """

    body_bytes: int = 10_000_000
    at_once: int = 32
    seconds: float = 30.0
    patience: float = 3.0
    linger: float = 2.0
    hosts: tuple[str, ...] = LOCAL


class Refused(Exception):
    """A request that is not let in. status: of HTTP. after: seconds after which it may be tried again."""

    def __init__(self, status: int, code: str, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.after = status, after
        self.body = json.dumps(error(code, message)).encode()

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Of the answer, those of every answer left out."""
        own = {"content-type": "application/json", "content-length": str(len(self.body)), "connection": "close"}
        if self.after is not None:
            own["retry-after"] = str(max(1, round(self.after)))
        return [(name.encode(), value.encode()) for name, value in own.items()]


def error(code: str, message: str) -> dict[str, dict[str, str]]:
    """The body of every answer that is an error."""
    return {"error": {"code": code, "message": message}}


class Turns:
    """Work in threads, that of `n` requests at once; one that cannot begin within `patience` seconds is refused."""

    def __init__(self, n: int, patience: float) -> None:
        self.patience, self._free, self._pool = patience, asyncio.Semaphore(n), ThreadPoolExecutor(n)

    async def do(self, steps: Iterable[Callable[[], T]]) -> list[T]:
        """What `steps` return, done one after another in one thread, and no further once nobody waits for it.

        Raises Refused where no thread is free in time.
        """
        try:
            async with asyncio.timeout(self.patience):
                await self._free.acquire()
        except TimeoutError:
            raise Refused(503, "busy", "others are being answered; try again soon", self.patience) from None
        loop, is_over = asyncio.get_running_loop(), threading.Event()

        def work() -> list[T]:
            return [step() for step in steps if not is_over.is_set()]

        def free(_: Future[list[T]]) -> None:
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(self._free.release)

        future = self._pool.submit(work)
        future.add_done_callback(free)
        try:
            return await asyncio.wrap_future(future)
        finally:
            is_over.set()


class Guard:
    """ASGI middleware that keeps `limits`: bodies are read here, whole, and given on."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits, self.n_inside = app, limits, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_begun = is_read = False

        async def tracked() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = not message.get("more_body")
            return message

        async def guarded(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        try:
            await self._let_in(scope, tracked, guarded)
            return
        except Refused as refused:
            why = refused
        except TimeoutError:
            why = Refused(503, "too_slow", f"no answer in {self.limits.seconds:g} seconds", self.limits.patience)
        except Exception:  # what it is stands in the server's log
            traceback.print_exc()
            why = Refused(500, "internal", "something went wrong; the server's log says what")
        if not is_begun:
            await guarded({"type": "http.response.start", "status": why.status, "headers": why.headers})
            await guarded({"type": "http.response.body", "body": why.body, "more_body": True})
            with suppress(TimeoutError):
                async with asyncio.timeout(self.limits.linger):
                    while not is_read:
                        await tracked()
            await guarded({"type": "http.response.body"})

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, limits = Headers(scope=scope), self.limits
        if scope.get("state", {}).get("is_crowded"):
            raise Refused(503, "busy", "too many connections; try again soon", limits.patience)
        host = _PORT.sub("", headers.get("host", ""))
        if limits.hosts and host.lower() not in limits.hosts:
            raise Refused(421, "other_host", "this server is not called by that name")
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        if self.n_inside >= limits.at_once:
            raise Refused(503, "busy", f"{limits.at_once} requests are waiting; try again soon", limits.patience)
        self.n_inside += 1
        try:
            async with asyncio.timeout(limits.seconds):
                body = await self._body(headers, receive)
            async with asyncio.timeout(limits.seconds):
                await self.app(scope, _given(body, receive), send)
        finally:
            self.n_inside -= 1

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        said, parts, n = headers.get("content-length", "0"), [], 0
        too_large = Refused(413, "too_large", f"the body is over {self.limits.body_bytes:,} bytes")
        if said.isdecimal() and int(said) > self.limits.body_bytes:
            raise too_large
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "cut_short", "the body ends before its end")
            parts.append(message.get("body", b""))
            n += len(parts[-1])
            if n > self.limits.body_bytes:
                raise too_large
            if not message.get("more_body"):
                return b"".join(parts)


def _given(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives `body`, and then what the client does."""
    waiting = [body]

    async def next_message() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return next_message
