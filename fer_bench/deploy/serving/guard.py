"""What stands before the API: how large, how slow and how many requests may be, and the headers of every answer."""

from __future__ import annotations

import asyncio
import json
import re
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL = ("127.0.0.1", "localhost", "[::1]")
_PORT = re.compile(r":\d*$")
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""Nothing from elsewhere, in no frame, remembered nowhere."""


@dataclass(frozen=True)
class Limits:
    """body_bytes: of a request, at most. at_once: requests that are let in together; the others are sent away.

    seconds: a body may take to arrive, and an answer to be made. hosts: names by which the server may be called, all if
    there are none: a page elsewhere whose name is made to point here is not served.
    """

    body_bytes: int = 10_000_000
    at_once: int = 32
    seconds: float = 30.0
    hosts: tuple[str, ...] = LOCAL


class Refused(Exception):
    """A request that is not let in. status: of HTTP."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def error(code: str, message: str) -> dict[str, dict[str, str]]:
    """The body of every answer that is an error."""
    return {"error": {"code": code, "message": message}}


class Guard:
    """ASGI middleware that keeps `limits`: bodies are read here, whole, and given on."""

    def __init__(self, app: App, limits: Limits) -> None:
        self.app, self.limits, self.n_inside = app, limits, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_begun = False

        async def guarded(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        try:
            await self._let_in(scope, receive, guarded)
        except Refused as refused:
            await _answer(guarded, refused)
        except TimeoutError:
            if not is_begun:
                await _answer(guarded, Refused(503, "too_slow", f"no answer in {self.limits.seconds:g} seconds"))
        except Exception:  # what it is stands in the server's log
            traceback.print_exc()
            if not is_begun:
                await _answer(guarded, Refused(500, "internal", "something went wrong; the server's log says what"))

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = _PORT.sub("", headers.get("host", ""))
        if self.limits.hosts and host.lower() not in self.limits.hosts:
            raise Refused(421, "other_host", "this server is not called by that name")
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        if self.n_inside >= self.limits.at_once:
            raise Refused(503, "busy", f"{self.limits.at_once} requests are being answered; try again in a second")
        self.n_inside += 1
        try:
            async with asyncio.timeout(self.limits.seconds):
                body = await self._body(headers, receive)
            async with asyncio.timeout(self.limits.seconds):
                await self.app(scope, _given(body, receive), send)
        finally:
            self.n_inside -= 1

    async def _body(self, headers: dict[str, str], receive: Receive) -> bytes:
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


async def _answer(send: Send, refused: Refused) -> None:
    body = json.dumps(error(refused.code, str(refused))).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refused.status == 503:
        headers.append((b"retry-after", b"1"))
    if refused.status in (400, 413):  # what was not read is not waited for
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
