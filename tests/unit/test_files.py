"""Files become records: in order, in blocks, without missing values, with errors that help."""

from __future__ import annotations

import doctest
import gzip
import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotcast.feeds import files
from slotcast.feeds import rows as file_rows
from slotcast.feeds.files import ColumnMap, FileError, Pace, count_rows, guess_columns, read_ticks

PRICE = ColumnMap({"price": "close"}, instrument="symbol", time="ts")
HOUR_MS = 3_600_000


def records(path: Path, columns: ColumnMap, block_rows: int = 8192) -> list[dict[str, Any]]:
    blocks = read_ticks(path, columns, block_rows=block_rows)
    return [json.loads(value) for block in blocks for value in block.values]


def recorded_ms(path: Path, columns: ColumnMap, block_rows: int = 8192) -> list[int]:
    blocks = read_ticks(path, columns, block_rows=block_rows)
    return list(chain.from_iterable(block.ts_ms.tolist() for block in blocks))


def write(path: Path, text: str) -> Path:
    plain = text.encode()
    path.write_bytes(gzip.compress(plain) if path.suffix == ".gz" else plain)
    return path


def parquet(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows as the kind of file that the name says; None is a missing cell."""
    names = list(rows[0])
    if path.suffix == ".parquet":
        return parquet(path, {n: [row[n] for row in rows] for n in names})
    if ".jsonl" in path.name:
        return write(path, "".join(json.dumps(row) + "\n" for row in rows))
    cells = [["" if row[n] is None else str(row[n]) for n in names] for row in rows]
    return write(path, "".join(",".join(line) + "\n" for line in [names, *cells]))


ROWS = [
    {"symbol": "AB", "ts": 1000, "close": 1.5, "lots": 3},
    {"symbol": "CD", "ts": 1000, "close": None, "lots": 4},
    {"symbol": "AB", "ts": 2000, "close": 1.25, "lots": 5},
]
ALL_KINDS = pytest.mark.parametrize("extension", file_rows.EXTENSIONS)


@ALL_KINDS
def test_every_kind_of_file_gives_the_same_records(tmp_path: Path, extension: str) -> None:
    path = table(tmp_path / f"ticks{extension}", ROWS)
    columns = ColumnMap({"price": "close", "n": "lots"}, instrument="symbol", time="ts")

    (block,) = read_ticks(path, columns)

    assert block.keys == [b"AB", b"CD", b"AB"]
    assert block.values == [
        b'{"instrument":"AB","ts":1000,"price":1.5,"n":3}',
        b'{"instrument":"CD","ts":1000,"n":4}',
        b'{"instrument":"AB","ts":2000,"price":1.25,"n":5}',
    ]
    assert block.ts_ms.tolist() == [1000, 1000, 2000]


@settings(max_examples=20, deadline=None)
@given(
    closes=st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=1),
    block_rows=st.integers(1, 7),
    extension=st.sampled_from(file_rows.EXTENSIONS),
)
def test_blocks_cut_nothing_off_and_keep_numbers_exact(
    tmp_path_factory: pytest.TempPathFactory,
    closes: list[float | None],
    block_rows: int,
    extension: str,
) -> None:
    rows = [{"symbol": f"S{i % 3}", "ts": i, "close": c} for i, c in enumerate(closes)]
    path = table(tmp_path_factory.mktemp("files") / f"t{extension}", rows)

    blocks = list(read_ticks(path, PRICE, block_rows=block_rows))

    assert all(1 <= len(block) <= block_rows for block in blocks)
    assert all(len(b.keys) == len(b.values) == len(b.ts_ms) for b in blocks)
    read = [json.loads(value) for block in blocks for value in block.values]
    assert [row.get("price") for row in read] == closes
    assert [row["ts"] for row in read] == list(range(len(closes)))


def test_field_names_are_configurable(tmp_path: Path) -> None:
    rows = [{"well": "W1", "step": 4, "no": 17, "p": 2.5}]
    columns = ColumnMap(
        {"pressure": "p"},
        instrument="well",
        time="step",
        sequence="no",
        instrument_field="id",
        time_field="at",
        sequence_field="n",
    )

    assert records(table(tmp_path / "w.csv", rows), columns) == [
        {"id": "W1", "at": 4, "n": 17, "pressure": 2.5}
    ]


def test_one_series_without_times_has_the_row_number_as_time(tmp_path: Path) -> None:
    path = write(tmp_path / "rain.csv", "x\n1\n2\n3\n")
    columns = ColumnMap({"x": "x"}, time_unit="s")

    assert [r["ts"] for r in records(path, columns, block_rows=2)] == [0, 1, 2]
    assert recorded_ms(path, columns, block_rows=2) == [0, 1000, 2000]


def test_the_instrument_of_one_series_is_the_given_name_or_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "rain.v2.csv.gz", "x\n1\n")

    assert records(path, ColumnMap({"x": "x"}))[0]["instrument"] == "rain.v2"
    assert records(path, ColumnMap({"x": "x"}, name="Bergen"))[0]["instrument"] == "Bergen"


@ALL_KINDS
def test_iso_text_stays_as_it_is(tmp_path: Path, extension: str) -> None:
    times = [
        "1970-01-02",
        "1970-01-02T03:00:00+01:00",
        "1970-01-02 03:00:00.250",
        "1970-02",
        "1971",
    ]
    path = table(tmp_path / f"t{extension}", [{"ts": t, "x": 1.0} for t in times])
    columns = ColumnMap({"x": "x"}, time="ts", time_unit="iso")

    assert [r["ts"] for r in records(path, columns)] == times
    day = 24 * HOUR_MS
    expected = [day, day + 2 * HOUR_MS, day + 3 * HOUR_MS + 250, 31 * day, 365 * day]
    assert recorded_ms(path, columns) == expected


@pytest.mark.parametrize(
    ("unit", "time", "ms"),
    [("s", 7, 7000), ("s", 7.5, 7500), ("ms", 7, 7), ("us", 7999, 7), ("ns", 7_000_000, 7)],
)
@ALL_KINDS
def test_numeric_times_stay_in_their_unit(
    tmp_path: Path, extension: str, unit: Any, time: float, ms: int
) -> None:
    path = table(tmp_path / f"t{extension}", [{"ts": time, "x": 1.0}])
    columns = ColumnMap({"x": "x"}, time="ts", time_unit=unit)

    assert [r["ts"] for r in records(path, columns)] == [time]
    assert recorded_ms(path, columns) == [ms]


@pytest.mark.parametrize(
    "times",
    [
        pa.array([datetime(1970, 1, 2)], pa.timestamp("ns")),  # noqa: DTZ001  # naive is UTC
        pa.array([datetime(1970, 1, 2, tzinfo=UTC)], pa.timestamp("us", "Europe/Oslo")),
        pa.array([date(1970, 1, 2)]),
    ],
    ids=str,
)
def test_typed_times_become_milliseconds(tmp_path: Path, times: pa.Array) -> None:
    path = parquet(tmp_path / "t.parquet", {"ts": times, "x": [1.0]})
    columns = guess_columns(path)

    assert columns.time_unit == "ms"
    assert records(path, columns) == [{"instrument": "t", "ts": 24 * HOUR_MS, "x": 1.0}]
    assert recorded_ms(path, columns) == [24 * HOUR_MS]


def test_what_is_no_time_travels_on_and_is_paced_with_the_tick_before(tmp_path: Path) -> None:
    head = ['{"ts":4,"x":0}'] * file_rows.SAMPLE_ROWS
    odd = ['{"ts":5}', '{"ts":"soon"}', '{"x":3}', '{"ts":null}', '{"ts":9}']
    path = write(tmp_path / "t.jsonl", "\n".join(head + odd))
    columns = ColumnMap({"x": "x"}, time="ts")

    assert [r.get("ts") for r in records(path, columns)[-5:]] == [5, "soon", None, None, 9]
    for block_rows in (1, 2, 8192):
        assert recorded_ms(path, columns, block_rows)[-6:] == [4, 5, 5, 5, 5, 9]


def test_what_is_not_finite_is_missing(tmp_path: Path) -> None:
    cells = ["1.5", "nan", "inf", "-inf", "NA", " ", "null", "2"]
    csv = write(tmp_path / "t.csv", "x,y\n" + "".join(f"{c},0\n" for c in cells))
    numbers = parquet(tmp_path / "t.parquet", {"x": [1.5, math.nan, math.inf, None], "y": [0] * 4})
    columns = ColumnMap({"x": "x", "y": "y"})

    assert [r.get("x") for r in records(csv, columns)] == [1.5, *[None] * 6, 2]
    assert [r.get("x") for r in records(numbers, columns)] == [1.5, None, None, None]


def test_a_cell_that_is_no_number_travels_on_as_text(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "x\n1\n2.5\nbroken\nnan\n\n 4 \n")

    read = records(path, ColumnMap({"x": "x"}))

    assert [r.get("x") for r in read] == [1.0, 2.5, "broken", None, 4.0]


def test_an_instrument_is_text_and_may_look_like_a_number_or_like_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "symbol,ts,close\n007,1,1\nNA,2,1\nnan,3,1\n,4,1\nÆØ,5,1\n")
    numbered = table(tmp_path / "t.jsonl", [{"symbol": 7, "ts": 1, "close": 1}])

    (block,) = read_ticks(path, PRICE)
    assert block.keys == [b"007", b"NA", b"nan", b"", "ÆØ".encode()]
    assert "instrument" not in json.loads(block.values[3])
    assert records(numbered, PRICE)[0]["instrument"] == "7"


def test_dictionaries_decimals_and_narrow_floats_are_read(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "t.parquet",
        {
            "symbol": pa.array(["A", "B", "A"]).dictionary_encode(),
            "ts": [1, 2, 3],
            "close": [Decimal("1.25"), Decimal("2.50"), None],
            "size": pa.array([0.5, 1.5, math.nan], pa.float32()),
        },
    )

    read = records(path, guess_columns(path))

    assert [(r["instrument"], r.get("close"), r.get("size")) for r in read] == [
        ("A", 1.25, 0.5),
        ("B", 2.5, 1.5),
        ("A", None, None),
    ]


def test_another_delimiter_is_an_option(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a;b\n1;2\n")

    assert records(path, ColumnMap({"b": "b"}, delimiter=";"))[0]["b"] == 2


@ALL_KINDS
def test_an_unknown_column_names_the_option_and_the_columns(tmp_path: Path, extension: str) -> None:
    path = table(tmp_path / f"t{extension}", ROWS)

    for columns, option in (
        (ColumnMap({"price": "bid"}), "--value"),
        (ColumnMap({"price": "close"}, instrument="bid"), "--instrument"),
        (ColumnMap({"price": "close"}, time="bid"), "--time"),
        (ColumnMap({"price": "close"}, sequence="bid"), "--sequence"),
    ):
        hint = f"no column 'bid': set {option} to one of symbol, ts, close, lots"
        with pytest.raises(FileError, match=hint):
            read_ticks(path, columns)


def test_an_unknown_kind_of_file_lists_the_known_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "ticks.xlsx", "")

    for read in (guess_columns, count_rows, lambda p: read_ticks(p, PRICE)):
        with pytest.raises(
            FileError, match=r"ticks.xlsx: unknown kind of file: .*\.csv, .*parquet"
        ):
            read(path)


@ALL_KINDS
def test_a_missing_file_is_named(tmp_path: Path, extension: str) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_ticks(tmp_path / f"nowhere{extension}", PRICE)


@ALL_KINDS
def test_a_file_that_is_not_what_its_name_says_is_refused_by_name(
    tmp_path: Path, extension: str
) -> None:
    path = tmp_path / f"odd{extension}"
    path.write_bytes(b"\x00\x01{}\n,,,\xff")

    with pytest.raises(FileError, match="odd"):
        list(read_ticks(path, PRICE))


@ALL_KINDS
def test_a_file_without_rows_is_refused(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"none{extension}"
    if extension == ".parquet":
        parquet(path, {"x": pa.array([], pa.float64())})
    else:
        write(path, "x,y\n" if ".csv" in extension else "\n")

    with pytest.raises(FileError, match=r"none.* holds no rows"):
        read_ticks(path, ColumnMap({"x": "x"}))


def test_a_broken_line_is_named_by_its_number(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", '{"x":1}\n\n' * file_rows.SAMPLE_ROWS + "[2]\n")

    with pytest.raises(FileError, match=r"t.jsonl line 2001 is no JSON object"):
        list(read_ticks(path, ColumnMap({"x": "x"})))


@pytest.mark.parametrize("extension", [".csv.gz", ".jsonl.gz", ".parquet"])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, extension: str) -> None:
    rows = [{"symbol": "A", "ts": i, "close": math.sin(i)} for i in range(9000)]
    path = table(tmp_path / f"short{extension}", rows)
    path.write_bytes(path.read_bytes()[:-9000])

    with pytest.raises(FileError, match=r"short.* cannot be read"):
        list(read_ticks(path, PRICE))


def test_a_broken_csv_row_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "x,y\n1,2\n1,2,3\n")

    with pytest.raises(FileError, match=r"t.csv cannot be read: .*Expected 2 columns, got 3"):
        list(read_ticks(path, ColumnMap({"x": "x"})))


@ALL_KINDS
def test_text_as_numeric_time_is_refused_with_the_way_out(tmp_path: Path, extension: str) -> None:
    path = table(tmp_path / f"t{extension}", [{"ts": "2020-01-01", "x": 1.0}])

    with pytest.raises(FileError, match="'ts' holds text: set --time-unit iso"):
        read_ticks(path, ColumnMap({"x": "x"}, time="ts", time_unit="ms"))


@pytest.mark.parametrize("extension", [".jsonl", ".parquet"])
def test_numbers_as_iso_times_are_refused_with_the_way_out(tmp_path: Path, extension: str) -> None:
    path = table(tmp_path / f"t{extension}", [{"ts": 12, "x": 1.0}])

    with pytest.raises(FileError, match="'ts' holds numbers: set --time-unit s, ms, us or ns"):
        read_ticks(path, ColumnMap({"x": "x"}, time="ts", time_unit="iso"))


def test_contradicting_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="--value"):
        ColumnMap({})
    with pytest.raises(ValueError, match="--instrument or --name"):
        ColumnMap({"x": "x"}, instrument="a", name="b")
    with pytest.raises(ValueError, match="written twice: ts"):
        ColumnMap({"ts": "x"})


def test_rows_are_counted_only_where_that_is_cheap(tmp_path: Path) -> None:
    assert count_rows(table(tmp_path / "t.parquet", ROWS)) == 3
    assert count_rows(table(tmp_path / "t.csv", ROWS)) is None
    assert count_rows(table(tmp_path / "t.jsonl", ROWS)) is None


@ALL_KINDS
def test_columns_are_guessed_by_name_and_type(tmp_path: Path, extension: str) -> None:
    row = {"Date": "2020-01-01", "note": "x", "Ticker": "A", "open": 1.5, "seq": 1, "volume": 2}
    path = table(tmp_path / f"t{extension}", [row])

    assert guess_columns(path) == ColumnMap(
        {"open": "open", "volume": "volume"},
        instrument="Ticker",
        time="Date",
        time_unit="iso",
        sequence="seq",
    )


@pytest.mark.parametrize(
    ("time", "unit"),
    [(1_600_000_000, "s"), (1.6e12, "ms"), (16 * 10**14, "us"), (16 * 10**17, "ns"), (362, "ms")],
)
@ALL_KINDS
def test_the_unit_of_numeric_times_is_guessed_by_size(
    tmp_path: Path, extension: str, time: float, unit: str
) -> None:
    path = table(tmp_path / f"t{extension}", [{"time": time, "x": 1}])

    assert guess_columns(path).time_unit == unit


def test_a_first_line_of_numbers_is_no_header(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "1.5,2\n3,\n")

    columns = guess_columns(path)

    assert not columns.header
    assert [(r.get("c0"), r.get("c1")) for r in records(path, columns)] == [(1.5, 2), (3, None)]


def test_a_file_without_numbers_cannot_be_guessed(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a,b\nx,y\n")

    with pytest.raises(FileError, match=r"t.csv has no column of numbers, only a, b"):
        guess_columns(path)


def test_without_a_speed_nothing_waits() -> None:
    assert Pace(None).wait_s(10**15, 0.0) == 0.0


def test_pace_keeps_recorded_gaps_and_lets_late_callers_catch_up() -> None:
    pace = Pace(2.0)

    assert pace.wait_s(1000, 50.0) == 0.0
    assert pace.wait_s(3000, 50.0) == 1.0
    assert pace.wait_s(3000, 51.5) == 0.0
    assert pace.wait_s(5000, 51.5) == 0.5
    assert pace.wait_s(500, 51.5) == 0.0


@given(
    gaps=st.lists(st.integers(0, 10_000), min_size=1),
    speed=st.sampled_from([0.5, 1.0, 60.0]),
)
def test_who_waits_as_told_plays_the_file_at_that_speed(gaps: list[int], speed: float) -> None:
    pace, now = Pace(speed), 7.0

    for ts_ms in np.cumsum([0, *gaps]).tolist():
        now += pace.wait_s(ts_ms, now)

    assert now == pytest.approx(7.0 + sum(gaps) / 1000 / speed)


@pytest.mark.parametrize("speed", [0.0, -1.0, math.inf, math.nan])
def test_an_impossible_speed_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="speed is"):
        Pace(speed)


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(files).failed == 0


def test_fx_ticks_are_read_whole_and_in_order(shared_data: Path) -> None:
    path = shared_data / "fx_ticks" / "fx_ticks.parquet"
    columns = guess_columns(path)

    assert columns == ColumnMap({"bid": "bid", "ask": "ask"}, instrument="instrument", time="ts")
    rows, last_ms, keys = 0, 0, set[bytes]()
    for block in read_ticks(path, columns, block_rows=65_536):
        assert block.ts_ms[0] >= last_ms
        assert (np.diff(block.ts_ms) >= 0).all()
        rows, last_ms = rows + len(block), int(block.ts_ms[-1])
        keys |= set(block.keys)
    assert rows == count_rows(path) == 1_959_781
    assert len(keys) == 5


def test_sp500_keeps_its_dates_and_leaves_out_missing_opens(shared_data: Path) -> None:
    path = shared_data / "sp500_daily" / "sp500_daily.parquet"
    columns = guess_columns(path)

    assert (columns.instrument, columns.time, columns.time_unit) == ("instrument", "ts", "iso")
    lacking = 0
    for block in read_ticks(path, columns):
        lacking += sum(b'"open"' not in value for value in block.values)
    assert lacking == 10
    first = next(read_ticks(path, columns))
    assert json.loads(first.values[0])["ts"] == "2013-02-08"


def test_one_series_per_file_is_read_as_the_literature_has_it(shared_data: Path) -> None:
    ett = shared_data / "ett" / "ETTh2.csv.gz"
    rates = shared_data / "exchange_rate" / "exchange_rate.csv.gz"

    first, *_, last = records(ett, guess_columns(ett))
    assert first["instrument"] == "ETTh2"
    assert first["ts"] == "2016-07-01 00:00:00"
    assert len(last) == 2 + 7
    assert np.unique(np.diff(recorded_ms(ett, guess_columns(ett)))).tolist() == [HOUR_MS]
    read = records(rates, guess_columns(rates))
    assert len(read) == 7588
    assert read[0]["c7"] == 0.525486
    assert read[-1]["ts"] == 7587


@pytest.mark.parametrize(
    ("name", "rows", "missing"),
    [
        ("airline_passengers", 144, 0),
        ("sunspots_yearly", 309, 0),
        ("co2_weekly", 2284, 59),
        ("nile_yearly", 100, 0),
        ("elnino_monthly", 732, 0),
        ("water_flow_hourly", 1268, 0),
    ],
)
def test_the_classics_are_read(shared_data: Path, name: str, rows: int, missing: int) -> None:
    path = shared_data / "classics" / f"{name}.csv"
    columns = guess_columns(path)

    read = records(path, columns)

    (value,) = columns.values
    assert len(read) == rows
    assert sum(value not in row for row in read) == missing
    assert {row["instrument"] for row in read} == {name}
    assert (np.diff(recorded_ms(path, columns)) > 0).all()
