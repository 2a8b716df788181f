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

from slotcast.feeds.files import ColumnMap, read_ticks
from slotcast.log.history import History
from slotcast.log.port import Batch
from slotcast.records.ticks import Parsed, TickParser, with_resets
from slotcast_models.columns import IMPORT, TICK, Columns
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


class ImportInWay(ValueError):
    """An imported memory among the ticks: it fits one bundle only, and is not made of ticks."""


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
    """Parse all batches. Raises UnknownControl, ImportInWay."""
    parser, slots, rejects = TickParser(schema), dict[tuple[int, str], int](), Counter[str]()
    parts: dict[int, list[Columns]] = {}
    for batch in batches:
        parsed = parser.parse(batch)
        rejects.update(reject.reason for reject in parsed.rejects)
        partition = batch.partition
        _refuse_imports(parsed, partition)
        here = [name for number, name in slots if number == partition] if parsed.reset_all else []
        resets = [(offset, name) for offset in parsed.reset_all for name in here]
        parsed = with_resets(parsed, resets) if resets else parsed
        slot = [slots.setdefault((partition, name), len(slots)) for name in parsed.names]
        parts.setdefault(partition, []).append(_columns(parsed, np.array(slot, np.int64)))
    return Recorded([name for _, name in slots], _merged(parts, schema), dict(rejects))


def _refuse_imports(parsed: Parsed, partition: int) -> None:
    for i in np.flatnonzero(parsed.kind == IMPORT).tolist():
        offset, name = int(parsed.offset[i]), parsed.names[i]
        raise ImportInWay(
            f"record {offset} of partition {partition} imports memory of {name}, and what follows "
            "rests on ticks that are not here: give --offsets up to "
            f"{offset - 1}, or from {offset + 1} on, where {name} begins anew"
        )


def _columns(parsed: Parsed, slot: NDArray[np.int64]) -> Columns:
    """What of a batch is kept: none of its bytes, no name per tick."""
    return Columns(
        slot=slot,
        kind=parsed.kind,
        time_ns=parsed.time_ns,
        sequence=parsed.sequence,
        offset=parsed.offset,
        value=parsed.value,
        step_ns=np.zeros(len(slot), np.int64),
    )


def _merged(parts: dict[int, list[Columns]], schema: TickSchema) -> Columns:
    empty: Any = np.zeros(0, np.int64)
    kind, value = np.zeros(0, np.int8), np.zeros((0, len(schema.quantities)))
    none = Columns(empty, kind, empty, empty, empty, value, empty)
    whole = [none] + [part for partition in sorted(parts) for part in parts[partition]]
    moments = np.concatenate(
        [none.time_ns, *(
            np.maximum.accumulate(np.concatenate([part.time_ns for part in parts[partition]]))
            for partition in sorted(parts)
        )]
    )  # fmt: skip
    order = np.argsort(moments, kind="stable")
    parts.clear()
    columns = Columns(*(np.concatenate(found)[order] for found in zip(*whole, strict=True)))
    return columns._replace(offset=np.arange(len(order)))
