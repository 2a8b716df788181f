"""Feeds of the embedded log: a simulated market, or a file. Each knows where it stopped.

A feed appends ticks and its own position in one transaction, so a second start goes on exactly
where the first one ended. It waits when the worker is far behind.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from slotcast.feeds.files import ColumnMap, Pace, TickBlock, count_rows, read_ticks
from slotcast.feeds.simulator import Market, encode

PULSE_S = 0.05
"""Paced feeds append this often."""
BEHIND_TICKS = 50_000
"""A feed waits while the worker is further behind."""
BLOCK_TICKS = 4_096


class FeedLog(Protocol):
    """What an embedded run needs of its log besides the port's methods."""

    def feed(
        self,
        partition: int,
        keys: list[bytes],
        values: list[bytes],
        timestamps_ms: NDArray[np.int64],
        controls: None = None,
        producer: tuple[str, bytes] | None = None,
    ) -> int: ...

    def producer_position(self, name: str) -> bytes | None: ...

    def bounds(self, partition: int) -> tuple[int, int]: ...

    def trim(
        self, partition: int, before_offset: int, keep_forecasts: int, keep_dead_letters: int
    ) -> int: ...


class Feed(Protocol):
    """A source of ticks. `total` is None when it never ends or its length is unknown."""

    title: str
    total: int | None
    stay: bool
    fed: int
    resumed: bool

    def run(self, log: FeedLog, lag: Callable[[], int], stop: threading.Event) -> None:
        """Append until the end or until `stop` is set."""


def _stamps(n: int) -> NDArray[np.int64]:
    return np.full(n, round(time.time() * 1e3), np.int64)


class MarketFeed:
    """The simulated market, `rate` ticks a second (0: as fast as the worker takes them)."""

    stay = False

    def __init__(self, instruments: int, total: int | None, rate: float) -> None:
        self.title = f"simulated market of {instruments} instruments"
        self.total, self.fed, self.resumed = total, 0, False
        self._instruments, self._rate = instruments, rate
        self._name = f"market-{instruments}"

    def run(self, log: FeedLog, lag: Callable[[], int], stop: threading.Event) -> None:
        """See `Feed`."""
        captured = log.producer_position(self._name)
        self.resumed = captured is not None
        market = Market.resume(captured) if captured else Market(self._instruments)
        begun = time.monotonic()
        while not stop.is_set() and (self.total is None or self.fed < self.total):
            due = (
                int((time.monotonic() - begun) * self._rate) - self.fed
                if self._rate
                else BLOCK_TICKS
            )
            n = min(due, BLOCK_TICKS, self.total - self.fed if self.total is not None else due)
            if n < 1 or lag() > BEHIND_TICKS:
                stop.wait(PULSE_S)
                continue
            ticks = market.next(n)
            keys, values = encode(ticks, market.names)
            log.feed(0, keys, values, _stamps(n), producer=(self._name, market.capture()))
            self.fed += n
            if self._rate:
                stop.wait(PULSE_S)


class FileFeed:
    """The ticks of a file, at recorded speed times `speed`, or as fast as they are taken (None)."""

    def __init__(self, path: Path, columns: ColumnMap, speed: float | None, stay: bool) -> None:
        self.title, self.total = path.name, count_rows(path)
        self.stay, self.fed, self.resumed = stay, 0, False
        self._path, self._speed = path, speed
        self._blocks = read_ticks(path, columns, block_rows=BLOCK_TICKS)

    def run(self, log: FeedLog, lag: Callable[[], int], stop: threading.Event) -> None:
        """See `Feed`."""
        name = f"file-{self._path.name}"
        position = log.producer_position(name)
        done = json.loads(position)["rows"] if position else 0
        self.resumed, self.fed = done > 0, done
        pace = Pace(self._speed)
        for block in _from_row(self._blocks, done):
            for keys, values in paced(block, pace, stop):
                while lag() > BEHIND_TICKS and not stop.wait(PULSE_S):
                    pass
                if stop.is_set():
                    return
                self.fed += len(keys)
                at = (name, json.dumps({"rows": self.fed}).encode())
                log.feed(0, keys, values, _stamps(len(keys)), producer=at)


def _from_row(blocks: Iterator[TickBlock], done: int) -> Iterator[TickBlock]:
    """The blocks without their first `done` ticks."""
    for block in blocks:
        if done >= len(block):
            done -= len(block)
            continue
        yield TickBlock(block.keys[done:], block.values[done:], block.ts_ms[done:])
        done = 0


def paced(
    block: TickBlock, pace: Pace, stop: threading.Event
) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Parts of the block, each when it is due; at full speed the block as it is."""
    start = 0
    for i, ts_ms in enumerate(block.ts_ms.tolist() if pace.speed else ()):
        wait_s = pace.wait_s(ts_ms, time.monotonic())
        if wait_s > PULSE_S:
            yield block.keys[start:i], block.values[start:i]
            start = i
            stop.wait(wait_s)
    yield block.keys[start:], block.values[start:]
