"""uvicorn's server and its connections, with bounds on how many there are and how long one may dawdle."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from fer_bench.deploy.serving.guard import HEADERS, Refused

if TYPE_CHECKING:
    from starlette.types import ASGIApp

CONNECTIONS = 500
"""Open at once, at most; the guard sends those beyond away. A process may commonly open 1,024 files."""
SECONDS = 10.0
"""From the beginning of a connection, or an answer on it, to the last header of the next request."""
GRACE = 10
"""Seconds that requests are given to end in, once the server is told to stop."""


class Server(uvicorn.Server):
    """Answers by `app`, as soon as it is run. ready: called once it answers, and a signal ends it in order."""

    def __init__(self, app: ASGIApp, ready: Callable[[], None] = lambda: None) -> None:
        config = uvicorn.Config(
            app, http=Connection, ws="none", log_level="error", access_log=False, server_header=False,
            timeout_graceful_shutdown=GRACE,
        )  # fmt: skip
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin."""
        await super().startup(sockets)
        self._ready()


class Connection(H11Protocol):
    """HTTP/1.1; uvicorn's own timeout begins anew with every byte."""

    app_state: dict[str, Any]

    def connection_made(self, transport: Any) -> None:
        """Begin, and tell the guard where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            self.app_state = {**self.app_state, "is_crowded": True}
        self._due = self.loop.call_later(SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._due.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._due.cancel()
        self._due = self.loop.call_later(SECONDS, self._look)

    def _look(self) -> None:
        """Hang up on who sends no request, or does not read the end of an answer."""
        if self.cycle is None or self.cycle.response_complete or self.transport.is_closing():
            self.transport.abort()
        else:
            self._due = self.loop.call_later(SECONDS, self._look)

    def send_400_response(self, msg: str) -> None:
        """Answer to what is no HTTP."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            refused = Refused(400, "bad_request", msg)
            answer = h11.Response(status_code=refused.status, headers=[*refused.headers, *HEADERS])
            for event in (answer, h11.Data(data=refused.body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
