"""A connection of the server: as uvicorn has them, with bounds on how many there are and how long one may dawdle."""

from __future__ import annotations

from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from fer_bench.deploy.serving.guard import HEADERS, Refused

CONNECTIONS = 500
"""Open at once, at most; the guard sends those beyond away. A process may commonly open 1,024 files."""
SECONDS = 10.0
"""From the beginning of a connection, or an answer on it, to the last header of the next request."""


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
