"""The HTTP server on a thread of its own, so that the worker keeps the main one.

`start` returns when requests are answered, `stop` when the last answer is out or the patience is
over; event streams end at once.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from errno import EADDRINUSE
from types import TracebackType
from typing import Self

import uvicorn
from fastapi import FastAPI

from slotcast.settings import HttpSettings

START_TIMEOUT_S = 10.0
PATIENCE_S = 2
SETTLE_S = 0.01
"""In which connections that were just taken come to be known, so that they are ended too."""
CONNECTIONS = 512
"""At a time; whoever comes then is sent away with 503, before it costs anything."""
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""Addresses that bind all of a machine's -> the loopback one among them."""


class ApiServer:
    """Serves an app from `create_app`. Also a context manager: started inside, stopped after."""

    def __init__(self, app: FastAPI, http: HttpSettings) -> None:
        self._http = http
        self._port: int | None = None
        self._server = _Server(app)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Bind and serve. Raises `OSError` when the address cannot be had."""
        assert self._thread is None, "an ApiServer starts once"
        listener = _bind(self._http.host, self._http.port)
        self._port = listener.getsockname()[1]
        self._thread = threading.Thread(
            target=self._serve, args=(listener,), name="slotcast-http", daemon=True
        )
        self._thread.start()
        if not self._server.up.wait(START_TIMEOUT_S) or not self._server.started:
            raise RuntimeError(f"the HTTP server on {self.url} did not start: see the log")

    def stop(self) -> None:
        """End the streams, answer what is under way, free the port. Idempotent."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(PATIENCE_S + 3)

    @property
    def port(self) -> int:
        """The bound port, also when 0 was asked for."""
        assert self._port is not None, "not started yet"
        return self._port

    @property
    def url(self) -> str:
        """Where to point a browser: an address that can be visited from this machine."""
        host = EVERY_ADDRESS.get(self._http.host, self._http.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def advertised(self) -> str:
        """Where other workers reach this one: as configured, else the bound address.

        Bound to every address, it is reached by the machine's name.
        """
        if self._http.advertise:
            return self._http.advertise.rstrip("/")
        if self._http.host in EVERY_ADDRESS:
            return f"http://{socket.gethostname()}:{self.port}"
        return self.url

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _serve(self, listener: socket.socket) -> None:
        try:
            self._server.run(sockets=[listener])
        finally:
            self._server.up.set()
            listener.close()


class _Server(uvicorn.Server):
    """uvicorn that says when it is up, and ends the event streams before it waits for answers."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                ws="none",
                limit_concurrency=CONNECTIONS,
                timeout_graceful_shutdown=PATIENCE_S,
            )
        )
        self._app = app
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.events.close()
        for listening in self.servers:
            listening.close()
        await asyncio.sleep(SETTLE_S)
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.close()  # else it hangs until somebody collects the garbage


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        taken = "it is taken" if error.errno == EADDRINUSE else error.strerror
        way_out = "choose another with --port, or host and port in [http]"
        raise OSError(f"cannot serve on {host} port {port}: {taken}; {way_out}") from error
