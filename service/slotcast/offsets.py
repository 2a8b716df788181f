"""Committed offsets made by hand, with the note that says what memory goes with them.

`restored` finds out from what was published where a group was whose offsets have expired; `begun`
is where a new, empty memory begins. Both only read; whoever calls them commits the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import msgspec

from slotcast.formats.named import JSON
from slotcast.formats.port import REFUSED, Format
from slotcast.log.history import History, Topic
from slotcast.log.port import Committed
from slotcast.partition import CommitNote

Found = TypeVar("Found")
Read = Callable[[int, int, int], Iterable[Found]]
"""(partition, first position, position after the last) -> what is there."""
WINDOW = 64
"""Positions read at first when looking for the last record; doubled until there is one."""


class Unrestorable(Exception):
    """Nothing tells the offset or the memory; the message says what is missing."""


class _Tick(msgspec.Struct):
    offset: int
    origin: int


class _Model(msgspec.Struct):
    bundle: str
    numerics: str


class _Forecast(msgspec.Struct):
    tick: _Tick
    model: _Model


def restored(
    history: History,
    partition: int,
    bundle: str,
    topic_id: str,
    origin: int | None,
    form: Format = JSON,
) -> Committed | None:
    """The committed offset as the forecasts and dead letters tell it, or None if there are none.

    It lies behind the last tick that was answered. Records behind that were repeats and resets, if
    anything: they come again, to no effect. `origin` is where memory began; without it that is the
    very first forecast, if that is still there. Raises Unrestorable.
    """
    forecasts = partial(_forecasts, history, form)
    last = _last(history, "forecasts", partition, forecasts)
    letter = _last(history, "dead_letters", partition, history.dead_letters)
    if last is None and letter is None:
        return None
    offset = 1 + max(last.tick.offset if last else -1, letter.offset if letter else -1)
    if last is None:
        raise Unrestorable(
            f"partition {partition}: there are dead letters up to {offset - 1} and no forecasts to"
            f" tell the memory: begin anew with  slotcast offsets begin --at {offset}"
        )
    if last.model.bundle != bundle:
        raise Unrestorable(
            f"partition {partition} was stepped with bundle {last.model.bundle}, this is {bundle}:"
            " give that bundle and its schema with --config"
        )
    if origin is None:
        origin = _first_origin(history, partition, forecasts)
    note = CommitNote(origin, None, bundle, last.model.numerics, topic_id=topic_id)
    return Committed(offset, note.text())


def begun(offset: int, bundle: str, numerics: str, topic_id: str) -> Committed:
    """An empty memory at this offset."""
    return Committed(offset, CommitNote(offset, 0, bundle, numerics, topic_id=topic_id).text())


def _forecasts(
    history: History, form: Format, partition: int, start: int, stop: int
) -> Iterable[_Forecast]:
    read = form.forecasts(_Forecast)
    for batch in history.forecasts(partition, start, stop):
        for value in batch.values:
            try:
                yield read(value or b"")
            except REFUSED as error:
                raise Unrestorable(
                    f"the forecast topic of partition {partition} holds what is no forecast:"
                    f" {error}"
                ) from error


def _last(
    history: History,
    topic: Topic,
    partition: int,
    read: Read[Found],
) -> Found | None:
    """The last record of a partition; there may be many marks of transactions behind it."""
    first, end = history.bounds(topic, partition)
    start, window = end, WINDOW
    while start > first:
        start, stop, window = max(first, start - window), start, window * 2
        if found := list(read(partition, start, stop)):
            return found[-1]
    return None


def _first_origin(history: History, partition: int, forecasts: Read[_Forecast]) -> int:
    first, end = history.bounds("forecasts", partition)
    if first == 0:
        for forecast in forecasts(partition, first, end):
            # What came before the first valid tick has left no memory.
            return min(forecast.tick.origin, history.bounds("ticks", partition)[0])
    raise Unrestorable(
        f"partition {partition}: its first forecasts are gone, so nothing tells where memory began:"
        " give --origin OFFSET, or begin anew with  slotcast offsets begin"
    )
