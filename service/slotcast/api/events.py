"""Server-sent events: what changed in the watched part of the list, at most twice a second.

A stream follows one part of the list, as a page shows it, so it costs the same with ten instruments
as with a hundred thousand. Where other workers have a part of the list they are asked for it, about
once a second, far down a long list less often. It keeps no history and does not resume: who wants
to see another part connects anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from anyio import CapacityLimiter, to_thread
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from slotcast.api import problems, records
from slotcast.api.listing import others_have, page_of_all
from slotcast.board.views import InstrumentView, MemoryUnavailable, Readings
from slotcast.workers.peers import Peers

IDLE = b": idle\n\n"
RECONNECT = b"retry: 1000\n\n"
REFRESH_LIMIT = 10  # idle events in a row before a full one is sent again
MAP_EVERY = 4  # events: the slots are many, and change slowly
MERGE_EVERY = 2  # events: other workers are asked for each,
NEAR = 1_000  # if so many instruments are read of each; for twice as many half as often
MADE_AT_ONCE = 8  # each holds a thread, and other workers may be slow to answer
Key = tuple[int, str]
Listed = InstrumentView | records.Instrument


class Part(NamedTuple):
    """The part of the list that is watched, and what the list lacks."""

    instruments: Sequence[Listed]
    total: int
    missing: Sequence[int] = ()
    faults: Sequence[str] = ()


class Events:
    """All open event streams of one app. `close` ends them, from the event loop's thread."""

    def __init__(
        self,
        readings: Readings,
        peers: Peers,
        interval_s: float = 0.5,
        streams_max: int = 32,
    ) -> None:
        self._readings, self._peers, self._interval_s = readings, peers, interval_s
        self._lane = CapacityLimiter(MADE_AT_ONCE)
        self.streams_max = streams_max
        self._closing = asyncio.Event()
        self.open = 0

    def close(self) -> None:
        """End every stream now, and every later one after its first event."""
        self._closing.set()

    def admit(self) -> None:
        """Count a reader, until it `leave`s; raise `Refused` when there are as many as may be."""
        if self.open >= self.streams_max:
            detail = f"{self.open} event streams are open, the limit: close one, or poll /summary"
            raise problems.Refused(problems.TOO_MANY_STREAMS, detail, {"Retry-After": "5"})
        self.open += 1

    def leave(self) -> None:
        """A reader has gone."""
        self.open -= 1

    async def stream(self, watch: records.Watch) -> AsyncIterator[bytes]:
        """The events of one reader, until it leaves or `close`."""
        feed = Feed(self._readings, watch, self._peers)
        yield RECONNECT
        while True:
            yield await to_thread.run_sync(feed.advance, limiter=self._lane, abandon_on_cancel=True)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._interval_s)
            if self._closing.is_set():
                return


class EventStream(StreamingResponse):
    """The answer to one reader, who counts from now on: many may ask before the first is served."""

    def __init__(self, events: Events, watch: records.Watch) -> None:
        """Raises `Refused`."""
        events.admit()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events.stream(watch), headers=headers, media_type="text/event-stream")
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the reader leaves, even if it does so before the first event."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._events.leave()


class Feed:
    """What one reader watches, and what it has been sent of it."""

    def __init__(self, readings: Readings, watch: records.Watch, peers: Peers) -> None:
        self._readings, self._watch, self._peers = readings, watch, peers
        self._merged: Part | None = None
        self._turn = 0
        self._sent: dict[Key, object] = {}
        """Instruments of the part as last sent -> what tells whether they have changed."""
        self._last: object = None
        self._idle = self._made = 0

    def advance(self) -> bytes:
        """The next event: news as one `data:` line, else a comment that keeps the line open."""
        part = self._part()
        now = {(v.partition, v.instrument): _stamp(v) for v in part.instruments}
        changed = [v for v in part.instruments if self._is_news(v)]
        self._sent = now
        summary, readiness = self._readings.summary(), self._readings.readiness()
        last, self._last = self._last, (summary, readiness, list(now), part[1:])
        self._idle += 1
        if not changed and self._last == last and self._idle < REFRESH_LIMIT:
            return IDLE
        self._idle = 0
        self._made += 1
        event = records.Event(
            summary=records.Summary.model_validate(summary),
            readiness=records.Ready.model_validate(readiness),
            total=part.total,
            missing=list(part.missing),
            faults=list(part.faults),
            order=list(now),
            instruments=[records.Instrument.model_validate(view) for view in changed],
            instrument=self._watched(),
            slot_map=self._slot_map(),
        )
        return b"data: " + event.model_dump_json().encode() + b"\n\n"

    def _part(self) -> Part:
        """This worker's, and every second time that of all, where others have some of it."""
        self._turn += 1
        if self._watch.workers == "this" or not others_have(self._readings, self._peers):
            self._merged = None
        elif self._merged is None or self._turn % self._merge_every() == 0:
            self._merged = self._part_of_all()
        return self._merged or self._own_part()

    def _merge_every(self) -> int:
        """To merge a part is to read all that comes before it, from every worker."""
        return MERGE_EVERY * (1 + (self._watch.offset + self._watch.limit) // NEAR)

    def _own_part(self, *faults: str) -> Part:
        page = self._readings.instruments(self._watch.view())
        return Part(page.instruments, page.total, faults=faults)

    def _part_of_all(self) -> Part:
        try:
            page = page_of_all(self._readings, self._peers, self._watch)
        except problems.Refused as refused:
            return self._own_part(refused.detail)
        return Part(page.instruments, page.total, page.missing, page.faults)

    def _is_news(self, view: Listed) -> bool:
        return self._sent.get((view.partition, view.instrument)) != _stamp(view)

    def _watched(self) -> records.InstrumentAnswer | None:
        name = self._watch.instrument
        try:
            view = None if name is None else self._readings.instrument(name)
        except MemoryUnavailable:
            view = None
        return records.from_worker(records.InstrumentAnswer, view, self._readings.worker)

    def _slot_map(self) -> records.SlotMap | None:
        measure = self._watch.slots
        if measure is None or self._made % MAP_EVERY != 1:
            return None
        return records.SlotMap.model_validate(self._readings.slot_map(measure))


def _stamp(view: Listed) -> object:
    """Another one whenever the instrument ticked, was reset or changed its slot."""
    return view.offset, view.origin, view.ticks, view.slot
