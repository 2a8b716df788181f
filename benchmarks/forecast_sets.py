"""The data sets of the forecast benchmarks, as columns with a schema: one recipe for all of them.

A set differs from another only in what a user would declare: names, logarithm, kind, time step,
seasons, longest gap. Rules are those of the bundle. Files: `../shared/data`, or `SLOTCAST_DATA`.
"""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

from slotcast_models.backtest import columns_of
from slotcast_models.columns import Columns
from slotcast_models.schema import Quantity, TickSchema

FOLDER = Path(os.environ.get("SLOTCAST_DATA", "../shared/data"))
Floats = NDArray[np.float64]
SECOND_NS = 10**9
HOUR_MS = 3_600_000
PRICE = Quantity(name="price", gt=0, log=True)
CURRENCIES = (
    *("Australia", "Britain", "Canada", "Switzerland"),
    *("China", "Japan", "New Zealand", "Singapore"),
)
"""The columns of a file without a header."""


@dataclass(frozen=True)
class Ticks:
    """One data set, in the order of its ticks; `slot` counts instruments from 0."""

    schema: TickSchema
    slot: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    value: Floats

    @property
    def slots(self) -> int:
        """How many instruments."""
        return int(self.slot.max()) + 1

    def columns(self) -> Columns:
        """What the predictor takes."""
        return columns_of(self.slot, self.time_ns, self.value)


def need(path: str) -> Path:
    """The file, or an exit that says how to get it."""
    file = FOLDER / path
    if not file.exists():
        raise SystemExit(f"no {file}: set SLOTCAST_DATA to a folder that has the data sets")
    return file


def _rows(path: str) -> list[list[str]]:
    with gzip.open(need(path), "rt") as lines:
        return list(csv.reader(lines))


def _sensors(path: str, **declared: Any) -> Ticks:
    """A file of dates and readings: one instrument, a target per column."""
    (_, *names), *rows = _rows(path)
    stamps = [datetime.fromisoformat(row[0]).replace(tzinfo=UTC).timestamp() for row in rows]
    schema = TickSchema(
        targets=tuple(Quantity(name=name) for name in names), kind="sensor", **declared
    )
    return Ticks(
        schema,
        np.zeros(len(rows), np.int64),
        np.array(stamps, np.int64) * SECOND_NS,
        np.array([[float(text) for text in row[1:]] for row in rows]),
    )


def ett(name: str) -> Ticks:
    """ETTh1, ETTh2 (hourly) or ETTm1 (15 minutes): one instrument with seven targets."""
    step_ms, seasons = (HOUR_MS, (24, 168)) if "h" in name else (HOUR_MS // 4, (96, 672))
    return _sensors(f"ett/{name}.csv.gz", step_ms=step_ms, seasons=seasons)


def wth() -> Ticks:
    """One weather station, hourly, twelve targets."""
    return _sensors("wth/WTH.csv.gz", step_ms=HOUR_MS, seasons=(24, 168))


def exchange() -> Ticks:
    """Eight exchange rates, daily: one instrument, eight prices."""
    rows = _rows("exchange_rate/exchange_rate.csv.gz")
    targets = tuple(Quantity(name=name, gt=0, log=True) for name in CURRENCIES)
    return Ticks(
        TickSchema(targets=targets, kind="price"),
        np.zeros(len(rows), np.int64),
        np.arange(len(rows)) * 86_400 * SECOND_NS,
        np.array([[float(text) for text in row] for row in rows]),
    )


def airline() -> Ticks:
    """Passengers by month, in thousands. Months differ in length, so the season counts ticks."""
    with need("classics/airline_passengers.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    name = next(key for key in rows[0] if key != "ts")
    months = [datetime.strptime(row["ts"][:7], "%Y-%m").replace(tzinfo=UTC) for row in rows]
    targets = (Quantity(name="passengers", gt=0, log=True),)
    return Ticks(
        TickSchema(targets=targets, kind="sensor", seasons=(12,)),
        np.zeros(len(rows), np.int64),
        np.array([month.timestamp() for month in months], np.int64) * SECOND_NS,
        np.array([[float(row[name])] for row in rows]),
    )


def m4_hourly() -> dict[str, Floats]:
    """The 414 series of M4-Hourly, by name."""
    table = pyarrow.parquet.read_table(need("m4_hourly/m4_hourly.parquet"))
    names, values = table["instrument"].to_numpy(), table["value"].to_numpy()
    order = sorted(set(names), key=lambda name: int(name[1:]))
    where = {name: [] for name in order}
    for i, name in enumerate(names):
        where[name].append(i)
    return {name: values[rows].astype(float) for name, rows in where.items()}


M4_SCHEMA = TickSchema(targets=(PRICE,), kind="sensor", step_ms=HOUR_MS, seasons=(24, 168))


def _frame(path: str, *names: str, by: str = "instrument", time: str = "ts") -> dict[str, Any]:
    """Columns of a parquet file: `slot`, `time_ns` and the named values [n, Q], ordered by time."""
    table = pyarrow.parquet.read_table(need(path))
    slot = np.unique(table[by].to_numpy(zero_copy_only=False), return_inverse=True)[1]
    stamps = table[time].to_numpy(zero_copy_only=False)
    if stamps.dtype == object:  # ISO dates
        stamps = np.array(stamps, "datetime64[ms]").astype(np.int64)
    value = np.column_stack([table[name].to_numpy().astype(float) for name in names])
    return {"slot": slot.astype(np.int64), "time_ns": stamps * 1_000_000, "value": value}


def _prices(path: str, name: str) -> Ticks:
    return Ticks(TickSchema(targets=(PRICE,), kind="price"), **_frame(path, name))


def sp500_daily() -> Ticks:
    """Closing prices of 500 stocks."""
    return _prices("sp500_daily/sp500_daily.parquet", "close")


def perp_hourly() -> Ticks:
    """Closing prices of 400 perpetual futures."""
    return _prices("perp_hourly/perp_hourly.parquet", "close")


def stock_trades() -> Ticks:
    """Trades of 90 stocks; sessions are moved an hour apart, so that a border is a gap."""
    frame = _frame("stock_trades/stock_trades.parquet", "price", "session")
    session = frame["value"][:, 1].astype(np.int64)
    moved = frame["time_ns"] + session * 3_000 * SECOND_NS
    schema = TickSchema(targets=(PRICE,), kind="price", max_gap_ms=600_000)
    return Ticks(schema, frame["slot"], moved, frame["value"][:, :1])


def fx_quotes() -> Ticks:
    """Bid and ask of five streams, both forecast."""
    targets = tuple(Quantity(name=name, gt=0, log=True) for name in ("bid", "ask"))
    schema = TickSchema(targets=targets, kind="price", max_gap_ms=HOUR_MS)
    return Ticks(schema, **_frame("fx_ticks/fx_ticks.parquet", "bid", "ask"))


def fx_mid(clock_s: int = 0) -> Ticks:
    """Mid prices of five streams: every quote, or the last one of each `clock_s` seconds."""
    quotes = fx_quotes()
    mid = quotes.value.mean(axis=1, keepdims=True)
    kept = np.arange(len(mid))
    if clock_s:
        clock = quotes.time_ns // (clock_s * SECOND_NS)
        order = np.lexsort((kept, clock, quotes.slot))
        last = np.ones(len(order), bool)
        last[:-1] = (np.diff(clock[order]) != 0) | (np.diff(quotes.slot[order]) != 0)
        kept = np.sort(order[last])
    schema = TickSchema(targets=(PRICE,), kind="price", max_gap_ms=HOUR_MS)
    return Ticks(schema, quotes.slot[kept], quotes.time_ns[kept], mid[kept])


def la_traffic() -> Ticks:
    """Speeds at 207 detectors, every five minutes."""
    schema = TickSchema(
        targets=(Quantity(name="speed"),), kind="sensor", step_ms=300_000, seasons=(288,)
    )
    return Ticks(schema, **_frame("la_traffic/la_traffic.parquet", "speed"))


def oil_wells() -> Ticks:
    """Pressure and temperature of 270 recordings; choke pressure and temperature as features."""
    names = ("pressure", "temperature", "choke_pressure", "choke_temperature")
    frame = _frame("oil_wells/oil_wells.parquet", *names)
    here = ~np.isnan(frame["value"][:, :2]).any(axis=1)  # a missing target is no tick
    quantities = tuple(Quantity(name=name) for name in names)
    schema = TickSchema(
        targets=quantities[:2], features=quantities[2:], kind="sensor", max_gap_ms=60_000
    )
    return Ticks(schema, *(frame[name][here] for name in ("slot", "time_ns", "value")))


def turbofan() -> Ticks:
    """Two outlet readings of 100 engines, by flight cycle; ten other sensors as features."""
    features = ("s02", "s03", "s08", "s09", "s11", "s12", "s13", "s14", "s15", "s20")
    names = ("s04", "s07", *features)
    frame = _frame("turbofan/turbofan_train_FD001.parquet", *names, time="step")
    quantities = tuple(Quantity(name=name) for name in names)
    schema = TickSchema(targets=quantities[:2], features=quantities[2:], kind="sensor")
    return Ticks(schema, frame["slot"], frame["time_ns"] * 1000, frame["value"])


STREAMS: dict[str, Callable[[], Ticks]] = {
    "fx_quotes": fx_quotes,
    "fx_mid": fx_mid,
    "fx_1s": lambda: fx_mid(1),
    "fx_10s": lambda: fx_mid(10),
    "sp500_daily": sp500_daily,
    "perp_hourly": perp_hourly,
    "stock_trades": stock_trades,
    "la_traffic": la_traffic,
    "oil_wells": oil_wells,
    "turbofan": turbofan,
}
