"""A TCP proxy that knows which of Kafka's replies it is carrying, and a broker that is behind it.

Both sides of the protocol are frames: a length, then the frame. A request begins with the number of
what is asked and the number by which its reply will be known; that is all the proxy reads. Whatever
it does to a reply, the broker has done what was asked; `unsent` is the one way in which it has not.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from threading import Event, Lock, Thread
from typing import Literal

from tests.servers import KafkaServer, free_ports

How = Literal["lost", "late", "cut", "unsent"]
"""The reply and all after it on that connection never come; it comes after a while; the connection
ends instead; the connection ends before the request is through."""
LATE_S = 4.0


class Asked(IntEnum):
    """What a request asks for, by Kafka's numbers."""

    PRODUCE = 0
    FETCH = 1
    OFFSET_FETCH = 9
    JOIN_GROUP = 11
    HEARTBEAT = 12
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS = 24
    ADD_OFFSETS = 25
    END_TXN = 26
    TXN_OFFSETS = 28


@dataclass
class Rule:
    """What to do to the replies of one kind, once `skip` of them have passed."""

    asked: Asked
    how: How
    skip: int
    times: int
    hits: int = 0
    done: Event = field(default_factory=Event)

    def applies(self, asked: int) -> bool:
        """Whether it is this one's turn; counts it."""
        if asked != self.asked or self.done.is_set():
            return False
        self.skip -= 1
        if self.skip >= 0:
            return False
        self.hits += 1
        if self.hits == self.times:
            self.done.set()
        return True


class Proxy:
    """Carries every connection of `port` to `target_port`, and breaks what the rule says."""

    def __init__(self, port: int, target_port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self._target_port = target_port
        self._lock = Lock()
        self._rule: Rule | None = None
        self._open: list[socket.socket] = []
        self.reachable = True
        """Whether new connections are carried at all."""
        self._listener = socket.create_server(("127.0.0.1", port))
        self._closed = Event()
        Thread(target=self._accept, daemon=True).start()

    def break_replies(self, asked: Asked, how: How, skip: int = 0, times: int = 1) -> Rule:
        """From now on, until it was done `times` times."""
        rule = Rule(asked, how, skip, times)
        with self._lock:
            self._rule = rule
        return rule

    def cut_all(self) -> None:
        """End every connection that is open now."""
        with self._lock:
            ending, self._open = self._open, []
        for one in ending:
            _end(one)

    def close(self) -> None:
        """End everything."""
        self._closed.set()
        self._listener.close()
        self.cut_all()

    def turn_of(self, asked: int, *, sent: bool) -> How | None:
        """What to do to this request (before it is `sent`) or to its reply."""
        with self._lock:
            rule = self._rule
            if rule is not None and (rule.how == "unsent") is not sent and rule.applies(asked):
                return rule.how
        return None

    def pause(self, seconds: float) -> None:
        """Wait, unless the proxy is closed meanwhile."""
        self._closed.wait(seconds)

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                near, _ = self._listener.accept()
                if not self.reachable:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                continue
            with self._lock:
                self._open += (near, far)
            carried = Connection(self, near, far)
            Thread(target=carried.requests, daemon=True).start()
            Thread(target=carried.replies, daemon=True).start()


class Connection:
    """One client's connection and ours to the broker."""

    def __init__(self, proxy: Proxy, near: socket.socket, far: socket.socket) -> None:
        self._proxy, self._near, self._far = proxy, near, far
        self._asked: dict[int, int] = {}

    def requests(self) -> None:
        """Client to broker, noting what each asks."""
        with suppress(OSError):
            for frame in _frames(self._near):
                asked, _, number = struct.unpack_from(">hhi", frame, 4)
                self._asked[number] = asked
                if self._proxy.turn_of(asked, sent=False):
                    break
                self._far.sendall(frame)
        self._end()

    def replies(self) -> None:
        """Broker to client."""
        lost = False
        with suppress(OSError):
            for frame in _frames(self._far):
                (number,) = struct.unpack_from(">i", frame, 4)
                how = self._proxy.turn_of(self._asked.pop(number, -1), sent=True)
                if how == "cut":
                    break
                if how == "late":
                    self._proxy.pause(LATE_S)
                lost = lost or how == "lost"
                if not lost:
                    self._near.sendall(frame)
        self._end()

    def _end(self) -> None:
        _end(self._near)
        _end(self._far)


class ProxiedKafka(KafkaServer):
    """A broker with a second door: who comes in by `proxy.address` is only ever shown that one."""

    def __init__(self) -> None:
        super().__init__()
        self._inner_port, self._outer_port = free_ports(2)
        self.proxy = Proxy(self._outer_port, self._inner_port)

    def close(self) -> None:
        """The proxy too."""
        self.proxy.close()
        super().close()

    def _properties(self) -> dict[str, str]:
        own = super()._properties()
        ours = f"PLAINTEXT://127.0.0.1:{self.port},PROXIED://127.0.0.1:"
        return own | {
            "listeners": f"{own['listeners']},PROXIED://127.0.0.1:{self._inner_port}",
            "advertised.listeners": f"{ours}{self._outer_port}",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT"
            ),
        }


def through(server: ProxiedKafka) -> dict[str, str]:
    """The environment of a worker that sees the broker through its proxy."""
    return {"SLOTCAST_KAFKA__BOOTSTRAP_SERVERS": server.proxy.address}


def _frames(source: socket.socket) -> Iterator[bytes]:
    """Whole frames, with their length in front, until the connection ends."""
    while True:
        head = _exactly(source, 4)
        yield head + _exactly(source, *struct.unpack(">i", head))


def _exactly(source: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        some = source.recv(size - len(found))
        if not some:
            raise ConnectionResetError
        found += some
    return bytes(found)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
