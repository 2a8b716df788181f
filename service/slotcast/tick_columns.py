"""Recorded ticks of a file or a topic as columns of the fold: for training and backtests.

What the worker would reject is left out and counted; resets stay at their place. Partitions are
merged by time, each in its own order, so that what is later in the columns came later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotcast.files import ColumnMap, read_ticks
from slotcast.log.history import History
from slotcast.log.port import Batch
from slotcast.ticks import Parsed, TickParser, with_resets
from slotcast_models.columns import TICK, Columns
from slotcast_models.schema import TickSchema


@dataclass(frozen=True)
class Recorded:
    """Ticks of instruments, by slot; `names[slot]` is the instrument."""

    names: list[str]
    columns: Columns
    rejects: dict[str, int]  # by reason

    @property
    def ticks(self) -> int:
        """Ticks among the columns."""
        return int((self.columns.kind == TICK).sum())

    def facts(self, source: str) -> dict[str, Any]:
        """What a report says of them."""
        return {
            "source": Path(source).name,
            "ticks": self.ticks,
            "instruments": len(self.names),
            "rejects": self.rejects,
        }


def file_batches(path: Path, columns: ColumnMap) -> Iterator[Batch]:
    """A file's rows as the records of one partition. Raises FileError."""
    first = 0
    for block in read_ticks(path, columns):
        n = len(block)
        unstamped = np.full(n, -1, np.int64)  # recorded times say nothing of when they were sent
        yield Batch(0, np.arange(first, first + n), unstamped, block.keys, block.values)
        first += n


def topic_batches(history: History, first: int | None, last: int | None) -> Iterator[Batch]:
    """All records of the tick topic, or those with first <= offset <= last. Raises LogError."""
    for partition in history.partitions():
        begin, end = history.bounds("ticks", partition)
        begin = begin if first is None else max(begin, first)
        end = end if last is None else min(end, last + 1)
        if begin < end:
            yield from history.ticks(partition, begin, end)


def gather(batches: Iterable[Batch], schema: TickSchema) -> Recorded:
    """Parse all batches. Raises UnknownControl."""
    parser, slots, rejects = TickParser(schema), dict[tuple[int, str], int](), Counter[str]()
    parts: dict[int, list[tuple[Parsed, NDArray[np.int64]]]] = {}
    for batch in batches:
        parsed = parser.parse(batch)
        rejects.update(reject.reason for reject in parsed.rejects)
        partition = batch.partition
        here = [name for number, name in slots if number == partition] if parsed.reset_all else []
        resets = [(offset, name) for offset in parsed.reset_all for name in here]
        parsed = with_resets(parsed, resets) if resets else parsed
        slot = [slots.setdefault((partition, name), len(slots)) for name in parsed.names]
        parts.setdefault(partition, []).append((parsed, np.array(slot, np.int64)))
    return Recorded([name for _, name in slots], _merged(parts, schema), dict(rejects))


def _merged(
    parts: dict[int, list[tuple[Parsed, NDArray[np.int64]]]], schema: TickSchema
) -> Columns:
    every = [entry for partition in sorted(parts) for entry in parts[partition]]

    def joined(name: str, of: Any) -> Any:
        found = [getattr(parsed, name) for parsed, _ in every]
        return np.concatenate(found) if found else np.zeros(0, of)

    time_ns = joined("time_ns", np.int64)
    moments, start = np.empty_like(time_ns), 0
    for partition in sorted(parts):
        stop = start + sum(len(slot) for _, slot in parts[partition])
        moments[start:stop] = np.maximum.accumulate(time_ns[start:stop])
        start = stop
    order = np.argsort(moments, kind="stable")
    value = joined("value", np.float64).reshape(len(order), len(schema.quantities))
    return Columns(
        slot=np.concatenate([slot for _, slot in every])[order] if every else order,
        kind=joined("kind", np.int8)[order],
        time_ns=time_ns[order],
        sequence=joined("sequence", np.int64)[order],
        offset=np.arange(len(order)),
        value=np.ascontiguousarray(value[order]),
        step_ns=np.zeros(len(order), np.int64),
    )
