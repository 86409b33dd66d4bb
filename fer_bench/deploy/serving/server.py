"""The server: a port of this machine, until it is told to stop."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fer_bench.data import quiet
from fer_bench.errors import FerBenchError

if TYPE_CHECKING:
    from fer_bench.deploy.bundle import Bundle


def serve(
    bundle: Bundle, host: str, port: int, origins: Sequence[str] = (), tell: Callable[[str], None] = lambda url: None
) -> None:
    """Answer on `host` and `port`, 0 for a free one, until SIGINT or SIGTERM.

    tell: is told the address, once it answers.
    Raises FerBenchError where what it needs is not installed, the address cannot be had, or an origin is none.
    """
    try:
        import python_multipart  # noqa: F401 - FastAPI asks for it only once a form comes

        from fer_bench.deploy.serving.app import make_app
        from fer_bench.deploy.serving.connection import Server
        from fer_bench.deploy.serving.guard import LOCAL, Limits
    except ImportError as error:
        raise FerBenchError(f"{error.name} is not installed: `pip install 'fer_bench[serve]'` brings it") from None
    allowed = [_origin(one) for one in origins]
    listening = _listening(host, port)
    shown = f"[{host}]" if ":" in host else host
    app = make_app(bundle, Limits(hosts=(*LOCAL, shown) if _is_local(host) else ()), allowed)
    address = f"http://{shown}:{listening.getsockname()[1]}"
    with quiet(), listening, suppress(KeyboardInterrupt):  # which uvicorn passes on, once it has ended
        Server(app, lambda: tell(address)).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    if not host:
        raise FerBenchError("--host: is empty; 127.0.0.1 is this machine alone, 0.0.0.0 all of its addresses")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None) or 0
        why = os.strerror(number) if number > 0 else "no such host"
        hint = "--port, or 0 for a free one" if number in (errno.EADDRINUSE, errno.EACCES) else "--host"
        raise FerBenchError(f"--host {host} --port {port}: {why}; give another {hint}") from error


def _origin(given: str) -> str:
    """`given` as browsers name the origin of a page."""
    try:
        parts = urlsplit(given.lower().rstrip("/"))
        named = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        named = False
    if not named or parts.geturl() != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc:
        raise FerBenchError(f"--allow-origin {given!r}: give scheme, host and port alone, as https://example.org:8443")
    return parts.geturl()


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
