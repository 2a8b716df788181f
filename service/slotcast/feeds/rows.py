"""Rows of csv(.gz), jsonl(.gz) and parquet files, block by block, whatever they mean.

Knows the three formats and what a missing cell looks like in each; `files` knows ticks.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

EXTENSIONS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")
MISSING = ("", "-", "na", "n/a", "nan", "null", "none")
SAMPLE_ROWS = 1000

Rows = dict[str, list[Any]]


class FileError(ValueError):
    """A file that cannot be read as ticks, or not with these columns."""


class Seen(NamedTuple):
    """What the first rows show of a column."""

    kind: str  # number, text, timestamp, empty or other
    largest: float  # of the numbers, in size


def extension_of(path: Path) -> str:
    """The kind of file, one of EXTENSIONS. Raises FileError."""
    for extension in EXTENSIONS:
        if path.name.lower().endswith(extension):
            return extension
    raise FileError(f"{path.name}: unknown kind of file: give one of {', '.join(EXTENSIONS)}")


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Errors of the reading library, with the name of the file."""
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # no such file, no permission: these name it themselves
        raise FileError(f"{path.name} cannot be read: {error}") from error


def read_rows(
    path: Path, wanted: list[str], text: set[str], header: bool, delimiter: str, block_rows: int
) -> Iterator[Rows]:
    """Blocks of the wanted columns; None is a missing cell. `text` columns of a csv stay text."""
    extension = extension_of(path)
    if extension == ".parquet":
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=block_rows, columns=wanted):
                if len(batch):
                    yield {c: _cells(batch.column(c)) for c in wanted}
    elif extension.startswith(".csv"):
        for batch in _csv_batches(path, header, delimiter, wanted):
            for begin in range(0, len(batch), block_rows):
                part = batch.slice(begin, block_rows)
                yield {c: _from_text(part.column(c), c not in text) for c in wanted}
    else:
        with _open(path) as lines:
            records = _json_lines(path, lines)
            while block := list(islice(records, block_rows)):
                yield {c: [record.get(c) for record in block] for c in wanted}


def _cells(column: pa.Array) -> list[Any]:
    """Values of a typed column: times in ms, no NaN, no infinity."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
    elif pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
        column = pc.if_else(pc.is_finite(column), column, None)
    return list(column.to_pylist())


def _from_text(column: pa.Array, is_number: bool) -> list[Any]:
    """Values of a csv column. A number that is none stays text."""
    trimmed = pc.utf8_trim_whitespace(column)
    if not is_number:
        return [text or None for text in trimmed.to_pylist()]
    missing = pc.is_in(pc.utf8_lower(trimmed), pa.array(MISSING))
    known = pc.if_else(missing, None, trimmed)
    for kind in (pa.int64(), pa.float64()):
        try:
            return _cells(known.cast(kind))
        except pa.ArrowInvalid:
            continue
    return [_number(text) for text in known.to_pylist()]


def _number(text: str | None) -> float | str | None:
    try:
        number = float(text) if text else math.nan
    except ValueError:
        return text
    return number if math.isfinite(number) else None


def _csv_batches(
    path: Path, header: bool, delimiter: str, columns: list[str] | None
) -> Iterator[pa.RecordBatch]:
    """These columns as text, or all columns with types as they look."""
    names = None
    if not header:
        names = [f"c{i}" for i in range(len(_first_line(path, delimiter)))]
    convert = pa_csv.ConvertOptions(strings_can_be_null=True)
    if columns:
        types = dict.fromkeys(columns, pa.string())
        convert = pa_csv.ConvertOptions(include_columns=columns, column_types=types)
    with pa_csv.open_csv(
        path,
        read_options=pa_csv.ReadOptions(column_names=names),
        parse_options=pa_csv.ParseOptions(delimiter=delimiter),
        convert_options=convert,
    ) as reader:
        yield from reader


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")


def _first_line(path: Path, delimiter: str) -> list[str]:
    with _open(path) as lines:
        text = (line.decode("utf-8-sig", errors="replace") for line in lines)
        return next(csv.reader(text, delimiter=delimiter), [])


def starts_with_numbers(path: Path) -> bool:
    """Whether the first line of a csv is values rather than names."""
    cells = _first_line(path, ",")
    return bool(cells) and not any(isinstance(_number(cell), str) for cell in cells)


def _json_lines(path: Path, lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise FileError(f"{path.name} line {number} is no JSON object ({error})") from error


def sample_of(path: Path, header: bool, delimiter: str) -> dict[str, Seen]:
    """Columns of the file, and what its first rows show of them. Raises FileError if none."""
    extension = extension_of(path)
    with named_errors(path):
        if extension == ".parquet":
            with pq.ParquetFile(path) as file:
                seen = _look(file.iter_batches(batch_size=SAMPLE_ROWS))
        elif extension.startswith(".csv"):
            seen = _look(_csv_batches(path, header, delimiter, None))
            # Only inferred from text, which is passed on as text.
            seen = {
                c: s._replace(kind="text") if s.kind == "timestamp" else s for c, s in seen.items()
            }
        else:
            seen = _look_at_json(path)
    if not seen:
        raise FileError(f"{path.name} holds no rows")
    return seen


def _look(batches: Iterator[pa.RecordBatch]) -> dict[str, Seen]:
    first = next((batch.slice(0, SAMPLE_ROWS) for batch in batches if len(batch)), None)
    if first is None:
        return {}
    columns = zip(first.schema, first.columns, strict=True)
    return {field.name: Seen(_kind(field.type), _largest(column)) for field, column in columns}


def _look_at_json(path: Path) -> dict[str, Seen]:
    columns: Rows = {}
    with _open(path) as lines:
        for record in islice(_json_lines(path, lines), SAMPLE_ROWS):
            for column, value in record.items():
                columns.setdefault(column, []).extend([] if value is None else [value])
    return {column: _seen_in_json(values) for column, values in columns.items()}


def _kind(column: pa.DataType) -> str:
    if pa.types.is_dictionary(column):
        return _kind(column.value_type)
    if _is_number(column):
        return "number"
    if pa.types.is_string(column) or pa.types.is_large_string(column):
        return "text"
    if pa.types.is_timestamp(column) or pa.types.is_date(column):
        return "timestamp"
    return "empty" if pa.types.is_null(column) else "other"


def _is_number(column: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return any(test(column) for test in tests)


def _largest(column: pa.Array) -> float:
    numbers = _cells(column) if _is_number(column.type) else []
    return max((abs(v) for v in numbers if v is not None), default=0.0)


def _seen_in_json(values: list[Any]) -> Seen:
    kinds = {type(value) for value in values}
    if kinds and kinds <= {int, float}:
        return Seen("number", max(map(abs, values)))
    return Seen({frozenset(): "empty", frozenset({str}): "text"}.get(frozenset(kinds), "other"), 0)
