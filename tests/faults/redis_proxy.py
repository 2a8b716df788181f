"""A TCP proxy in front of Redis: slow answers, and answers lost after the script has run.

It reads no protocol: a write script is known by its command, and a client asks one thing at a time.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Event, Thread

from tests.servers import RedisServer, free_ports

SCRIPT = b"EVALSHA"


class RedisProxy:
    """Another address (`url`) of the same Redis."""

    def __init__(self, server: RedisServer) -> None:
        self._target_port = server.port
        (port,) = free_ports(1)
        self.url = f"redis://127.0.0.1:{port}/0"
        self.delay_s = 0.0
        """How much later every answer comes."""
        self.lose = 0
        """So many answers to write scripts are still to be lost, each with its connection."""
        self._closed = Event()
        self._listener = socket.create_server(("127.0.0.1", port))
        Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End everything."""
        self._closed.set()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target_port))
                asked = Event()
                Thread(target=self._requests, args=(near, far, asked), daemon=True).start()
                Thread(target=self._answers, args=(far, near, asked), daemon=True).start()

    def _requests(self, near: socket.socket, far: socket.socket, asked: Event) -> None:
        with suppress(OSError):
            while data := near.recv(65_536):
                if SCRIPT in data and self.lose:
                    asked.set()
                far.sendall(data)
        _end(near, far)

    def _answers(self, far: socket.socket, near: socket.socket, asked: Event) -> None:
        with suppress(OSError):
            while data := far.recv(65_536):
                self._closed.wait(self.delay_s)
                if asked.is_set():
                    self.lose -= 1
                    break
                near.sendall(data)
        _end(near, far)


def _end(*ends: socket.socket) -> None:
    for one in ends:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
