"""Recorded ticks from csv(.gz), jsonl(.gz) and parquet files, as the records that a topic carries.

Promises: rows keep their order; a file is read block by block, never as a whole; a missing value
(null, empty, NaN, infinite) is left out of its record. Times stay as they are in the file: numbers
in the file's unit, ISO text as text; only columns typed as timestamp or date (parquet) become
integers in ms. Without a time column the row number is the time.

Does not judge ticks: a cell that is no number travels on as text, an empty instrument as an empty
key, and whoever parses the records rejects them. Does not read a clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from slotcast.feeds.rows import (
    FileError,
    Rows,
    Seen,
    extension_of,
    named_errors,
    read_rows,
    sample_of,
    starts_with_numbers,
)
from slotcast_models.schema import TimeUnit

__all__ = [
    "ColumnMap",
    "FileError",
    "Pace",
    "TickBlock",
    "count_rows",
    "guess_columns",
    "read_ticks",
]

INSTRUMENT_NAMES = ("instrument", "symbol", "ticker", "id", "well", "sensor")
TIME_NAMES = ("ts", "time", "timestamp", "date", "datetime", "step")
SEQUENCE_NAMES = ("seq", "sequence")
MS_PER: dict[str, float] = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Which column holds what, and what the fields of the records are called.

    The instrument is a column, or the constant `name`, or else the name of the file.
    """

    values: dict[str, str]  # field of the record -> column
    instrument: str | None = None
    name: str | None = None
    time: str | None = None
    time_unit: TimeUnit = "ms"
    sequence: str | None = None
    instrument_field: str = "instrument"
    time_field: str = "ts"
    sequence_field: str = "seq"
    header: bool = True  # csv; without one the columns are c0, c1, ...
    delimiter: str = ","  # csv

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("no column is read as a value: name one with --value")
        if self.instrument and self.name:
            raise ValueError(
                "instrument is both a column and a constant: give --instrument or --name"
            )
        fields = [self.instrument_field, self.time_field, *self.values]
        fields += [self.sequence_field] if self.sequence else []
        twice = sorted({f for f in fields if fields.count(f) > 1})
        if twice:
            raise ValueError(f"field written twice: {', '.join(twice)}: rename it with --value")

    def options(self) -> list[tuple[str, str]]:
        """Every column that is read, with the option that names it."""
        single = {"--instrument": self.instrument, "--time": self.time, "--sequence": self.sequence}
        named = [(option, column) for option, column in single.items() if column]
        return named + [("--value", column) for column in self.values.values()]


@dataclass(frozen=True, slots=True, eq=False)
class TickBlock:
    """Keys and JSON records in file order, and when each was recorded (for pacing only)."""

    keys: list[bytes]
    values: list[bytes]
    ts_ms: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.keys)


def read_ticks(path: Path, columns: ColumnMap, *, block_rows: int = 8192) -> Iterator[TickBlock]:
    """Blocks of at most `block_rows` ticks. Raises FileError, at once if the columns do not fit."""
    sample = sample_of(path, columns.header, columns.delimiter)
    for option, column in columns.options():
        if column not in sample:
            raise FileError(
                f"{path.name} has no column {column!r}: set {option} to one of {', '.join(sample)}"
            )
    unit = _unit(path, columns, sample)
    return _blocks(path, columns, unit, block_rows)


def count_rows(path: Path) -> int | None:
    """Rows of a parquet file; None for text, which does not say without being read."""
    if extension_of(path) != ".parquet":
        return None
    with named_errors(path), pq.ParquetFile(path) as file:
        return int(file.metadata.num_rows)


def guess_columns(path: Path) -> ColumnMap:
    """The likely meaning of the columns, by name and type; every other number is a value.

    Numeric times are taken for s, ms, us or ns by their size; small ones (steps) for ms.
    """
    header = not extension_of(path).startswith(".csv") or not starts_with_numbers(path)
    sample = sample_of(path, header, ",")
    instrument = _first(sample, INSTRUMENT_NAMES, ("text", "number"))
    time = _first(sample, TIME_NAMES, ("number", "text", "timestamp"))
    sequence = _first(sample, SEQUENCE_NAMES, ("number",))
    taken = (instrument, time, sequence)
    values = {c: c for c, seen in sample.items() if seen.kind == "number" and c not in taken}
    if not values:
        raise FileError(f"{path.name} has no column of numbers, only {', '.join(sample)}")
    return ColumnMap(
        values,
        instrument=instrument,
        time=time,
        time_unit=_likely_unit(sample[time]) if time else "ms",
        sequence=sequence,
        header=header,
    )


class Pace:
    """When each recorded tick is due, `speed` times as fast as recorded; None: at once.

    A late caller is told to hurry until it has caught up. Knows no clock: the caller brings it.

    >>> pace = Pace(speed=2)
    >>> pace.wait_s(5_000, now_s=100.0), pace.wait_s(7_000, now_s=100.5)
    (0.0, 0.5)
    """

    def __init__(self, speed: float | None) -> None:
        if speed is not None and not 0 < speed < math.inf:
            raise ValueError(f"speed is {speed}: give a factor above 0, or none for full speed")
        self.speed = speed
        self._start: tuple[int, float] | None = None

    def wait_s(self, ts_ms: int, now_s: float) -> float:
        """Seconds from `now_s` (monotonic) until the tick recorded at `ts_ms` is due."""
        if self.speed is None:
            return 0.0
        first_ms, first_s = self._start = self._start or (ts_ms, now_s)
        due_s = first_s + (ts_ms - first_ms) / 1000 / self.speed
        return max(0.0, due_s - now_s)


def _blocks(path: Path, columns: ColumnMap, unit: TimeUnit, block_rows: int) -> Iterator[TickBlock]:
    name = columns.name or path.name[: -len(extension_of(path))]
    row, last_ms = 0, 0
    with named_errors(path):
        wanted = list(dict.fromkeys(column for _, column in columns.options()))
        text = {c for c in (columns.instrument, columns.time) if c}
        text -= {columns.time} if columns.time and columns.time_unit != "iso" else set()
        form = (columns.header, columns.delimiter, block_rows)
        for rows in read_rows(path, wanted, text, *form):
            block = _block(rows, columns, name, unit, row, last_ms)
            row, last_ms = row + len(block), int(block.ts_ms[-1])
            yield block


def _block(
    rows: Rows, columns: ColumnMap, name: str, unit: TimeUnit, first_row: int, last_ms: int
) -> TickBlock:
    n = len(next(iter(rows.values())))
    instruments: list[Any] = [name] * n
    if columns.instrument:
        instruments = [None if v is None else str(v) for v in rows[columns.instrument]]
    times = rows[columns.time] if columns.time else list(range(first_row, first_row + n))
    fields = {columns.instrument_field: instruments, columns.time_field: times}
    if columns.sequence:
        fields[columns.sequence_field] = rows[columns.sequence]
    fields |= {field: rows[column] for field, column in columns.values.items()}
    keys = [(v or "").encode() for v in instruments]
    return TickBlock(keys, _records(fields), _recorded_ms(times, unit, last_ms))


def _records(fields: Rows) -> list[bytes]:
    """One JSON object per row, without its missing values."""
    encode = msgspec.json.Encoder().encode
    names, rows = tuple(fields), zip(*fields.values(), strict=True)
    if any(None in column for column in fields.values()):
        pairs = (zip(names, row, strict=True) for row in rows)
        return [encode({f: v for f, v in pair if v is not None}) for pair in pairs]
    return [encode(dict(zip(names, row, strict=True))) for row in rows]


def _recorded_ms(times: list[Any], unit: TimeUnit, last_ms: int) -> NDArray[np.int64]:
    """Times in ms; what is no time counts as recorded together with the tick before it."""
    if unit == "iso":
        ms = np.array([_iso_ms(t) if isinstance(t, str) else math.nan for t in times])
    else:
        numbers = (t if isinstance(t, int | float) else math.nan for t in times)
        ms = np.fromiter(numbers, np.float64, len(times)) * MS_PER[unit]
    ms = np.clip(ms, -1e18, 1e18)
    known = np.maximum.accumulate(np.where(np.isnan(ms), -1, np.arange(len(ms))))
    return np.where(known < 0, last_ms, np.floor(ms[known])).astype(np.int64)


@lru_cache(maxsize=65_536)
def _iso_ms(text: str) -> float:
    """Milliseconds since 1970 UTC, NaN if it is no ISO time; also of a bare month or year."""
    try:
        time = datetime.fromisoformat(text + {4: "-01-01", 7: "-01"}.get(len(text), ""))
    except ValueError:
        return math.nan
    return (time.replace(tzinfo=time.tzinfo or UTC) - EPOCH) / timedelta(milliseconds=1)


def _unit(path: Path, columns: ColumnMap, sample: dict[str, Seen]) -> TimeUnit:
    """The unit in which times come out. Raises FileError where unit and column contradict."""
    kind = sample[columns.time].kind if columns.time else "number"
    if kind == "timestamp" or (not columns.time and columns.time_unit == "iso"):
        return "ms"
    if kind == "text" and columns.time_unit != "iso":
        raise FileError(f"{path.name}: column {columns.time!r} holds text: set --time-unit iso")
    # In csv a number may be ISO text: 20130208, or a year.
    if (
        kind == "number"
        and columns.time_unit == "iso"
        and not extension_of(path).startswith(".csv")
    ):
        raise FileError(
            f"{path.name}: column {columns.time!r} holds numbers: set --time-unit s, ms, us or ns"
        )
    return columns.time_unit


def _first(sample: dict[str, Seen], names: Iterable[str], kinds: tuple[str, ...]) -> str | None:
    """The column with the first of these names, in any case, that is of such a kind."""
    by_name = {column.lower(): column for column, seen in sample.items() if seen.kind in kinds}
    return next((by_name[name] for name in names if name in by_name), None)


def _likely_unit(seen: Seen) -> TimeUnit:
    if seen.kind == "text":
        return "iso"
    if seen.kind == "timestamp" or seen.largest < 1e8:
        return "ms"
    limits: dict[TimeUnit, float] = {"s": 1e11, "ms": 1e14, "us": 1e17}
    return next((unit for unit, limit in limits.items() if seen.largest < limit), "ns")
