"""Server-sent events: what changed since the last event, about twice a second.

Each stream remembers the version it has seen and holds the changed instruments that did not fit
into an event, newest view only, so a slow reader costs a bounded amount of memory. A stream begins
with all instruments; it keeps no history and does not resume.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import islice

from starlette.concurrency import run_in_threadpool

from slotcast.api import problems, records
from slotcast.views import InstrumentView, Readings

IDLE = b": idle\n\n"
RECONNECT = b"retry: 1000\n\n"
REFRESH_LIMIT = 10  # idle events in a row before the summary is sent again


class Events:
    """All open event streams of one app. `close` ends them, from the event loop's thread."""

    def __init__(
        self,
        readings: Readings,
        interval_s: float = 0.5,
        instruments_max: int = 400,
        streams_max: int = 32,
    ) -> None:
        self._readings = readings
        self._interval_s, self._instruments_max = interval_s, instruments_max
        self.streams_max = streams_max
        self._closing = asyncio.Event()
        self.open = 0

    def close(self) -> None:
        """End every stream now, and every later one after its first event."""
        self._closing.set()

    def admit(self) -> None:
        """Raise `Refused` when no further stream may be opened."""
        if self.open >= self.streams_max:
            detail = f"{self.open} event streams are open, the limit: close one, or poll /summary"
            raise problems.Refused(problems.TOO_MANY_STREAMS, detail, {"Retry-After": "5"})

    async def stream(self) -> AsyncIterator[bytes]:
        """The events of one reader, until it leaves or `close`."""
        feed = Feed(self._readings, self._instruments_max)
        self.open += 1
        try:
            yield RECONNECT
            while True:
                yield await run_in_threadpool(feed.advance)
                await self._pause(self._interval_s * (0.1 if feed.filling else 1))
                if self._closing.is_set():
                    return
        finally:
            self.open -= 1

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)


class Feed:
    """One reader's place in the changes. `filling` until it has had every instrument once."""

    def __init__(self, readings: Readings, instruments_max: int) -> None:
        self._readings, self._instruments_max = readings, instruments_max
        self._version = 0
        self._pending: dict[tuple[int, str], InstrumentView] = {}
        self._last: object = None
        self._idle = 0
        self.filling = True

    def advance(self) -> bytes:
        """The next event: news as one `data:` line, else a comment that keeps the line open."""
        batch = self._take()
        summary, readiness = self._readings.summary(), self._readings.readiness()
        self._idle += 1
        if not batch and self._last == (summary, readiness) and self._idle < REFRESH_LIMIT:
            return IDLE
        self._last, self._idle = (summary, readiness), 0
        event = records.Event(
            summary=records.Summary.model_validate(summary),
            readiness=records.Ready.model_validate(readiness),
            instruments=[records.Instrument.model_validate(view) for view in batch],
            pending=len(self._pending),
        )
        return b"data: " + event.model_dump_json().encode() + b"\n\n"

    def _take(self) -> list[InstrumentView]:
        self._version, changed = self._readings.changed_since(self._version)
        # A waiting instrument keeps its place in the queue and gets its newest view.
        self._pending.update({(view.partition, view.instrument): view for view in changed})
        keys = list(islice(self._pending, self._instruments_max))
        batch = [self._pending.pop(key) for key in keys]
        self.filling = self.filling and bool(self._pending)
        return batch
