"""Forecasts as they come, of any partitions of a log.

Promises: those of a partition in their order, each once, committed ones only. No group is joined.
What retention removes before it was read is skipped; a topic that was made anew is read anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from slotcast.formats.port import REFUSED, Format
from slotcast.log.history import History
from slotcast.log.port import OffsetOutOfRange
from slotcast.records.forecasts import ForecastRecord
from slotcast.terminal.text import printable

SHOWN_LEVEL = 0.9


class Tail:
    """The forecasts from now on, or from the beginning."""

    def __init__(
        self,
        history: History,
        form: Format,
        partitions: Sequence[int],
        instruments: Sequence[str] = (),
        *,
        from_beginning: bool = False,
    ) -> None:
        """Without instruments: of all of them."""
        self._history, self._read = history, form.forecasts(ForecastRecord)
        self._keys = {name.encode() for name in instruments}
        place = 0 if from_beginning else 1
        self._next = {p: history.readable("forecasts", p)[place] for p in partitions}

    def take(self, is_enough: Callable[[], bool] = lambda: False) -> Iterator[Any]:
        """The records that have come since, as dicts; asks at every batch. Raises LogError."""
        for partition in self._next:
            first, end = self._history.readable("forecasts", partition)
            start = self._next[partition]
            start = first if start > end else max(first, start)
            try:
                yield from self._between(partition, start, end, is_enough)
            except OffsetOutOfRange:
                continue  # retention was faster: next time from what is left

    def _between(
        self, partition: int, start: int, end: int, is_enough: Callable[[], bool]
    ) -> Iterator[Any]:
        for batch in self._history.forecasts(partition, start, end):
            if is_enough():  # else it would not be heard before a record is wanted
                return
            for offset, key, value in zip(
                batch.offsets.tolist(), batch.keys, batch.values, strict=True
            ):
                self._next[partition] = offset + 1
                if not self._keys or key in self._keys:
                    yield from self._forecast(value)
        self._next[partition] = end

    def _forecast(self, value: bytes | None) -> Iterator[Any]:
        """The record, unless it is none: whoever else writes to the topic."""
        try:
            record = self._read(value or b"")
        except REFUSED:
            return
        yield msgspec.to_builtins(record)


def interval(record: Any, target: Any) -> tuple[float, float]:
    """The target's interval of the widest level up to `SHOWN_LEVEL`, else of the narrowest."""
    level = max(sum(level <= SHOWN_LEVEL for level in record["levels"]) - 1, 0)
    return target["lower"][level], target["upper"][level]


def line(record: Any) -> str:
    """A forecast as one line of text, its targets side by side."""
    told = []
    for name, target in record["targets"].items():
        low, high = interval(record, target)
        told.append(
            f"{name} {target['value']:.6g} -> {target['forecast']:.6g}"
            f" ({low:.6g}..{high:.6g}) {target['source']}"
        )
    return f"{record['ts']} {printable(record['instrument'])}: {', '.join(told)}"
